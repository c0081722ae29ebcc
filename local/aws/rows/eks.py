"""EKS: clusters and who may use them; with node groups and add-ons, which have files of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.calls import Call, Derive, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import AwsError
from trainyard.local.aws.fields import ID, Fact, Map, Named, Object, Prop, Values, read_map, same
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.rows import eks_addons, eks_nodegroups
from trainyard.local.aws.rows.eks_names import GONE, eks_tags

_LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
_ENDPOINT = ("endpointPrivateAccess", "endpointPublicAccess", "publicAccessCidrs")
_NO_AUTO_MODE = "EKS Auto Mode is not emulated"
_NO_TUNING = "the emulated control plane has no such settings"


@dataclass(frozen=True)
class _Listed(Named):
    """An object of AWS's that Pulumi has as a list of one."""

    map: Map

    def read(self, value: Any, into: dict[str, Any]) -> None:
        if isinstance(value, Mapping):
            into[self.name] = [read_map(self.map, value)]


_VPC = {
    **same("clusterSecurityGroupId", "endpointPrivateAccess", "endpointPublicAccess", "vpcId"),
    "publicAccessCidrs": Values("publicAccessCidrs"),
    "securityGroupIds": Values("securityGroupIds"),
    "subnetIds": Values("subnetIds"),
}
_ENCRYPTION = Object(
    "encryptionConfig",
    {"provider": Object("provider", same("keyArn")), "resources": Values("resources")},
    single=True,
)
_ACCESS = Object("accessConfig", same("authenticationMode", "bootstrapClusterCreatorAdminPermissions"))
_NETWORK = Object(
    "kubernetesNetworkConfig",
    {**same("ipFamily", "serviceIpv4Cidr"), "elasticLoadBalancing": Object("elasticLoadBalancing", same("enabled"))},
)
_UPGRADE = Object("upgradePolicy", same("supportType"))
_ZONAL_SHIFT = Object("zonalShiftConfig", same("enabled"))


def _set_logging(context: Context) -> None:
    """Turn on the wanted types of logs and off the others."""
    wanted = context.wanted.get("enabledClusterLogTypes") or []
    groups = [
        {"types": [kind for kind in _LOG_TYPES if (kind in wanted) is enabled], "enabled": enabled}
        for enabled in (True, False)
    ]
    logging = {"clusterLogging": [group for group in groups if group["types"]]}
    context.call("update_cluster_config", name=context.id, logging=logging)


def _set_network(context: Context) -> None:
    """Change the way to the API server, and the control plane's subnets and groups: two requests, as EKS wants it."""
    wanted, actual = context.wanted["vpcConfig"], context.actual.get("vpcConfig") or {}
    for names in (_ENDPOINT, ("subnetIds", "securityGroupIds")):
        changed = {name: wanted[name] for name in names if name in wanted and _differ(wanted[name], actual.get(name))}
        if changed:
            context.call("update_cluster_config", name=context.id, resourcesVpcConfig=changed)


def _differ(left: Any, right: Any) -> bool:
    return sorted(left) != sorted(right or []) if isinstance(left, list) else left != right


def _set_access(context: Context) -> None:
    """Change the authentication mode, the only part that can change."""
    mode = (context.wanted.get("accessConfig") or {}).get("authenticationMode")
    if mode and mode != context.actual["accessConfig"]["authenticationMode"]:
        context.call("update_cluster_config", name=context.id, accessConfig={"authenticationMode": mode})


def _set(property_: str, field: Any) -> Call:
    return Call("update_cluster_config", {"name": ID, property_: field}, needs=(property_,))


