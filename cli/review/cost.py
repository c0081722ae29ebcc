"""What an environment costs before and after a change: each figure with what was assumed for it.

Three costs that never meet in one sum: what is paid by the month though nothing trains, what an hour of training costs
by group of GPU nodes, and unit prices of what depends on use. A kind without a price is shown as not priced.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainyard.cli.review.cost_kinds import lines_of
from trainyard.cli.review.cost_lines import HOURS_A_MONTH, Amount, Line, Nature
from trainyard.policies.state import graph_of
from trainyard.stacks.prices import REFERENCE_REGION, SOURCES

GENERAL = (
    "nothing trains: each group of nodes is at its smallest",
    f"{HOURS_A_MONTH} hours a month",
    "list prices before tax, credits and discounts",
    "what depends on use is not in it: its unit prices stand beside it",
    f"{REFERENCE_REGION}'s price where none of the region's own is known",
)


@dataclass(frozen=True)
class Estimate:
    """`idle` is by the month. Where something is not priced, it is at least that."""

    lines: tuple[Line, ...] = ()
    idle: Amount = field(default_factory=Amount)

    def of(self, nature: Nature) -> list[Line]:
        return [one for one in self.lines if one.nature is nature]


@dataclass(frozen=True)
class Row:
    """A cost before and after; None where there is none then. `counts`: of resources, where they share a unit price."""

    name: str
    what: str
    per: str
    before: Amount | None
    after: Amount | None
    difference: Amount
    assumptions: tuple[str, ...]
    counts: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Cost:
    """`sources`: what keys in brackets mean in assumptions. `free`, `unpriced`: kinds with their number, and why."""

    before: Estimate
    after: Estimate
    total: Row
    by_component: tuple[Row, ...]
    by_kind: tuple[Row, ...]
    training: tuple[Row, ...]
    usage: tuple[Row, ...]
    unpriced: tuple[tuple[str, str], ...]
    free: tuple[tuple[str, str], ...]
    sources: Mapping[str, str]


def estimate(export: Mapping[str, Any]) -> Estimate:
    """Of an exported state."""
    graph = graph_of(export)
    parents = _parents(export)
    lines = [
        line
        for resource in graph.resources
        if not resource.type.startswith(("pulumi:", "trainyard:"))
        for line in lines_of(resource, graph, _component(resource.urn, parents))
    ]
    return Estimate(tuple(lines), _sum(one for one in lines if one.nature is Nature.IDLE))


def compared(base: Mapping[str, Any], head: Mapping[str, Any]) -> Cost | None:
    """Of two exported states; None where both are empty."""
    before, after = estimate(base), estimate(head)
    if not (before.lines or after.lines):
        return None
    idle = [one.of(Nature.IDLE) for one in (before, after)]
    training = [one.of(Nature.TRAINING) for one in (before, after)]
    usage = [one.of(Nature.USAGE) for one in (before, after)]
    used = {key for one in (*before.lines, *after.lines) for key in one.sources}
    return Cost(
        before,
        after,
        Row("in all", "", "month", before.idle, after.idle, after.idle.less(before.idle), GENERAL),
        tuple(_rows(*idle, lambda one: (one.component, ""))),
        tuple(_rows(*idle, lambda one: (one.type.rpartition(":")[2], ""))),
        tuple(_rows(*training, lambda one: (one.component, one.what))),
        tuple(_rows(*usage, lambda one: (one.type.rpartition(":")[2], one.per), alike=True)),
        _reasons(before, after, Nature.UNPRICED),
        _reasons(before, after, Nature.FREE),
        {key: f"{SOURCES[key].text}, {SOURCES[key].date}" for key in SOURCES if key in used},
    )


def _rows(
    before: list[Line], after: list[Line], key: Callable[[Line], tuple[str, str]], *, alike: bool = False
) -> Iterator[Row]:
    """Lines with the same key as one row; `alike`: they share one price, which is not to be added up."""
    sides = [_grouped(lines, key) for lines in (before, after)]
    for name in sorted({*sides[0], *sides[1]}):
        was, is_ = (side.get(name, []) for side in sides)
        amounts = [(_range(lines) if alike else _sum(lines)) if lines else None for lines in (was, is_)]
        shown = is_ or was
        yield Row(
            name[0],
            name[1] or " → ".join(dict.fromkeys(_what(lines) for lines in (was, is_) if lines)),
            shown[0].per,
            amounts[0],
            amounts[1],
            (amounts[1] or Amount()).less(amounts[0] or Amount()),
            _assumptions(was, is_),
            (len(was), len(is_)),
        )


def _grouped(lines: list[Line], key: Callable[[Line], tuple[str, str]]) -> dict[tuple[str, str], list[Line]]:
    groups: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
    for one in lines:
        groups[key(one)].append(one)
    return groups


def _what(lines: list[Line]) -> str:
    """`11 × interface endpoint, NAT gateway`."""
    counts = Counter(one.what for one in lines)
    return ", ".join(what if count == 1 else f"{count} × {what}" for what, count in counts.items())


def _assumptions(before: list[Line], after: list[Line]) -> tuple[str, ...]:
    """Of the later side, then what only the earlier figure rests on."""
    was, is_ = (dict.fromkeys(said for one in lines for said in one.assumptions) for lines in (before, after))
    if not after:
        return tuple(was)
    return (*is_, *(f"before: {said}" for said in was if said not in is_))


def _sum(lines: Iterable[Line]) -> Amount:
    return sum((one.amount for one in lines if one.amount), Amount()).rounded()


def _range(lines: list[Line]) -> Amount:
    amounts = [one.amount for one in lines if one.amount]
    return Amount(min(one.low for one in amounts), max(one.high for one in amounts)) if amounts else Amount()


def _reasons(before: Estimate, after: Estimate, nature: Nature) -> tuple[tuple[str, str], ...]:
    """What is free or not priced: `2 Role, 1 RolePolicy`, and the reason. The later side's where it has any."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one in after.of(nature) or before.of(nature):
        found[one.what][one.type.rpartition(":")[2]] += 1
    return tuple((", ".join(f"{count} {kind}" for kind, count in kinds.items()), what) for what, kinds in found.items())


def _parents(export: Mapping[str, Any]) -> dict[str, str]:
    resources = (export.get("deployment") or {}).get("resources") or []
    return {raw["urn"]: raw.get("parent", "") for raw in resources}


def _component(urn: str, parents: Mapping[str, str]) -> str:
    """The outermost component that a resource is in, by kind and name; the resource itself where it is in none."""
    seen = {urn}
    while (parent := parents.get(urn, "")) and "::pulumi:pulumi:Stack::" not in parent and parent not in seen:
        seen.add(parent)
        urn = parent
    kind, name = (*urn.split("::")[2:4], "", "")[:2]
    return f"{kind.rpartition(':')[2]} {name}"
