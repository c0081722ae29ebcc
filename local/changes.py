"""What a preview would do to each resource, and to which of its properties, out of the engine's own events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from trainyard.local.engine_events import Event
from trainyard.local.shown_values import shown
from trainyard.policies.wire import SIGNATURE

_STEP = re.compile(r'\[(?P<index>\d+)\]|\["(?P<quoted>(?:[^"\\]|\\.)*)"\]|\.?(?P<name>[^.\[\]]+)')


class Operation(StrEnum):
    """What happens to a resource. A replaced one is made anew: another id, and what it held is gone."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"


_OPERATIONS = {
    "create": Operation.CREATE,
    "import": Operation.CREATE,
    "update": Operation.UPDATE,
    "replace": Operation.REPLACE,
    "import-replacement": Operation.REPLACE,
    "delete": Operation.DELETE,
}
"""`discard` is not among them: what the program only read, and reads no more, stays as it was."""


@dataclass(frozen=True)
class PropertyChange:
    """A property of the program's, before and after; None where it is not given. `replaces`: it can't be changed in
    place, so that the whole resource is made anew."""

    path: str
    before: Any
    after: Any
    replaces: bool = False


@dataclass(frozen=True)
class Change:
    """What would happen to one resource."""

    urn: str
    type: str
    name: str
    operation: Operation
    properties: tuple[PropertyChange, ...] = ()
    kept: bool = False
    """Whether what goes from the stack stays in the account: it was to be retained on deletion."""


def changes_in(events: Iterable[Event]) -> tuple[Change, ...]:
    """The changes that a preview told, those of one component together and deletions last: the engine tells them as its
    parallel work comes to them. Components and the stack itself are no changes of a cloud."""
    found: dict[str, Change] = {}
    for event in events:
        metadata = (event.get("resourcePreEvent") or {}).get("metadata")
        if metadata is None or (operation := _OPERATIONS.get(metadata["op"])) is None:
            continue
        state = metadata.get("new") or metadata.get("old") or {}
        if not state.get("custom") or metadata["type"].startswith("pulumi:"):
            continue
        urn = metadata["urn"]
        name = urn.rpartition("::")[2]
        kept = operation in (Operation.REPLACE, Operation.DELETE) and _is_retained(metadata)
        found[urn] = Change(urn, metadata["type"], name, operation, tuple(_properties(metadata, operation)), kept)
    return tuple(sorted(found.values(), key=lambda one: (one.operation is Operation.DELETE, one.urn)))


def renamed_in(events: Iterable[Event]) -> dict[str, str]:
    """Which resource of before is which of after, by URN, where a preview told that it is called otherwise now: an
    alias says that it is the same."""
    found: dict[str, str] = {}
    for event in events:
        metadata = (event.get("resourcePreEvent") or {}).get("metadata") or {}
        before, after = ((metadata.get(side) or {}).get("urn") for side in ("old", "new"))
        if before and after and before != after:
            found[before] = after
    return found


def _is_retained(metadata: Mapping[str, Any]) -> bool:
    return bool((metadata.get("old") or {}).get("retainOnDelete"))


def _properties(metadata: Mapping[str, Any], operation: Operation) -> Iterator[PropertyChange]:
    before = (metadata.get("old") or {}).get("inputs") or {}
    after = (metadata.get("new") or {}).get("inputs") or {}
    if operation in (Operation.CREATE, Operation.DELETE):
        return
    replacing = set(metadata.get("keys") or ())
    detailed: Mapping[str, Mapping[str, Any]] = metadata.get("detailedDiff") or {}
    paths = list(detailed) or list(dict.fromkeys([*(metadata.get("diffs") or ()), *replacing]))
    for path in paths:
        steps = steps_of(path)
        kind = str((detailed.get(path) or {}).get("diffKind", ""))
        replaces = kind.endswith("replace") or (bool(steps) and steps[0] in replacing and not detailed)
        yield PropertyChange(path, shown(_at(before, steps)), shown(_at(after, steps)), replaces)


def steps_of(path: str) -> list[str | int]:
    """`rules[0]["a.b"].c` as the engine writes a property's path, step by step."""
    steps: list[str | int] = []
    for match in _STEP.finditer(path):
        if match["index"] is not None:
            steps.append(int(match["index"]))
        elif match["quoted"] is not None:
            steps.append(re.sub(r"\\(.)", r"\1", match["quoted"]))
        else:
            steps.append(match["name"])
    return steps


def _at(value: Any, steps: list[str | int]) -> Any:
    for step in steps:
        if isinstance(value, Mapping) and SIGNATURE in value:
            return value
        if isinstance(value, Mapping) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value
