"""Security groups: who gets in at the ports that matter, what gets out, and what each rule is for."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.group_rules import GROUPS, OLDER, SINGLE, Entry, entries, is_internet, network
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.subnets import SUBNETS, VPCS
from trainyard.policies.values import UNKNOWN, Value

_INGRESS = GROUPS | {SINGLE["ingress"], OLDER}
_EGRESS = GROUPS | {SINGLE["egress"], OLDER}
_MORE_BLOCKS = frozenset({"aws:ec2/vpcIpv4CidrBlockAssociation:VpcIpv4CidrBlockAssociation"})

# What is administered, or has no access control of its own, over these ports.
_SENSITIVE = {
    22: "SSH",
    111: "the portmapper",
    988: "Lustre",
    1021: "Lustre",
    2049: "NFS",
    2379: "etcd",
    3389: "RDP",
    6443: "the Kubernetes API",
    8265: "Ray's dashboard",
    10250: "the kubelet",
    29500: "PyTorch's rendezvous",
}

_NETWORK = {"NIST 800-53": ("SC-7", "AC-4"), "ISO 27001": ("A.8.20", "A.8.22")}


@stack_rule(
    "network-sensitive-ports-inside",
    title="Ports that administer machines or give data without asking are open to no range beyond the VPC",
    severity=Severity.HIGH,
    applies=_INGRESS,
    controls={"NIST 800-53": ("SC-7", "AC-17"), "ISO 27001": ("A.8.20", "A.8.22")},
    why=(
        "Lustre, NFS, the kubelet and a rendezvous of trainers trust whoever reaches them. "
        "A range that was an office's last year is somebody's this year."
    ),
    remedy="""
aws.vpc.SecurityGroupIngressRule(name, security_group_id=group.id, ip_protocol="tcp", from_port=988, to_port=988,
    referenced_security_group_id=nodes.id, description="Lustre from the nodes")          # or cidr_ipv4=vpc.cidr_block
""",
)
def sensitive_ports_inside(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(entry: Entry) -> Iterator[Finding]:
        if not entry.blocks:
            return
        opened = sorted({name for port, name in _SENSITIVE.items() if port in entry.ports})
        if opened:
            what = opened[0] if len(opened) == 1 else f"{opened[0]} and {len(opened) - 1} more services like it"
            yield from each(entry.blocks, lambda block: _inside(block, what, resource, graph))

    for entry in entries(resource, "ingress", outputs=True):
        yield from each([entry.at], lambda _, entry=entry: check(entry))


def _inside(block: Value, what: str, resource: Resource, graph: Graph) -> Iterator[Finding]:
    if block.raw is UNKNOWN:
        origins = graph.origins(resource, str(block.path[0]))
        if origins and all(one.type in VPCS | SUBNETS for one in origins):
            return
        block.text()
    found = network(block)
    own, all_known = _own_blocks(graph)
    if any(found.version == one.version and found.subnet_of(one) for one in own):  # ty: ignore[invalid-argument-type]
        return
    if found.is_private and not all_known:
        yield unverified(f"whether {found} lies in the VPC, which is no part of this stack yet, cannot be told", block)
    else:
        yield violation(f"{what} is open to {found}, which is not within the VPC", block)


def _own_blocks(graph: Graph) -> tuple[list[IPv4Network | IPv6Network], bool]:
    """The ranges of this stack's VPCs, and whether there are any and all are known."""
    raw = [one.props.get("cidrBlock") for one in graph.of(VPCS | _MORE_BLOCKS)]
    raw += [one.props["ipv6CidrBlock"] for one in graph.of(VPCS) if one.props.get("ipv6CidrBlock")]
    known = []
    for text in raw:
        try:
            known.append(ip_network(text, strict=False) if isinstance(text, str) else None)
        except ValueError:
            known.append(None)
    return [one for one in known if one is not None], bool(known) and None not in known


@resource_rule(
    "network-egress-named",
    title="A security group lets out to the internet what the web, names and clocks need, and no more",
    severity=Severity.HIGH,
    applies=_EGRESS,
    controls={"Checkov": ("CKV_AWS_382",), **_NETWORK},
    why=(
        "What breaks in wants to take data out. A group for EFA needs all protocols to itself, not to the world: "
        "EFA lets no packet through for a rule to 0.0.0.0/0."
    ),
    remedy="""
aws.vpc.SecurityGroupEgressRule(name, security_group_id=group.id, ip_protocol="-1", description="EFA to itself",
    referenced_security_group_id=group.id)
aws.vpc.SecurityGroupEgressRule(name, security_group_id=group.id, ip_protocol="tcp", from_port=443, to_port=443,
    prefix_list_id=s3_endpoint.prefix_list_id, description="S3 over its endpoint")
""",
)
def egress_named(resource: Resource) -> Iterator[Finding]:
    def check(entry: Entry) -> Iterator[Finding]:
        for block in entry.blocks:
            if not _named_ports(entry) and is_internet(block):
                yield violation(f"{block.raw} can be reached on more than the ports of {_NAMED}", block)

    for entry in entries(resource, "egress"):
        yield from each([entry.at], lambda _, entry=entry: check(entry))


_NAMED = "the web, names and clocks (80, 443, 53, 123)"


def _named_ports(entry: Entry) -> bool:
    return len(entry.ports) <= 4 and set(entry.ports) <= {53, 80, 123, 443}


@resource_rule(
    "network-rules-described",
    title="Each security group and each of its rules says what it is for",
    severity=Severity.LOW,
    applies=_INGRESS | _EGRESS,
    controls={
        "Checkov": ("CKV_AWS_23",),
        "Trivy": ("AWS-0099", "AWS-0124"),
        "NIST 800-53": ("CM-8", "CM-3"),
        "ISO 27001": ("A.8.9", "A.8.20"),
    },
    why="A rule that nobody can explain is a rule that nobody dares to take away.",
    remedy="""
aws.vpc.SecurityGroupIngressRule(name, ..., description="HTTPS from within the VPC")
""",
)
def rules_described(resource: Resource) -> Iterator[Finding]:
    if resource.type == "aws:ec2/securityGroup:SecurityGroup":
        text = resource["description"]
        # The provider's own text, where nothing is said.
        if (text.text() or "Managed by Pulumi").strip() in ("", "Managed by Pulumi", "Managed by Terraform"):
            yield violation("the group has no description of its own", text)
    for direction in ("ingress", "egress"):
        for entry in entries(resource, direction):
            if not (entry.description.text() or "").strip():
                yield violation(f"the {direction} rule has no description", entry.description)
