"""Resources and what refers to what, known or not: the input of every rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from trainyard.policies.values import Value

# Outputs by which another resource may refer to this one.
_IDENTITIES = ("id", "arn", "bucket", "url", "keyId")


STACK_REFERENCE = "pulumi:pulumi:StackReference"
_READ = "read:"

_LAYERS = ("-data", "-cluster", "-workloads")
"""What the names of a split environment's stacks end in, after the environment's."""


def environment_of(urn: str) -> str:
    """The environment, by the stack's name in a URN. The engine tells a Python pack the stack in no other way."""
    head, separator, _ = urn.partition("::")
    stack = head.rpartition(":")[2] if separator else ""
    for layer in _LAYERS:
        stack = stack.removesuffix(layer)
    return stack


def is_layer(urn: str) -> bool:
    """Whether the stack in a URN is one layer of a split environment."""
    return urn.partition("::")[0].endswith(_LAYERS)


def name_of(urn: str) -> str:
    return urn.rpartition("::")[2]


@dataclass(frozen=True)
class Resource:
    """One resource. `props` holds plain JSON values with `UNKNOWN` where the engine has none yet:
    the inputs while a resource is being checked alone, the outputs when the whole stack is."""

    urn: str
    type: str
    name: str
    props: Mapping[str, Any]
    provider: Resource | None = None
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Value:
        return Value(self.props.get(key), (key,), self.urn)

    @property
    def environment(self) -> str:
        return environment_of(self.urn)


def untold(urn: str) -> Resource:
    """Something that the program reads and does not make: another stack's outputs, a bucket that is there already.

    The engine never tells a policy of it, only that a property depends on it. It is of no type that a rule could take
    for a part of this stack, since nothing in it was judged.
    """
    kind = urn.split("::")[2].rpartition("$")[2] if urn.count("::") > 2 else ""
    return Resource(urn, kind if kind == STACK_REFERENCE else f"{_READ}{kind}", name_of(urn), {})


@dataclass(frozen=True)
class Attached:
    """Resources that refer to a target: surely, or perhaps (the reference is unknown and may be to it)."""

    certain: list[Resource]
    possible: list[Resource]


def _identities(resource: Resource) -> list[str]:
    """What is known of a resource that another may refer to it by. Its id is often no property, but ends most ARNs."""
    found = (resource.props.get(key) for key in _IDENTITIES)
    return [text for text in found if isinstance(text, str) and text]


class _ReferenceIndex:
    """Resources by what one of their properties holds: a known text, or something computed from other resources."""

    def __init__(self, resources: Sequence[Resource], name: str) -> None:
        self._resources = resources
        self._by_text: defaultdict[str, list[int]] = defaultdict(list)
        self._by_origin: defaultdict[str, list[int]] = defaultdict(list)
        self._others: list[int] = []
        """Positions of those whose value is no text: what it refers to is to be found out one by one."""
        for position, resource in enumerate(resources):
            value = resource.props.get(name)
            if value is None or value == "":
                continue
            if not isinstance(value, str):
                self._others.append(position)
                continue
            self._by_text[value].append(position)
            for urn in resource.property_dependencies.get(name, ()):
                self._by_origin[urn].append(position)

    def that_may_mean(self, urn: str, identities: Iterable[str]) -> list[Resource]:
        found = {*self._others, *self._by_origin.get(urn, ())}
        for identity in identities:
            for text in (identity, *_endings(identity)):
                found.update(self._by_text.get(text, ()))
        return [self._resources[position] for position in sorted(found)]


def _endings(identity: str) -> Iterator[str]:
    """What stands behind each `/` and `:` of an ARN or a URL."""
    for position, character in enumerate(identity):
        if character in "/:":
            yield identity[position + 1 :]


