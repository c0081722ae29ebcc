"""EKS access entries, the policies associated with them, and pod identity associations."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from trainyard.local.aws.eks_catalogue import ACCESS_POLICIES, policy_arn
from trainyard.local.aws.moto_adapter.eks_state import (
    Cluster,
    Description,
    Eks,
    check_role,
    found,
    in_use,
    invalid,
    invalid_request,
    not_found,
    now,
    page,
)

Request = Mapping[str, Any]

_PRINCIPAL = re.compile(r"arn:aws[\w-]*:iam::\d{12}:(root|user/.+|role/.+)\Z")
_NODE_GROUPS = {
    "EC2_LINUX": ("system:bootstrappers", "system:nodes"),
    "FARGATE_LINUX": ("system:bootstrappers", "system:nodes", "system:node-proxier"),
    "EC2_WINDOWS": ("system:bootstrappers", "system:nodes", "eks:kube-proxy-windows"),
    "EC2": ("system:nodes",),
}
_STANDARD = "STANDARD"


def create_access_entry(eks: Eks, request: Request) -> Description:
    """CreateAccessEntry."""
    cluster = eks.cluster(request)
    kind = request.get("type") or _STANDARD
    if kind not in ("EC2_LINUX", "EC2_WINDOWS", "FARGATE_LINUX", "EC2", "HYBRID_LINUX", "HYPERPOD_LINUX", _STANDARD):
        raise invalid(f"The type {kind} is none of an access entry's.")
    if kind != _STANDARD and (request.get("kubernetesGroups") or request.get("username")):
        raise invalid(f"kubernetesGroups and username cannot be set for access entries of the type {kind}.")
    principal = request["principalArn"]
    if principal in cluster.access_entries:
        raise in_use("The specified access entry resource is already in use on this cluster.")
    return {"accessEntry": add_entry(eks, cluster, principal, request, kind)}


def add_entry(eks: Eks, cluster: Cluster, principal: str, request: Request, kind: str = _STANDARD) -> Description:
    """An access entry of `cluster`, as EKS makes it."""
    if cluster.description["accessConfig"]["authenticationMode"] == "CONFIG_MAP":
        raise invalid_request("The cluster's authentication mode must be API or API_AND_CONFIG_MAP for access entries.")
    if not _PRINCIPAL.match(principal):
        raise invalid(f"The principalArn parameter format is not valid: {principal}")
    groups: list[str] = list(request.get("kubernetesGroups") or ())
    _check_groups(groups)
    owner, _, name = principal.split(":", 5)[5].rpartition("/")
    entry = {
        "clusterName": cluster.name,
        "principalArn": principal,
        "kubernetesGroups": groups if kind == _STANDARD else list(_NODE_GROUPS.get(kind, ())),
        "accessEntryArn": eks.arn(
            "access-entry", cluster.name, owner.split("/")[0] or "root", eks.account_id, name, str(uuid.uuid4())
        ),
        "createdAt": now(),
        "modifiedAt": now(),
        "tags": dict(request.get("tags") or {}),
        "username": request.get("username") or _username(principal, kind),
        "type": kind,
    }
    cluster.access_entries[principal] = entry
    cluster.access_policies[principal] = {}
    return entry


def associate(cluster: Cluster, principal: str, arn: str, scope: Mapping[str, Any]) -> Description:
    """Give an entry's principal the permissions of an access policy."""
    before = cluster.access_policies[principal].get(arn)
    association = {
        "policyArn": arn,
        "accessScope": {"type": scope["type"], "namespaces": list(scope.get("namespaces") or ())},
        "associatedAt": before["associatedAt"] if before else now(),
        "modifiedAt": now(),
    }
    cluster.access_policies[principal][arn] = association
    return association


def _username(principal: str, kind: str) -> str:
    if kind in ("EC2_LINUX", "EC2", "EC2_WINDOWS"):
        return "system:node:{{EC2PrivateDNSName}}"
    if kind == "FARGATE_LINUX":
        return "system:node:{{SessionName}}"
    if ":role/" in principal:
        partition, account = principal.split(":")[1], principal.split(":")[4]
        return f"arn:{partition}:sts::{account}:assumed-role/{principal.rsplit('/', 1)[1]}/{{{{SessionName}}}}"
    return principal


