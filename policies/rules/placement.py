"""Nodes that train together stand together, and speak EFA with each other: what EC2 refuses or silently slows down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.preflight import (
    LAUNCH_TEMPLATES,
    NODE_GROUPS,
    GpuType,
    gpu_type,
    has_efa,
    interfaces,
    number,
    template_of,
    yes,
    zones_of,
)
from trainyard.policies.rule import Finding, Severity, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UNKNOWN, Value, shown

_PLACEMENT_GROUPS = frozenset({"aws:ec2/placementGroup:PlacementGroup"})
_SECURITY_GROUPS = frozenset({"aws:ec2/securityGroup:SecurityGroup"})
_RULES = {
    "ingress": frozenset({"aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"}),
    "egress": frozenset({"aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"}),
}
_OLDER_RULES = frozenset({"aws:ec2/securityGroupRule:SecurityGroupRule"})
_FILE_SYSTEMS = frozenset({"aws:fsx/lustreFileSystem:LustreFileSystem"})

_AVAILABLE = {"NIST 800-53": ("SC-6", "CP-2(2)"), "ISO 27001": ("A.8.6",)}


def _placement(template: Resource) -> Value | None:
    placement = template["placement"]
    for name in ("groupName", "groupId"):
        if (value := placement[name]).raw not in (None, ""):
            return value
    return None


@stack_rule(
    "placement-one-zone",
    title="A node group in a cluster placement group stands in one zone",
    severity=Severity.HIGH,
    applies=NODE_GROUPS,
    controls={"EC2 user guide": ("Placement strategies",), **_AVAILABLE},
    why="A cluster placement group lies in one zone: instances in any other fail with InsufficientInstanceCapacity.",
    remedy="""
GpuGroupArgs(subnet_ids=[network.private_subnet_ids_by_zone["us-east-1a"]], ...)   # one group for each zone
""",
)
def placement_one_zone(group: Resource, graph: Graph) -> Iterator[Finding]:
    template = template_of(group, graph)
    placement = _placement(template) if template else None
    if template is None or placement is None or _strategy(template, placement, graph) not in ("cluster", None):
        return
    if len(zones_of(group, graph)) > 1:
        yield violation("the subnets lie in several zones, the placement group in one", group["subnetIds"])


def _strategy(template: Resource, placement: Value, graph: Graph) -> str | None:
    """The placement group's strategy; None where the group is no part of this stack."""
    groups = graph.of(_PLACEMENT_GROUPS)
    if isinstance(placement.raw, str):
        found = [one for one in groups if placement.raw in (one.props.get("name"), one.props.get("placementGroupId"))]
    else:
        found = [one for one in graph.origins(template, "placement") if one.type in _PLACEMENT_GROUPS]
    return found[0]["strategy"].text() if len(found) == 1 else None


@resource_rule(
    "placement-none-with-block",
    title="Instances of a Capacity Block are in no placement group",
    severity=Severity.HIGH,
    applies=LAUNCH_TEMPLATES,
    controls={"EC2 user guide": ("Capacity Blocks for ML",), "Issue": ("terraform-aws-eks #3730",), **_AVAILABLE},
    why="A Capacity Block brings its own placement; with another one no instance of it can be launched.",
    remedy="""
GpuGroupArgs(capacity=CapacityBlock(...), placement=None)   # by rule: none for a Capacity Block
""",
)
def placement_none_with_block(template: Resource) -> Iterator[Finding]:
    if template["instanceMarketOptions"]["marketType"].text() != "capacity-block":
        return
    if placement := _placement(template):
        yield violation("the template names a placement group", placement)


