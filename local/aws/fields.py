"""How an AWS request or answer corresponds to Pulumi properties.

A *map* is a dict from AWS parameter names to fields. The same map writes a request from properties and reads
properties from an answer, so most resources state each name once:

    {"CidrBlock": "cidrBlock",                        a property as it is
     "EnableDnsSupport": {"Value": "enableDns"},      AWS nests it, Pulumi does not
     "Attributes": {"DelaySeconds": Text("delay")},   AWS wants "30", Pulumi has 30
     "Policy": Json("policy"),                        compared by meaning, not by letters
     "Rules": Each("rules", {"Id": "id"}),            a list of objects, each with a map of its own
     "Bucket": "bucket", "Type": Const("s3")}         an address, a constant

`pascal("cidrBlock", …)` and `same("name", …)` write the commonest maps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Union

from trainyard.local.aws.values import OMIT, canonical_document, from_aws, is_zero, parse_document, prune, sort_key

FieldLike = Union[str, "Field", Mapping[str, Any], Sequence[Any]]
Map = Mapping[str, FieldLike]


@dataclass(frozen=True)
class Scope:
    """What a field may draw on while a request is written.

    `values` are the properties at the present depth, `actual` what AWS holds now at that depth, `facts` the whole
    resource: all its known properties and `id`, `region`, `account`, `partition`.
    """

    values: Mapping[str, Any]
    facts: Mapping[str, Any]
    actual: Mapping[str, Any]


class Field:
    """One correspondence; subclasses override what differs from a plain property."""

    def write(self, scope: Scope) -> Any:
        """The AWS value, or `OMIT`."""
        raise NotImplementedError

    def read(self, value: Any, into: dict[str, Any]) -> None:
        """Put what the AWS `value` says into the properties `into`."""

    def canonical(self, value: Any) -> Any:
        """The property's value in the one form that equal meanings share."""
        return prune(value)

    def leaves(self) -> Iterator[Named]:
        """The fields of named properties at this depth."""
        return iter(())


@dataclass(frozen=True)
class Named(Field):
    """A field of the Pulumi property `name`."""

    name: str

    def leaves(self) -> Iterator[Named]:
        yield self


@dataclass(frozen=True)
class Prop(Named):
    """A property as it is. `unset` is what AWS is told when the property is not there (to put a setting back)."""

    unset: Any = OMIT

    def write(self, scope: Scope) -> Any:
        value = scope.values.get(self.name)
        return self.unset if value is None else value

    def read(self, value: Any, into: dict[str, Any]) -> None:
        if value is not None:
            into[self.name] = from_aws(value)


@dataclass(frozen=True)
class Const(Field):
    """The same value in every request."""

    value: Any

    def write(self, scope: Scope) -> Any:
        del scope
        return self.value


@dataclass(frozen=True)
class Fact(Field):
    """What addresses the whole resource (`id`, `arn`, a parent's name); changing it triggers no call."""

    fact: str

    def write(self, scope: Scope) -> Any:
        value = scope.facts.get(self.fact)
        return OMIT if value is None else value


ID = Fact("id")


@dataclass(frozen=True)
class Filled(Field):
    """Text made from facts: `Filled("arn:{partition}:logs:{region}:{account}:log-group:{id}")`."""

    template: str

    def write(self, scope: Scope) -> Any:
        return self.template.format_map(scope.facts)


@dataclass(frozen=True)
class Whole(Field):
    """A map that is sent even when nothing is in it, where an empty structure means something."""

    map: Map

    def write(self, scope: Scope) -> Any:
        return write_map(self.map, scope)

    def read(self, value: Any, into: dict[str, Any]) -> None:
        into.update(read_map(self.map, value if isinstance(value, Mapping) else {}))

    def leaves(self) -> Iterator[Named]:
        return leaves(self.map)


@dataclass(frozen=True)
class Given(Field):
    """Another field or map, written only where `property` is set: for one of several ways to say a thing."""

    property: str
    then: FieldLike

    def write(self, scope: Scope) -> Any:
        return OMIT if is_zero(scope.values.get(self.property)) else write_field(self.then, scope)

    def leaves(self) -> Iterator[Named]:
        return leaves(self.then)


