"""Inputs against the API server's own OpenAPI, for what it can't be asked about by a dry run.

That is the case in a preview where the object's namespace is not made yet, or where values are still unknown.
Example: `Schemas(connection).problems(Kind("v1", "ConfigMap"), inputs)` gives pairs of path and reason.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from trainyard.local.aws.values import UNKNOWN
from trainyard.local.kubernetes.provider.connection import Connection
from trainyard.local.kubernetes.provider.kinds import Kind

Problem = tuple[str, str]

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (Mapping,),
}


class Schemas:
    """The schemas of one cluster, fetched by group and version when first needed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._documents: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def problems(self, kind: Kind, inputs: Mapping[str, Any]) -> list[Problem] | None:
        """What is wrong with `inputs`; `None` where the server has no schema of this kind."""
        definitions = self._definitions(kind.api_version)
        schema = next((one for one in definitions.values() if _is_of(one, kind)), None)
        if schema is None or not (schema.get("properties") or schema.get("allOf")):
            return None
        return violations(schema, inputs, definitions)

    def _definitions(self, api_version: str) -> dict[str, Any]:
        with self._lock:
            if api_version not in self._documents:
                prefix = "apis/" if "/" in api_version else "api/"
                paths = self._connection.request("GET", "/openapi/v3").get("paths") or {}
                place = (paths.get(prefix + api_version) or {}).get("serverRelativeURL")
                if not place:
                    return {}
                document = self._connection.request("GET", place)
                self._documents[api_version] = (document.get("components") or {}).get("schemas") or {}
            return self._documents[api_version]


def violations(schema: Mapping[str, Any], value: Any, definitions: Mapping[str, Any], path: str = "") -> list[Problem]:
    """What in `value` is not as `schema` has it; values that are unknown yet are taken to be right."""
    if value is UNKNOWN or value is None:
        return []
    schema = _resolved(schema, definitions)
    if schema.get("x-kubernetes-int-or-string") or "oneOf" in schema or "anyOf" in schema:
        return []  # quantities, ports, times: numbers or text
    expected = schema.get("type")
    if expected and not _is_type(value, expected):
        return [(path or "the object", f"has to be of type {expected}, not {_name(value)}")]
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(str(one) for one in schema["enum"])
        return [(path, f"is {value!r}; one of {allowed} may stand there")]
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [found for i, one in enumerate(value) for found in violations(items, one, definitions, f"{path}[{i}]")]
    if isinstance(value, Mapping):
        return _object_violations(schema, value, definitions, path)
    return []


def _object_violations(
    schema: Mapping[str, Any], value: Mapping[str, Any], definitions: Mapping[str, Any], path: str
) -> list[Problem]:
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    is_open = bool(schema.get("x-kubernetes-preserve-unknown-fields")) or not properties
    found: list[Problem] = []
    for name, one in value.items():
        inside = f"{path}.{name}" if path else name
        if name in properties:
            found += violations(properties[name], one, definitions, inside)
        elif isinstance(additional, Mapping):
            found += violations(additional, one, definitions, inside)
        elif not is_open and not additional:
            found.append((inside, f"is no field of it; there are {_nearest(name, properties)}"))
    for name in schema.get("required") or ():
        if name not in value:
            found.append((f"{path}.{name}" if path else name, "is missing"))
    return found


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    while True:
        parts = schema.get("allOf")
        if "$ref" in schema:
            schema = definitions.get(schema["$ref"].rsplit("/", 1)[-1]) or {}
        elif parts and len(parts) == 1:
            schema = {**{key: one for key, one in schema.items() if key != "allOf"}, **parts[0]}
        else:
            return schema


def _is_type(value: Any, expected: str) -> bool:
    if isinstance(value, bool):
        return expected == "boolean"
    return isinstance(value, _TYPES.get(expected, (object,)))


def _is_of(schema: Mapping[str, Any], kind: Kind) -> bool:
    return any(
        (one.get("group") or "", one.get("version"), one.get("kind"))
        == (kind.group, kind.api_version.rpartition("/")[2], kind.kind)
        for one in schema.get("x-kubernetes-group-version-kind") or ()
    )


def _nearest(name: str, properties: Mapping[str, Any]) -> str:
    import difflib

    close = difflib.get_close_matches(name, list(properties), 3, 0.6)
    return ", ".join(close or sorted(properties)[:12])


def _name(value: Any) -> str:
    for name, types in (("boolean", bool), ("integer", int), ("number", float), ("string", str), ("array", list)):
        if isinstance(value, types):
            return name
    return "object"
