"""The rules over a Terraform plan (`terraform show -json PLAN`), as it stands in front of whoever is to apply it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, Literal

from trainyard.policies.graph import STACK_REFERENCE, Graph, Resource
from trainyard.policies.rule import Result, evaluate
from trainyard.policies.terraform import kubernetes, providers
from trainyard.policies.terraform.configuration import Configuration, split_address
from trainyard.policies.terraform.table import Kind, by_terraform
from trainyard.policies.terraform.unread import unread_rule
from trainyard.policies.values import UNKNOWN

PROJECT = "terraform"
_STACK = "pulumi:pulumi:Stack"
Side = Literal["inputs", "outputs"]


class NotAPlanError(ValueError):
    """The document is no plan that can be judged. The message says what to give instead."""


def is_plan(document: Any) -> bool:
    """Whether a document looks like a plan in JSON."""
    return isinstance(document, Mapping) and "format_version" in document and "planned_values" in document


@contextmanager
def _as_terraform_writes_it() -> Generator[None]:
    """A plan's parts are read without asking each time whether they are of the kind that Terraform writes."""
    try:
        yield
    except (AttributeError, LookupError, TypeError) as wrong:
        raise NotAPlanError(f"a part of the plan is not as terraform show -json writes it: {wrong!r}") from wrong


def graph_of_plan(document: Any, environment: str = PROJECT, side: Side = "outputs") -> Graph:
    """The resources that a plan makes, changes or keeps, under Pulumi's names, and its providers.

    `outputs` has all that will be known of them once they stand, `inputs` only what is written. `environment` is
    whose regions, classes and exemptions count: a plan does not say. Raises NotAPlanError.
    """
    with _as_terraform_writes_it():
        return _Plan(document, environment).graph(side)


def unread(document: Any, environment: str = PROJECT) -> Result | None:
    """The result that tells which resources of a plan were not read; None where all were. Raises NotAPlanError."""
    with _as_terraform_writes_it():
        plan = _Plan(document, environment)
    (result,) = evaluate([unread_rule(plan.unread)], Graph([plan.stack]))
    return result if result.findings else None


class _Plan:
    def __init__(self, document: Any, environment: str) -> None:
        self._changes = {change["address"]: change for change in _changes(document)}
        self._head = f"urn:pulumi:{environment}::{PROJECT}::"
        self.stack = Resource(f"{self._head}{_STACK}::{PROJECT}", _STACK, PROJECT, {})
        self._configuration = Configuration(document, self._changes)
        self._kinds = {address: _kind(change) for address, change in self._changes.items()}
        self._urns = {
            address: f"{self._head}{kind.pulumi}::{_name(address)}" for address, kind in self._kinds.items() if kind
        }
        self._providers = dict(self._read_providers())
        # What Terraform puts off until more is known is in the plan, but not as it will be.
        put_off = (f"{one['resource_change']['type']}, put off" for one in document.get("deferred_changes") or ())
        self.unread: Mapping[str, int] = Counter(
            chain((self._changes[address]["type"] for address, kind in self._kinds.items() if kind is None), put_off)
        )

    def graph(self, side: Side) -> Graph:
        read = (self._resource(address, side) for address in self._urns)
        return Graph([self.stack, *{one.urn: one for one in self._providers.values()}.values(), *read])

    def _resource(self, address: str, side: Side) -> Resource:
        kind = self._kinds[address]
        assert kind
        change = self._changes[address]["change"]
        values = _merged(change.get("after") or {}, change.get("after_unknown") or {})
        expressions = self._configuration.expressions(address)
        if side == "inputs":
            values = _given(values, kind, expressions)
        origins = {
            property_name: tuple(self._urn(one) for one in self._configuration.origins(address, expression))
            for name, expression in (expressions or {}).items()
            for property_name in kind.pulumi_names(name)
        }
        return Resource(
            urn=self._urns[address],
            type=kind.pulumi,
            name=_name(address),
            props=kind.to_pulumi(values),
            provider=self._provider_of(address, kind),
            dependencies=tuple(dict.fromkeys(urn for group in origins.values() for urn in group)),
            property_dependencies=origins,
        )

    def _urn(self, address: str) -> str:
        """Of what a property is computed from. What was not read, or only asked for, has one that leads nowhere."""
        own = split_address(address)[1]
        terraform = own.removeprefix("data.").partition(".")[0]
        elsewhere = STACK_REFERENCE if terraform == "terraform_remote_state" else f"{PROJECT}:{terraform}"
        return self._urns.get(address) or f"{self._head}{elsewhere}::{_name(address)}"

    def _provider_of(self, address: str, kind: Kind | kubernetes.Given) -> Resource | None:
        key = self._configuration.provider_key(address)
        return self._providers.get(key) or self._providers.get(kind.pulumi.partition(":")[0])

    def _read_providers(self) -> Iterator[tuple[str, Resource]]:
        for key, described in self._configuration.providers():
            provider = str(described.get("full_name") or described.get("name")).rpartition("/")[2]
            if kind := providers.TYPES.get(provider):
                props = providers.to_pulumi(provider, described.get("expressions") or {}, self._configuration.value)
                name = _name(key)
                yield key, Resource(f"{self._head}{kind}::{name}", kind, name, props)


