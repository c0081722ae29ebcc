"""Rules of security groups, in whichever of the provider's three spellings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from trainyard.policies.graph import Resource
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.preflight import number
from trainyard.policies.values import UnverifiedError, Value, shown

GROUPS = frozenset(
    {"aws:ec2/securityGroup:SecurityGroup", "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"}
)  # with rules inside
SINGLE = {
    "ingress": "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    "egress": "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
}
OLDER = "aws:ec2/securityGroupRule:SecurityGroupRule"
_ALL_PORTS = range(65536)
# Protocols with ports, by name and by number.
_WITH_PORTS = ("tcp", "udp", "6", "17")
_EVERY_PROTOCOL = ("-1", "all")


@dataclass(frozen=True)
class Entry:
    """One rule of a group, with its address ranges; `at` is the whole of it."""

    blocks: list[Value]
    protocol: Value
    first: Value
    last: Value
    description: Value
    at: Value

    @property
    def ports(self) -> range:
        """The ports that it opens: all of them where it is for every protocol, none for ICMP and its like."""
        raw = self.protocol.raw
        protocol = (
            str(number(self.protocol)) if isinstance(raw, int | float) else (self.protocol.text() or "-1").lower()
        )
        if protocol in _EVERY_PROTOCOL:
            return _ALL_PORTS
        if protocol not in _WITH_PORTS:
            return range(0)
        first, last = number(self.first), number(self.last)
        if first is None or first < 0:
            return _ALL_PORTS
        return range(first, min(first if last is None else last, 65535) + 1)


def entries(resource: Resource, direction: str, *, outputs: bool = False) -> Iterator[Entry]:
    """A resource's rules in a direction, `ingress` or `egress`.

    Raises UnverifiedError where they are not known yet. Among outputs, a list that nobody set is unknown before the
    group exists, and computed from nothing: there are none.
    """
    if resource.type == SINGLE[direction]:
        blocks = [block for name in ("cidrIpv4", "cidrIpv6") if (block := resource[name]).present]
        yield _entry(Value(dict(resource.props), (), resource.urn), blocks, "ipProtocol")
    elif resource.type == OLDER:
        if resource["type"].text() == direction:
            whole = Value(dict(resource.props), (), resource.urn)
            yield _entry(whole, _blocks(whole), "protocol")
    elif resource.type in GROUPS:
        listed = resource[direction]
        if outputs and is_providers_choice(resource, direction):
            return
        for one in listed.items():
            yield _entry(one, _blocks(one), "protocol")


def network(block: Value) -> IPv4Network | IPv6Network:
    try:
        return ip_network(block.text() or "", strict=False)
    except ValueError:
        raise UnverifiedError(block, f"{shown(block.raw)!r} is not an address range such as 10.0.0.0/16") from None


def is_internet(block: Value) -> bool:
    """Whether a range is the internet in all but name; 0.0.0.0/0 is easily written as two halves."""
    found = network(block)
    return found.prefixlen <= (7 if found.version == 4 else 15) and not found.is_private


def _blocks(rule: Value) -> list[Value]:
    return [*rule["cidrBlocks"].items(), *rule["ipv6CidrBlocks"].items()]


def _entry(rule: Value, blocks: list[Value], protocol: str) -> Entry:
    return Entry(blocks, rule[protocol], rule["fromPort"], rule["toPort"], rule["description"], rule)
