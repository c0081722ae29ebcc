"""Who reaches which data, key, secret, queue and topic, before and after a change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from trainyard.local.chosen_names import logical
from trainyard.policies.reach.rows import Certainty, Row, reach
from trainyard.policies.state import graph_of

MOST_LINES = 40
"""Of what changes, told one by one where there is no room for a table."""
_VERBS = {"decrypt": "decrypt with", "anything": "reach"}


@dataclass(frozen=True)
class Access:
    """One identity's access to one resource. `standing` is `new`, `gone` or empty where it is as before."""

    standing: str
    identity: str
    taken_by: str
    via: str
    access: str
    kind: str
    resource: str
    where: str
    certainty: Certainty
    conditions: tuple[str, ...]

    @property
    def line(self) -> str:
        sign = "−" if self.standing == "gone" else "+"
        taken = f" ({self.taken_by})" if self.taken_by else ""
        through = f" as {self.via}" if self.via else ""
        inside = f"{self.where} in " if self.where not in ("", "*") else ""
        verb = _VERBS.get(self.access, self.access)
        what = f"{inside}{self.kind} {self.resource}" if self.resource else "anything"
        if self.certainty is Certainty.UNVERIFIED:
            may, rest = "may", f": {self.certainty}, {self.condition}"
        else:
            may, rest = "can", f", if {self.condition}" if self.conditions else ""
        return f"{sign} {self.identity}{taken}{through} {may} {verb} {what}{rest}"

    @property
    def condition(self) -> str:
        return "; or ".join(self.conditions)


@dataclass(frozen=True)
class Reaching:
    """All access after a change, and what it took. `first`: there was no environment before."""

    rows: tuple[Access, ...]
    first: bool

    @property
    def counted(self) -> str:
        return f"{len(self.rows)} way{'' if len(self.rows) == 1 else 's'} of access"

    @property
    def changed(self) -> list[Access]:
        return [one for one in self.rows if one.standing]

    @property
    def lines(self) -> list[str]:
        """What the change adds and takes. Of a new environment, only how much that is: it is all new."""
        if self.first:
            return [f"{self.counted}, all new: the page has them"] if self.rows else []
        told = [one.line for one in self.changed]
        rest = len(told) - MOST_LINES
        return [*told[:MOST_LINES], f"and {rest} more: the page has them"] if rest > 0 else told


def compared(base: Mapping[str, Any], head: Mapping[str, Any]) -> Reaching:
    """Of two exported states."""
    before, after = (dict.fromkeys(_said(one)) for one in (base, head))
    rows = [
        *(_as("new", one) for one in after if one not in before),
        *(_as("gone", one) for one in before if one not in after),
        *(one for one in after if one in before),
    ]
    return Reaching(tuple(sorted(rows, key=_order)), first=not before)


def _said(export: Mapping[str, Any]) -> Iterator[Access]:
    """In the program's own names: of two accounts, each has chosen others."""
    said = logical(export)
    for row in reach(graph_of(export)).rows:
        yield _access(replace(row, conditions=tuple(map(said, row.conditions)), where=tuple(map(said, row.where))))


def _access(row: Row) -> Access:
    return Access(
        "",
        row.principal,
        "; ".join(one for one in row.how if one != row.principal),
        row.via,
        row.access,
        row.kind,
        row.resource,
        ", ".join(row.where),
        row.certainty,
        tuple(sorted(row.conditions)),  # any of them will do: in another order they say the same
    )


def _as(standing: str, one: Access) -> Access:
    return replace(one, standing=standing)


def _order(one: Access) -> tuple[Any, ...]:
    return (not one.standing, one.kind, one.resource, one.access, one.identity, one.standing)
