"""What a plan says about how its resources were written: which property refers to which resource, and each provider."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainyard.policies.values import UNKNOWN

# `module.a["x"].` and the like at the beginning of an address.
_MODULE_STEP = re.compile(r'module\.([^.\["]+)(\[(?:"(?:[^"\\]|\\.)*"|\d+)\])?\.?')
_INDEX = re.compile(r'\[(?:"(?:[^"\\]|\\.)*"|\d+)\]')
# These refer to no resource, and say nothing about where a value comes from that its own resource's key does not.
_NOWHERE = re.compile(r"(?:each|count|path|terraform|self)(?:\.|$)")
# Data sources that tell who and where one is, and hold nothing.
_SAYS_WHERE = ("data.aws_caller_identity.", "data.aws_region.", "data.aws_partition.")


class CannotTellError(Exception):
    """A plan does not say what a local value is computed from."""


@dataclass(frozen=True)
class Place:
    """A module's instance: its address (empty for the root), and its configuration; `parent` called it by `call`."""

    address: str
    config: Mapping[str, Any]
    parent: Place | None = None
    call: Mapping[str, Any] = field(default_factory=dict)

    def within(self, address: str) -> str:
        return f"{self.address}.{address}" if self.address else address


def split_address(address: str) -> tuple[str, str]:
    """`module.a["x"].aws_s3_bucket.b[0]` -> the module's address and the resource's own."""
    position = 0
    while step := _MODULE_STEP.match(address, position):
        position = step.end()
    return address[:position].rstrip("."), address[position:]


