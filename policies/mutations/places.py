"""Places inside a resource's properties: found by a pattern, and changed without changing what else holds them.

A place is a path of keys and positions. The step `(json)` leads into text that is JSON, such as a policy document.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
JSON = "(json)"
EACH = "*"


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
"""In the place of a value: there is none, or it is to be dropped."""

Edit: TypeAlias = Callable[[Any], Any]
"""From the value at a place, or `ABSENT`, to the one that is to be there, or `ABSENT`."""


def steps(written: str | Sequence[str]) -> tuple[str, ...]:
    """A pattern as a table writes it: `rules[*].kmsKeyId`, or a list of steps where a key has dots of its own."""
    if not isinstance(written, str):
        return tuple(written)
    return tuple(step for part in written.replace("[*]", f".{EACH}").split(".") if (step := part))


def matches(value: Any, pattern: Sequence[str]) -> Iterator[tuple[Path, Any]]:
    """Each place that fits a pattern, with its value. The last key may be absent where what would hold it is there,
    and so may objects on the way to it; what stands in lists has to be there."""
    if not pattern:
        yield (), value
        return
    step, rest = pattern[0], pattern[1:]
    inside: Iterator[tuple[str | int, Any]]
    if step == JSON:
        inside = iter([(JSON, parsed)] if (parsed := _parsed(value)) is not ABSENT else [])
    elif step == EACH:
        inside = iter(enumerate(value)) if isinstance(value, list) else iter(())
    elif isinstance(value, dict):
        inside = iter([(step, value.get(step, ABSENT))])
    else:
        inside = iter([(step, ABSENT)] if value is ABSENT else [])
    for found, held in inside:
        yield from (((found, *path), leaf) for path, leaf in matches(held, rest))


def read(value: Any, path: Path) -> Any:
    """What is at a place, or `ABSENT`."""
    for step in path:
        if step == JSON:
            value = _parsed(value)
        elif isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else ABSENT
        else:
            value = value.get(step, ABSENT) if isinstance(value, dict) else ABSENT
    return value


def leaves(value: Any, skip: frozenset[str] = frozenset(), path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Each text inside, without what stands under a key of `skip`."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in skip:
                yield from leaves(item, skip, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, skip, (*path, index))
    elif isinstance(value, str):
        yield path, value


def changed(value: Any, path: Path, edit: Edit) -> Any:
    """`value` with what is at `path` edited. Objects on the way are made; where a list is shorter, nothing changes."""
    if not path:
        return edit(value)
    step, rest = path[0], path[1:]
    if step == JSON:
        parsed = _parsed(value)
        return value if parsed is ABSENT else json.dumps(changed(parsed, rest, edit))
    if isinstance(step, int):
        if not isinstance(value, list) or step >= len(value):
            return value
        new = changed(value[step], rest, edit)
        return [*value[:step], *([] if new is ABSENT else [new]), *value[step + 1 :]]
    if value is not ABSENT and not isinstance(value, dict):
        return value
    held = {} if value is ABSENT else value
    new = changed(held.get(step, ABSENT), rest, edit)
    if new is ABSENT:
        without = {key: item for key, item in held.items() if key != step}
        return ABSENT if value is ABSENT else without
    return {**held, step: new}


def written(path: Path) -> str:
    """A place as people write it: `rules[0].kmsKeyId`."""
    text = ""
    for step in path:
        if step != JSON:
            text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return ABSENT
    try:
        parsed = json.loads(value)
    except ValueError:
        return ABSENT
    return parsed if isinstance(parsed, (dict, list)) else ABSENT
