"""What a pack and the process of a team's own rules tell each other: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.rule import Finding, Verdict
from trainyard.policies.values import UNKNOWN, NotKnownYetError, UnverifiedError, Value

_UNKNOWN = "\x00unknown"


def line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, default=_told).encode() + b"\n"


def read(told: bytes) -> dict[str, Any]:
    """Raises ValueError where it is no such line."""
    message = json.loads(told, object_hook=_meant)
    if not isinstance(message, dict):
        raise ValueError("this is no message")
    return message


def _told(value: Any) -> Any:
    """A value that JSON does not have: unknown, or a day that YAML read in a case."""
    return {_UNKNOWN: True} if value is UNKNOWN else str(value)


def _meant(found: dict[str, Any]) -> Any:
    return UNKNOWN if _UNKNOWN in found else found


def graph_as_told(graph: Graph) -> dict[str, Any]:
    providers: dict[int, Resource] = {id(one.provider): one.provider for one in graph.resources if one.provider}
    order = {key: position for position, key in enumerate(providers)}
    return {
        "providers": [_resource_as_told(one, None) for one in providers.values()],
        "resources": [_resource_as_told(one, order.get(id(one.provider))) for one in graph.resources],
    }


def _resource_as_told(one: Resource, provider: int | None) -> list[Any]:
    depends = {name: list(urns) for name, urns in one.property_dependencies.items()}
    return [one.urn, one.type, one.name, dict(one.props), provider, list(one.dependencies), depends]


def graph_meant(told: Mapping[str, Any]) -> Graph:
    providers = [_resource_meant(one, []) for one in told["providers"]]
    return Graph(_resource_meant(one, providers) for one in told["resources"])


def _resource_meant(told: list[Any], providers: list[Resource]) -> Resource:
    urn, kind, name, props, provider, dependencies, depends = told
    return Resource(
        urn,
        kind,
        name,
        props,
        None if provider is None else providers[provider],
        tuple(dependencies),
        {key: tuple(urns) for key, urns in depends.items()},
    )


def finding_as_told(finding: Finding) -> dict[str, Any]:
    cause = finding.cause
    return {
        "verdict": finding.verdict.value,
        "message": finding.message,
        "place": finding.place,
        "urn": finding.urn,
        "unread": unread_as_told(cause) if isinstance(cause, UnverifiedError) else None,
    }


def finding_meant(told: Mapping[str, Any]) -> Finding:
    cause = unread_meant(told["unread"]) if told["unread"] else None
    return Finding(Verdict(told["verdict"]), told["message"], told["place"], told["urn"], cause)


def unread_as_told(unread: UnverifiedError) -> dict[str, Any]:
    value, later = unread.value, isinstance(unread, NotKnownYetError)
    return {"reason": unread.reason, "path": list(value.path), "urn": value.urn, "later": later}


def unread_meant(told: Mapping[str, Any]) -> UnverifiedError:
    value = Value(UNKNOWN if told["later"] else None, tuple(told["path"]), told["urn"])
    return NotKnownYetError(value) if told["later"] else UnverifiedError(value, told["reason"])
