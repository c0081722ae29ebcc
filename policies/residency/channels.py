"""The ways by which data of a resource get elsewhere: which property of which type leads where (`channels.yaml`)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

import yaml

from trainyard.policies.aws import BUCKETS
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.residency.jurisdictions import FAST_LOADER
from trainyard.policies.residency.places import REGION, Landing, Place, Reader, is_bucket, place_of, region_place, walk
from trainyard.policies.values import NotKnownYetError, Value

Lead: TypeAlias = Callable[[Reader, Value], Iterator[Landing]]


@dataclass(frozen=True)
class Channel:
    """One row of the table."""

    group: str
    type: str
    path: str
    what: str
    lead: Lead
    source: str


@dataclass(frozen=True)
class Way:
    """One way out that a resource of the stack opens. Where it leads to is one of `landings`: several only where the
    destination is unknown and its origins are not."""

    what: str
    carrier: Resource
    at: Value
    sources: tuple[Resource, ...]
    landings: tuple[Landing, ...]
    guessed: bool = False
    """Whether the source is something else than the carrier and can't be told: it may hold data of any class."""


def _itself(reader: Reader, _: Value) -> Iterator[Landing]:
    """The resource is the destination, and its property names the source."""
    yield Landing(place_of(reader.carrier), reader.carrier)


def _service(reader: Reader, at: Value) -> Iterator[Landing]:
    """The service of an endpoint: `com.amazonaws.REGION.NAME`. Names without a region are of the endpoint's own."""
    if not at.known:
        yield from reader.region(at)
    elif found := re.search(rf"\.({REGION.pattern})(?:\.|$)", at.text() or ""):
        yield Landing(region_place(found[1], at))


def _subscription(reader: Reader, at: Value) -> Iterator[Landing]:
    """The endpoint of a subscription. A notice to a person is no place where data are kept."""
    if reader.carrier.props.get("protocol") not in ("email", "email-json", "sms"):
        yield from reader.arn(at)


_LEADS: Mapping[str, Lead] = {
    "account": Reader.account,
    "arn": Reader.arn,
    "bucket": Reader.bucket,
    "edge": Reader.edge,
    "everyone": Reader.everyone,
    "host": Reader.host,
    "itself": _itself,
    "reference": Reader.reference,
    "region": Reader.region,
    "service": _service,
    "subscription": _subscription,
}


@cache
def channels() -> tuple[Channel, ...]:
    """The table. Raises KeyError where a row lacks something or leads to what nobody can read."""
    groups = yaml.load(Path(__file__).with_name("channels.yaml").read_text(encoding="utf-8"), FAST_LOADER)  # noqa: S506
    return tuple(
        Channel(group, kind, row["path"], row["what"], _LEADS[row["to"]], row.get("from", ""))
        for group, types in groups.items()
        for kind, rows in types.items()
        for row in rows
    )


@cache
def _by_type() -> Mapping[str, tuple[Channel, ...]]:
    rows: defaultdict[str, list[Channel]] = defaultdict(list)
    for channel in channels():
        rows[channel.type].append(channel)
    return {name: tuple(group) for name, group in rows.items()}


def types_of(group: str) -> frozenset[str]:
    """The types that open a way of a group."""
    return frozenset(one.type for one in channels() if one.group == group)


def all_types() -> frozenset[str]:
    return frozenset(_by_type())


def ways_of(resource: Resource, graph: Graph, group: str | None = None) -> Iterator[Way]:
    """The ways that a resource opens; all, or those of one group.

    Raises `UnverifiedError` where a property is of another kind than it must be.
    """
    reader = Reader(resource, graph)
    for channel in _by_type().get(resource.type, ()):
        if group not in (None, channel.group):
            continue
        first, *rest = channel.path.split(".")
        if rest and is_providers_choice(resource, first):
            continue  # by itself it sends no data anywhere. A single value may come from a lookup without origins
        for at in walk(resource[first], tuple(rest)):
            if channel.lead is Reader.account and not _reached(at, channel.path):
                continue
            landings = tuple(channel.lead(reader, at))
            if landings and not _reached(at, channel.path):
                # What it is computed from can be part of it. Whatever else is written there is not seen.
                landings += (Landing(Place("a place that is not known yet", unread=NotKnownYetError(at))),)
            if landings:
                yield _way(channel, reader, at, landings)


def _reached(at: Value, path: str) -> bool:
    """Whether a value is the one at the path, and not an unknown object on the way there. An account is given or left
    out; what is unknown as a whole is looked at for its regions and buckets, which every such object has."""
    return sum(isinstance(step, str) for step in at.path) == path.count(".") + 1


def _way(channel: Channel, reader: Reader, at: Value, landings: tuple[Landing, ...]) -> Way:
    """A way with those whose data go it: what its row names, if this stack has it, and else the resource itself."""
    carrier, source = reader.carrier, channel.source
    if not source:
        return Way(channel.what, carrier, at, (carrier,), landings)
    if ":" in source:
        return Way(channel.what, carrier, at, tuple(reader.graph.of({source})) or (carrier,), landings)
    named = at if source == "@" else carrier[source]
    found = reader.resource(named) or reader.resource(_first_part(named))
    if found is not None:
        return Way(channel.what, carrier, at, (found,), landings)
    buckets = _may_be(named, reader) if source in ("bucket", "@") else []
    # What is a copy of something unknown has a class of its own; what only carries data does not say whose.
    return Way(channel.what, carrier, at, (carrier, *buckets), landings, guessed=channel.lead is not _itself)


def _may_be(named: Value, reader: Reader) -> list[Resource]:
    """The buckets that one which can't be told may turn out to be."""
    if named.known:
        return reader.atlas.unnamed_buckets
    return reader.origins(named, is_bucket) or reader.graph.of(BUCKETS)


def _first_part(value: Value) -> Value:
    """The bucket of an object that is named `bucket/key`; any other text as it is."""
    if isinstance(value.raw, str) and "/" in value.raw and not value.raw.startswith("arn:"):
        return Value(value.raw.split("/")[0], value.path, value.urn)
    return value
