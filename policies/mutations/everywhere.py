"""Mutations of what any resource may have: a region, an address with a region or an account, a range of networks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network

from trainyard.policies.accounts import own_accounts
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.mutations import places
from trainyard.policies.mutations.model import Mutation
from trainyard.policies.mutations.places import Edit, Path
from trainyard.policies.values import shown

ELSEWHERE = "ap-southeast-1"
"""A region that no environment may use."""
STRANGER = "999988887777"
"""An account that nobody has heard of."""

_NO_REFERENCES = frozenset({"tags", "tagsAll", "tagSpecifications", "description", "name", "buildspec", "kubeconfig"})
_OWN_RANGES = frozenset({"cidrBlock", "serviceIpv4Cidr"})
"""What says how a network is laid out, and not who is let in."""


def mutations(inputs: Graph, outputs: Graph) -> Iterator[Mutation]:
    accounts = own_accounts(outputs)
    for resource in inputs.resources:
        home = _region(resource)
        for path, text in places.leaves(resource.props, _NO_REFERENCES):
            if '"Statement"' in text or "\n" in text:
                continue  # a policy document, which statements.py is about, or a text
            if home:
                yield from _moved(resource, path, text, home)
            yield from _given_away(resource, path, text, accounts)
            yield from _widened(resource, path, text)


def _region(resource: Resource) -> str | None:
    for holder in (resource, resource.provider):
        region = holder.props.get("region") if holder else None
        if isinstance(region, str):
            return region
    return None


def _moved(resource: Resource, path: Path, text: str, home: str) -> Iterator[Mutation]:
    in_text = re.compile(rf"(?<=[.:@/]){re.escape(home)}(?=[.:])|^{re.escape(home)}$")
    new = in_text.sub(ELSEWHERE, text)
    if new == text:
        return
    edits: list[tuple[Path, Edit]] = [(path, _to(new))]
    if path == ("region",):
        edits.append((("arn",), lambda arn: in_text.sub(ELSEWHERE, arn) if isinstance(arn, str) else arn))
    yield Mutation("regions", resource, _said(path, text, new), tuple(edits))


def _given_away(resource: Resource, path: Path, text: str, accounts: frozenset[str]) -> Iterator[Mutation]:
    for account in accounts:
        new = re.sub(rf"(?<![\w-]){account}(?=[:./]|$)", STRANGER, text)
        if new != text:
            yield Mutation("accounts", resource, _said(path, text, new), ((path, _to(new)),))


def _widened(resource: Resource, path: Path, text: str) -> Iterator[Mutation]:
    if path[-1] in _OWN_RANGES or "/" not in text:
        return
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return
    new = "0.0.0.0/0" if network.version == 4 else "::/0"
    if text != new:
        yield Mutation("network", resource, _said(path, text, new), ((path, _to(new)),))


def _to(new: str) -> Edit:
    return lambda _: new


def _said(path: Path, old: str, new: str) -> str:
    return f"{places.written(path)}: {shown(old)} becomes {shown(new)}"
