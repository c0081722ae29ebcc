"""The rules over an exported state (`pulumi stack export`), where everything that will be known is known."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from trainyard.policies.evaluation import evaluate_all
from trainyard.policies.exemptions import Exemption, written
from trainyard.policies.graph import Graph, Resource, name_of
from trainyard.policies.in_force import InForce
from trainyard.policies.rule import Result, Rule
from trainyard.policies.values import UNKNOWN
from trainyard.policies.wire import SIGNATURE


def evaluate_state(
    rules: Iterable[Rule], export: Mapping[str, Any], exemptions: Iterable[Exemption] | None = None
) -> Iterator[Result]:
    """`rules` over an exported state. Without `exemptions`, those of policies/exemptions.yaml count.

    Raises ValueError where `export` is no exported deployment.
    """
    judging = InForce(tuple(rules), exemptions=tuple(written() if exemptions is None else exemptions))
    return evaluate_export(judging, export)


def evaluate_export(judging: InForce, export: Mapping[str, Any]) -> Iterator[Result]:
    """What is in force over an exported state. Raises ValueError where `export` is no exported deployment."""
    deployment = export.get("deployment")
    if not isinstance(deployment, Mapping) or not isinstance(deployment.get("resources"), list):
        raise ValueError("this is no exported state: it has no deployment.resources (make one: pulumi stack export)")
    return evaluate_all(judging, graph_of(export, "inputs"), graph_of(export, "outputs"))


def graph_of(export: Mapping[str, Any], side: Literal["inputs", "outputs"] = "outputs") -> Graph:
    """The resources of an exported deployment; none where it is empty. What the program only reads is not among them,
    as the engine tells no policy of it either."""
    resources = (export.get("deployment") or {}).get("resources") or []
    return _graph([raw for raw in resources if not raw.get("delete") and not raw.get("external")], side)


def _graph(raw_resources: list[Mapping[str, Any]], side: str) -> Graph:
    providers = {
        raw["urn"]: _resource(raw, "inputs", None)
        for raw in raw_resources
        if raw["type"].startswith("pulumi:providers:")
    }
    # A state refers to a provider by its URN and, after `::`, its id.
    return Graph(
        _resource(raw, side, providers.get(raw.get("provider", "").rpartition("::")[0])) for raw in raw_resources
    )


def _resource(raw: Mapping[str, Any], side: str, provider: Resource | None) -> Resource:
    props = _value(raw.get(side) or {})
    if side == "outputs" and "id" in raw:
        props = {"id": raw["id"], **props}
    dependencies = raw.get("propertyDependencies") or {}
    return Resource(
        urn=raw["urn"],
        type=raw["type"],
        name=name_of(raw["urn"]),
        props=props if isinstance(props, dict) else {},
        provider=provider,
        dependencies=tuple(raw.get("dependencies") or ()),
        property_dependencies={name: tuple(urns or ()) for name, urns in dependencies.items()},
    )


def _value(value: Any) -> Any:
    """A value without the engine's own keys. A secret that was not exported with `--show-secrets` is unknown."""
    if isinstance(value, Mapping):
        if SIGNATURE in value:
            return json.loads(value["plaintext"]) if "plaintext" in value else UNKNOWN
        return {key: _value(item) for key, item in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [_value(item) for item in value]
    return value