def _cluster() -> Row:
    return Row(
        "aws:eks/cluster:Cluster",
        service="eks",
        cloudformation="AWS::EKS::Cluster",
        id="{name}",
        name=Name("name", "", max_length=100),
        create=Call(
            "create_cluster",
            {
                **same("name", "roleArn", "version", "deletionProtection", "bootstrapSelfManagedAddons"),
                "resourcesVpcConfig": Object("vpcConfig", _VPC),
                "accessConfig": _ACCESS,
                "kubernetesNetworkConfig": _NETWORK,
                "encryptionConfig": _ENCRYPTION,
                "upgradePolicy": _UPGRADE,
                "zonalShiftConfig": _ZONAL_SHIFT,
            },
        ),
        settings=(Do(_set_logging, on=("enabledClusterLogTypes",)),),
        update=(
            Call("update_cluster_version", {"name": ID, "version": "version", "force": Fact("forceUpdateVersion")}),
            Do(_set_network, on=("vpcConfig",)),
            Do(_set_access, on=("accessConfig",)),
            _set("upgradePolicy", _UPGRADE),
            _set("zonalShiftConfig", _ZONAL_SHIFT),
            _set("deletionProtection", Prop("deletionProtection", unset=False)),
        ),
        read=(
            Read(
                "describe_cluster",
                {"name": ID},
                {
                    **same(
                        *("arn", "createdAt", "deletionProtection", "endpoint", "name", "platformVersion"),
                        *("roleArn", "status", "version"),
                    ),
                    "resourcesVpcConfig": Object("vpcConfig", _VPC),
                    "accessConfig": _ACCESS,
                    "kubernetesNetworkConfig": _NETWORK,
                    "encryptionConfig": _ENCRYPTION,
                    "upgradePolicy": _UPGRADE,
                    "zonalShiftConfig": _ZONAL_SHIFT,
                    "certificateAuthority": Object("certificateAuthority", same("data")),
                    "identity": _Listed("identities", {"oidc": _Listed("oidcs", same("issuer"))}),
                },
                path="cluster",
                gone=GONE,
            ),
            Read(
                "describe_cluster",
                {"name": ID},
                {"types": Values("enabledClusterLogTypes")},
                path="cluster.logging.clusterLogging[?enabled] | [0]",
            ),
        ),
        delete=(Call("delete_cluster", {"name": ID}, ignore=GONE),),
        tags=eks_tags("arn:{partition}:eks:{region}:{account}:cluster/{id}"),
        defaults={"bootstrapSelfManagedAddons": True},
        computed=(
            "accessConfig",
            "accessConfig.authenticationMode",
            "accessConfig.bootstrapClusterCreatorAdminPermissions",
            "kubernetesNetworkConfig",
            "kubernetesNetworkConfig.elasticLoadBalancing",
            "kubernetesNetworkConfig.ipFamily",
            "kubernetesNetworkConfig.serviceIpv4Cidr",
            "upgradePolicy",
            "version",
            "vpcConfig.clusterSecurityGroupId",
            "vpcConfig.endpointPrivateAccess",
            "vpcConfig.endpointPublicAccess",
            "vpcConfig.publicAccessCidrs",
            "vpcConfig.securityGroupIds",
            "vpcConfig.vpcId",
            "zonalShiftConfig",
        ),
        local=("bootstrapSelfManagedAddons", "forceUpdateVersion"),
        replace_on=("kubernetesNetworkConfig",),
        schema_names={"vpcConfig": "ResourcesVpcConfig"},
        not_emulated={
            "clusterId": "only clusters on an Outpost have one",
            "computeConfig": _NO_AUTO_MODE,
            "controlPlaneScalingConfig": _NO_TUNING,
            "defaultAddonsToRemoves": "deprecated by EKS; leave add-ons out of the program",
            "kubeApiServerConfig": _NO_TUNING,
            "kubeControllerManagerConfig": _NO_TUNING,
            "kubeSchedulerConfig": _NO_TUNING,
            "outpostConfig": "there is no Outpost",
            "remoteNetworkConfig": "there are no hybrid nodes",
            "storageConfig": _NO_AUTO_MODE,
        },
        notes=(
            "endpoint and authority are those of the rehearsal's Kubernetes API server, or made up without one",
            "the principal that makes the cluster gets an access entry; adding encryption replaces the cluster here",
            "every change is done at once: no status but ACTIVE is ever seen",
        ),
    )


_ENTRY = {"clusterName": Fact("clusterName"), "principalArn": Fact("principalArn")}