@dataclass(frozen=True)
class Text(Prop):
    """A number or boolean that AWS carries as text. `only_true` where AWS takes the parameter with no other value."""

    only_true: bool = False

    def write(self, scope: Scope) -> Any:
        value = super().write(scope)
        if self.only_true and value is not True:
            return OMIT
        if value is OMIT or isinstance(value, str):
            return value
        return str(value).lower() if isinstance(value, bool) else str(value)

    def read(self, value: Any, into: dict[str, Any]) -> None:
        if value is None or value == "":
            return
        text = str(value)
        lowered = text.lower()
        into[self.name] = lowered == "true" if lowered in ("true", "false") else (int(text) if text.isdigit() else text)


@dataclass(frozen=True)
class Json(Prop):
    """A JSON document as text. A program may give an object; Check turns it into text."""

    def read(self, value: Any, into: dict[str, Any]) -> None:
        if value not in (None, ""):
            into[self.name] = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))

    def canonical(self, value: Any) -> Any:
        return canonical_document(parse_document(value))


@dataclass(frozen=True)
class Choice(Prop):
    """A property whose values have other names in AWS: `Choice("isEnabled", {True: "ENABLED", False: "DISABLED"})`."""

    values: Mapping[Any, Any] = field(default_factory=dict)

    def write(self, scope: Scope) -> Any:
        value = super().write(scope)
        return value if value is OMIT else self.values.get(value, value)

    def read(self, value: Any, into: dict[str, Any]) -> None:
        into_pulumi = {theirs: ours for ours, theirs in self.values.items()}
        if value is not None:
            into[self.name] = into_pulumi.get(value, value)


@dataclass(frozen=True)
class Values(Prop):
    """A list of scalars without order. `key` when AWS wraps each: `["sg-1"]` and `[{"GroupId": "sg-1"}]`."""

    key: str = ""

    def write(self, scope: Scope) -> Any:
        value = super().write(scope)
        if value is OMIT or not self.key:
            return value
        return [{self.key: item} for item in value]

    def read(self, value: Any, into: dict[str, Any]) -> None:
        if value is not None:
            items = [item.get(self.key) for item in value] if self.key else value
            into[self.name] = sorted((from_aws(item) for item in items), key=sort_key)

    def canonical(self, value: Any) -> Any:
        return sorted((prune(item) for item in value or []), key=sort_key)


@dataclass(frozen=True)
class Object(Named):
    """An object with a map of its own. `single` when AWS has a list of one where Pulumi has the object itself."""

    map: Map
    single: bool = False
    unset: Any = OMIT

    def write(self, scope: Scope) -> Any:
        value = scope.values.get(self.name)
        if not isinstance(value, Mapping):
            return self.unset
        actual = scope.actual.get(self.name)
        inner = replace(scope, values=value, actual=actual if isinstance(actual, Mapping) else {})
        written = write_map(self.map, inner)
        return [written] if self.single else written

    def read(self, value: Any, into: dict[str, Any]) -> None:
        if self.single and isinstance(value, list):
            value = value[0] if value else None
        if isinstance(value, Mapping):
            into[self.name] = read_map(self.map, value)

    def canonical(self, value: Any) -> Any:
        return canonical_map(self.map, value) if isinstance(value, Mapping) else prune(value)


@dataclass(frozen=True)
class Each(Named):
    """A list of objects with a map of their own; `ordered=False` where their order means nothing."""

    map: Map
    ordered: bool = True

    def write(self, scope: Scope) -> Any:
        value = scope.values.get(self.name)
        if value is None:
            return OMIT
        return [write_map(self.map, replace(scope, values=item, actual={})) for item in value]

    def read(self, value: Any, into: dict[str, Any]) -> None:
        if value is not None:
            items = [read_map(self.map, item) for item in value]
            into[self.name] = items if self.ordered else sorted(items, key=sort_key)

    def canonical(self, value: Any) -> Any:
        items = [
            canonical_map(self.map, item) if isinstance(item, Mapping) else item
            for item in (value if isinstance(value, (list, tuple)) else [])
        ]
        return items if self.ordered else sorted(items, key=sort_key)


