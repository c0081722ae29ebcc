"""What an account lets one have, as AWS sets it at first. Advice: every one of these quotas can be raised.

Source: default values of Service Quotas, as accounts' listings of them in public repositories show (secondary), read
2026-11: eks L-6D54EA21 and L-BD136A63, vpc L-0EA8095F and L-2AFB9258.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.graph import Attached, Graph, Resource
from trainyard.policies.preflight import LAUNCH_TEMPLATES, NODE_GROUPS, number
from trainyard.policies.rule import Finding, Severity, stack_rule, unverified, violation

NODE_GROUPS_OF_A_CLUSTER = 30
NODES_OF_A_GROUP = 450
RULES_OF_A_SECURITY_GROUP = 60
"""In each direction."""
SECURITY_GROUPS_OF_AN_INTERFACE = 5

_RULES = {
    "inbound": frozenset({"aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"}),
    "outbound": frozenset({"aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"}),
}
_AVAILABLE = {"NIST 800-53": ("SC-6", "CP-2(2)"), "ISO 27001": ("A.8.6",)}


@stack_rule(
    "limit-node-groups",
    title="A cluster has no more node groups than an account may make at first",
    severity=Severity.LOW,
    applies=frozenset({"aws:eks/cluster:Cluster"}),
    controls={"EKS service quotas": ("Managed node groups per cluster",), **_AVAILABLE},
    why="EKS refuses the group that is one too many, half-way through an update.",
    remedy="""
# join groups of one type, or: aws service-quotas request-service-quota-increase --service-code eks ...
""",
    advice=True,
)
def node_groups(cluster: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(cluster, NODE_GROUPS, "clusterName")
    yield from _too_many(found, NODE_GROUPS_OF_A_CLUSTER, "node groups", "a cluster")


@stack_rule(
    "limit-node-group-size",
    title="A node group grows to no more nodes than an account may have in it at first",
    severity=Severity.LOW,
    applies=NODE_GROUPS,
    controls={"EKS service quotas": ("Nodes per managed node group, L-BD136A63",), **_AVAILABLE},
    why="The group stops growing there, and pods wait without a reason that they could show.",
    remedy="""
GpuGroupArgs(maximum_nodes=450, ...)   # or raise the quota L-BD136A63 first
""",
    advice=True,
)
def node_group_size(group: Resource, _: Graph) -> Iterator[Finding]:
    size = group["scalingConfig"]["maxSize"]
    nodes = number(size)
    if nodes is not None and nodes > NODES_OF_A_GROUP:
        yield violation(f"grows to {nodes} nodes; an account begins with {NODES_OF_A_GROUP} for a group", size)


@stack_rule(
    "limit-security-group-rules",
    title="A security group has no more rules than an account may give it at first",
    severity=Severity.LOW,
    applies=frozenset({"aws:ec2/securityGroup:SecurityGroup"}),
    controls={"VPC quotas": ("Inbound or outbound rules per security group, L-0EA8095F",), **_AVAILABLE},
    why="EC2 refuses the rule that is one too many, and whom it was for is locked out.",
    remedy="""
# name a prefix list, or the group of the callers, instead of each block
""",
    advice=True,
)
def security_group_rules(group: Resource, graph: Graph) -> Iterator[Finding]:
    for direction, types in _RULES.items():
        found = graph.attached(group, types, "securityGroupId")
        yield from _too_many(found, RULES_OF_A_SECURITY_GROUP, f"{direction} rules", "a security group")


@stack_rule(
    "limit-interface-groups",
    title="A network interface is in no more security groups than an account may put it into at first",
    severity=Severity.LOW,
    applies=LAUNCH_TEMPLATES,
    controls={"VPC quotas": ("Security groups per network interface, L-2AFB9258",), **_AVAILABLE},
    why="EC2 starts no instance from such a launch template.",
    remedy="""
# five groups for each interface, or raise the quota L-2AFB9258 first
""",
    advice=True,
)
def interface_groups(template: Resource, _: Graph) -> Iterator[Finding]:
    for interface in template["networkInterfaces"].items():
        groups = interface["securityGroups"]
        count = len(groups.items())
        if count > SECURITY_GROUPS_OF_AN_INTERFACE:
            yield violation(f"{count} groups; an account begins with {SECURITY_GROUPS_OF_AN_INTERFACE}", groups)


def _too_many(found: Attached, most: int, what: str, of_what: str) -> Iterator[Finding]:
    count = len(found.certain)
    if count > most:
        yield violation(f"{count} {what}; an account begins with {most} for {of_what}")
    elif count + len(found.possible) > most:
        yield unverified(f"whether there are more than {most} {what} is not known yet")
