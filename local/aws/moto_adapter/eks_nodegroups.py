"""EKS managed node groups, each with an Auto Scaling group; its sizes are kept, but no instance is ever started."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from moto.ec2.models import ec2_backends

from trainyard.local.aws.eks_catalogue import KUBERNETES_VERSIONS, minor_of
from trainyard.local.aws.moto_adapter import eks_access, eks_scaling
from trainyard.local.aws.moto_adapter.eks_launch_template import (
    Template,
    default_ami_type,
    instance_type_problem,
    resolve,
)
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

_NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9\-_]{0,62}\Z")
_EFFECTS = ("NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE")
_RESERVED_LABELS = re.compile(r"(^|[./])(kubernetes\.io|k8s\.io|eks\.amazonaws\.com)/")
_MOST_TAINTS = 50
_NODES_BEHIND = 3


def create_nodegroup(eks: Eks, request: Request) -> Description:
    """CreateNodegroup."""
    cluster, name = eks.cluster(request), request["nodegroupName"]
    if not _NAME.match(name):
        raise invalid(f"The node group name {name} must be 1 to 63 letters, digits, - and _.")
    if name in cluster.nodegroups:
        raise in_use(f"NodeGroup already exists with name {name} and cluster name {cluster.name}")
    check_role(eks, request["nodeRole"], "ec2.amazonaws.com")
    subnets = _subnets(eks, cluster, request["subnets"])
    template = resolve(eks, request["launchTemplate"]) if request.get("launchTemplate") else None
    capacity = request.get("capacityType") or "ON_DEMAND"
    _check_template(template, request)
    _check_capacity(template, capacity, subnets)
    group: Description = {
        "nodegroupName": name,
        "nodegroupArn": eks.arn("nodegroup", cluster.name, name, str(uuid.uuid4())),
        "clusterName": cluster.name,
        "createdAt": now(),
        "modifiedAt": now(),
        "status": "ACTIVE",
        "capacityType": capacity,
        "scalingConfig": _scaling(request.get("scalingConfig") or {"minSize": 1, "maxSize": 2, "desiredSize": 2}),
        "subnets": list(request["subnets"]),
        "nodeRole": request["nodeRole"],
        "labels": _labels(request.get("labels") or {}),
        "taints": _taints(request.get("taints") or []),
        "health": {"issues": []},
        "updateConfig": _update_config(request.get("updateConfig") or {"maxUnavailable": 1}),
        "nodeRepairConfig": request.get("nodeRepairConfig") or {"enabled": False},
        "tags": dict(request.get("tags") or {}),
        **_machines(cluster, template, request),
    }
    if template:
        group["launchTemplate"] = template.description
    elif "diskSize" in request:
        group["diskSize"] = request["diskSize"]
    else:
        group["diskSize"] = 20
    scaling_group = eks_scaling.create(eks, group, template)
    group["resources"] = {"autoScalingGroups": [{"name": scaling_group}]}
    if request.get("remoteAccess"):
        group["remoteAccess"] = request["remoteAccess"]
    cluster.nodegroups[name] = group
    _let_nodes_in(eks, cluster, request["nodeRole"])
    return {"nodegroup": group}


def _subnets(eks: Eks, cluster: Cluster, ids: list[str]) -> list[Any]:
    backend = ec2_backends[eks.account_id][eks.region]
    known = {subnet_id: subnet for zone in backend.subnets.values() for subnet_id, subnet in zone.items()}
    for subnet_id in ids:
        if subnet_id not in known:
            raise invalid(f"The subnet ID '{subnet_id}' does not exist.")
        if known[subnet_id].vpc_id != cluster.description["resourcesVpcConfig"]["vpcId"]:
            raise invalid(f"Subnet {subnet_id} is not in the VPC of the cluster {cluster.name}.")
    return [known[subnet_id] for subnet_id in ids]


def _check_template(template: Template | None, request: Request) -> None:
    if template is None:
        return
    for part, where in (("diskSize", "Disk size"), ("remoteAccess", "Remote access configuration")):
        if request.get(part):
            raise invalid(f"{where} must be specified within the launch template.")
    problem = template.problem()
    if problem:
        raise invalid(problem)
    if template.instance_type and request.get("instanceTypes"):
        raise invalid("Cannot specify instance types in launch template and API request.")


def _check_capacity(template: Template | None, capacity: str, subnets: list[Any]) -> None:
    if capacity not in ("ON_DEMAND", "SPOT", "CAPACITY_BLOCK"):
        raise invalid(f"The capacity type {capacity} is none of ON_DEMAND, SPOT, CAPACITY_BLOCK.")
    block = template is not None and template.market_type == "capacity-block"
    if block != (capacity == "CAPACITY_BLOCK"):
        raise invalid(
            "The capacity type CAPACITY_BLOCK and a launch template with the market type capacity-block go together."
        )
    if not block or template is None:
        return
    if not template.reservation:
        raise invalid("The launch template of a Capacity Block must target its capacity reservation.")
    if not template.instance_type:
        raise invalid("The launch template of a Capacity Block must name the instance type.")
    if len(subnets) != 1:
        raise invalid("A Capacity Block lies in one Availability Zone: the node group must have one subnet, there.")


def _machines(cluster: Cluster, template: Template | None, request: Request) -> Description:
    """AMI, instance types and versions."""
    types: list[str] = list(request.get("instanceTypes") or ())
    used = [template.instance_type] if template and template.instance_type else types or ["t3.medium"]
    if template and template.image_id:
        if any(request.get(part) for part in ("amiType", "version", "releaseVersion")):
            raise invalid("You cannot specify amiType, version or releaseVersion with an AMI in the launch template.")
        image: Description = {"amiType": "CUSTOM", "releaseVersion": template.image_id}
        image["version"] = cluster.description["version"]
    else:
        image = _image(cluster, used, request)
    if template and template.instance_type:
        return image
    return {"instanceTypes": used, **image}


def _image(cluster: Cluster, types: list[str], request: Request) -> Description:
    version = request.get("version") or cluster.description["version"]
    _check_version(cluster, version)
    ami_type = request.get("amiType") or default_ami_type(types[0])
    for name in types:
        problem = instance_type_problem(name, ami_type)
        if problem:
            raise invalid(problem)
    release = request.get("releaseVersion") or _newest_release(version, ami_type)
    _check_release(release, version, ami_type)
    return {"amiType": ami_type, "version": version, "releaseVersion": release}


def _check_version(cluster: Cluster, version: str) -> None:
    newest = cluster.description["version"]
    behind = minor_of(newest)[1] - minor_of(version)[1] if version in KUBERNETES_VERSIONS else -1
    if not 0 <= behind <= _NODES_BEHIND:
        raise invalid(
            f"Requested Nodegroup version {version} is not valid: it must be supported, not newer than the cluster's "
            f"{newest} and at most {_NODES_BEHIND} minor versions older."
        )


def _newest_release(version: str, ami_type: str) -> str:
    return "1.52.0-9d7b5f3a" if ami_type.startswith("BOTTLEROCKET") else KUBERNETES_VERSIONS[version].node_release


def _check_release(release: str, version: str, ami_type: str) -> None:
    if ami_type.startswith("BOTTLEROCKET"):
        good = re.fullmatch(r"\d+\.\d+\.\d+-[0-9a-f]{8}", release)
    else:
        good = re.fullmatch(rf"{re.escape(version)}\.\d+-\d{{8}}", release)
    if not good:
        raise invalid(f"Requested release version {release} is not valid for kubernetes version {version}.")


def _scaling(config: Request) -> Description:
    smallest, largest, desired = (int(config[name]) for name in ("minSize", "maxSize", "desiredSize"))
    if largest < 1 or not 0 <= smallest <= desired <= largest:
        raise invalid(
            f"The scaling configuration needs 0 <= minSize <= desiredSize <= maxSize and maxSize >= 1, not "
            f"{smallest}, {desired}, {largest}."
        )
    return {"minSize": smallest, "maxSize": largest, "desiredSize": desired}


def _labels(labels: Request) -> dict[str, str]:
    reserved = sorted(key for key in labels if _RESERVED_LABELS.search(key))
    if reserved:
        raise invalid(f"Labels must not begin with kubernetes.io/, k8s.io/ or eks.amazonaws.com/: {reserved}")
    return dict(labels)


def _taints(taints: list[Request]) -> list[Description]:
    for taint in taints:
        if taint.get("effect") not in _EFFECTS:
            raise invalid(f"The taint effect {taint.get('effect')} is none of {', '.join(_EFFECTS)}.")
    pairs = [(taint["key"], taint["effect"]) for taint in taints]
    if len(set(pairs)) != len(pairs):
        raise invalid("Two taints have the same key and effect.")
    if len(taints) > _MOST_TAINTS:
        raise invalid(f"A node group takes at most {_MOST_TAINTS} taints.")
    return [dict(taint) for taint in taints]


def _update_config(config: Request) -> Description:
    if ("maxUnavailable" in config) == ("maxUnavailablePercentage" in config):
        raise invalid("Exactly one of maxUnavailable and maxUnavailablePercentage must be given.")
    if not 1 <= next(config[name] for name in config if name.startswith("maxUnavailable")) <= 100:
        raise invalid("maxUnavailable and maxUnavailablePercentage must be between 1 and 100.")
    return dict(config)


def _let_nodes_in(eks: Eks, cluster: Cluster, role: str) -> None:
    mode = cluster.description["accessConfig"]["authenticationMode"]
    if mode != "CONFIG_MAP" and role not in cluster.access_entries:
        eks_access.add_entry(eks, cluster, role, {}, "EC2_LINUX")


def _group(eks: Eks, request: Request) -> Description:
    name = request["nodegroupName"]
    return found(eks.cluster(request).nodegroups, name, f"No node group found for name: {name}.")


def describe_nodegroup(eks: Eks, request: Request) -> Description:
    """DescribeNodegroup."""
    group = _group(eks, request)
    return {"nodegroup": {**group, "scalingConfig": eks_scaling.sizes(eks, group)}}


def list_nodegroups(eks: Eks, request: Request) -> Description:
    """ListNodegroups."""
    return page(sorted(eks.cluster(request).nodegroups), request, "nodegroups")


def update_nodegroup_config(eks: Eks, request: Request) -> Description:
    """UpdateNodegroupConfig: labels, taints, sizes, and how updates and repairs go."""
    group = _group(eks, request)
    labels, taints = request.get("labels") or {}, request.get("taints") or {}
    gone = set(labels.get("removeLabels") or ())
    new_labels = {key: text for key, text in group["labels"].items() if key not in gone}
    new_labels |= labels.get("addOrUpdateLabels") or {}
    added = list(taints.get("addOrUpdateTaints") or ())
    dropped = {(taint["key"], taint["effect"]) for taint in [*(taints.get("removeTaints") or ()), *added]}
    kept = [taint for taint in group["taints"] if (taint["key"], taint["effect"]) not in dropped]
    scaling = _scaling({**eks_scaling.sizes(eks, group), **(request.get("scalingConfig") or {})})
    changed = {
        "labels": _labels(new_labels),
        "taints": _taints([*kept, *added]),
        "scalingConfig": scaling,
        "updateConfig": _update_config(request.get("updateConfig") or group["updateConfig"]),
        "nodeRepairConfig": request.get("nodeRepairConfig") or group["nodeRepairConfig"],
        "modifiedAt": now(),
    }
    group |= changed
    eks_scaling.resize(eks, group, scaling)
    cluster = eks.cluster(request)
    return cluster.updated("ConfigUpdate", request.get("scalingConfig") or {}, nodegroupName=group["nodegroupName"])


def update_nodegroup_version(eks: Eks, request: Request) -> Description:
    """UpdateNodegroupVersion: another version of the launch template, of Kubernetes or of the AMI."""
    cluster, group = eks.cluster(request), _group(eks, request)
    asked, template = request.get("launchTemplate"), None
    if asked:
        if "launchTemplate" not in group:
            raise invalid_request("A node group made without a launch template cannot be given one.")
        template = resolve(eks, asked)
        if template.description["id"] != group["launchTemplate"]["id"]:
            raise invalid("The launch template of a node group cannot be changed to another one, only its version.")
        _check_template(template, group if not template.instance_type else {})
        if bool(template.instance_type) != ("instanceTypes" not in group):
            raise invalid("Instance types cannot move between the launch template and the node group.")
    version, release = request.get("version"), request.get("releaseVersion")
    if group["amiType"] == "CUSTOM" and (version or release):
        raise invalid("version and releaseVersion cannot be given with an AMI in the launch template.")
    if version:
        _check_version(cluster, version)
        if minor_of(version) < minor_of(group["version"]):
            raise invalid(f"A node group cannot go back from {group['version']} to {version}.")
    if version or release:
        version = version or group["version"]
        release = release or _newest_release(version, group["amiType"])
        _check_release(release, version, group["amiType"])
        group |= {"version": version, "releaseVersion": release}
    if template:
        group["launchTemplate"] = template.description
        eks_scaling.use(eks, group, template)
    group["modifiedAt"] = now()
    params = {"Version": group["version"], "ReleaseVersion": group["releaseVersion"]}
    return cluster.updated("VersionUpdate", params, nodegroupName=group["nodegroupName"])


def delete_nodegroup(eks: Eks, request: Request) -> Description:
    """DeleteNodegroup, with its Auto Scaling group and, after the last of them, its role's access entry."""
    cluster, group = eks.cluster(request), _group(eks, request)
    eks_scaling.delete(eks, group)
    del cluster.nodegroups[group["nodegroupName"]]
    role = group["nodeRole"]
    entry = cluster.access_entries.get(role) or {}
    used = any(it["nodeRole"] == role for it in cluster.nodegroups.values())
    if entry.get("type") == "EC2_LINUX" and not used:
        del cluster.access_entries[role], cluster.access_policies[role]
    return {"nodegroup": {**group, "status": "DELETING"}}


OPERATIONS = {
    "CreateNodegroup": create_nodegroup,
    "DeleteNodegroup": delete_nodegroup,
    "DescribeNodegroup": describe_nodegroup,
    "ListNodegroups": list_nodegroups,
    "UpdateNodegroupConfig": update_nodegroup_config,
    "UpdateNodegroupVersion": update_nodegroup_version,
}
