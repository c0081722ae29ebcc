"""What a cost is made of: amounts, lines, sums of prices, and readers of properties that take whatever stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias

from trainyard.policies.graph import Graph, Resource
from trainyard.stacks.prices import Price, price

HOURS_A_MONTH = 730
PAID_AS_ITSELF = "what it stands for is paid as itself"
MOST = 1e12
"""Of anything that is counted here: more is no size but a mistake."""


class Nature(StrEnum):
    IDLE = "idle"
    TRAINING = "training"
    USAGE = "usage"
    FREE = "free"
    UNPRICED = "not priced"


@dataclass(frozen=True)
class Amount:
    """US dollars: from, to."""

    low: float = 0.0
    high: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.low + other.low, self.high + other.high)

    def times(self, count: float) -> Amount:
        return Amount(self.low * count, self.high * count)

    def less(self, other: Amount) -> Amount:
        """The difference where the same prices hold before and after: its ends are those of like ends."""
        return Amount(*sorted((self.low - other.low, self.high - other.high))).rounded()

    def rounded(self) -> Amount:
        """To less than any price's last digit, so that sums do not show how computers add."""
        return Amount(round(self.low, 6), round(self.high, 6))


@dataclass(frozen=True)
class Line:
    """One cost of one resource.

    Attributes:
        what: of what it is, such as `2 × m7i.xlarge`; the reason where it is free or not priced.
        amount: none where it is free or not priced.
        per: for what it is paid: `month`, `hour`, `TB stored for a month`.
        assumptions: all of them, the prices included.
        sources: keys of `SOURCES`.
    """

    nature: Nature
    component: str
    type: str
    name: str
    what: str
    amount: Amount | None = None
    per: str = ""
    assumptions: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass
class Sum:
    """A sum of prices with what was assumed for it. `missing`: items without a price, which make it worthless."""

    region: str
    amount: Amount = field(default_factory=Amount)
    said: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, item: str, quantity: float, *, elsewhere: bool = True, quietly: bool = False) -> None:
        """`quietly`: somebody else says what is assumed."""
        if not quantity:
            return
        known = price(item, self.region, elsewhere=elsewhere)
        if known is None:
            self.missing.append(item)
            return
        self.amount += Amount(known.low, known.high).times(quantity)
        usd = f"{known.low:g}" if known.low == known.high else f"{known.low:g} to {known.high:g}"
        self.sources.append(known.source)
        if not quietly:
            self.said.append(f"{item}: {usd} USD per {known.unit} {self.place(known)} [{known.source}]")

    def place(self, known: Price) -> str:
        if known.region == self.region:
            return f"in {known.region}"
        return f"in {known.region} instead of {self.region or 'the region, which is not known'}"


@dataclass(frozen=True)
class Charged:
    """A resource that is being charged."""

    resource: Resource
    graph: Graph
    component: str

    @property
    def props(self) -> Mapping[str, Any]:
        return self.resource.props

    @property
    def region(self) -> str:
        """Its own, its provider's, or that of the stack's provider, for what lives in a cluster."""
        providers = [self.resource.provider, *self.graph.of(["pulumi:providers:aws"])]
        given = [self.props.get("region"), *(one.props.get("region") for one in providers if one)]
        return next((one for one in given if isinstance(one, str) and one), "")

    def sum(self) -> Sum:
        return Sum(self.region)

    def line(self, nature: Nature, what: str, of: Sum, per: str, *assumptions: str, times: float = 1) -> Line:
        """A cost; not priced where a price is missing."""
        if of.missing:
            return self.bare(Nature.UNPRICED, f"{what}: no price of {', '.join(of.missing)} in {of.region or 'sight'}")
        return Line(
            nature,
            self.component,
            self.resource.type,
            self.resource.name,
            what,
            of.amount.times(times).rounded(),
            per,
            (*assumptions, *of.said),
            tuple(dict.fromkeys(of.sources)),
        )

    def bare(self, nature: Nature, reason: str) -> Line:
        return Line(nature, self.component, self.resource.type, self.resource.name, reason)

    def monthly(self, what: str, item: str, quantity: float, *assumptions: str) -> Line:
        of = self.sum()
        of.add(item, quantity)
        return self.line(Nature.IDLE, what, of, "month", *assumptions)

    def by_use(self, what: str, item: str, times: float, per: str, *assumptions: str) -> Line:
        of = self.sum()
        of.add(item, times)
        return self.line(Nature.USAGE, what, of, per, *assumptions)


Lines: TypeAlias = Iterator[Line]


def number(value: Any) -> float | None:
    """A number from 0 to what may be meant, also where it is written as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return None
    return read if 0 <= read <= MOST else None


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def word(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""


def time_of(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


_GIB = {"Mi": 1 / 1024, "Gi": 1, "Ti": 1024, "M": 1e6 / 2**30, "G": 1e9 / 2**30, "T": 1e12 / 2**30}


def gib_of(value: Any) -> float | None:
    """A quantity of Kubernetes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(Mi|Gi|Ti|M|G|T)", value) if isinstance(value, str) else None
    return float(found[1]) * _GIB[found[2]] if found else None
