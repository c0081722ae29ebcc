"""Example cases of a rule, as data beside it: `cases/<rule id>.yaml` with lists `good`, `bad` and `unverified`.

A case has a `name`, the `resources` of a small stack and, where it is not good, `finds`: the places found, each a
resource's name, or `name.property`. A resource has `type`, `name`, `props` and, where they matter, `provider` (the
name of another resource of the case) and `depends`: property -> names of the other resources that it was computed from.
To a stack rule an unknown property that is not in it is AWS's own answer, and not the program's.
`!unknown` stands for a value that the engine does not know yet, `!secret x` for a secret one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainyard.policies.graph import STACK_REFERENCE, Graph, Resource
from trainyard.policies.rule import Rule, Verdict
from trainyard.policies.values import UNKNOWN

_VERDICTS = {"good": Verdict.PASSED, "bad": Verdict.VIOLATION, "unverified": Verdict.UNVERIFIED}


@dataclass(frozen=True)
class Secret:
    """A value that the engine marks as secret. Rules see the value inside."""

    value: Any


@dataclass(frozen=True)
class Case:
    """A small stack and what the rule must find in it. The resources' properties may hold `Secret`."""

    rule_id: str
    name: str
    verdict: Verdict
    resources: tuple[Resource, ...]
    finds: tuple[str, ...]

    def graph(self) -> Graph:
        """The stack as rules see it: the engine tells them nothing of other stacks."""
        return Graph(_revealed(resource) for resource in self.resources if resource.type != STACK_REFERENCE)


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!unknown", lambda *_: UNKNOWN)
_Loader.add_constructor("!secret", lambda _, node: Secret(node.value if node.style else yaml.safe_load(node.value)))


SHIPPED = Path(__file__).parent
"""The folder that holds the cases of the rules that this package has."""


def cases_of(rule: Rule, folder: Path = SHIPPED) -> Iterator[Case]:
    """The cases of one rule, good ones first; `folder` has the folder `cases`.

    Raises FileNotFoundError where nobody wrote any, and what reading the file raises where it is not made of cases.
    """
    return cases_named(rule.id, folder)


def cases_named(rule_id: str, folder: Path) -> Iterator[Case]:
    """The same, by a rule's id."""
    path = folder / "cases" / f"{rule_id}.yaml"
    raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a SafeLoader with two more tags)
    if unknown := set(raw) - set(_VERDICTS):
        raise ValueError(f"{', '.join(map(repr, unknown))} is none of {', '.join(_VERDICTS)}")
    for kind, verdict in _VERDICTS.items():
        for case in raw.get(kind) or ():
            resources = stack(case["resources"], case.get("environment", "dev"))
            yield Case(rule_id, case["name"], verdict, resources, tuple(case.get("finds", ())))


def stack(described: list[Mapping[str, Any]], environment: str) -> tuple[Resource, ...]:
    """Resources as a case describes them, with the URNs that the engine would give them."""
    urns = {one["name"]: f"urn:pulumi:{environment}::trainyard::{one['type']}::{one['name']}" for one in described}
    made: dict[str, Resource] = {}
    for one in described:
        depends = {name: tuple(urns[origin] for origin in origins) for name, origins in one.get("depends", {}).items()}
        for name, origins in depends.items():
            if not origins or urns[one["name"]] in origins:
                raise ValueError(
                    f"{one['name']}: depends.{name} names no other resource; the engine tells of none such"
                )
        made[one["name"]] = Resource(
            urn=urns[one["name"]],
            type=one["type"],
            name=one["name"],
            props=one.get("props", {}),
            provider=made[one["provider"]] if "provider" in one else None,
            dependencies=tuple(dict.fromkeys(urn for group in depends.values() for urn in group)),
            property_dependencies=depends,
        )
    return tuple(made.values())


def _revealed(resource: Resource) -> Resource:
    provider = _revealed(resource.provider) if resource.provider else None
    return Resource(
        resource.urn,
        resource.type,
        resource.name,
        _reveal(resource.props),
        provider,
        resource.dependencies,
        resource.property_dependencies,
    )


def _reveal(value: Any) -> Any:
    if isinstance(value, Secret):
        return _reveal(value.value)
    if isinstance(value, Mapping):
        return {key: _reveal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_reveal(item) for item in value]
    return value
