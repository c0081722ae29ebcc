"""VPCs: what they record, what they reach without the internet, and whom they are joined to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from trainyard.policies.aws import OWN_KEY_CLASSES, tags_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.group_rules import is_internet, network
from trainyard.policies.iam.documents import ANYONE
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.preflight import NODE_GROUPS, number
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.subnets import SUBNETS, VPCS, any_of, named
from trainyard.policies.values import UNKNOWN, UnverifiedError, Value, shown

_FLOW_LOGS = frozenset({"aws:ec2/flowLog:FlowLog"})
_ENDPOINTS = frozenset({"aws:ec2/vpcEndpoint:VpcEndpoint"})
_ENDPOINT_POLICIES = frozenset({"aws:ec2/vpcEndpointPolicy:VpcEndpointPolicy"})
_NATS = frozenset({"aws:ec2/natGateway:NatGateway"})
_GATEWAY_PLACES = frozenset({"aws:ec2/vpcEndpointRouteTableAssociation:VpcEndpointRouteTableAssociation"})
_INTERFACE_PLACES = frozenset({"aws:ec2/vpcEndpointSubnetAssociation:VpcEndpointSubnetAssociation"})
_ROUTES = frozenset({"aws:ec2/route:Route"})
_TABLES = frozenset({"aws:ec2/routeTable:RouteTable", "aws:ec2/defaultRouteTable:DefaultRouteTable"})
_ACLS = frozenset({"aws:ec2/networkAcl:NetworkAcl", "aws:ec2/defaultNetworkAcl:DefaultNetworkAcl"})
_ACL_RULES = frozenset({"aws:ec2/networkAclRule:NetworkAclRule"})

# What a node asks before its first pod runs, and what each image's layers come from.
_NODES_NEED = ("s3", "ecr.api", "ecr.dkr", "ec2")
# Widest block of a VPC: /16 of IPv4, /44 of IPv6 (VPC user guide, "VPC CIDR blocks").
_WIDEST_VPC = {4: 16, 6: 44}
_BOUND_TO = frozenset({"aws:resourceaccount", "aws:resourceorgid", "aws:resourceorgpaths"})
_ADMINISTRATION = (22, 3389)

_NETWORK = {"NIST 800-53": ("SC-7", "AC-4"), "ISO 27001": ("A.8.20", "A.8.22")}


@stack_rule(
    "network-flow-logs",
    title="A VPC records who spoke to whom",
    severity=Severity.MEDIUM,
    applies=VPCS,
    controls={
        "FSBP": ("EC2.6",),
        "Checkov": ("CKV2_AWS_11",),
        "Trivy": ("AWS-0178",),
        "NIST 800-53": ("AU-12", "SI-4"),
        "ISO 27001": ("A.8.15", "A.8.16"),
    },
    why="After a leak the question is where data went and since when; only these records answer it.",
    remedy="""
aws.ec2.FlowLog(name, vpc_id=vpc.id, traffic_type="ALL", log_destination=group.arn, iam_role_arn=role.arn)
""",
)
def flow_logs(vpc: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(vpc, _FLOW_LOGS, "vpcId")
    kinds = [log["trafficType"] for log in found.certain]
    if any(kind.raw in ("ALL", "REJECT") for kind in kinds):
        return
    for kind in kinds:
        if kind.raw is UNKNOWN:
            yield unverified("what is recorded is not known yet", kind)
        else:
            yield violation(f"only {shown(kind.raw or 'nothing')} is recorded: what was refused is missing", kind)
    if not kinds and found.possible:
        yield unverified(f"whether {found.possible[0].name} records this VPC is not known yet")
    elif not kinds:
        yield violation("the VPC has no flow log")


@stack_rule(
    "network-endpoints-for-nodes",
    title="A VPC with nodes reaches S3 over an endpoint; ECR and EC2 too, for personal data or without a NAT gateway",
    severity=Severity.MEDIUM,
    applies=VPCS,
    controls={"FSBP": ("EC2.10", "EC2.55", "EC2.56"), **_NETWORK},
    why=(
        "Checkpoints over a NAT gateway are paid by the gigabyte and pass no policy; S3's endpoint costs nothing. "
        "Without a NAT gateway no node starts unless ECR and EC2 have endpoints. With one they can cost more than "
        "they save, which may be right as long as the data may meet the internet."
    ),
    remedy="""
aws.ec2.VpcEndpoint(name, vpc_id=vpc.id, service_name=f"com.amazonaws.{region}.s3", vpc_endpoint_type="Gateway",
    route_table_ids=[table.id for table in tables])
aws.ec2.VpcEndpoint(name, vpc_id=vpc.id, service_name=f"com.amazonaws.{region}.ecr.dkr", private_dns_enabled=True,
    vpc_endpoint_type="Interface", subnet_ids=subnet_ids, security_group_ids=[endpoints.id])      # ecr.api, ec2 alike