def _check_groups(groups: list[str]) -> None:
    for group in groups:
        if group.startswith(("system:", "eks:", "aws:", "amazon:", "iam:")):
            raise invalid(f"The kubernetes group name {group} is invalid, it cannot start with {group.split(':')[0]}:")


def describe_access_entry(eks: Eks, request: Request) -> Description:
    """DescribeAccessEntry."""
    return {"accessEntry": _entry(eks, request)}


def update_access_entry(eks: Eks, request: Request) -> Description:
    """UpdateAccessEntry."""
    entry = _entry(eks, request)
    if entry["type"] != _STANDARD:
        raise invalid_request(f"An access entry of the type {entry['type']} cannot be changed.")
    if "kubernetesGroups" in request:
        _check_groups(request["kubernetesGroups"])
        entry["kubernetesGroups"] = list(request["kubernetesGroups"])
    if request.get("username"):
        entry["username"] = request["username"]
    entry["modifiedAt"] = now()
    return {"accessEntry": entry}


def delete_access_entry(eks: Eks, request: Request) -> Description:
    """DeleteAccessEntry."""
    _entry(eks, request)
    cluster = eks.cluster(request)
    del cluster.access_entries[request["principalArn"]]
    del cluster.access_policies[request["principalArn"]]
    return {}


def list_access_entries(eks: Eks, request: Request) -> Description:
    """ListAccessEntries: all, or those with an associated policy."""
    cluster, policy = eks.cluster(request), request.get("associatedPolicyArn")
    principals = [name for name, held in cluster.access_policies.items() if not policy or policy in held]
    return page(sorted(principals), request, "accessEntries")


def _entry(eks: Eks, request: Request) -> Description:
    principal = request["principalArn"]
    return found(
        eks.cluster(request).access_entries,
        principal,
        f"The specified principalArn could not be found: {principal}. You can view your available access entries with "
        "list-access-entries.",
    )


def list_access_policies(eks: Eks, request: Request) -> Description:
    """ListAccessPolicies."""
    policies = [{"name": name, "arn": policy_arn(name, eks.partition)} for name in ACCESS_POLICIES]
    return page(policies, request, "accessPolicies")


def associate_access_policy(eks: Eks, request: Request) -> Description:
    """AssociateAccessPolicy."""
    entry, arn, scope = _entry(eks, request), request["policyArn"], request["accessScope"]
    if arn not in {policy_arn(name, eks.partition) for name in ACCESS_POLICIES}:
        raise invalid(f"The policyArn parameter format is not valid: {arn} is no access policy.")
    if entry["type"] not in (_STANDARD, "EC2"):
        raise invalid_request(f"An access entry of the type {entry['type']} takes no access policies.")
    if (scope["type"] == "namespace") != bool(scope.get("namespaces")):
        raise invalid("namespaces must be given for the access scope namespace, and only there.")
    association = associate(eks.cluster(request), entry["principalArn"], arn, scope)
    entry["modifiedAt"] = now()
    return {
        "clusterName": entry["clusterName"],
        "principalArn": entry["principalArn"],
        "associatedAccessPolicy": association,
    }


def disassociate_access_policy(eks: Eks, request: Request) -> Description:
    """DisassociateAccessPolicy."""
    principal = _entry(eks, request)["principalArn"]
    held = eks.cluster(request).access_policies[principal]
    if held.pop(request["policyArn"], None) is None:
        raise not_found(f"The policy {request['policyArn']} is not associated with {principal}.")
    return {}


def list_associated_access_policies(eks: Eks, request: Request) -> Description:
    """ListAssociatedAccessPolicies."""
    entry = _entry(eks, request)
    held = list(eks.cluster(request).access_policies[entry["principalArn"]].values())
    return {
        "clusterName": entry["clusterName"],
        "principalArn": entry["principalArn"],
        **page(held, request, "associatedAccessPolicies"),
    }


def create_pod_identity_association(eks: Eks, request: Request) -> Description:
    """CreatePodIdentityAssociation."""
    return {"association": add_pod_identity(eks, eks.cluster(request), request)}


