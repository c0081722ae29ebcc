"""Check: whether a program's inputs can be a resource, and the inputs with names, defaults and tags filled in."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainyard.local.aws import cloudformation
from trainyard.local.aws.compare import DEFAULTS_KEY
from trainyard.local.aws.fields import Json
from trainyard.local.aws.naming import Autonaming, NameTooLongError, auto_name
from trainyard.local.aws.noted import is_noted
from trainyard.local.aws.row import Problem, Row
from trainyard.local.aws.sdk import SdkType, sdk_type
from trainyard.local.aws.tags import merged_tags
from trainyard.local.aws.values import UNKNOWN, has_unknown

_PYTHON_NAMES = {
    "string": "a string",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "list": "a list",
    "map": "a map",
    "object": "an object",
}


@dataclass(frozen=True)
class CheckRequest:
    """What Check is asked: the program's inputs and, for a resource that stays, those of the last time."""

    resource_name: str
    inputs: Mapping[str, Any]
    old_inputs: Mapping[str, Any] = field(default_factory=dict)
    seed: bytes = b""
    autonaming: Autonaming | None = None
    region: Any = None
    default_tags: Any = None


def check(row: Row, request: CheckRequest) -> tuple[dict[str, Any], list[Problem]]:
    """The inputs that the engine records, and what is wrong with them."""
    sdk = sdk_type(row.token)
    inputs = {name: value for name, value in request.inputs.items() if value is not None and name != DEFAULTS_KEY}
    if "region" in sdk.inputs and "region" not in inputs and request.region:
        inputs["region"] = request.region
    problems = list(_type_problems(sdk, inputs))
    problems += _not_emulated(row, [name for name in inputs if name in sdk.inputs])
    for name, value in inputs.items():
        if isinstance(row.fields.get(name), Json) and isinstance(value, (Mapping, list)):
            inputs[name] = UNKNOWN if has_unknown(value) else json.dumps(value, separators=(",", ":"))
    filled, naming_problems = _fill_in(row, inputs, request)
    problems += naming_problems
    if "tags" in sdk.inputs and "tagsAll" in sdk.outputs:
        inputs["tagsAll"] = merged_tags(inputs.get("tags"), request.default_tags or {})
    if not problems:
        problems += _exclusions(row, inputs)
        problems += _schema_problems(row, inputs)
        for constraint in row.constraints:
            problems += constraint(inputs)
    inputs[DEFAULTS_KEY] = sorted(filled)
    return inputs, problems


def _fill_in(row: Row, inputs: dict[str, Any], request: CheckRequest) -> tuple[list[str], list[Problem]]:
    """Put names and defaults into `inputs`; the names of what was filled in, and a name that is too long."""
    filled: list[str] = []
    naming = row.name
    if naming and naming.property not in inputs and naming.prefix_property not in inputs:
        old = request.old_inputs
        if naming.property in old and naming.property in old.get(DEFAULTS_KEY, ()):
            name = old[naming.property]
        else:
            try:
                name = auto_name(naming, request.resource_name, inputs, request.seed, request.autonaming)
            except NameTooLongError as error:
                return filled, [(naming.property, str(error))]
        if name is None:
            return filled, [(naming.property, "is missing, and the stack's configuration turns auto-naming off")]
        inputs[naming.property] = name
        filled.append(naming.property)
    for name, value in row.defaults.items():
        if name not in inputs:
            inputs[name] = value
            filled.append(name)
    return filled, []


def _not_emulated(row: Row, names: list[str]) -> Iterator[Problem]:
    for name in names:
        if is_noted(row, name):
            continue
        if name in row.not_emulated:
            yield name, f"is not emulated: {row.not_emulated[name]}"
        elif not row.knows(name):
            yield name, f"is not in the row of {row.token}: add it in trainyard/local/aws/rows/"