class Configuration:
    """The `configuration` of a plan. `addresses` are those of the resources that the plan makes or keeps."""

    def __init__(self, document: Mapping[str, Any], addresses: Iterable[str]) -> None:
        self._root = Place("", (document.get("configuration") or {}).get("root_module") or {})
        self._providers = (document.get("configuration") or {}).get("provider_config") or {}
        self._variables = document.get("variables") or {}
        self._instances: dict[str, list[str]] = {}
        self._modules: dict[str, dict[str, None]] = {}
        for address in addresses:
            self._instances.setdefault(_bare(address), []).append(address)
            for step in _MODULE_STEP.finditer(split_address(address)[0]):
                instance = address[: step.end()].rstrip(".")
                self._modules.setdefault(address[: step.start()] + f"module.{step[1]}", {})[instance] = None
        self._places: dict[str, Place | None] = {"": self._root}
        self._written: dict[str, dict[Any, Mapping[str, Any]]] = {}
        """The resources that a module's configuration has, by the module's address and their own."""

    def expressions(self, address: str) -> Mapping[str, Any] | None:
        """How each property of a resource was written; None where the plan does not say."""
        place, raw = self._resource(address)
        return None if raw is None or place is None else raw.get("expressions") or {}

    def provider_key(self, address: str) -> str:
        _, raw = self._resource(address)
        return str((raw or {}).get("provider_config_key") or "")

    def providers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield from self._providers.items()

    def value(self, expression: Any) -> Any:
        """What an expression of a provider comes to: a constant, a variable's value, or UNKNOWN; None if absent."""
        if not isinstance(expression, Mapping):
            return None
        if "constant_value" in expression:
            return expression["constant_value"]
        references = _most_specific(expression.get("references") or ())
        if len(references) == 1 and references[0].startswith("var."):
            variable = self._variables.get(references[0].removeprefix("var."))
            if isinstance(variable, Mapping) and "value" in variable:
                return variable["value"]
        return UNKNOWN

    def origins(self, address: str, expression: Any) -> tuple[str, ...]:
        """The addresses of the resources that an expression is computed from, and of data sources that were asked by no
        resource. None of them are named where the plan leaves one open (a local value): a list that lacks one would say
        that the value does not come from it."""
        place, raw = self._resource(address)
        if place is None:
            return ()
        try:
            found = self._origins(place, _repeated(expression, raw or {}), _index_of(address), ())
            return tuple(dict.fromkeys(found))
        except CannotTellError:
            return ()

    def _origins(self, place: Place, expression: Any, key: str, above: tuple[str, ...]) -> Iterator[str]:
        references = list(_references(expression))
        by_key = any(one.startswith(("each.", "count.")) for one in references)
        for reference in _most_specific(references):
            step = f"{place.address}|{reference}"
            if _NOWHERE.match(reference) or step in above:
                continue
            yield from self._referred(place, reference, key if by_key else "", (*above, step))

    def _referred(self, place: Place, reference: str, key: str, above: tuple[str, ...]) -> Iterator[str]:
        kind, _, rest = reference.partition(".")
        if kind == "local":
            raise CannotTellError(reference)
        if kind == "var":
            if place.parent is not None:
                name = re.split(r"[.\[]", rest)[0]
                called = _repeated((place.call.get("expressions") or {}).get(name), place.call)
                yield from self._origins(place.parent, called, _index_of(place.address), above)
        elif kind == "module":
            yield from self._outputs(place, reference, above)
        elif kind == "data":
            yield from self._read(place, _bare(".".join(reference.split(".")[:3])), above)
        else:
            yield from self._named(place, reference, key)

    def _read(self, place: Place, address: str, above: tuple[str, ...]) -> Iterator[str]:
        """What a data source was asked by, for its answer follows from that; else the source itself."""
        if address.startswith(_SAYS_WHERE):
            return
        source = self._find(place, address) or {}
        asked_by = list(self._origins(place, source.get("expressions"), "", above))
        yield from asked_by or [place.within(address)]

    def _outputs(self, place: Place, reference: str, above: tuple[str, ...]) -> Iterator[str]:
        step = _MODULE_STEP.match(reference)
        name, index = (step[1], step[2]) if step else ("", None)
        call = (place.config.get("module_calls") or {}).get(name) or {}
        outputs = (call.get("module") or {}).get("outputs") or {}
        wanted = re.split(r"[.\[]", reference[step.end() :])[0] if step else ""
        for address in self._module_instances(place, name, index):
            inner = self._place(address)
            for output, described in outputs.items():
                if inner is not None and wanted in ("", output):
                    yield from self._origins(inner, described.get("expression"), "", above)

    def _module_instances(self, place: Place, name: str, index: str | None) -> list[str]:
        start = place.within(f"module.{name}")
        return [one for one in self._modules.get(start, ()) if index in (None, one.removeprefix(start))]

    def _named(self, place: Place, reference: str, key: str) -> Iterator[str]:
        """The instances that `aws_kms_key.a`, `aws_kms_key.a[0].arn` or `aws_kms_key.a[each.key].arn` mean."""
        match = re.match(rf"(\w[\w-]*\.[\w-]+)({_INDEX.pattern})?", reference)
        if not match:
            return
        instances = self._instances.get(_bare(place.within(match[1])), ())
        mine = [one for one in instances if split_address(one)[0] == place.address]
        # Repeated by the same key: the one beside it is meant, as everybody writes it.
        index = match[2] or key
        exact = [one for one in mine if index and _index_of(one) == index]
        yield from exact or mine

    def _resource(self, address: str) -> tuple[Place | None, Mapping[str, Any] | None]:
        module, own = split_address(address)
        place = self._place(module)
        return (place, self._find(place, _INDEX.sub("", own))) if place else (None, None)

    def _find(self, place: Place, address: str) -> Mapping[str, Any] | None:
        if place.address not in self._written:
            self._written[place.address] = {raw.get("address"): raw for raw in place.config.get("resources") or ()}
        return self._written[place.address].get(_bare(address))

    def _place(self, address: str) -> Place | None:
        if address not in self._places:
            steps = list(_MODULE_STEP.finditer(address))
            parent = self._place(address[: steps[-1].start()].rstrip(".")) if steps else None
            call = ((parent.config.get("module_calls") or {}) if parent else {}).get(steps[-1][1] if steps else "")
            self._places[address] = Place(address, call.get("module") or {}, parent, call) if call else None
        return self._places[address]


def _repeated(expression: Any, described: Mapping[str, Any]) -> Any:
    """An expression of something that may be repeated, with what it is repeated over where it says `each.value`."""
    over = described.get("for_each_expression")
    if over and any(one.startswith("each.value") for one in _references(expression)):
        return [expression, over]
    return expression


def _references(expression: Any) -> Iterator[str]:
    """Every reference in an expression, or in those of the blocks inside."""
    if isinstance(expression, Mapping):
        for name, inside in expression.items():
            if name == "references" and isinstance(inside, list):
                yield from (str(one) for one in inside)
            elif name != "constant_value":
                yield from _references(inside)
    elif isinstance(expression, list):
        for inside in expression:
            yield from _references(inside)


def _most_specific(references: Iterable[str]) -> list[str]:
    """Without those that another goes on from: Terraform names `a.b["c"].id`, then `a.b["c"]`, then `a.b`."""
    found = list(dict.fromkeys(references))
    return [
        one for one in found if not any(other != one and other.startswith((f"{one}.", f"{one}[")) for other in found)
    ]


def _bare(address: str) -> str:
    return _INDEX.sub("", address)


def _index_of(address: str) -> str:
    return match[0] if (match := re.search(rf"{_INDEX.pattern}$", address)) else ""