def _access_entry() -> Row:
    groups = Values("kubernetesGroups")
    return Row(
        "aws:eks/accessEntry:AccessEntry",
        service="eks",
        cloudformation="AWS::EKS::AccessEntry",
        id="{clusterName}:{principalArn}",
        create=Call(
            "create_access_entry",
            {**same("clusterName", "principalArn", "type"), "kubernetesGroups": groups, "username": "userName"},
        ),
        update=(Call("update_access_entry", {**_ENTRY, "kubernetesGroups": groups, "username": "userName"}),),
        read=(
            Read(
                "describe_access_entry",
                _ENTRY,
                {
                    **same("accessEntryArn", "clusterName", "createdAt", "modifiedAt", "principalArn", "type"),
                    "kubernetesGroups": groups,
                    "username": "userName",
                },
                path="accessEntry",
                gone=GONE,
            ),
        ),
        delete=(Call("delete_access_entry", _ENTRY, ignore=GONE),),
        tags=eks_tags("{accessEntryArn}"),
        defaults={"type": "STANDARD"},
        computed=("kubernetesGroups", "userName"),
        replace_on=("clusterName", "principalArn", "type"),
        schema_names={"userName": "Username"},
    )


def _access_policy_association() -> Row:
    scope = Object("accessScope", {"type": "type", "namespaces": Values("namespaces")})
    policy = {**_ENTRY, "policyArn": Fact("policyArn")}
    return Row(
        "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
        service="eks",
        id="{clusterName}#{principalArn}#{policyArn}",
        create=Call(
            "associate_access_policy", {**same("clusterName", "principalArn", "policyArn"), "accessScope": scope}
        ),
        read=(
            Read(
                "list_associated_access_policies",
                _ENTRY,
                {"accessScope": scope, **same("associatedAt", "modifiedAt", "policyArn")},
                path="associatedAccessPolicies[?policyArn == '$policyArn'] | [0]",
                gone=GONE,
            ),
        ),
        delete=(Call("disassociate_access_policy", policy, ignore=GONE),),
        replace_on=("accessScope", "clusterName", "policyArn", "principalArn"),
        delete_before_replace=True,
    )


def _pod_identity(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The association; an imported ID is the cluster's name, a comma and the association's ID."""
    del observed
    context.id = context.facts.get("associationId") or context.id
    address: dict[str, Any] = {"clusterName": context.facts.get("clusterName"), "associationId": context.id}
    try:
        found = context.call("describe_pod_identity_association", **address)["association"]
    except AwsError as error:
        if error.code in GONE:
            return None
        raise
    names = (
        *("associationArn", "associationId", "clusterName", "disableSessionTags", "externalId", "namespace"),
        *("policy", "roleArn", "serviceAccount", "targetRoleArn"),
    )
    return {name: found[name] for name in names if found.get(name) is not None}


def _pod_identity_association() -> Row:
    role = {
        **same("roleArn", "targetRoleArn", "policy"),
        "disableSessionTags": Prop("disableSessionTags", unset=False),
    }
    address = {"clusterName": Fact("clusterName"), "associationId": ID}
    return Row(
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        service="eks",
        cloudformation="AWS::EKS::PodIdentityAssociation",
        id="association.associationId",
        import_ids=("{clusterName},{associationId}",),
        create=Call("create_pod_identity_association", {**role, **same("clusterName", "namespace", "serviceAccount")}),
        update=(Call("update_pod_identity_association", {**address, **role}),),
        read=(
            Derive(
                _pod_identity,
                (
                    *("associationArn", "associationId", "clusterName", "disableSessionTags", "externalId"),
                    *("namespace", "policy", "roleArn", "serviceAccount", "targetRoleArn"),
                ),
            ),
        ),
        delete=(Call("delete_pod_identity_association", address, ignore=GONE),),
        tags=eks_tags("{associationArn}"),
        replace_on=("clusterName", "namespace", "serviceAccount"),
        in_place=("disableSessionTags",),
        unchecked=("policy",),
    )


ROWS = (
    _cluster(),
    _access_entry(),
    _access_policy_association(),
    _pod_identity_association(),
    *eks_nodegroups.ROWS,
    *eks_addons.ROWS,
)