def _type_problems(sdk: SdkType, inputs: Mapping[str, Any]) -> Iterator[Problem]:
    for name in sdk.required:
        if name not in inputs:
            yield name, "is missing: it is required"
    for name, value in inputs.items():
        if name == "tagsAll":
            continue
        if name not in sdk.inputs:
            yield name, _unknown_property(name, sdk.inputs)
        else:
            yield from type_problems(sdk, sdk.inputs[name], value, name)


def type_problems(sdk: SdkType, type_: Mapping[str, Any], value: Any, path: str) -> Iterator[Problem]:
    """Where `value` is not of the SDK's `type_`."""
    if value is UNKNOWN or value is None:
        return
    kind = type_["is"]
    if kind == "any":
        return
    if kind == "union":
        options = [list(type_problems(sdk, option, value, path)) for option in type_["of"]]
        if all(options):  # of the kind that was meant, if one can tell, else of the first
            yield next((found[0] for found in options if found[0][0] != path), options[0][0])
    elif not _is_kind(kind, value):
        yield path, f"is {value!r}; it must be {_PYTHON_NAMES[kind]}"
    elif kind == "list":
        for index, item in enumerate(value):
            yield from type_problems(sdk, type_["of"], item, f"{path}[{index}]")
    elif kind == "map":
        for key, item in value.items():
            yield from type_problems(sdk, type_["of"], item, f"{path}[{json.dumps(key)}]")
    elif kind == "object":
        yield from _object_problems(sdk, sdk.objects[type_["name"]], value, path)


def _object_problems(
    sdk: SdkType, object_: Mapping[str, Any], value: Mapping[str, Any], path: str
) -> Iterator[Problem]:
    for name in object_["required"]:
        if value.get(name) is None:
            yield f"{path}.{name}", "is missing: it is required"
    for name, item in value.items():
        if name not in object_["properties"]:
            yield f"{path}.{name}", _unknown_property(name, object_["properties"])
        else:
            yield from type_problems(sdk, object_["properties"][name], item, f"{path}.{name}")


def _is_kind(kind: str, value: Any) -> bool:
    if kind == "string":
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, list) if kind == "list" else isinstance(value, Mapping)


def _unknown_property(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(known))}"
    return f"is no property of this type; {hint}"


def _exclusions(row: Row, inputs: Mapping[str, Any]) -> Iterator[Problem]:
    for names in row.exactly_one:
        given = [name for name in names if name in inputs]
        if len(given) != 1:
            yield names[0], f"exactly one of {', '.join(names)} must be given, not {len(given)}"
    pairs = row.conflicts
    if row.name and row.name.prefix_property:
        pairs = (*pairs, (row.name.property, row.name.prefix_property))
    for names in pairs:
        given = [name for name in names if name in inputs]
        if len(given) > 1:
            yield given[0], f"excludes {' and '.join(given[1:])}"


def _schema_problems(row: Row, inputs: Mapping[str, Any]) -> Iterator[Problem]:
    if not row.cloudformation:
        return
    region = inputs.get("region")
    schema = cloudformation.schema(row.cloudformation, region if isinstance(region, str) else "us-east-1")
    for name, value in inputs.items():
        if name in ("region", "tags", "tagsAll", *row.unchecked) or value == row.defaults.get(name, UNKNOWN):
            continue
        found = schema.at(row.schema_names.get(name, name))
        if found is not None:
            yield from _violations(row, found, value, name, name)


def _violations(row: Row, schema: cloudformation.Schema, value: Any, path: str, pattern_path: str) -> Iterator[Problem]:
    """Walk a value and its schema together, as far as their names agree."""
    if value is UNKNOWN or pattern_path in row.unchecked:
        return
    if isinstance(value, Mapping):
        for name, item in value.items():
            inner_path = f"{pattern_path}.{name}"
            found = schema.at(row.schema_names.get(inner_path, name))
            if found is not None:
                yield from _violations(row, found, item, f"{path}.{name}", inner_path)
        return
    for violation in schema.violations(value):
        yield path, violation
    items = schema.items() if isinstance(value, list) else None
    if items is not None:
        for index, item in enumerate(value):
            yield from _violations(row, items, item, f"{path}[{index}]", f"{pattern_path}[]")
