"""A property's value before and after, line by line, where it has more than one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any, Literal, TypeAlias

Sign: TypeAlias = Literal["-", "+", " ", "…"]
CONTEXT = 3
"""Lines that stay, shown on either side of one that does not."""
_LONGEST = 3000
"""Lines on either side up to which it is worked out which of them stay: that takes the square of them."""


def whole(raw: Any) -> str:
    """A value at full length, structured ones over several lines; `–` where it is not given.

    A policy is a string of JSON in most resources: it is laid out like what it holds.
    """
    if raw is None:
        return "–"
    if isinstance(raw, str):
        return _laid_out(raw)
    if isinstance(raw, Mapping | list | tuple) and raw:
        return json.dumps(raw, indent=2, ensure_ascii=False, sort_keys=True, default=str)
    return json.dumps(raw, ensure_ascii=False, default=str)


def lines(before: Any, after: Any) -> list[tuple[Sign, str]]:
    """Signed lines, `…` with how many are left out; none where both values have room on a line of their own."""
    old, new = ("" if raw is None else whole(raw) for raw in (before, after))
    if "\n" not in old and "\n" not in new:
        return []
    return list(_compared(old.splitlines(), new.splitlines()))


def _compared(old: list[str], new: list[str]) -> Iterator[tuple[Sign, str]]:
    if max(len(old), len(new)) > _LONGEST:
        yield from (("-", line) for line in old)
        yield from (("+", line) for line in new)
        return
    seen = 0
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT):
        yield from _left_out(group[0][1] - seen)
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                yield from ((" ", line) for line in old[old_from:old_to])
                continue
            yield from (("-", line) for line in old[old_from:old_to])
            yield from (("+", line) for line in new[new_from:new_to])
        seen = group[-1][2]
    yield from _left_out(len(old) - seen)


def _left_out(count: int) -> Iterator[tuple[Sign, str]]:
    if count:
        yield "…", f"{count} line{'' if count == 1 else 's'} as before"


def _laid_out(text: str) -> str:
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return json.dumps(held, indent=2, ensure_ascii=False) if held else text
