"""An exported state as what is drawn: components, the cards in them, and which component uses which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from trainyard.cli.architecture.facts import facts
from trainyard.cli.architecture.kinds import FAMILIES, PART_TITLES, Kind, kind_of, spaced
from trainyard.cli.architecture.layers import LAYER_OF, TITLE_OF

MOST_CARDS_OF_A_KIND = 6


class NotAnExportError(ValueError):
    """The input is no exported deployment."""


@dataclass(frozen=True)
class Part:
    """What is drawn as a label: a resource on another's card, or several of one kind in their component."""

    title: str
    tooltip: str


@dataclass
class Card:
    """A resource with a card of its own. `encrypted` is "own" under the team's key, "aws" under AWS's, else empty."""

    urn: str
    kind: Kind
    name: str
    tells: str
    tooltip: str
    encrypted: str
    foreign_region: str
    parts: list[Part] = field(default_factory=list)


@dataclass
class Component:
    """What one component of the program's top level has deployed, with all that is inside it."""

    urn: str
    title: str
    layer: str
    facts: Sequence[str]
    resources: int
    cards: list[Card] = field(default_factory=list)
    counted: list[Part] = field(default_factory=list)
    """Resources of lesser weight, by kind: `4 network policies`."""


@dataclass(frozen=True)
class Use:
    """Component `user` uses `used`: what of it, as `3 S3 buckets, 1 KMS key`. Both are URNs."""

    user: str
    used: str
    what: str


@dataclass(frozen=True)
class Picture:
    """All that is drawn. Everything is in an order that depends on the graph alone."""

    project: str
    stack: str
    region: str
    components: Sequence[Component]
    uses: Sequence[Use]
    resources: int


Raw = Mapping[str, Any]


def read(*exports: Mapping[str, Any]) -> Picture:
    """The picture of exported states: one, or those of an environment's layers together.

    Raises NotAnExportError where one of them is none.
    """
    alive: list[Raw] = []
    for export in exports:
        deployment = export.get("deployment") if isinstance(export, Mapping) else None
        if not isinstance(deployment, Mapping) or not isinstance(deployment.get("resources"), list):
            raise NotAnExportError("there is no deployment.resources in it; `pulumi stack export` makes such a file")
        alive += [raw for raw in deployment["resources"] if not raw.get("delete")]
    return _Reader(alive).picture()


