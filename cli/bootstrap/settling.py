"""Settings of one thing in an account, looked at before they are written: what is right stays untouched, and what
others have put beside it stays too.

Example: `settle(settings)` makes each as it should be, and returns the names of those that were not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError


@dataclass(frozen=True)
class Setting:
    """One setting: how it is read, what it should be, given what it is (None: not set), and how it is written."""

    name: str
    read: Callable[[], Any]
    wanted: Callable[[Any], Any]
    write: Callable[[Any], object]


def settle(settings: Iterable[Setting]) -> tuple[str, ...]:
    """Make every setting as it should be; the names of those that had to be written."""
    written = []
    for one in settings:
        there = one.read()
        wanted = one.wanted(there)
        if wanted != there:
            one.write(wanted)
            written.append(one.name)
    return tuple(written)


def or_none(ask: Callable[[], Any], *absent: str) -> Any:
    """What `ask` returns; None where AWS refuses with one of the codes `absent`."""
    try:
        return ask()
    except ClientError as refused:
        if refused.response["Error"]["Code"] in absent:
            return None
        raise


def always(value: Any) -> Callable[[Any], Any]:
    """For a setting that is as it should be where it holds `value`, whatever AWS tells beside it."""
    return lambda there: there if holds(there, value) else value


def with_entries(
    key: str, own: Iterable[Mapping[str, Any]], *, exactly: bool = False
) -> Callable[[list[Any] | None], list[Any]]:
    """For a list whose entries are known by their `key`: ours as they should be, the others as they are.

    `exactly`: what AWS tells beside ours is wrong too, as a condition on a statement of a policy would be.
    """
    mine = {one[key]: dict(one) for one in own}

    def right(entry: Mapping[str, Any]) -> Mapping[str, Any]:
        wanted = mine.get(entry.get(key))
        if wanted is None or (holds(entry, wanted) and not exactly):
            return entry
        return wanted

    def wanted(there: list[Any] | None) -> list[Any]:
        kept = [right(one) for one in there or ()]
        present = {one.get(key) for one in kept}
        return [*kept, *(one for name, one in mine.items() if name not in present)]

    return wanted


def holds(there: Any, wanted: Any) -> bool:
    """Whether `there` is `wanted`, or says more than it."""
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(key in there and holds(there[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        same = isinstance(there, list) and len(there) == len(wanted)
        return same and all(holds(*pair) for pair in zip(there, wanted, strict=True))
    return there == wanted
