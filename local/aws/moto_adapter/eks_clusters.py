"""EKS clusters: made, described, configured, upgraded and deleted, with the security group that EKS makes for them."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Mapping
from typing import Any

from moto.ec2.models import ec2_backends
from moto.kms.models import kms_backends

from trainyard.local.aws.eks_catalogue import (
    DEFAULT_KUBERNETES_VERSION,
    KUBERNETES_VERSIONS,
    minor_of,
    policy_arn,
    version_problem,
)
from trainyard.local.aws.moto_adapter import eks_access, eks_endpoint
from trainyard.local.aws.moto_adapter.eks_state import (
    Cluster,
    Description,
    Eks,
    check_role,
    found,
    in_use,
    invalid,
    invalid_request,
    now,
    page,
)

Request = Mapping[str, Any]

_NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9\-_]*\Z")
_LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
_CIDR_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
_NOT_PUBLIC = (*_CIDR_RANGES, "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16")
_DEFAULT_SERVICES = "172.20.0.0/16"
_SECOND_SERVICES = "10.100.0.0/16"


def create_cluster(eks: Eks, request: Request) -> Description:
    """CreateCluster."""
    name, version = request["name"], request.get("version") or DEFAULT_KUBERNETES_VERSION
    if not _NAME.match(name) or len(name) > 100:
        raise invalid("The cluster name must be 1 to 100 letters, digits, - and _ and begin with a letter or digit.")
    if name in eks.clusters:
        raise in_use(f"Cluster already exists with name: {name}")
    problem = version_problem(version)
    if problem:
        raise invalid(problem)
    check_role(eks, request["roleArn"], "eks.amazonaws.com")
    subnets = _subnets(eks, request["resourcesVpcConfig"]["subnetIds"])
    networks = _network_config(request.get("kubernetesNetworkConfig") or {}, subnets[0])
    description: Description = {
        "name": name,
        "arn": eks.arn("cluster", name),
        "createdAt": now(),
        "version": version,
        "endpoint": eks_endpoint.endpoint(eks.region),
        "certificateAuthority": {"data": eks_endpoint.certificate_authority()},
        "roleArn": request["roleArn"],
        "kubernetesNetworkConfig": networks,
        "logging": _logging(request.get("logging")),
        "identity": {"oidc": {"issuer": f"https://oidc.eks.{eks.region}.amazonaws.com/id/{uuid.uuid4().hex.upper()}"}},
        "status": "ACTIVE",
        "platformVersion": KUBERNETES_VERSIONS[version].platform_version,
        "tags": dict(request.get("tags") or {}),
        "encryptionConfig": _encryption(eks, request.get("encryptionConfig") or []),
        "health": {"issues": []},
        "accessConfig": _access_config(request.get("accessConfig") or {}),
        "upgradePolicy": request.get("upgradePolicy") or {"supportType": "EXTENDED"},
        "zonalShiftConfig": request.get("zonalShiftConfig") or {"enabled": False},
        "deletionProtection": bool(request.get("deletionProtection")),
    }
    description["resourcesVpcConfig"] = {
        **_endpoint_access({}, request["resourcesVpcConfig"]),
        "subnetIds": [subnet.id for subnet in subnets],
        "securityGroupIds": list(request["resourcesVpcConfig"].get("securityGroupIds") or ()),
        "vpcId": subnets[0].vpc_id,
        "clusterSecurityGroupId": _security_group(eks, name, subnets[0].vpc_id),
    }
    cluster = eks.clusters[name] = Cluster(description)
    access = request.get("accessConfig") or {}
    if access.get("bootstrapClusterCreatorAdminPermissions", True):
        _let_creator_in(eks, cluster)
    return {"cluster": description}


def _let_creator_in(eks: Eks, cluster: Cluster) -> None:
    if cluster.description["accessConfig"]["authenticationMode"] == "CONFIG_MAP":
        return
    principal = eks.principal()
    eks_access.add_entry(eks, cluster, principal, {})
    admin = policy_arn("AmazonEKSClusterAdminPolicy", eks.partition)
    eks_access.associate(cluster, principal, admin, {"type": "cluster"})


def _subnets(eks: Eks, ids: list[str]) -> list[Any]:
    backend = ec2_backends[eks.account_id][eks.region]
    known = {subnet_id: subnet for zone in backend.subnets.values() for subnet_id, subnet in zone.items()}
    missing = [subnet_id for subnet_id in ids if subnet_id not in known]
    if missing:
        raise invalid(f"The subnet ID '{missing[0]}' does not exist.")
    subnets = [known[subnet_id] for subnet_id in ids]
    if len({subnet.availability_zone for subnet in subnets}) < 2:
        raise invalid("Subnets specified must be in at least two different AZs")
    if len({subnet.vpc_id for subnet in subnets}) > 1:
        raise invalid("Subnets specified must belong to the same VPC")
    return subnets


def _network_config(asked: Request, subnet: Any) -> Description:
    if asked.get("ipFamily") == "ipv6":
        raise invalid("IPv6 clusters are not emulated.")
    vpc = [ipaddress.ip_network(block) for block in _blocks_of(subnet)]
    cidr = asked.get("serviceIpv4Cidr")
    if cidr is None:
        taken = any(block.overlaps(ipaddress.ip_network(_DEFAULT_SERVICES)) for block in vpc)
        cidr = _SECOND_SERVICES if taken else _DEFAULT_SERVICES
    services = ipaddress.ip_network(cidr)
    if not any(services.subnet_of(ipaddress.ip_network(private)) for private in _CIDR_RANGES):  # ty: ignore
        raise invalid(f"The serviceIpv4Cidr {cidr} must lie in one of {', '.join(_CIDR_RANGES)}.")
    if not 12 <= services.prefixlen <= 24:
        raise invalid(f"The serviceIpv4Cidr {cidr} must be between /24 and /12.")
    if any(block.overlaps(services) for block in vpc):
        raise invalid(f"The serviceIpv4Cidr {cidr} overlaps with the VPC's {', '.join(map(str, vpc))}.")
    balancing = asked.get("elasticLoadBalancing") or {"enabled": False}
    return {"serviceIpv4Cidr": cidr, "ipFamily": "ipv4", "elasticLoadBalancing": balancing}


def _blocks_of(subnet: Any) -> list[str]:
    vpc = subnet.ec2_backend.vpcs[subnet.vpc_id]
    return [association["cidr_block"] for association in vpc.get_cidr_block_association_set()]


def _encryption(eks: Eks, asked: list[Request]) -> list[Description]:
    for config in asked:
        arn = config["provider"]["keyArn"]
        if arn.split(":")[3] != eks.region:
            raise invalid(f"The key {arn} must be in the cluster's region {eks.region}.")
        keys = kms_backends[eks.account_id][eks.region].keys.values()
        key = next((key for key in keys if key.arn == arn), None)
        if key is None or key.key_state != "Enabled":
            raise invalid(f"The key {arn} does not exist or is not enabled.")
        if list(config.get("resources") or ()) != ["secrets"]:
            raise invalid("Only the resources ['secrets'] can be encrypted.")
    return [dict(config) for config in asked]


def _access_config(asked: Request) -> Description:
    return {
        "authenticationMode": asked.get("authenticationMode") or "CONFIG_MAP",
        "bootstrapClusterCreatorAdminPermissions": asked.get("bootstrapClusterCreatorAdminPermissions", True),
    }


def _logging(asked: Request | None) -> Description:
    enabled = {
        kind for setup in (asked or {}).get("clusterLogging", ()) if setup.get("enabled") for kind in setup["types"]
    }
    groups = ([kind for kind in _LOG_TYPES if (kind in enabled) is on] for on in (True, False))
    return {
        "clusterLogging": [
            {"types": kinds, "enabled": on} for kinds, on in zip(groups, (True, False), strict=True) if kinds
        ]
    }


def _endpoint_access(actual: Request, asked: Request) -> Description:
    merged: Description = {"endpointPublicAccess": True, "endpointPrivateAccess": False, **actual}
    merged |= {name: asked[name] for name in ("endpointPublicAccess", "endpointPrivateAccess") if name in asked}
    if not merged["endpointPublicAccess"] and not merged["endpointPrivateAccess"]:
        raise invalid("Private and public endpoint access cannot be disabled at the same time.")
    cidrs = list(asked.get("publicAccessCidrs") or merged.get("publicAccessCidrs") or ["0.0.0.0/0"])
    for cidr in cidrs:
        block = ipaddress.ip_network(cidr, strict=False)
        if any(block.subnet_of(ipaddress.ip_network(private)) for private in _NOT_PUBLIC):  # ty: ignore
            raise invalid(f"The following CIDRs are not allowed in publicAccessCidrs: [{cidr}]")
    merged["publicAccessCidrs"] = cidrs
    return merged


def _security_group(eks: Eks, name: str, vpc_id: str) -> str:
    """The group of the control plane and the nodes, which may talk to each other and out."""
    backend = ec2_backends[eks.account_id][eks.region]
    group = backend.create_security_group(
        f"eks-cluster-sg-{name}-{uuid.uuid4().int % 10**9}",
        "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, "
        "as well as any managed workloads.",
        vpc_id,
        tags={f"kubernetes.io/cluster/{name}": "owned", "aws:eks:cluster-name": name},
    )
    everything: dict[str, Any] = {"ip_protocol": "-1", "from_port": None, "to_port": None, "ip_ranges": []}
    backend.authorize_security_group_ingress(group.id, **everything, source_groups=[{"GroupId": group.id}])
    return group.id


def describe_cluster(eks: Eks, request: Request) -> Description:
    """DescribeCluster."""
    return {"cluster": eks.cluster(request, "name").description}


def list_clusters(eks: Eks, request: Request) -> Description:
    """ListClusters."""
    return page(sorted(eks.clusters), request, "clusters")


def update_cluster_config(eks: Eks, request: Request) -> Description:
    """UpdateClusterConfig: one kind of change at a time, as EKS wants it."""
    cluster = eks.cluster(request, "name")
    asked = {name: request[name] for name in request if name not in ("name", "clientRequestToken")}
    if len(asked) != 1:
        raise invalid(f"Only one type of update can be allowed, not {', '.join(sorted(asked))}.")
    ((part, wanted),) = asked.items()
    change = _CHANGES.get(part)
    if change is None:
        raise invalid(f"Updating {part} is not emulated.")
    kind = change(eks, cluster, wanted)
    return cluster.updated(kind, {})


def _change_network(eks: Eks, cluster: Cluster, wanted: Request) -> str:
    config = cluster.description["resourcesVpcConfig"]
    if "subnetIds" in wanted:
        subnets = _subnets(eks, wanted["subnetIds"])
        if subnets[0].vpc_id != config["vpcId"]:
            raise invalid("Subnets must belong to the cluster's VPC.")
        config["subnetIds"] = list(wanted["subnetIds"])
    if "securityGroupIds" in wanted:
        config["securityGroupIds"] = list(wanted["securityGroupIds"])
    access = {name: config[name] for name in ("endpointPublicAccess", "endpointPrivateAccess", "publicAccessCidrs")}
    config |= _endpoint_access(access, wanted)
    return "VpcConfigUpdate" if {"subnetIds", "securityGroupIds"} & set(wanted) else "EndpointAccessUpdate"


def _change_logging(eks: Eks, cluster: Cluster, wanted: Request) -> str:
    del eks
    enabled = {
        kind: group["enabled"] for group in cluster.description["logging"]["clusterLogging"] for kind in group["types"]
    }
    enabled |= {kind: setup["enabled"] for setup in wanted.get("clusterLogging", ()) for kind in setup["types"]}
    on = [kind for kind in _LOG_TYPES if enabled.get(kind)]
    cluster.description["logging"] = _logging({"clusterLogging": [{"types": on, "enabled": True}]})
    return "LoggingUpdate"


def _change_access(eks: Eks, cluster: Cluster, wanted: Request) -> str:
    del eks
    modes = ("CONFIG_MAP", "API_AND_CONFIG_MAP", "API")
    config, mode = cluster.description["accessConfig"], wanted["authenticationMode"]
    if modes.index(mode) < modes.index(config["authenticationMode"]):
        raise invalid_request(f"The authentication mode cannot go back from {config['authenticationMode']} to {mode}.")
    config["authenticationMode"] = mode
    return "AccessConfigUpdate"


def _replace(part: str, kind: str) -> Any:
    def change(eks: Eks, cluster: Cluster, wanted: Any) -> str:
        del eks
        cluster.description[part] = wanted
        return kind

    return change


def _change_kubernetes_network(eks: Eks, cluster: Cluster, wanted: Request) -> str:
    del eks
    cluster.description["kubernetesNetworkConfig"]["elasticLoadBalancing"] = wanted["elasticLoadBalancing"]
    return "AutoModeUpdate"


_CHANGES = {
    "resourcesVpcConfig": _change_network,
    "logging": _change_logging,
    "accessConfig": _change_access,
    "upgradePolicy": _replace("upgradePolicy", "UpgradePolicyUpdate"),
    "zonalShiftConfig": _replace("zonalShiftConfig", "ZonalShiftConfigUpdate"),
    "deletionProtection": _replace("deletionProtection", "DeletionProtectionUpdate"),
    "kubernetesNetworkConfig": _change_kubernetes_network,
}


def update_cluster_version(eks: Eks, request: Request) -> Description:
    """UpdateClusterVersion: one minor version up, the nodes not left more than three behind."""
    cluster, wanted = eks.cluster(request, "name"), request["version"]
    problem = version_problem(wanted)
    if problem:
        raise invalid(problem)
    actual = cluster.description["version"]
    if minor_of(wanted)[1] - minor_of(actual)[1] != 1:
        raise invalid(f"Unsupported Kubernetes minor version update from {actual} to {wanted}")
    for group in cluster.nodegroups.values():
        if minor_of(wanted)[1] - minor_of(group["version"])[1] > 3:
            raise invalid_request(
                f"Nodegroup {group['nodegroupName']} must be updated before the cluster: it is too old."
            )
    cluster.description["version"] = wanted
    cluster.description["platformVersion"] = KUBERNETES_VERSIONS[wanted].platform_version
    return cluster.updated("VersionUpdate", {"Version": wanted})


def associate_encryption_config(eks: Eks, request: Request) -> Description:
    """AssociateEncryptionConfig: once, and never taken back."""
    cluster = eks.cluster(request)
    if cluster.description["encryptionConfig"]:
        raise invalid_request("The cluster has an encryption configuration, which cannot be changed.")
    cluster.description["encryptionConfig"] = _encryption(eks, request["encryptionConfig"])
    return cluster.updated("AssociateEncryptionConfig", {})


def describe_update(eks: Eks, request: Request) -> Description:
    """DescribeUpdate."""
    update = found(eks.cluster(request, "name").updates, request["updateId"], f"No update: {request['updateId']}")
    return {"update": update}


def list_updates(eks: Eks, request: Request) -> Description:
    """ListUpdates, of a node group or add-on where one is named."""
    wanted = {f"_{name}": request[name] for name in ("nodegroupName", "addonName") if request.get(name)}
    updates = eks.cluster(request, "name").updates
    return page([key for key, update in updates.items() if wanted.items() <= update.items()], request, "updateIds")


def delete_cluster(eks: Eks, request: Request) -> Description:
    """DeleteCluster, with the security group that EKS made."""
    cluster = eks.cluster(request, "name")
    if cluster.description["deletionProtection"]:
        raise invalid_request(f"Cluster {cluster.name} has deletion protection enabled; turn it off first.")
    if cluster.nodegroups:
        raise in_use("Cluster has nodegroups attached")
    group = cluster.description["resourcesVpcConfig"]["clusterSecurityGroupId"]
    backend = ec2_backends[eks.account_id][eks.region]
    if backend.get_security_group_from_id(group):
        backend.delete_security_group(group_id=group)
    del eks.clusters[cluster.name]
    return {"cluster": {**cluster.description, "status": "DELETING"}}


def describe_cluster_versions(eks: Eks, request: Request) -> Description:
    """DescribeClusterVersions."""
    del eks
    today = now().date()
    wanted = request.get("clusterVersions") or list(KUBERNETES_VERSIONS)
    versions = [
        {
            "clusterVersion": known.version,
            "clusterType": "eks",
            "defaultPlatformVersion": known.platform_version,
            "defaultVersion": known.version == DEFAULT_KUBERNETES_VERSION,
            "releaseDate": known.released.isoformat(),
            "endOfStandardSupportDate": known.standard_support_until.isoformat(),
            "endOfExtendedSupportDate": known.extended_support_until.isoformat(),
            "versionStatus": "STANDARD_SUPPORT" if today <= known.standard_support_until else "EXTENDED_SUPPORT",
        }
        for known in reversed(KUBERNETES_VERSIONS.values())
        if known.version in wanted
    ]
    if request.get("defaultOnly"):
        versions = [entry for entry in versions if entry["defaultVersion"]]
    return page(versions, request, "clusterVersions")


OPERATIONS = {
    "AssociateEncryptionConfig": associate_encryption_config,
    "CreateCluster": create_cluster,
    "DeleteCluster": delete_cluster,
    "DescribeCluster": describe_cluster,
    "DescribeClusterVersions": describe_cluster_versions,
    "DescribeUpdate": describe_update,
    "ListClusters": list_clusters,
    "ListUpdates": list_updates,
    "UpdateClusterConfig": update_cluster_config,
    "UpdateClusterVersion": update_cluster_version,
}