class _Reader:
    """Looks resources up while the picture is put together."""

    def __init__(self, raws: Iterable[Raw]) -> None:
        self.raws = sorted(raws, key=lambda raw: raw["urn"])
        self.by_urn = {raw["urn"]: raw for raw in self.raws}
        drawn = [raw for raw in self.raws if raw.get("custom", True) and not _is_machinery(raw["type"])]
        self.hosts = {raw["urn"]: self._host(raw) for raw in drawn}
        self.drawn = drawn
        self.common_prefix = _common_prefix([_name(raw["urn"]) for raw in drawn])
        self.region = self._region()

    def picture(self) -> Picture:
        members: dict[str, list[Raw]] = {}
        for raw in self.drawn:
            members.setdefault(self._top_component(raw["urn"]), []).append(raw)
        components = [self._component(urn, raws) for urn, raws in members.items()]
        project, stack = _project_and_stack(self.raws)
        return Picture(
            project=project,
            stack=stack,
            region=self.region,
            components=sorted(components, key=lambda component: (component.title, component.urn)),
            uses=self._uses(),
            resources=len(self.drawn),
        )

    def _component(self, urn: str, raws: Sequence[Raw]) -> Component:
        owner = self.by_urn.get(urn)
        type_ = owner["type"] if owner else ""
        component = Component(
            urn=urn,
            title=self._title(owner) if owner else "Not in a component",
            layer=LAYER_OF.get(type_, ""),
            facts=facts(type_, [(raw["type"], _props(raw)) for raw in raws]),
            resources=len(raws),
        )
        wholes = [raw for raw in raws if self.hosts[raw["urn"]] is None]
        kinds = Counter(raw["type"] for raw in wholes)
        cards: dict[str, Card] = {}
        counted: dict[str, list[Raw]] = {}
        for raw in wholes:
            important = kind_of(raw["type"]).card or not component.layer
            if important and kinds[raw["type"]] <= MOST_CARDS_OF_A_KIND:
                cards[raw["urn"]] = self._card(raw)
            else:
                counted.setdefault(raw["type"], []).append(raw)
        for raw in raws:
            host = self._outermost_host(raw["urn"])
            if host in cards and host != raw["urn"]:
                self._attach(raw, cards[host])
            elif host not in cards and host != raw["urn"]:
                counted.setdefault(raw["type"], []).append(raw)
        component.cards = sorted(cards.values(), key=_card_order)
        component.counted = sorted(
            (_counted(type_, alike) for type_, alike in counted.items()),
            key=lambda part: part.title.lstrip("0123456789 "),
        )
        return component

    def _card(self, raw: Raw) -> Card:
        kind, props = kind_of(raw["type"]), _props(raw)
        region = props.get("region")
        foreign = region if isinstance(region, str) and self.region and region != self.region else ""
        return Card(
            urn=raw["urn"],
            kind=kind,
            name=self._card_name(raw),
            tells=" ".join(kind.tells(props).split()),
            tooltip=_tooltip(raw),
            encrypted=kind.encrypted(props),
            foreign_region=foreign,
        )

    def _attach(self, raw: Raw, card: Card) -> None:
        kind, props = kind_of(raw["type"]), _props(raw)
        title = PART_TITLES.get(raw["type"], lambda _: kind.title)(props)
        if kind.leads_to:
            ends = (raw.get("propertyDependencies") or {}).get(kind.leads_to) or []
            title = "→ " + " ".join(self._short_name(self.by_urn[urn]) for urn in ends if urn in self.by_urn)
        card.parts.append(Part(title, _tooltip(raw)))
        card.encrypted = card.encrypted or kind.encrypted(props)

    def _title(self, component: Raw) -> str:
        """What kind of component it is, and its own name where that says more than the environment's."""
        title = TITLE_OF.get(component["type"]) or spaced(component["type"].rpartition(":")[2])
        return f"{title} {self._short_name(component)}".strip()

    def _parent_component(self, urn: str) -> str | None:
        parent = self.by_urn.get(self.by_urn[urn].get("parent", ""))
        while parent is not None and (parent.get("custom", False) or _is_machinery(parent["type"])):
            parent = self.by_urn.get(parent.get("parent", ""))
        return parent["urn"] if parent else None

    def _top_component(self, urn: str) -> str:
        found = self._parent_component(urn) or ""
        while found and (above := self._parent_component(found)):
            found = above
        return found

    def _host(self, raw: Raw) -> str | None:
        """The resource that this one is a part of, if it is one and that stands in the same top component."""
        named = kind_of(raw["type"]).part_of
        if not named:
            return None
        origins = (raw.get("propertyDependencies") or {}).get(named) or []
        hosts = [urn for urn in origins if urn in self.by_urn and self.by_urn[urn].get("custom", True)]
        if len(hosts) != 1 or self._top_component(hosts[0]) != self._top_component(raw["urn"]):
            return None
        return hosts[0]

    def _outermost_host(self, urn: str) -> str:
        seen = {urn}
        while (host := self.hosts.get(urn)) and host not in seen:
            seen.add(host)
            urn = host
        return urn

    def _card_name(self, raw: Raw) -> str:
        """Its own, or that of the component inside another that has no further card."""
        return self._inner_name(raw) or _name(raw["urn"])

    def _inner_name(self, raw: Raw) -> str:
        around = self._parent_component(raw["urn"])
        if around is None or around == self._top_component(raw["urn"]):
            return self._short_name(raw)
        beside = [one for one in self.drawn if self._parent_component(one["urn"]) == around]
        alike = [one for one in beside if self.hosts[one["urn"]] is None and kind_of(one["type"]).card]
        return self._short_name(self.by_urn[around] if len(alike) == 1 else raw)

    def _short_name(self, raw: Raw) -> str:
        """The logical name without what the names of the components around it, or all names, begin with."""
        name, around = _name(raw["urn"]), self._parent_component(raw["urn"])
        if name == self.common_prefix:
            return ""
        prefixes = {self.common_prefix}
        while around:
            prefixes.add(_name(around))
            around = self._parent_component(around)
        return min((name.removeprefix(f"{prefix}-") for prefix in prefixes), key=len)

    def _uses(self) -> list[Use]:
        found: dict[tuple[str, str], set[str]] = {}
        for raw in self.drawn:
            user = self._top_component(raw["urn"])
            groups = (raw.get("propertyDependencies") or {}).values()
            for urn in {urn for group in (raw.get("dependencies") or [], *groups) for urn in group or []}:
                if urn in self.hosts and (used := self._top_component(urn)) != user:
                    found.setdefault((user, used), set()).add(self._outermost_host(urn))
        return [Use(user, used, self._what(urns)) for (user, used), urns in sorted(found.items())]

    def _what(self, urns: set[str]) -> str:
        counts = Counter(kind_of(self.by_urn[urn]["type"]).title for urn in urns)
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{count} {title}{'s' if count > 1 else ''}" for title, count in ordered)

    def _region(self) -> str:
        stacks = [_props(raw).get("region") for raw in self.raws if raw["type"] == "pulumi:pulumi:Stack"]
        providers = [_props(raw).get("region") for raw in self.raws if raw["type"] == "pulumi:providers:aws"]
        return next((region for region in (*stacks, *providers) if isinstance(region, str) and region), "")


