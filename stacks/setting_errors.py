"""How wrong settings are told: each with its key, what it was, and what may stand there instead."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import pulumi
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

MISSING = object()
LONGEST_SHOWN = 120
MOST_SHOWN = 25
MOST_NAMED = 6


@dataclass(frozen=True)
class Problem:
    """One wrong setting: its full key, and what is wrong and may stand there instead, in whole sentences."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


class SettingsError(pulumi.RunError):
    """Settings that no platform can be made from. Being a `RunError`, Pulumi shows its text and no traceback."""

    def __init__(self, stack: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        what = "A setting" if len(self.problems) == 1 else f"{len(self.problems)} settings"
        verb = "is" if len(self.problems) == 1 else "are"
        lines = "\n".join(f"  {problem}" for problem in self.problems[:MOST_SHOWN])
        if len(self.problems) > MOST_SHOWN:
            lines += f"\n  … and {len(self.problems) - MOST_SHOWN} more."
        super().__init__(f"{what} of the stack {stack} {verb} wrong, so nothing was made or changed:\n{lines}")


def problems(
    errors: Sequence[ErrorDetails], model: type[BaseModel], given: Mapping[str, Any], namespace: str
) -> Iterator[Problem]:
    """pydantic's errors as problems, the first for each setting: a list of plain values is one setting."""
    told: set[str] = set()
    resolved = [(error, *_resolve(error["loc"], model)) for error in errors]
    meant = {
        _path([*steps[:-1], near])
        for error, steps, _, owner in resolved
        if error["type"] == "extra_forbidden" and (near := _meant(steps, owner))
    }
    for error, steps, field, owner in resolved:
        path = _path(steps)
        # A misspelt key is told by what was written; that the right one is missing is the same mistake.
        if error["type"] == "missing" and path in meant:
            continue
        # A list with a wrong entry is wrong as a whole too; the entry says more.
        if any(one == path or one.startswith((f"{path}[", f"{path}.")) for one in told):
            continue
        told.add(path)
        yield Problem(
            f"{namespace}:{path}",
            f"{_what_it_was(_value_at(given, steps), error)}{_expectation(steps, field, owner, error)}",
        )


def listed(names: Iterable[str], conjunction: str = "and") -> str:
    """`a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} {conjunction} {last}" if most else last


def shortly(names: Iterable[str]) -> str:
    """What a user wrote, as `listed` has it, but no more of it than can be read."""
    each = [name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}…" for name in dict.fromkeys(names)]
    if len(each) > MOST_NAMED:
        each = [*each[:MOST_NAMED], f"{len(each) - MOST_NAMED} more"]
    return listed(each)


def _resolve(
    location: Sequence[str | int], model: type[BaseModel]
) -> tuple[list[str | int], FieldInfo | None, type[BaseModel]]:
    """The part of an error's location that names a setting, the field there, and the model it belongs to."""
    steps: list[str | int] = []
    owner, field = model, None
    for place, step in enumerate(location):
        if isinstance(step, int):
            # An entry of a list of objects is a place of its own; one of a list of plain values is not.
            if field is None or model_in(field.annotation) is None:
                break
            steps.append(step)
            continue
        inner = owner if field is None else model_in(field.annotation)
        if inner is None:
            break
        steps.append(step)
        owner, field = inner, inner.model_fields.get(step)
        if field is None and place < len(location) - 1:
            break
    return steps, field, owner


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation holds, alone, optional or in a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        if (found := model_in(argument)) is not None:
            return found
    return None


def _path(steps: Sequence[str | int]) -> str:
    path = ""
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path


def _value_at(given: Any, steps: Sequence[str | int]) -> Any:
    value = given
    for step in steps:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return MISSING
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return value


def _what_it_was(value: Any, error: ErrorDetails) -> str:
    """What stands there now; nothing for a key that is missing or that nobody knows."""
    if error["type"] in ("missing", "extra_forbidden") or value is MISSING:
        return ""
    # As it stands in the file, but in quotation marks where it could not be seen without.
    plain = isinstance(value, str) and value and value == value.strip()
    try:
        shown = value if plain else json.dumps(value, default=str)
    except (ValueError, TypeError):
        shown = "That"
    return f"{shown if len(shown) <= LONGEST_SHOWN else f'{shown[:LONGEST_SHOWN]}…'} won't do. "


def _expectation(
    steps: Sequence[str | int], field: FieldInfo | None, owner: type[BaseModel], error: ErrorDetails
) -> str:
    """What may stand there, in whole sentences."""
    match error["type"]:
        case "setting":
            return error["msg"]
        case "extra_forbidden":
            near = _meant(steps, owner)
            guess = f"Did you mean {near}? " if near else ""
            return f"There is no such setting. {guess}There are {listed(sorted(owner.model_fields))}."
        case "missing" if field is not None:
            return f"It is missing. {_meaning(field)}"
    if field is None:
        return "It is not of the right kind."
    if allowed := may_be(field):
        return f"It may be {allowed}."
    return f"It is not of the right kind. {_meaning(field)}"


def _meant(steps: Sequence[str | int], owner: type[BaseModel]) -> str:
    """The setting that was probably meant by an unknown key; empty where none is like it."""
    near = difflib.get_close_matches(str(steps[-1]), owner.model_fields, n=1)
    return near[0] if near else ""


def may_be(field: FieldInfo) -> str:
    """The values of a field that are few or lie between bounds, in words; nothing of others."""
    if choices := _choices(field):
        return listed(choices, "or")
    kind = _plain_type(field.annotation)
    if kind in (int, float) and (bounds := _bounds(field)):
        return f"{'a whole number' if kind is int else 'a number'} {bounds}"
    return "true or false" if kind is bool else ""


def _meaning(field: FieldInfo) -> str:
    """What a setting is for, with a value that would do."""
    examples = field.examples or _choices(field)[:1]
    such_as = (
        f", such as {examples[0] if isinstance(examples[0], str) else json.dumps(examples[0])}" if examples else ""
    )
    return f"{field.description}{such_as}."


def _plain_type(annotation: Any) -> Any:
    """The type behind `X | None`."""
    if get_origin(annotation) in (types.UnionType, typing.Union):
        inner = [one for one in get_args(annotation) if one is not type(None)]
        return inner[0] if len(inner) == 1 else annotation
    return annotation


def _choices(field: FieldInfo) -> list[str]:
    annotation = _plain_type(field.annotation)
    return [str(choice) for choice in get_args(annotation)] if get_origin(annotation) is Literal else []


def _bounds(field: FieldInfo) -> str:
    limits: dict[str, Any] = {}
    for constraint in field.metadata:
        limits |= {side: getattr(constraint, side) for side in ("ge", "gt", "le") if hasattr(constraint, side)}
    low = f"from {limits['ge']}" if "ge" in limits else f"above {limits['gt']}" if "gt" in limits else ""
    high = f"to {limits['le']}" if "le" in limits else "on" if "ge" in limits else ""
    return f"{low} {high}".strip()
