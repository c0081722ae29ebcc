"""The CloudFormation schemas that cfn-lint bundles: enums, ranges and what cannot change in place.

The only module that knows where cfn-lint keeps them. It reads the files without importing cfn-lint, which takes
seconds.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_DEFAULT_REGION = "us-east-1"


class NoSchemaError(LookupError):
    """cfn-lint bundles no schema of that name."""


@dataclass(frozen=True)
class Schema:
    """A CloudFormation resource schema, or the part of one that `TYPE/Property/Property` points at."""

    definitions: Mapping[str, Any]
    node: Mapping[str, Any]
    create_only: frozenset[str]

    def property(self, name: str) -> Schema | None:
        """The schema of a property, by its CloudFormation or its Pulumi name; `None` if there is none."""
        for known, node in self._properties().items():
            if known.lower() == name.lower():
                return Schema(self.definitions, self._resolve(node), frozenset())
        return None

    def at(self, path: str) -> Schema | None:
        """The schema at `Property/Property`, where `[]` stands for a list's items; `None` if there is none."""
        found: Schema | None = self
        for part in path.split("/"):
            if found is not None:
                found = found.items() if part == "[]" else found.property(part)
        return found

    def items(self) -> Schema | None:
        """The schema of a list's items."""
        items = self.node.get("items")
        return Schema(self.definitions, self._resolve(items), frozenset()) if isinstance(items, Mapping) else None

    def violations(self, value: Any) -> Iterator[str]:
        """What `value`, a scalar or a list, breaks: enum, pattern, length and range."""
        node = self.node
        if "enum" in node and value not in node["enum"]:
            yield f"is {value!r}; it may be {_either(node['enum'])}"
        elif isinstance(value, str):
            yield from self._text_violations(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            low, high = node.get("minimum"), node.get("maximum")
            if (low is not None and value < low) or (high is not None and value > high):
                yield f"is {value}; it may be {_span(low, high)}"
        elif isinstance(value, list):
            low, high = node.get("minItems"), node.get("maxItems")
            if (low is not None and len(value) < low) or (high is not None and len(value) > high):
                yield f"has {len(value)} items; it may have {_span(low, high)}"

    def _text_violations(self, value: str) -> Iterator[str]:
        low, high, pattern = self.node.get("minLength"), self.node.get("maxLength"), self.node.get("pattern")
        if (low is not None and len(value) < low) or (high is not None and len(value) > high):
            yield f"has {len(value)} characters; it may have {_span(low, high)}"
        elif pattern and (compiled := _compile(pattern)) and not compiled.search(value):
            yield f"is {value!r}; it must match {pattern}"

    def _properties(self) -> Mapping[str, Any]:
        found: dict[str, Any] = dict(self.node.get("properties") or {})
        for group in ("oneOf", "anyOf", "allOf"):
            for option in self.node.get(group) or ():
                found = {**(self._resolve(option).get("properties") or {}), **found}
        return found

    def _resolve(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        reference = node.get("$ref", "")
        if reference.startswith("#/definitions/"):
            return self._resolve(self.definitions.get(reference.removeprefix("#/definitions/"), {}))
        return node


@cache
def schema(name: str, region: str = _DEFAULT_REGION) -> Schema:
    """The schema of `AWS::S3::Bucket`, or of `AWS::S3::Bucket/VersioningConfiguration`, as it stands in `region`."""
    type_name, _, path = name.partition("/")
    document = _document(type_name, region)
    top = Schema(document.get("definitions") or {}, document, _create_only(document))
    found = top.at(path) if path else top
    if found is None:
        raise NoSchemaError(name)
    return found


def _document(type_name: str, region: str) -> Mapping[str, Any]:
    for candidate in (region, _DEFAULT_REGION):
        file = _index(candidate).get(type_name)
        if file is not None:
            return json.loads((_folder() / "resources" / f"{file}.json").read_text())
    raise NoSchemaError(type_name)


@cache
def _index(region: str) -> Mapping[str, str]:
    path = _folder() / "providers" / f"{region}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


@cache
def _folder() -> Path:
    found = importlib.util.find_spec("cfnlint")
    if found is None or found.origin is None:
        raise NoSchemaError("cfn-lint is not installed; the rehearsal extra of this project brings it")
    folder = Path(found.origin).parent / "data" / "schemas"
    if not (folder / "providers").is_dir():
        raise NoSchemaError(
            f"cfn-lint keeps its schemas elsewhere than in {folder}: see trainyard/local/aws/cloudformation.py"
        )
    return folder


def _create_only(document: Mapping[str, Any]) -> frozenset[str]:
    pointers = [*(document.get("createOnlyProperties") or ()), *(document.get("conditionalCreateOnlyProperties") or ())]
    paths = (pointer.removeprefix("/properties/") for pointer in pointers)
    return frozenset(path for path in paths if "/" not in path)


@cache
def _compile(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except re.error:  # some are written for other engines
        return None


def _either(values: list[Any]) -> str:
    shown = [str(value) for value in values[:12]]
    return ", ".join(shown) + (f" and {len(values) - 12} more" if len(values) > 12 else "")


def _span(low: Any, high: Any) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"