def _counted(type_: str, alike: Sequence[Raw]) -> Part:
    """`4 network policies`, with each of them in the tooltip."""
    kind = kind_of(type_)
    title = kind.title if kind.title.isupper() or kind.title[:2].isupper() else kind.title[:1].lower() + kind.title[1:]
    many = kind.many if title == kind.title else kind.many[:1].lower() + kind.many[1:]
    return Part(title if len(alike) == 1 else f"{len(alike)} {many}", "\n\n".join(map(_tooltip, alike)))


def _is_machinery(resource_type: str) -> bool:
    """Whether a resource is Pulumi's own (the stack, providers) and not part of what is built."""
    return resource_type.startswith(("pulumi:pulumi:", "pulumi:providers:"))


def _card_order(card: Card) -> tuple[int, int, str, str]:
    """Families together; in one, what others are made in comes first."""
    first = ("VPC", "Subnet", "Route table", "VPC endpoint", "EKS cluster", "Node group", "SQS queue", "Event rule")
    rank = first.index(card.kind.title) if card.kind.title in first else len(first)
    return (list(FAMILIES).index(card.kind.family), rank, card.name, card.urn)


def _props(raw: Raw) -> dict[str, Any]:
    return {**(raw.get("inputs") or {}), **(raw.get("outputs") or {})}


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def _common_prefix(names: Sequence[str]) -> str:
    """What all names begin with, up to a hyphen and without it."""
    if len(names) < 2:
        return ""
    # What the first and the last in order share, all between them share.
    pairs = zip(min(names).split("-"), max(names).split("-"), strict=False)
    return "-".join(first for first, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _project_and_stack(raws: Sequence[Raw]) -> tuple[str, str]:
    """Of several stacks, an environment's layers, what their names begin with."""
    heads = [raw["urn"].split("::") for raw in raws]
    stacks = sorted({head[0].rpartition(":")[2] for head in heads if len(head) > 1})
    return (heads[0][1], _common_prefix(stacks) or stacks[0]) if stacks else ("", "")


def _tooltip(raw: Raw) -> str:
    tags = _props(raw).get("tagsAll") or _props(raw).get("tags") or {}
    data_class = tags.get("data-class") if isinstance(tags, Mapping) else None
    lines = [raw["type"], _name(raw["urn"]), raw.get("id"), data_class and f"data class: {data_class}"]
    return "\n".join(str(line) for line in lines if line)