class Graph:
    """The resources of one stack, found by URN, by type and by reference."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.resources = list(resources)
        self.by_urn = {resource.urn: resource for resource in self.resources}
        self._references: dict[tuple[frozenset[str], str], _ReferenceIndex] = {}

    @cached_property
    def _by_type(self) -> Mapping[str, list[Resource]]:
        groups: defaultdict[str, list[Resource]] = defaultdict(list)
        for resource in self.resources:
            groups[resource.type].append(resource)
        return groups

    @cached_property
    def as_inputs(self) -> Graph:
        """The same resources, whose properties are all the program's: of a resource alone nobody tells which of them
        were given, and it has no others."""
        return Graph(
            replace(one, property_dependencies={**dict.fromkeys(one.props, ()), **one.property_dependencies})
            for one in self.resources
        )

    @property
    def types(self) -> frozenset[str]:
        """All that there are."""
        return frozenset(self._by_type)

    def of(self, types: Iterable[str]) -> list[Resource]:
        return [resource for kind in sorted(types) for resource in self._by_type.get(kind, ())]

    def about(self, applies: Callable[[str], bool]) -> list[Resource]:
        """The resources of every type that passes a test."""
        return [resource for kind, group in self._by_type.items() if applies(kind) for resource in group]

    def origins(self, resource: Resource, name: str) -> list[Resource]:
        """What a property was computed from, where the engine says so. What the program only reads is `untold`."""
        urns = resource.property_dependencies.get(name, ())
        return [self.by_urn.get(urn) or untold(urn) for urn in urns]

    def attached(self, target: Resource, types: Iterable[str], name: str) -> Attached:
        """Resources of `types` whose property `name` refers to `target`."""
        found = Attached([], [])
        for certain, resource in self.referring(target, types, name):
            (found.certain if certain else found.possible).append(resource)
        return found

    def referring(self, target: Resource, types: Iterable[str], name: str) -> Iterator[tuple[bool | None, Resource]]:
        """Resources of `types` whose property `name` refers to `target`, surely (True) or perhaps (None)."""
        for resource in self._candidates(target, frozenset(types), name):
            if (verdict := self.refers(resource, name, target)) is not False:
                yield verdict, resource

    def _candidates(self, target: Resource, types: frozenset[str], name: str) -> list[Resource]:
        """Those of `types` whose property `name` may refer to `target`, in the order of `of`: all others surely do not.

        Without it, a stack of thousands of resources would be compared each with each.
        """
        identities = _identities(target)
        if not identities:
            return self.of(types)
        index = self._references.get((types, name))
        if index is None:
            index = self._references[types, name] = _ReferenceIndex(self.of(types), name)
        return index.that_may_mean(target.urn, identities)

    def refers(self, resource: Resource, name: str, target: Resource) -> bool | None:
        """Whether a property refers to `target`; None where that cannot be told.

        A known value is compared with the target's own identifiers. An unknown one is traced through the
        dependencies that the engine records for each property.
        """
        value = resource.props.get(name)
        if value is None or value == "":
            return False
        origins = self.origins(resource, name)
        comes_from_target = any(origin.urn == target.urn for origin in origins)
        if isinstance(value, str):
            identities = _identities(target)
            if any(text == value or text.endswith((f"/{value}", f":{value}")) for text in identities):
                return True
            if identities:
                return None if comes_from_target else False
        if comes_from_target:
            rivals = [origin for origin in origins if origin.type.removeprefix(_READ) == target.type]
            return True if len(rivals) == 1 else None
        if resource.property_dependencies.get(name):
            return None if self._reaches(origins, target) else False
        return None

    def _reaches(self, starts: list[Resource], target: Resource) -> bool:
        """Whether `target` lies behind `starts`, following dependencies of any length."""
        seen, waiting = set(), list(starts)
        while waiting:
            resource = waiting.pop()
            if resource.urn == target.urn:
                return True
            if resource.urn in seen:
                continue
            seen.add(resource.urn)
            urns = {
                *resource.dependencies,
                *(urn for group in resource.property_dependencies.values() for urn in group),
            }
            waiting += [self.by_urn[urn] for urn in urns if urn in self.by_urn]
        return False
