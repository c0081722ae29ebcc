"""The architecture of the later side, with what the change touches marked on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from trainyard.cli.architecture import Mark, svg
from trainyard.local.changes import Change, Operation

SIGNS = {Operation.CREATE: "+", Operation.UPDATE: "~", Operation.REPLACE: "±", Operation.DELETE: "-"}
COLOURS = {
    Operation.CREATE: "#15803d",
    Operation.UPDATE: "#b45309",
    Operation.REPLACE: "#c0392b",
    Operation.DELETE: "#7f1d1d",
}
_GRAVEST_FIRST = (Operation.DELETE, Operation.REPLACE, Operation.UPDATE, Operation.CREATE)
_WORDS = {Operation.CREATE: "new", Operation.UPDATE: "changed", Operation.REPLACE: "replaced"}


def draw(base: Mapping[str, Any], head: Mapping[str, Any], changes: Iterable[Change]) -> str:
    """As SVG. What is deleted is counted at the component that it was in, if that is still there."""
    return svg(head, marks=marks_of(base, head, changes))


def marks_of(base: Mapping[str, Any], head: Mapping[str, Any], changes: Iterable[Change]) -> dict[str, Mark]:
    parents = {**_parents(base), **_parents(head)}
    inside: defaultdict[str, Counter[Operation]] = defaultdict(Counter)
    marks: dict[str, Mark] = {}
    for one in changes:
        if one.operation in _WORDS:
            marks[one.urn] = Mark(_WORDS[one.operation], COLOURS[one.operation])
        if (component := _top(one.urn, parents)) != one.urn:
            inside[component][one.operation] += 1
    for urn, counts in inside.items():
        gravest = next(one for one in _GRAVEST_FIRST if counts[one])
        said = " ".join(f"{SIGNS[one]}{counts[one]}" for one in Operation if counts[one])
        marks[urn] = Mark(said, COLOURS[gravest])
    return marks


def _parents(export: Mapping[str, Any]) -> dict[str, str]:
    resources = (export.get("deployment") or {}).get("resources") or []
    return {raw["urn"]: raw.get("parent", "") for raw in resources}


def _top(urn: str, parents: Mapping[str, str]) -> str:
    """The outermost component that a resource is in; the resource itself where it is in none."""
    seen = {urn}
    while (parent := parents.get(urn, "")) and not _is_stack(parent) and parent not in seen:
        seen.add(parent)
        urn = parent
    return urn


def _is_stack(urn: str) -> bool:
    return "::pulumi:pulumi:Stack::" in urn
