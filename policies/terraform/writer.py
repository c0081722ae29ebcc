"""A Terraform plan that makes the resources of a graph: for tools that read plans, to be compared with this pack."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.policies.graph import STACK_REFERENCE, Graph, Resource
from trainyard.policies.terraform import kubernetes, providers
from trainyard.policies.terraform.table import by_pulumi
from trainyard.policies.values import UNKNOWN

FORMAT_VERSION = "1.2"
TERRAFORM_VERSION = "1.11.4"
"""What writes that format. Some readers take a document without one for no plan."""
_REGISTRY = "registry.terraform.io/hashicorp"
_PROVIDERS = "pulumi:providers:"


# What Terraform has no resource for, and what stands for it where another resource is computed from it.
_ELSEWHERE = {STACK_REFERENCE: "data.terraform_remote_state"}
_ANYTHING = "data.external"


@dataclass(frozen=True)
class Written:
    """A plan, and the resources of providers' types that it could not say. `addresses` goes by URN."""

    document: dict[str, Any]
    left_out: tuple[Resource, ...]
    addresses: Mapping[str, str]


def write_plan(inputs: Graph, outputs: Graph) -> Written:
    """The plan that makes what a graph has, on top of nothing. `inputs` says what was written of each resource and
    `outputs` what it is then, as far as that is known."""
    return _Writer(inputs, outputs).written()


class _Writer:
    def __init__(self, inputs: Graph, outputs: Graph) -> None:
        self._inputs = inputs
        self._resources = [one for one in outputs.resources if one.type.startswith(("aws:", "kubernetes:"))]
        self._values = {one.urn: said for one in self._resources if (said := _said(one))}
        self._addresses = dict(_addresses(self._resources, self._values))
        self._providers = dict(_provider_keys(inputs))

    def written(self) -> Written:
        said = [one for one in self._resources if one.urn in self._addresses]
        common = {one.urn: self._common(one) for one in said}
        values = {urn: values for urn, (_, values) in self._values.items()}
        document = {
            "format_version": FORMAT_VERSION,
            "terraform_version": TERRAFORM_VERSION,
            "planned_values": {
                "root_module": {
                    "resources": [
                        common[one.urn]
                        | {"schema_version": 0, "values": _known(values[one.urn]), "sensitive_values": {}}
                        for one in said
                    ]
                }
            },
            "resource_changes": [common[one.urn] | {"change": _change(values[one.urn])} for one in said],
            "configuration": {
                "provider_config": dict(self._provider_config()),
                "root_module": {
                    "resources": [
                        {key: value for key, value in common[one.urn].items() if key != "provider_name"}
                        | {
                            "provider_config_key": self._provider_key(one),
                            "expressions": self._expressions(one, values[one.urn]),
                            "schema_version": 0,
                        }
                        for one in said
                    ]
                },
            },
            "errored": False,
        }
        left_out = tuple(one for one in self._resources if one.urn not in self._addresses)
        return Written(document, left_out, self._addresses)

    def _common(self, resource: Resource) -> dict[str, Any]:
        address = self._addresses[resource.urn]
        terraform, _, label = address.partition(".")
        provider = f"{_REGISTRY}/{resource.type.partition(':')[0]}"
        return {"address": address, "mode": "managed", "type": terraform, "name": label, "provider_name": provider}

    def _provider_key(self, resource: Resource) -> str:
        default = resource.type.partition(":")[0]
        return self._providers.get(resource.provider.urn, default) if resource.provider else default

    def _expressions(self, resource: Resource, values: Mapping[str, Any]) -> dict[str, Any]:
        written = self._inputs.by_urn.get(resource.urn, resource)
        kind = by_pulumi(resource.type)
        found: dict[str, Any] = {}
        for name in [*written.props, *(one for one in written.property_dependencies if one not in written.props)]:
            terraform = kind.terraform_name(name) if kind else "manifest" if "manifest" in values else name
            given = written.props.get(name)
            references = [
                reference
                for origin in self._inputs.origins(written, name)
                for reference in self._references(origin, given)
            ]
            if references:
                earlier = found.get(terraform, {}).get("references", [])
                found[terraform] = {"references": [*earlier, *references]}
            elif terraform in values:
                # What is known in part has no constant value, and refers to nothing that stands here.
                known = given is not UNKNOWN and _unknown(values[terraform]) in (False, {})
                found.setdefault(terraform, {"constant_value": values[terraform]} if known else {})
        return found

    def _references(self, origin: Resource, value: Any) -> list[str]:
        address = self._addresses.get(origin.urn)
        if address is None:
            return [f"{_ELSEWHERE.get(origin.type, _ANYTHING)}.{_label(origin)}"]
        attribute = "arn" if isinstance(value, str) and value == origin.props.get("arn") else "id"
        return [f"{address}.{attribute}", address]

    def _provider_config(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for urn, key in self._providers.items():
            name, _, alias = key.partition(".")
            expressions = providers.to_terraform(name, self._inputs.by_urn[urn].props)
            described = {"name": name, "full_name": f"{_REGISTRY}/{name}", "expressions": expressions}
            yield key, described | ({"alias": alias} if alias else {})


def _said(resource: Resource) -> tuple[str, dict[str, Any]] | None:
    """The type and values by which Terraform makes a resource; None where it cannot."""
    if kind := by_pulumi(resource.type):
        return kind.terraform, kind.to_terraform(resource.props)
    return kubernetes.to_terraform(resource.type, resource.props)


def _change(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "actions": ["create"],
        "before": None,
        "after": _known(values),
        "after_unknown": _unknown(values) or {},
        "before_sensitive": False,
        "after_sensitive": {},
    }


def _provider_keys(graph: Graph) -> Iterator[tuple[str, str]]:
    """The first provider of a kind has no alias, the others have."""
    taken: set[str] = set()
    for resource in graph.resources:
        name = resource.type.removeprefix(_PROVIDERS)
        if name in providers.TYPES and name != resource.type:
            yield resource.urn, f"{name}.{_label(resource)}" if name in taken else name
            taken.add(name)


def _addresses(resources: list[Resource], said: Mapping[str, tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    taken: set[str] = set()
    for resource in resources:
        if resource.urn not in said:
            continue
        address = first = f"{said[resource.urn][0]}.{_label(resource)}"
        number = 1
        while address in taken:
            number += 1
            address = f"{first}_{number}"
        taken.add(address)
        yield resource.urn, address


def _label(resource: Resource) -> str:
    return re.sub(r"[^\w-]", "_", resource.name)


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
        below = [_unknown(item) for item in value]
        return below if any(one not in (False, {}, []) for one in below) else False
    return False
