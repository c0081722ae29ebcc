"""A Terraform plan that makes the resources of a graph: for tools that read plans, to be compared with this pack."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.terraform.table import by_pulumi
from trainyard.policies.values import UNKNOWN

FORMAT_VERSION = "1.2"
_REGISTRY = "registry.terraform.io/hashicorp"
_PROVIDERS = "pulumi:providers:"


@dataclass(frozen=True)
class Written:
    """A plan, and the resources of providers' types that it could not say."""

    document: dict[str, Any]
    left_out: tuple[Resource, ...]
    addresses: Mapping[str, str]
    """By URN."""


def write_plan(inputs: Graph, outputs: Graph) -> Written:
    """The plan that makes what a graph has, on top of nothing. `inputs` says what was written of each resource and
    `outputs` what it is then, as far as that is known."""
    resources = [one for one in outputs.resources if one.type.startswith(("aws:", "kubernetes:"))]
    addresses = dict(_addresses(resources))
    rows, changes, configured = [], [], []
    for resource in resources:
        if resource.urn not in addresses:
            continue
        terraform, _, label = addresses[resource.urn].partition(".")
        address, provider = addresses[resource.urn], resource.type.partition(":")[0]
        kind = by_pulumi(resource.type)
        values = kind.to_terraform(resource.props) if kind else {"manifest": dict(resource.props)}
        common = {"address": address, "mode": "managed", "type": terraform, "name": label}
        common["provider_name"] = f"{_REGISTRY}/{provider}"
        rows.append(common | {"schema_version": 0, "values": _known(values), "sensitive_values": {}})
        change = {
            "actions": ["create"],
            "before": None,
            "after": _known(values),
            "after_unknown": _unknown(values) or {},
            "before_sensitive": False,
            "after_sensitive": {},
        }
        changes.append(common | {"change": change})
        expressions = _expressions(inputs.by_urn.get(resource.urn, resource), values, inputs, addresses)
        configured.append(
            {key: value for key, value in common.items() if key != "provider_name"}
            | {"provider_config_key": provider, "expressions": expressions, "schema_version": 0}
        )
    document = {
        "format_version": FORMAT_VERSION,
        "terraform_version": "1.11.4",
        "planned_values": {"root_module": {"resources": rows}},
        "resource_changes": changes,
        "configuration": {
            "provider_config": dict(_provider_config(inputs)),
            "root_module": {"resources": configured},
        },
        "errored": False,
    }
    return Written(document, tuple(one for one in resources if one.urn not in addresses), addresses)


def _addresses(resources: list[Resource]) -> Iterator[tuple[str, str]]:
    taken: set[str] = set()
    for resource in resources:
        kind = by_pulumi(resource.type)
        if kind is None and not resource.type.startswith("kubernetes:"):
            continue
        terraform = kind.terraform if kind else "kubernetes_manifest"
        label = re.sub(r"[^\w-]", "_", resource.name)
        address, number = f"{terraform}.{label}", 1
        while address in taken:
            number += 1
            address = f"{terraform}.{label}_{number}"
        taken.add(address)
        yield resource.urn, address


def _known(value: Any) -> Any:
    """Terraform leaves out what is unknown, and writes null for it in a list."""
    if isinstance(value, Mapping):
        return {key: _known(item) for key, item in value.items() if item is not UNKNOWN}
    if isinstance(value, list):
        return [None if item is UNKNOWN else _known(item) for item in value]
    return value


def _unknown(value: Any) -> Any:
    """The same shape with true where a value is unknown, false or nothing elsewhere."""
    if value is UNKNOWN:
        return True
    if isinstance(value, Mapping):
        return {key: below for key, item in value.items() if (below := _unknown(item)) not in (False, {}, [])}
    if isinstance(value, list):
        return [_unknown(item) for item in value]
    return False


def _expressions(
    resource: Resource, values: Mapping[str, Any], graph: Graph, addresses: Mapping[str, str]
) -> dict[str, Any]:
    kind = by_pulumi(resource.type)
    found: dict[str, Any] = {}
    for name in resource.props:
        terraform = kind.terraform_name(name) if kind else "manifest"
        references = [
            reference
            for origin in graph.origins(resource, name)
            if origin.urn in addresses
            for reference in _reference(origin, addresses[origin.urn], resource.props.get(name))
        ]
        if references:
            earlier = found.get(terraform, {}).get("references", [])
            found[terraform] = {"references": [*earlier, *references]}
        elif terraform in values:
            value = values[terraform]
            found.setdefault(terraform, {} if _unknown(value) not in (False, {}) else {"constant_value": value})
    return found


def _reference(origin: Resource, address: str, value: Any) -> tuple[str, str]:
    attribute = "arn" if isinstance(value, str) and value == origin.props.get("arn") else "id"
    return f"{address}.{attribute}", address


def _provider_config(graph: Graph) -> Iterator[tuple[str, dict[str, Any]]]:
    for resource in graph.resources:
        if not resource.type.startswith(_PROVIDERS):
            continue
        name = resource.type.removeprefix(_PROVIDERS)
        expressions: dict[str, Any] = {}
        if isinstance(region := resource.props.get("region"), str):
            expressions["region"] = {"constant_value": region}
        if isinstance(text := resource.props.get("defaultTags"), str):
            expressions["default_tags"] = [{"tags": {"constant_value": json.loads(text).get("tags")}}]
        yield name, {"name": name, "full_name": f"{_REGISTRY}/{name}", "expressions": expressions}
