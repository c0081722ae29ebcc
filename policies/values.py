"""A property value that may be unknown, read without ever mistaking "unknown" for "absent" or "fine"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

Path: TypeAlias = tuple[str | int, ...]
Kind = TypeVar("Kind")


class _Unknown:
    """The one value of a property that Pulumi cannot know yet."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __copy__(self) -> _Unknown:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Unknown:
        return self


UNKNOWN: Final = _Unknown()


class UnverifiedError(Exception):
    """A rule met a value that it cannot judge; the message says why."""

    def __init__(self, value: Value, reason: str) -> None:
        super().__init__(reason)
        self.value = value
        self.reason = reason


class NotKnownYetError(UnverifiedError):
    """The value will be known later, when what it is computed from exists."""

    def __init__(self, value: Value) -> None:
        super().__init__(value, "the value is not known yet")


def dotted(path: Path) -> str:
    """`("rules", 0, "kmsKeyId")` as a person writes it: `rules[0].kmsKeyId`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def shown(raw: Any) -> str:
    """A value for a message, on one line and at most 80 characters long."""
    text = " ".join(str(raw).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(frozen=True, slots=True)
class Value:
    """A value of plain JSON kind, or `UNKNOWN`, with the URN of the resource that has it and the path to it there.

    Every reader gives `None` (or nothing) for an absent value and raises `UnverifiedError` for an unknown one or one of
    another kind than asked for: neither proves anything.
    """

    raw: Any
    path: Path = ()
    urn: str = ""

    def __getitem__(self, key: str) -> Value:
        return self._inside(key, None if self.raw is None else self._of(dict, "an object").get(key))

    @property
    def present(self) -> bool:
        """Whether anything was given, be it unknown."""
        return self.raw is not None

    @property
    def known(self) -> bool:
        """Whether this value is known at its own level; parts of it may still be unknown."""
        return self.raw is not UNKNOWN

    def text(self) -> str | None:
        return None if self.raw is None else self._of(str, "text")

    def flag(self) -> bool | None:
        return None if self.raw is None else self._of(bool, "true or false")

    def items(self) -> list[Value]:
        """The values of a list; none where it is absent."""
        if self.raw is None:
            return []
        return [self._inside(index, item) for index, item in enumerate(self._of(list, "a list"))]

    def fields(self) -> dict[str, Value]:
        """The values of an object by name; none where it is absent."""
        if self.raw is None:
            return {}
        return {key: self._inside(key, item) for key, item in self._of(dict, "an object").items()}

    def leaves(self) -> Iterator[Value]:
        """Every value inside that is no list and no object, unknown ones included, without recursion."""
        waiting: list[Value] = [self]
        while waiting:
            value = waiting.pop()
            if isinstance(value.raw, dict):
                waiting.extend(reversed(value.fields().values()))
            elif isinstance(value.raw, list):
                waiting.extend(reversed(value.items()))
            else:
                yield value

    def _inside(self, step: str | int, raw: Any) -> Value:
        return Value(raw, (*self.path, step), self.urn)

    def _of(self, kind: type[Kind], wanted: str) -> Kind:
        if self.raw is UNKNOWN:
            raise NotKnownYetError(self)
        if not isinstance(self.raw, kind):
            raise UnverifiedError(self, f"{wanted} was expected, this is {shown(self.raw)!r}")
        return self.raw