@resource_rule(
    "efa-layout",
    title="A launch template has every EFA interface of its type, where the type has them",
    severity=Severity.HIGH,
    applies=LAUNCH_TEMPLATES,
    controls={"EC2 user guide": ("efa-acc-inst-types",), "Issue": ("eksctl #7520",), **_AVAILABLE},
    why=(
        "An instance that asks for an interface which its type lacks does not start. "
        "One that asks for fewer starts, and trains at a fraction of its speed without a word."
    ),
    remedy="""
network_interfaces=[... for interface in network_interfaces(instance_type("p5.48xlarge"))]   # modules/instance_types.py
""",
)
def efa_layout(template: Resource) -> Iterator[Finding]:
    kind = gpu_type(template["instanceType"].text())
    listed = interfaces(template)
    places = [(number(one["networkCardIndex"]) or 0, number(one["deviceIndex"]) or 0) for one in listed]
    with_efa = [has_efa(one) for one in listed]
    if listed and (0, 0) not in places:
        yield violation("there is no interface on card 0, device 0, which has the node's address", _all(template))
    for place, times in Counter(places).items():
        if times > 1:
            yield violation(f"{times} interfaces are card {place[0]}, device {place[1]}", _all(template))
    for one, place in zip(listed, places, strict=True):
        if place == (0, 0) and one["interfaceType"].text() == "efa-only":
            yield violation("the node's own interface has no address: efa-only cannot be the primary one", one)
    if kind is not None:
        yield from _of_kind(template, kind, listed, places, with_efa)


def _of_kind(
    template: Resource, kind: GpuType, listed: list[Value], places: list[tuple[int, int]], with_efa: list[bool]
) -> Iterator[Finding]:
    for one, (card, _), efa in zip(listed, places, with_efa, strict=True):
        if card >= kind.cards:
            yield violation(f"{kind.name} has cards 0 to {kind.cards - 1}, this is card {card}", one)
        elif efa and card == 0 and 0 < kind.efa < kind.cards:
            yield violation(f"card 0 of {kind.name} has no EFA", one)
    count = sum(with_efa)
    if count > kind.efa:
        yield violation(f"{count} EFA interfaces are asked for; {kind.name} has {kind.efa}", _all(template))
    elif kind.rdma and count < kind.efa:
        yield violation(
            f"{count} EFA interfaces are asked for; {kind.name} has {kind.efa}, and needs all", _all(template)
        )


def _all(template: Resource) -> Value:
    return template["networkInterfaces"]


@resource_rule(
    "efa-no-public-ip",
    title="A launch template with several network interfaces asks for no public address",
    severity=Severity.HIGH,
    applies=LAUNCH_TEMPLATES,
    controls={"FSBP": ("EC2.25",), "Issue": ("skypilot #8391",), "NIST 800-53": ("SC-7", "AC-4")},
    why="EC2 gives no public address to an instance with several interfaces, and launches none that asks for it.",
    remedy="""
associate_public_ip_address=None   # and a private subnet: with several interfaces EC2 does not take the question
""",
)
def efa_no_public_ip(template: Resource) -> Iterator[Finding]:
    listed = interfaces(template)
    if len(listed) < 2:
        return
    for one in listed:
        if yes(one["associatePublicIpAddress"]):
            yield violation(f"a public address is asked for beside {len(listed)} interfaces", one)


@stack_rule(
    "efa-group-open-to-itself",
    title="EFA interfaces, and file systems reached over EFA, share a group that is open to itself, both ways",
    severity=Severity.HIGH,
    applies=LAUNCH_TEMPLATES | _FILE_SYSTEMS,
    controls={
        "EC2 user guide": ("EFA-enabled security group",),
        "Issue": ("aws-ofi-nccl #663", "gardener-extension-provider-aws #1832"),
        "NIST 800-53": ("SC-7", "AC-4"),
        "ISO 27001": ("A.8.20",),
    },
    why=(
        "EFA checks each packet against rules that name the group itself; a rule to 0.0.0.0/0 lets none through, "
        "and the job hangs when it starts."
    ),
    remedy="""
aws.vpc.SecurityGroupEgressRule(
    name, security_group_id=group.id, referenced_security_group_id=group.id, ip_protocol="-1")   # and ingress likewise
""",
)
def efa_group_open_to_itself(subject: Resource, graph: Graph) -> Iterator[Finding]:
    if subject.type in _FILE_SYSTEMS:
        used = [subject["securityGroupIds"]] if yes(subject["efaEnabled"]) else []
    else:
        used = [one["securityGroups"] for one in interfaces(subject) if has_efa(one)]
    if not used:
        return
    for holder in used:
        verdicts = [_open(name, subject, graph) for name in holder.items()]
        if True in verdicts:
            continue
        if None in verdicts:
            yield unverified("whether one of these groups is open to itself cannot be told here", holder)
        else:
            yield violation("none of these groups has a rule to itself for all protocols, both ways", holder)


