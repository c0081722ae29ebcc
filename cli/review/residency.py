"""Where data of each class lies and can get to, before and after a change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.policies.residency.flows import MapRow, residency_map
from trainyard.policies.rule import Verdict
from trainyard.policies.state import graph_of


@dataclass(frozen=True)
class DataPlace:
    """How many resources hold data of a class in a place."""

    data_class: str
    place: str
    before: int
    after: int


@dataclass(frozen=True)
class Way:
    """A way by which data of a class can get from where it lies to another place. `new`: the change opens it."""

    data_class: str
    place: str
    path: str
    verdict: Verdict
    reason: str
    new: bool


@dataclass(frozen=True)
class Residency:
    places: tuple[DataPlace, ...]
    ways: tuple[Way, ...]

    @property
    def changed(self) -> bool:
        """Whether data lies or can get where it could not before."""
        return any(one.after and not one.before for one in self.places) or any(one.new for one in self.ways)


def compared(base: Mapping[str, Any], head: Mapping[str, Any]) -> Residency:
    """Of two exported states."""
    before, after = (residency_map(graph_of(one)) for one in (base, head))
    counts = [Counter((row.data_class, row.place) for row in rows) for rows in (before, after)]
    known = set(_ways(before))
    ways = _ways(after)
    return Residency(
        tuple(DataPlace(*key, counts[0][key], counts[1][key]) for key in sorted({*counts[0], *counts[1]})),
        tuple(
            Way(*key, row.verdict, row.reason, key not in known)
            for key, row in sorted(ways.items(), key=lambda item: (item[0] in known, item[0]))
        ),
    )


def _ways(rows: list[MapRow]) -> dict[tuple[str, str, str], MapRow]:
    """By class, place and path, those that lead out of the place where the data lies."""
    return {(row.data_class, place, path): row for row in rows for place, path in row.reaches if place != row.place}
