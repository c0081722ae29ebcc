"""GPU nodes can be had: the region offers them, what was bought is what is launched, and nothing runs away."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.preflight import (
    LAUNCH_TEMPLATES,
    NODE_GROUPS,
    group_names,
    number,
    offerings,
    same,
    template_of,
    yes,
    zones_of,
)
from trainyard.policies.rule import Finding, Severity, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UNKNOWN, Value, shown

_SCHEDULES = frozenset({"aws:autoscaling/schedule:Schedule"})
_ADDONS = frozenset({"aws:eks/addon:Addon"})

MOST_BLOCK_NODES = 64
"""Instances of one Capacity Block. Source: EC2 API, DescribeCapacityBlockOfferings, InstanceCount."""
MOST_GROUP_NODES = 450
"""Nodes of one managed node group at first. Source: Service Quotas, eks L-BD136A63, read 2026-11."""

_AGENT = "eks-node-monitoring-agent"
_GPU_TAINT = "nvidia.com/gpu"

_AVAILABLE = {"NIST 800-53": ("SC-6", "CP-2(2)"), "ISO 27001": ("A.8.6",)}
_COST = {"NIST 800-53": ("SC-6",), "ISO 27001": ("A.8.6",)}


@resource_rule(
    "capacity-offered-in-region",
    title="The region offers the GPU types that are asked for",
    severity=Severity.HIGH,
    applies=LAUNCH_TEMPLATES | NODE_GROUPS,
    controls={"EC2 user guide": ("Regions and Zones",), **_AVAILABLE},
    why="Nothing of a type that a region does not have can ever start there, and no other region takes its place.",
    remedy="""
instance_type="p5en.48xlarge"   # of those that the region offers: policies/offerings.yaml
""",
)
def offered_in_region(resource: Resource) -> Iterator[Finding]:
    single = resource["instanceType"]
    asked = [single] if single.present else resource["instanceTypes"].items()
    wanted = [(value, value.text() or "") for value in asked]
    if not any(name in offerings().types for _, name in wanted):
        return
    region = _region(resource)
    if region is None:
        yield unverified("neither the resource nor its provider says in which region it will be")
        return
    offered = offerings().regions.get(region)
    if offered is None:
        yield unverified(f"policies/offerings.yaml does not say what {shown(region)} offers")
        return
    for value, name in wanted:
        if name in offerings().types and name not in offered:
            yield violation(f"{region} does not offer {name}; it has {', '.join(offered)}", value)


def _region(resource: Resource) -> str | None:
    own = resource["region"].text()
    return own or (resource.provider["region"].text() if resource.provider else None) or None


@stack_rule(
    "capacity-as-bought",
    title="A node group and its launch template agree on how the instances are bought",
    severity=Severity.HIGH,
    applies=NODE_GROUPS,
    controls={"EKS user guide": ("Capacity Blocks", "Managed node group capacity types"), **_AVAILABLE},
    why="Where they disagree EKS refuses the group, or EC2 the instances: after minutes, or when the block starts.",
    remedy="""
GpuGroupArgs(capacity=CapacityBlock("cr-...", starts_at, ends_at, nodes=4), subnet_ids=[subnet], maximum_nodes=4)
""",
)
def as_bought(group: Resource, graph: Graph) -> Iterator[Finding]:
    capacity = group["capacityType"]
    bought = capacity.text() or "ON_DEMAND"
    template = template_of(group, graph)
    market = template["instanceMarketOptions"]["marketType"] if template else Value(None)
    sold = market.text()
    if sold == "spot":
        yield violation("EKS buys Spot instances itself, and refuses a template that names the market", market)
    if bought == "CAPACITY_BLOCK" and sold != "capacity-block":
        yield violation(
            "the group takes a Capacity Block, its launch template's market is not capacity-block", capacity
        )
    if sold == "capacity-block" and bought != "CAPACITY_BLOCK":
        yield violation(f"the launch template takes a Capacity Block, the group {shown(bought)}", capacity)
    target = template["capacityReservationSpecification"]["capacityReservationTarget"] if template else Value(None)
    reserved = [target[key] for key in ("capacityReservationId", "capacityReservationResourceGroupArn")]
    named = any(value.raw not in (None, "") for value in reserved)
    if bought == "CAPACITY_BLOCK":
        if not named:
            yield violation("the launch template does not say which Capacity Block", capacity)
        yield from _block_size(group)
    elif bought == "SPOT" and named:
        yield violation("Spot instances come from no reservation", capacity)
    if (bought == "CAPACITY_BLOCK" or named) and len(zones_of(group, graph)) > 1:
        yield violation("reserved capacity lies in one zone, the subnets lie in several", group["subnetIds"])


def _block_size(group: Resource) -> Iterator[Finding]:
    most, least = (group["scalingConfig"][key] for key in ("maxSize", "minSize"))
    if (number(most) or 0) > MOST_BLOCK_NODES:
        yield violation(f"a Capacity Block has {MOST_BLOCK_NODES} instances at most", most)
    if number(least):
        yield violation("before the block starts there is nothing to launch: the least is 0", least)


@stack_rule(
    "capacity-block-drains",
    title="A Capacity Block's node group is told to shrink to nothing",
    severity=Severity.HIGH,
    applies=NODE_GROUPS,
    controls={"EC2 Auto Scaling user guide": ("Use Capacity Blocks for machine learning workloads",), **_AVAILABLE},
    why=(
        "EC2 ends a block's instances from half an hour before its end, without draining their nodes: "
        "what has not saved by then is lost, and the group goes on trying to replace them."
    ),
    remedy="""