@dataclass(frozen=True)
class OnlyOne(Each):
    """A list of one object where AWS has the object itself."""

    def write(self, scope: Scope) -> Any:
        written = super().write(scope)
        return written[0] if isinstance(written, list) and written else OMIT

    def read(self, value: Any, into: dict[str, Any]) -> None:
        super().read([value] if value else None, into)


@dataclass(frozen=True)
class Added(Field):
    """Of a `Values` property, what is wanted and not there yet: for operations that add to a list."""

    property: str

    def write(self, scope: Scope) -> Any:
        have = scope.actual.get(self.property) or []
        return [item for item in scope.values.get(self.property) or [] if item not in have] or OMIT

    def leaves(self) -> Iterator[Named]:
        yield Values(self.property)


@dataclass(frozen=True)
class Removed(Field):
    """Of a `Values` property, what is there and no longer wanted: for operations that take from a list."""

    property: str

    def write(self, scope: Scope) -> Any:
        want = scope.values.get(self.property) or []
        return [item for item in scope.actual.get(self.property) or [] if item not in want] or OMIT

    def leaves(self) -> Iterator[Named]:
        yield Values(self.property)


def write_field(field: FieldLike, scope: Scope) -> Any:
    """What `field` contributes to a request, or `OMIT`."""
    if isinstance(field, str):
        return Prop(field).write(scope)
    if isinstance(field, Field):
        return field.write(scope)
    if isinstance(field, Mapping):
        return write_map(field, scope) or OMIT
    return [item for item in (write_field(inner, scope) for inner in field) if item is not OMIT] or OMIT


def write_map(map_: Map, scope: Scope) -> dict[str, Any]:
    """A request's parameters."""
    written = {parameter: write_field(field, scope) for parameter, field in map_.items()}
    return {parameter: value for parameter, value in written.items() if value is not OMIT}


def read_map(map_: Map, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The properties that an answer, or a part of one, tells."""
    into: dict[str, Any] = {}
    for parameter, told in map_.items():
        value = answer.get(parameter)
        if isinstance(told, str):
            Prop(told).read(value, into)
        elif isinstance(told, Field):
            told.read(value, into)
        elif isinstance(told, Mapping):
            into.update(read_map(told, value if isinstance(value, Mapping) else {}))
        elif isinstance(value, list):
            for inner, item in zip(told, value, strict=False):
                if isinstance(inner, Mapping) and isinstance(item, Mapping):
                    into.update(read_map(inner, item))
    return into


def leaves(field: FieldLike) -> Iterator[Named]:
    """The fields of all properties of the resource that `field` (or a whole map) touches, at this depth."""
    if isinstance(field, str):
        yield Prop(field)
    elif isinstance(field, Field):
        yield from field.leaves()
    elif isinstance(field, Mapping):
        for inner in field.values():
            yield from leaves(inner)
    else:
        for inner in field:
            yield from leaves(inner)


def canonical_map(map_: Map, value: Mapping[str, Any]) -> dict[str, Any]:
    """An object's canonical form: each property by its own field, what says nothing left out."""
    by_name = {leaf.name: leaf for leaf in leaves(map_)}
    result = {key: (by_name[key].canonical(item) if key in by_name else prune(item)) for key, item in value.items()}
    return {key: item for key, item in result.items() if not is_zero(item)}


def pascal(*properties: str) -> dict[str, str]:
    """A map for properties that AWS spells with a capital: `pascal("cidrBlock")` is `{"CidrBlock": "cidrBlock"}`."""
    return {name[0].upper() + name[1:]: name for name in properties}


def same(*properties: str) -> dict[str, str]:
    """A map for properties that AWS spells alike (EKS, Batch, most newer services)."""
    return {name: name for name in properties}