def _changes(document: Any) -> list[Mapping[str, Any]]:
    """What will stand once the plan is applied."""
    if not is_plan(document):
        raise NotAPlanError(
            "this is no Terraform plan in JSON: it has no format_version and planned_values "
            "(make one: terraform plan -out=plan && terraform show -json plan > plan.json)"
        )
    if not str(document["format_version"]).startswith("1."):
        raise NotAPlanError(f"format_version {document['format_version']!r} of a plan is not known here, only 1.x")
    if document.get("errored"):
        raise NotAPlanError("the plan broke off with an error and lacks resources: mend that and plan again")
    if document.get("complete") is False and not document.get("deferred_changes"):  # what is put off, `unread` tells
        raise NotAPlanError("the plan leaves resources out (-target, -exclude), and cannot be judged: plan all of it")
    changes = document.get("resource_changes") or []
    if not isinstance(changes, list) or not all(map(_is_change, changes)):
        raise NotAPlanError("resource_changes must be a list of changes, as terraform show -json writes it")
    return [
        one
        for one in changes
        if one.get("mode") == "managed"
        and "deposed" not in one
        and one["change"].get("actions") not in (["delete"], ["forget"])
    ]


def _is_change(one: Any) -> bool:
    texts = isinstance(one, Mapping) and all(isinstance(one.get(name), str) for name in ("address", "type"))
    if not texts or not isinstance(change := one.get("change"), Mapping):
        return False
    return all(isinstance(change.get(name), Mapping | None) for name in ("after", "after_unknown"))


def _kind(change: Mapping[str, Any]) -> Kind | kubernetes.Given | None:
    return by_terraform(change["type"]) or kubernetes.given(change)


def _name(address: str) -> str:
    """Colons part the pieces of a URN."""
    return address.replace("::", ":")


def _merged(value: Any, unknown: Any) -> Any:
    """A value of `after` with UNKNOWN where `after_unknown` has true."""
    if unknown is True:
        return UNKNOWN
    if isinstance(unknown, Mapping) and (isinstance(value, Mapping) or value is None):
        known = value or {}
        names = [*known, *(name for name, below in unknown.items() if name not in known and _any(below))]
        return {name: _merged(known.get(name), unknown.get(name)) for name in names}
    if isinstance(unknown, list) and (isinstance(value, list) or value is None):
        known = value or []
        length = max(len(known), len(unknown)) if _any(unknown) else len(known)
        return [
            _merged(known[at] if at < len(known) else None, unknown[at] if at < len(unknown) else None)
            for at in range(length)
        ]
    return value


def _any(unknown: Any) -> bool:
    if isinstance(unknown, Mapping):
        return any(map(_any, unknown.values()))
    return any(map(_any, unknown)) if isinstance(unknown, list) else unknown is True


def _given(
    values: Mapping[str, Any], kind: Kind | kubernetes.Given, expressions: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What is written of a resource, not what the provider answers.

    A known value stays though no expression is named for it, and so does an unknown block: Terraform does not say how
    `dynamic` blocks were written. Another unknown value that nobody wrote is the provider's to choose.
    """
    return {
        name: value
        for name, value in values.items()
        if kind.computed.isdisjoint(kind.pulumi_names(name))
        and (value is not UNKNOWN or expressions is None or name in expressions or kind.holds_blocks(name))
    }