""",
)
def endpoints_for_nodes(vpc: Resource, graph: Graph) -> Iterator[Finding]:
    has_nodes = _has_nodes(vpc, graph)
    if has_nodes is False:
        return
    found = graph.attached(vpc, _ENDPOINTS, "vpcId")
    services = [(endpoint, _service(endpoint)) for endpoint in found.certain]
    doubtful = bool(found.possible) or any(service is None for _, service in services)
    for service in _NODES_NEED if _needs_all(vpc, graph) else _NODES_NEED[:1]:
        ends = [endpoint for endpoint, name in services if name == service]
        if not ends and (doubtful or has_nodes is None):
            yield unverified(f"whether there is an endpoint for {service}, and nodes that need it, is not known yet")
        elif not ends:
            yield violation(f"there is no endpoint for {service}")
        elif all(faults := [_idle(endpoint, vpc, graph) for endpoint in ends]):
            yield from [replace(fault, message=f"{service}: {fault.message}") for fault in faults if fault]


def _needs_all(vpc: Resource, graph: Graph) -> bool:
    """Whether nothing may, or can, go by a NAT gateway of the VPC."""
    if tags_of(vpc)["data-class"].text() in OWN_KEY_CLASSES:
        return True
    subnets = graph.attached(vpc, SUBNETS, "vpcId").certain
    return not any(graph.refers(nat, "subnetId", subnet) for nat in graph.of(_NATS) for subnet in subnets)


def _has_nodes(vpc: Resource, graph: Graph) -> bool | None:
    """Whether node groups of this stack stand in the VPC; None where that is not known yet."""
    found = graph.attached(vpc, SUBNETS, "vpcId")
    inside, perhaps = ({one.urn for one in part} for part in (found.certain, found.possible))
    verdicts: list[bool | None] = []
    for group in graph.of(NODE_GROUPS):
        subnets = named(group["subnetIds"], group, graph)
        urns = {one.urn for one in subnets or ()}
        verdicts.append(True if urns & inside else None if subnets is None or urns & perhaps else False)
    return any_of(verdicts)


def _service(endpoint: Resource) -> str | None:
    """`ecr.api` of `com.amazonaws.us-east-1.ecr.api`; None where it is not known yet."""
    name = endpoint["serviceName"]
    if name.raw is UNKNOWN:
        return None
    parts = (name.text() or "").split(".")
    start = next((index for index, part in enumerate(parts) if part == "amazonaws"), 0)
    return ".".join(parts[start + 2 :])


def _idle(endpoint: Resource, vpc: Resource, graph: Graph) -> Finding | None:
    """What keeps clients from an endpoint, if anything."""
    gateway = endpoint["vpcEndpointType"].text() in (None, "Gateway")
    places = endpoint["routeTableIds" if gateway else "subnetIds"]
    elsewhere = graph.attached(endpoint, _GATEWAY_PLACES if gateway else _INTERFACE_PLACES, "vpcEndpointId")
    # Places that another resource gives are the endpoint's own output too, unknown at first.
    unset = is_providers_choice(endpoint, str(places.path[0]))
    if not (elsewhere.certain or elsewhere.possible) and (unset or not places.items()):
        return violation(f"it is in no {'route table' if gateway else 'subnet'}, so nothing reaches it", places)
    if gateway:
        return None
    if endpoint["privateDnsEnabled"].flag() is not True:
        return violation("private DNS is off, so clients go past it", endpoint["privateDnsEnabled"])
    for switch, default in ((vpc["enableDnsSupport"], True), (vpc["enableDnsHostnames"], False)):
        unset = not switch.present or is_providers_choice(vpc, str(switch.path[0]))
        if not (default if unset else switch.flag()):
            return violation("private DNS needs this of the VPC; without it clients go past the endpoint", switch)
    return None


@resource_rule(
    "network-transit-gateway-asks",
    title="A transit gateway takes no network in unasked",
    severity=Severity.HIGH,
    applies={"aws:ec2transitgateway/transitGateway:TransitGateway"},
    controls={"FSBP": ("EC2.23",), "Checkov": ("CKV_AWS_331",), **_NETWORK},
    why="With automatic acceptance whoever the gateway is shared with joins his network to all others on it.",
    remedy="""