def add_pod_identity(eks: Eks, cluster: Cluster, request: Request, owner: str = "") -> Description:
    """An association of a service account with a role; `owner` is the add-on that it belongs to."""
    place = (request["namespace"], request["serviceAccount"])
    if any((it["namespace"], it["serviceAccount"]) == place for it in cluster.pod_identities.values()):
        raise in_use(f"Association already exists: {place[1]} in the namespace {place[0]}.")
    check_role(eks, request["roleArn"], "pods.eks.amazonaws.com", "sts:AssumeRole", "sts:TagSession")
    identity = f"a-{uuid.uuid4().hex[:17]}"
    association = {
        "clusterName": cluster.name,
        "namespace": place[0],
        "serviceAccount": place[1],
        "roleArn": request["roleArn"],
        "associationArn": eks.arn("podidentityassociation", cluster.name, identity),
        "associationId": identity,
        "tags": dict(request.get("tags") or {}),
        "createdAt": now(),
        "modifiedAt": now(),
        "disableSessionTags": bool(request.get("disableSessionTags")),
    }
    if owner:
        association["ownerArn"] = owner
    _set_target(eks, association, request)
    if request.get("policy"):
        association["policy"] = request["policy"]
    cluster.pod_identities[identity] = association
    return association


def _set_target(eks: Eks, association: Description, request: Request) -> None:
    target = request.get("targetRoleArn")
    if target:
        association["targetRoleArn"] = target
        name = association["clusterName"]
        place = f"{association['namespace']}/{association['serviceAccount']}"
        association["externalId"] = f"{eks.region}/{eks.account_id}/{name}/{place}"
    elif "targetRoleArn" in request:
        association.pop("targetRoleArn", None)
        association.pop("externalId", None)


def _association(eks: Eks, request: Request) -> Description:
    identity = request["associationId"]
    return found(eks.cluster(request).pod_identities, identity, f"No association found with associationId: {identity}.")


def describe_pod_identity_association(eks: Eks, request: Request) -> Description:
    """DescribePodIdentityAssociation."""
    return {"association": _association(eks, request)}


def update_pod_identity_association(eks: Eks, request: Request) -> Description:
    """UpdatePodIdentityAssociation."""
    association = _association(eks, request)
    if request.get("roleArn"):
        check_role(eks, request["roleArn"], "pods.eks.amazonaws.com", "sts:AssumeRole", "sts:TagSession")
        association["roleArn"] = request["roleArn"]
    if "disableSessionTags" in request:
        association["disableSessionTags"] = request["disableSessionTags"]
    if request.get("policy"):
        association["policy"] = request["policy"]
    _set_target(eks, association, request)
    association["modifiedAt"] = now()
    return {"association": association}


def delete_pod_identity_association(eks: Eks, request: Request) -> Description:
    """DeletePodIdentityAssociation; those of an add-on go with the add-on."""
    association = _association(eks, request)
    if association.get("ownerArn"):
        raise invalid_request(f"The association belongs to {association['ownerArn']}; change the add-on.")
    del eks.cluster(request).pod_identities[association["associationId"]]
    return {"association": association}


def list_pod_identity_associations(eks: Eks, request: Request) -> Description:
    """ListPodIdentityAssociations, by namespace and service account where given."""
    wanted = {name: request[name] for name in ("namespace", "serviceAccount") if request.get(name)}
    summary = ("clusterName", "namespace", "serviceAccount", "associationArn", "associationId", "ownerArn")
    items = [
        {name: it[name] for name in summary if name in it}
        for it in eks.cluster(request).pod_identities.values()
        if wanted.items() <= it.items()
    ]
    return page(items, request, "associations")


OPERATIONS = {
    "AssociateAccessPolicy": associate_access_policy,
    "CreateAccessEntry": create_access_entry,
    "CreatePodIdentityAssociation": create_pod_identity_association,
    "DeleteAccessEntry": delete_access_entry,
    "DeletePodIdentityAssociation": delete_pod_identity_association,
    "DescribeAccessEntry": describe_access_entry,
    "DescribePodIdentityAssociation": describe_pod_identity_association,
    "DisassociateAccessPolicy": disassociate_access_policy,
    "ListAccessEntries": list_access_entries,
    "ListAccessPolicies": list_access_policies,
    "ListAssociatedAccessPolicies": list_associated_access_policies,
    "ListPodIdentityAssociations": list_pod_identity_associations,
    "UpdateAccessEntry": update_access_entry,
    "UpdatePodIdentityAssociation": update_pod_identity_association,
}