aws.autoscaling.Schedule(name, autoscaling_group_name=group, start_time="<45 minutes before the end>",
    min_size=0, max_size=0, desired_capacity=0)
""",
)
def block_drains(group: Resource, graph: Graph) -> Iterator[Finding]:
    if group["capacityType"].text() != "CAPACITY_BLOCK":
        return
    verdicts = [_empties(schedule, group, graph) for schedule in graph.of(_SCHEDULES)]
    if True in verdicts:
        return
    if None in verdicts:
        yield unverified("whether one of the schedules empties this group is not known yet")
    else:
        yield violation("no schedule of this stack empties the group before the block ends", group["capacityType"])


def _empties(schedule: Resource, group: Resource, graph: Graph) -> bool | None:
    name, desired = schedule["autoscalingGroupName"], schedule["desiredCapacity"]
    if desired.raw is not UNKNOWN and desired.raw != 0:
        return False
    names = [value.raw for value in group_names(group)]
    if isinstance(name.raw, str) and names and UNKNOWN not in names:
        belongs: bool | None = name.raw in names
    else:
        origins = {origin.urn for origin in graph.origins(schedule, "autoscalingGroupName")}
        belongs = group.urn in origins if origins else None
    if belongs is False:
        return False
    return None if belongs is None or desired.raw is UNKNOWN else True


@resource_rule(
    "gpu-group-bounded",
    title="A group of GPU nodes is bounded, and only what asks for GPUs runs on it",
    severity=Severity.MEDIUM,
    applies=NODE_GROUPS,
    controls={"EKS user guide": ("Service quotas",), **_COST},
    why="A GPU node costs up to a hundred dollars an hour; any pod that may run there keeps it from going away.",
    remedy="""
scaling_config={"min_size": 0, "max_size": 4, "desired_size": 0},
taints=[{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}]
""",
)
def group_bounded(group: Resource) -> Iterator[Finding]:
    image = group["amiType"].text() or ""
    types = [value.text() for value in group["instanceTypes"].items()]
    if "NVIDIA" not in image and not any(name in offerings().types for name in types):
        return
    most = number(group["scalingConfig"]["maxSize"])
    if most is None or most > MOST_GROUP_NODES:
        yield violation(
            f"the most nodes are {most}; a managed node group has {MOST_GROUP_NODES}", group["scalingConfig"]
        )
    taints = [(one["key"].text(), one["effect"].text()) for one in group["taints"].items()]
    if not any(key == _GPU_TAINT and effect in ("NO_SCHEDULE", "NO_EXECUTE") for key, effect in taints):
        yield violation(f"no taint {_GPU_TAINT} keeps other pods away", group["taints"])


@stack_rule(
    "node-repair-has-agent",
    title="Where nodes are repaired by EKS, something tells EKS that they are broken",
    severity=Severity.MEDIUM,
    applies=NODE_GROUPS,
    controls={"EKS user guide": ("Enable node auto repair",), "NIST 800-53": ("SI-2", "SI-4"), "ISO 27001": ("A.8.6",)},
    why="EKS sees by itself that a node is gone, not that a GPU has fallen off the bus: that the agent has to report.",
    remedy="""
aws.eks.Addon("agent", cluster_name=cluster.name, addon_name="eks-node-monitoring-agent", addon_version="...")
""",
)
def repair_has_agent(group: Resource, graph: Graph) -> Iterator[Finding]:
    enabled = group["nodeRepairConfig"]["enabled"]
    if not yes(enabled):
        return
    verdicts = []
    for addon in graph.of(_ADDONS):
        name = addon["addonName"]
        if name.raw is UNKNOWN:
            verdicts.append(None)
        elif name.raw == _AGENT:
            verdicts.append(same(addon, group, "clusterName", graph))
    if True in verdicts:
        return
    if None in verdicts:
        yield unverified(f"whether the cluster has the add-on {_AGENT} is not known yet", enabled)
    else:
        yield violation(f"the cluster has no add-on {_AGENT} in this stack", enabled)