aws.ec2transitgateway.TransitGateway(name, auto_accept_shared_attachments="disable")
""",
)
def transit_gateway(gateway: Resource) -> Iterator[Finding]:
    switch = gateway["autoAcceptSharedAttachments"]
    if (switch.text() or "disable") != "disable":
        yield violation("shared attachments are accepted automatically", switch)


@resource_rule(
    "network-endpoint-service-asks",
    title="An endpoint service takes nobody in unasked",
    severity=Severity.MEDIUM,
    applies={"aws:ec2/vpcEndpointService:VpcEndpointService"},
    controls={"Checkov": ("CKV_AWS_123",), **_NETWORK},
    why="Without acceptance everyone who is allowed to ask has a private way to what stands behind the service.",
    remedy="""
aws.ec2.VpcEndpointService(name, acceptance_required=True, allowed_principals=["arn:aws:iam::123456789012:root"], ...)
""",
)
def endpoint_service(service: Resource) -> Iterator[Finding]:
    switch = service["acceptanceRequired"]
    if not switch.flag():
        yield violation("connections are accepted automatically", switch)

    def check(principal: Value) -> Iterator[Finding]:
        if principal.text() == ANYONE:
            yield violation("every account may ask", principal)

    yield from each(service["allowedPrincipals"].items(), check)


@resource_rule(
    "network-peering-routes-narrow",
    title="A route to another network over peering is for that network alone",
    severity=Severity.HIGH,
    applies=_ROUTES | _TABLES,
    controls={"Checkov": ("CKV2_AWS_44",), **_NETWORK},
    why="A wide route sends what was meant for elsewhere, the internet included, into the other network.",
    remedy="""
aws.ec2.Route(name, route_table_id=table.id, destination_cidr_block=peer.cidr_block,
    vpc_peering_connection_id=peering.id)
""",
)
def peering_routes(resource: Resource) -> Iterator[Finding]:
    if resource.type in _ROUTES:
        yield from _narrow(
            Value(dict(resource.props), (), resource.urn), "destinationCidrBlock", "destinationIpv6CidrBlock"
        )
    else:
        yield from each(resource["routes"].items(), lambda one: _narrow(one, "cidrBlock", "ipv6CidrBlock"))


def _narrow(route: Value, *names: str) -> Iterator[Finding]:
    if route["vpcPeeringConnectionId"].raw in (None, ""):
        return
    for block in (route[name] for name in names):
        if block.raw in (None, ""):
            continue
        found = network(block)
        if found.prefixlen < _WIDEST_VPC[found.version]:
            yield violation(f"{found} is wider than any block of a VPC", block)


@resource_rule(
    "network-acl-not-open",
    title="No network ACL that the program writes opens SSH or RDP to the internet",
    severity=Severity.HIGH,
    applies=_ACLS | _ACL_RULES,
    controls={"FSBP": ("EC2.21",), "Checkov": ("CKV_AWS_231", "CKV_AWS_232"), "Trivy": ("AWS-0105",), **_NETWORK},
    why="Whoever writes an ACL wants a second wall behind the security groups; one that lets everyone in is none.",
    remedy="""
ingress=[{"rule_no": 100, "action": "allow", "protocol": "tcp", "from_port": 443, "to_port": 443,
          "cidr_block": vpc_cidr}]
""",
)
def acl_not_open(acl: Resource) -> Iterator[Finding]:
    if acl.type in _ACL_RULES:
        if not acl["egress"].flag():
            yield from _opens([Value(dict(acl.props), (), acl.urn)], "ruleAction", "ruleNumber")
    else:
        yield from _opens(acl["ingress"].items(), "action", "ruleNo")


def _opens(rules: list[Value], action: str, order: str) -> Iterator[Finding]:
    """EC2 goes by the first rule that fits, in the order of their numbers."""
    settled: set[tuple[int, int]] = set()
    for rule in sorted(rules, key=lambda one: _number(one[order])):
        for block in (rule[name] for name in ("cidrBlock", "ipv6CidrBlock")):
            if block.raw in (None, "") or not is_internet(block):
                continue
            version = network(block).version
            fits = {(version, port) for port in _ADMINISTRATION if _covers(rule, port)} - settled
            if fits and (rule[action].text() or "").lower() == "allow":
                yield violation(f"port {min(fits)[1]} is open to {block.raw}", block)
            settled |= fits


def _covers(rule: Value, port: int) -> bool:
    raw = rule["protocol"].raw
    protocol = (
        str(number(rule["protocol"])) if isinstance(raw, int | float) else (rule["protocol"].text() or "-1").lower()
    )
    if protocol in ("-1", "all"):
        return True
    if protocol not in ("tcp", "6"):
        return False
    first, last = _number(rule["fromPort"]), _number(rule["toPort"])
    # An ACL keeps no state: answers come back to the ports from 1024 up, and have to be let in there.
    return first <= port <= last and not (first >= 1024 and last == 65535)


def _number(value: Value) -> int:
    found = number(value)
    if found is None:
        raise UnverifiedError(value, "a number was expected here, and there is none")
    return found
