"""Rules inside a security group: Pulumi's grouped form, AWS's permissions, and the steps from one set to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainyard.local.aws.context import Context
from trainyard.local.aws.fields import Prop
from trainyard.local.aws.values import sort_key

Direction = Literal["ingress", "egress"]

_ALL = "-1"
_SOURCES = {
    "cidrBlocks": ("IpRanges", "CidrIp"),
    "ipv6CidrBlocks": ("Ipv6Ranges", "CidrIpv6"),
    "prefixListIds": ("PrefixListIds", "PrefixListId"),
    "securityGroups": ("UserIdGroupPairs", "GroupId"),
}
_PROPERTIES = {"ingress": "IpPermissions", "egress": "IpPermissionsEgress"}


@dataclass(frozen=True, order=True)
class Permission:
    """One rule of a group as AWS counts them: a protocol, a port range and a single source or destination."""

    protocol: str
    from_port: int
    to_port: int
    source_kind: str
    source: str
    description: str

    def as_request(self) -> dict[str, Any]:
        """As `authorize_security_group_ingress` takes it."""
        parameter, key = _SOURCES[self.source_kind]
        source = {key: self.source, **({"Description": self.description} if self.description else {})}
        ports = {} if self.protocol == _ALL else {"FromPort": self.from_port, "ToPort": self.to_port}
        return {"IpProtocol": self.protocol, **ports, parameter: [source]}


class Rules(Prop):
    """`ingress` or `egress`: lists of rules that mean the same when they allow the same."""

    def canonical(self, value: Any) -> Any:
        permissions = set(permissions_of(value or [], itself="self"))
        return sorted((list(vars(permission).values()) for permission in permissions), key=sort_key)


def permissions_of(rules: Iterable[Mapping[str, Any]], itself: str) -> list[Permission]:
    """Each permission that Pulumi's `rules` stand for; `itself` is the group's ID, for rules about the group itself."""
    found = []
    for rule in rules:
        protocol = str(rule.get("protocol", _ALL)).lower()
        protocol = _ALL if protocol == "all" else protocol
        ports = (0, 0) if protocol == _ALL else (int(rule.get("fromPort") or 0), int(rule.get("toPort") or 0))
        sources = [(kind, source) for kind in _SOURCES for source in rule.get(kind) or ()]
        if rule.get("self"):
            sources.append(("securityGroups", itself))
        found += [Permission(protocol, *ports, *source, rule.get("description") or "") for source in sources]
    return found


def rules_from(description: Mapping[str, Any], direction: Direction) -> list[dict[str, Any]]:
    """A described group's permissions as Pulumi's rules: one for each protocol, port range and description."""
    groups: dict[tuple[str, int, int, str], dict[str, Any]] = {}
    for permission in _from_description(description, direction):
        key = (permission.protocol, permission.from_port, permission.to_port, permission.description)
        rule = groups.setdefault(
            key,
            {
                "protocol": permission.protocol,
                "fromPort": permission.from_port,
                "toPort": permission.to_port,
                **({"description": permission.description} if permission.description else {}),
            },
        )
        if permission.source == description["GroupId"]:
            rule["self"] = True
        else:
            rule.setdefault(permission.source_kind, []).append(permission.source)
    return sorted(groups.values(), key=sort_key)


def _from_description(description: Mapping[str, Any], direction: Direction) -> list[Permission]:
    found = []
    for entry in description.get(_PROPERTIES[direction]) or ():
        ports = (int(entry.get("FromPort") or 0), int(entry.get("ToPort") or 0))
        protocol = str(entry["IpProtocol"])
        for kind, (parameter, key) in _SOURCES.items():
            for source in entry.get(parameter) or ():
                ports_ = (0, 0) if protocol == _ALL else ports
                found.append(Permission(protocol, *ports_, kind, source[key], source.get("Description") or ""))
    return sorted(found)


def describe_group(context: Context, group_id: str) -> Mapping[str, Any]:
    """What AWS says about a group."""
    return context.call("describe_security_groups", GroupIds=[group_id])["SecurityGroups"][0]


def set_rules(context: Context, direction: Direction, rules: Iterable[Mapping[str, Any]]) -> None:
    """Make a group's rules of one direction those given: take away what is too much, add what is missing."""
    have = set(_from_description(describe_group(context, context.id), direction))
    want = set(permissions_of(rules, itself=context.id))
    revoke, authorize = sorted(have - want), sorted(want - have)
    if revoke:
        _change(context, f"revoke_security_group_{direction}", revoke)
    if authorize:
        _change(context, f"authorize_security_group_{direction}", authorize)


def _change(context: Context, operation: str, permissions: list[Permission]) -> None:
    context.call(operation, GroupId=context.id, IpPermissions=[permission.as_request() for permission in permissions])
