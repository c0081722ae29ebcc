"""EKS add-ons: known ones in known versions, with their configuration and pod identity associations."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from trainyard.local.aws.eks_catalogue import ADDONS, KUBERNETES_VERSIONS, addon_problem, default_addon_version
from trainyard.local.aws.moto_adapter.eks_access import add_pod_identity
from trainyard.local.aws.moto_adapter.eks_state import (
    Cluster,
    Description,
    Eks,
    found,
    in_use,
    invalid,
    now,
    page,
)

Request = Mapping[str, Any]

_PRESERVE = ("NONE", "OVERWRITE", "PRESERVE")


def create_addon(eks: Eks, request: Request) -> Description:
    """CreateAddon."""
    cluster, name = eks.cluster(request), request["addonName"]
    kubernetes = cluster.description["version"]
    if name in cluster.addons:
        raise in_use(f"Addon already exists: {name}")
    known = ADDONS.get(name)
    version = request.get("addonVersion") or (default_addon_version(name, kubernetes) if known else "")
    problem = addon_problem(name, version, kubernetes)
    if problem or known is None:
        raise invalid(problem)
    if request.get("resolveConflicts") == "PRESERVE":
        raise invalid("resolveConflicts must be NONE or OVERWRITE when an add-on is created.")
    addon: Description = {
        "addonName": name,
        "clusterName": cluster.name,
        "status": "ACTIVE",
        "addonVersion": version,
        "health": {"issues": []},
        "addonArn": eks.arn("addon", cluster.name, name, str(uuid.uuid4())),
        "createdAt": now(),
        "modifiedAt": now(),
        "tags": dict(request.get("tags") or {}),
        "namespaceConfig": {"namespace": (request.get("namespaceConfig") or {}).get("namespace") or known.namespace},
    }
    if request.get("serviceAccountRoleArn"):
        addon["serviceAccountRoleArn"] = request["serviceAccountRoleArn"]
    _configure(addon, request)
    addon["podIdentityAssociations"] = _identities(eks, cluster, addon, request.get("podIdentityAssociations") or [])
    cluster.addons[name] = addon
    return {"addon": addon}


def _configure(addon: Description, request: Request) -> None:
    values = request.get("configurationValues")
    if not values:
        if values is not None:
            addon.pop("configurationValues", None)
        return
    try:
        parsed = json.loads(values)
    except ValueError:
        parsed = _yaml(values)
    if not isinstance(parsed, dict):
        raise invalid("ConfigurationValue provided in request is not valid JSON or YAML object.")
    addon["configurationValues"] = values


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _identities(eks: Eks, cluster: Cluster, addon: Description, asked: list[Request]) -> list[str]:
    arns = []
    for association in asked:
        wanted = {**association, "namespace": addon["namespaceConfig"]["namespace"]}
        arns.append(add_pod_identity(eks, cluster, wanted, owner=addon["addonArn"])["associationArn"])
    return arns


def _drop_identities(cluster: Cluster, addon: Description) -> None:
    for identity, association in list(cluster.pod_identities.items()):
        if association.get("ownerArn") == addon["addonArn"]:
            del cluster.pod_identities[identity]


def _addon(eks: Eks, request: Request) -> Description:
    name = request["addonName"]
    return found(eks.cluster(request).addons, name, f"No addon: {name} found in cluster: {request['clusterName']}")


def describe_addon(eks: Eks, request: Request) -> Description:
    """DescribeAddon."""
    return {"addon": _addon(eks, request)}


def list_addons(eks: Eks, request: Request) -> Description:
    """ListAddons."""
    return page(sorted(eks.cluster(request).addons), request, "addons")


def update_addon(eks: Eks, request: Request) -> Description:
    """UpdateAddon."""
    cluster, addon = eks.cluster(request), _addon(eks, request)
    version = request.get("addonVersion") or addon["addonVersion"]
    problem = addon_problem(addon["addonName"], version, cluster.description["version"])
    if problem:
        raise invalid(problem)
    if (request.get("resolveConflicts") or "NONE") not in _PRESERVE:
        raise invalid(f"resolveConflicts must be one of {', '.join(_PRESERVE)}.")
    addon["addonVersion"] = version
    _configure(addon, request)
    if "serviceAccountRoleArn" in request:
        addon["serviceAccountRoleArn"] = request["serviceAccountRoleArn"]
    if "podIdentityAssociations" in request:
        _drop_identities(cluster, addon)
        addon["podIdentityAssociations"] = _identities(eks, cluster, addon, request["podIdentityAssociations"])
    addon["modifiedAt"] = now()
    return cluster.updated("AddonUpdate", {"AddonVersion": version}, addonName=addon["addonName"])


def delete_addon(eks: Eks, request: Request) -> Description:
    """DeleteAddon, with its pod identity associations."""
    cluster, addon = eks.cluster(request), _addon(eks, request)
    _drop_identities(cluster, addon)
    del cluster.addons[addon["addonName"]]
    return {"addon": {**addon, "status": "DELETING"}}


def describe_addon_versions(eks: Eks, request: Request) -> Description:
    """DescribeAddonVersions: the default build of each add-on for each version of Kubernetes."""
    del eks
    wanted = [request["kubernetesVersion"]] if request.get("kubernetesVersion") else list(KUBERNETES_VERSIONS)
    addons = [
        {
            "addonName": name,
            "owner": "aws",
            "publisher": "eks",
            "defaultNamespace": known.namespace,
            "addonVersions": _versions(name, [version for version in wanted if version in KUBERNETES_VERSIONS]),
        }
        for name, known in sorted(ADDONS.items())
        if request.get("addonName") in (None, "", name)
    ]
    return page(addons, request, "addons")


def _versions(name: str, kubernetes_versions: list[str]) -> list[Description]:
    by_build: dict[str, list[str]] = {}
    for version in reversed(kubernetes_versions):
        by_build.setdefault(default_addon_version(name, version), []).append(version)
    return [
        {
            "addonVersion": build,
            "architecture": ["amd64", "arm64"],
            "compatibilities": [{"clusterVersion": it, "defaultVersion": True} for it in versions],
            "requiresConfiguration": False,
            "requiresIamPermissions": bool(ADDONS[name].service_account),
        }
        for build, versions in by_build.items()
    ]


OPERATIONS = {
    "CreateAddon": create_addon,
    "DeleteAddon": delete_addon,
    "DescribeAddon": describe_addon,
    "DescribeAddonVersions": describe_addon_versions,
    "ListAddons": list_addons,
    "UpdateAddon": update_addon,
}
