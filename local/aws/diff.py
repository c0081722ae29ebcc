"""Diff: what changes between the recorded inputs and the program's, and whether the resource has to be replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from trainyard.local.aws import cloudformation
from trainyard.local.aws.compare import DEFAULTS_KEY, Comparison
from trainyard.local.aws.fields import Each, Object
from trainyard.local.aws.row import Row
from trainyard.local.aws.sdk import sdk_type
from trainyard.local.aws.tags import TagsField


@dataclass(frozen=True)
class Difference:
    """The changed paths with `add`, `delete` or `update`, and the properties among them that force a replacement."""

    changes: Mapping[str, str]
    replaces: frozenset[str]
    delete_before_replace: bool


def diff(
    row: Row, old_inputs: Mapping[str, Any], old_outputs: Mapping[str, Any], new_inputs: Mapping[str, Any]
) -> Difference:
    """Compare by meaning; a property the program leaves to AWS is no change."""
    comparison = Comparison(row)
    changes: dict[str, str] = {}
    changed: set[str] = set()
    for name in sorted((set(old_inputs) | set(new_inputs)) - {DEFAULTS_KEY}):
        new = new_inputs.get(name)
        old = old_inputs[name] if name in old_inputs else old_outputs.get(name)
        if name not in new_inputs and comparison.is_computed(name):
            continue
        if name in row.local and DEFAULTS_KEY not in old_inputs:  # imported: AWS can't tell, so the program decides
            continue
        if comparison.same(name, new, old):
            continue
        changed.add(name)
        changes.update(_paths(row, name, old, new))
    replaces = frozenset(changed & replacing_properties(row))
    return Difference(changes, replaces, bool(replaces) and _deletes_first(row, old_inputs, old_outputs, new_inputs))


@cache
def replacing_properties(row: Row) -> frozenset[str]:
    """The properties of a row's type that cannot change in place."""
    names = {"region", *row.replace_on}
    if row.name is not None:
        names |= {row.name.property, row.name.prefix_property}
    if row.cloudformation and "/" not in row.cloudformation:
        create_only = {name.lower() for name in cloudformation.schema(row.cloudformation).create_only}
        names |= {
            name for name in sdk_type(row.token).inputs if row.schema_names.get(name, name).lower() in create_only
        }
    return frozenset(names - set(row.in_place) - {""})


def _deletes_first(
    row: Row, old_inputs: Mapping[str, Any], old_outputs: Mapping[str, Any], new_inputs: Mapping[str, Any]
) -> bool:
    """A name that the program fixes can't exist twice, so the old resource has to go first."""
    if row.delete_before_replace:
        return True
    if row.name is None or row.name.property not in new_inputs:
        return False
    name = row.name.property
    generated = name in new_inputs.get(DEFAULTS_KEY, ())
    return not generated and new_inputs[name] == old_inputs.get(name, old_outputs.get(name))


def _paths(row: Row, name: str, old: Any, new: Any) -> Iterator[tuple[str, str]]:
    """The changed paths of a property: into objects, ordered lists of objects and tags; else the whole property."""
    field = row.fields.get(name)
    if (
        isinstance(old, Mapping)
        and isinstance(new, Mapping)
        and (isinstance(field, (Object, TagsField)) or name == "tags")
    ):
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                yield _join(name, key), _kind(old.get(key), new.get(key))
    elif isinstance(field, Each) and field.ordered and isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else None
            after = new[index] if index < len(new) else None
            if field.canonical([before] if before else []) != field.canonical([after] if after else []):
                yield f"{name}[{index}]", _kind(before, after)
    else:
        yield name, _kind(old, new)


def _kind(old: Any, new: Any) -> str:
    if old is None:
        return "add"
    return "delete" if new is None else "update"


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if key.isidentifier() else f'{name}["{key}"]'