def _open(name: Value, subject: Resource, graph: Graph) -> bool | None:
    """Whether a security group lets everything through to itself, both ways; None where it cannot be told."""
    if isinstance(name.raw, str):
        groups = [one for one in graph.of(_SECURITY_GROUPS) if name.raw == _id(one)]
    else:
        groups = [one for one in graph.origins(subject, str(name.path[0])) if one.type in _SECURITY_GROUPS]
    if not groups:
        return None
    verdicts = [_both_ways(group, graph) for group in groups]
    # Several may be meant where the name is not known: one that fails proves nothing.
    return verdicts[0] if len(verdicts) == 1 else True if all(verdicts) else None


def _id(group: Resource) -> str | None:
    identifier = group.props.get("id")
    if isinstance(identifier, str):
        return identifier
    arn = group.props.get("arn")
    return arn.rpartition("/")[2] if isinstance(arn, str) else None


def _both_ways(group: Resource, graph: Graph) -> bool | None:
    ways = [_way(group, direction, graph) for direction in ("ingress", "egress")]
    return None if None in ways and False not in ways else all(ways)


def _way(group: Resource, direction: str, graph: Graph) -> bool | None:
    verdicts: list[bool | None] = []
    for own, rule in graph.referring(group, _RULES[direction], "securityGroupId"):
        other = graph.refers(rule, "referencedSecurityGroupId", group)
        verdicts.append(_together(own, other, _all_protocols(rule["ipProtocol"])))
    for own, rule in graph.referring(group, _OLDER_RULES, "securityGroupId"):
        kind = rule.props.get("type")
        this_way = None if kind is UNKNOWN else kind == direction
        verdicts.append(_together(this_way, own, _itself(rule, group, graph), _all_protocols(rule["protocol"])))
    inline = group.props.get(direction)
    for one in inline if isinstance(inline, list) else [inline] if inline is UNKNOWN else []:
        if one is UNKNOWN:
            verdicts.append(None)
        elif isinstance(one, dict):
            verdicts.append(_together(_known_flag(one.get("self")), _all_protocols(Value(one.get("protocol")))))
    return True if True in verdicts else None if None in verdicts else False


def _itself(rule: Resource, group: Resource, graph: Graph) -> bool | None:
    own = _known_flag(rule.props.get("self"))
    return True if own else graph.refers(rule, "sourceSecurityGroupId", group) or (None if own is None else False)


def _known_flag(raw: object) -> bool | None:
    return None if raw is UNKNOWN else raw is True


def _all_protocols(value: Value) -> bool | None:
    return None if value.raw is UNKNOWN else str(value.raw) in ("-1", "all")


def _together(*parts: bool | None) -> bool | None:
    """All of them; not, as soon as one is not."""
    return False if False in parts else None if None in parts else True


@resource_rule(
    "imds-tokens-one-hop",
    title="Instance metadata needs a session token and is not for pods",
    severity=Severity.HIGH,
    applies=LAUNCH_TEMPLATES,
    controls={
        "FSBP": ("EC2.170",),
        "Checkov": ("CKV_AWS_79", "CKV_AWS_341"),
        "Trivy": ("AWS-0130",),
        "NIST 800-53": ("AC-6", "SC-7"),
        "ISO 27001": ("A.8.2",),
    },
    why="Whoever reaches the metadata of a node has the node's role; a pod is one hop further than the node itself.",
    remedy="""
metadata_options={"http_tokens": "required", "http_put_response_hop_limit": 1}
""",
)
def metadata_service(template: Resource) -> Iterator[Finding]:
    options = template["metadataOptions"]
    if options["httpEndpoint"].text() == "disabled":
        return
    if (tokens := options["httpTokens"].text()) != "required":
        yield violation(f"tokens are {shown(tokens or 'not asked for')}", options["httpTokens"])
    hops = number(options["httpPutResponseHopLimit"])
    if hops != 1:
        yield violation(f"the hop limit is {hops or 'left to the image'}; 1 ends at the node", options)
