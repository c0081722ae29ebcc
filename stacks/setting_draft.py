"""Settings of which some are wrong: what is right of them, for the checks between settings.

    made = draft(Settings, given)
    made.vpc_cidr                            # as if all were right
    made.region                              # raises NotKnownError where that is missing or wrong

A user sees all mistakes at once that way. What a check says of a setting still rests on right settings alone: it ends
where it meets one that is not known.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from trainyard.stacks.setting_errors import model_in
from trainyard.stacks.setting_values import from_json

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")


class NotKnownError(Exception):
    """A setting that a check asked for is missing or wrong."""


class _Draft:
    """A model's fields, where those without a right value are not known."""

    def __getattr__(self, name: str) -> Any:
        if name in type(self).model_fields:  # ty: ignore[missing-attribute]
            raise NotKnownError(name)
        return super().__getattr__(name)  # ty: ignore[missing-attribute]


def draft(model: type[Model], given: Any) -> Model:
    """What is right of `given`, each field judged by itself and those inside objects likewise."""
    made = _drafts_of(model).model_construct()
    fields = model.model_fields
    if not isinstance(given, Mapping):
        for name in fields:
            made.__dict__.pop(name, None)
        return made
    for name, field in fields.items():
        if name not in given:
            continue  # Left out: it has its default, or is not known.
        try:
            setattr(made, name, given[name])
        except ValidationError:
            made.__dict__.pop(name, None)
            inside = _inside(field, given[name])
            if inside is not None:
                made.__dict__[name] = inside
    return made


def known(get: Callable[[], Value]) -> Value | None:
    """What `get` returns, or None where it meets a setting that is not known."""
    try:
        return get()
    except NotKnownError:
        return None


def as_far_as_known(found: Iterable[Value]) -> Iterator[Value]:
    """What a check finds until it meets a setting that is not known."""
    try:
        yield from found
    except NotKnownError:
        return


@functools.cache
def _drafts_of(model: type[Model]) -> type[Model]:
    """The model with fields that are set, and judged, one by one."""
    kind = types.new_class(f"{model.__name__}Draft", (_Draft, model), {"frozen": False, "validate_assignment": True})
    return cast("type[Model]", kind)


def _inside(field: FieldInfo, given: Any) -> Any:
    """A wrong object's draft, or those of a list of objects; None for anything else."""
    inner = model_in(field.annotation)
    if inner is None:
        return None
    value = from_json(given)
    if get_origin(field.annotation) is not tuple:
        return draft(inner, value) if isinstance(value, Mapping) else None
    if not isinstance(value, list | tuple) or not value:
        return None
    return tuple(_entry(inner, one) for one in value)


def _entry(model: type[BaseModel], given: Any) -> BaseModel:
    try:
        return model.model_validate(given)
    except ValidationError:
        return draft(model, given)
