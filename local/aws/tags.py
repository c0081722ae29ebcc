"""Tags: Check merges the provider's default tags into `tagsAll`; services take and tell them in a few shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainyard.local.aws.calls import Call, Read
from trainyard.local.aws.fields import ID, Map, Named, Scope
from trainyard.local.aws.values import OMIT, UNKNOWN, has_unknown


@dataclass(frozen=True)
class Tagging:
    """What tagging adds to a row: to create's request, to the first read's answer, further reads, and calls."""

    create: Map = field(default_factory=dict)
    read: Map = field(default_factory=dict)
    reads: tuple[Read, ...] = ()
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True)
class TagsField(Named):
    """`tagsAll` as a map or, with `key` and `value`, as a list of pairs."""

    name: str = "tagsAll"
    key: str = ""
    value: str = ""

    def write(self, scope: Scope) -> Any:
        tags = scope.values.get(self.name)
        return self._shaped(tags) if tags else OMIT

    def read(self, value: Any, into: dict[str, Any]) -> None:
        if isinstance(value, Mapping):
            tags = dict(value)
        else:
            tags = {tag[self.key]: tag.get(self.value) or "" for tag in value or []}
        # Tags that AWS itself puts on are not the program's.
        into[self.name] = {key: text for key, text in tags.items() if not key.startswith("aws:")}

    def canonical(self, value: Any) -> Any:
        return dict(value or {})

    def _shaped(self, tags: Mapping[str, str]) -> Any:
        if not self.key:
            return dict(tags)
        return [{self.key: key, self.value: text} for key, text in sorted(tags.items())]


@dataclass(frozen=True)
class NewTags(TagsField):
    """The tags that are missing or differ now."""

    def write(self, scope: Scope) -> Any:
        have = scope.actual.get(self.name) or {}
        want = scope.values.get(self.name) or {}
        changed = {key: text for key, text in want.items() if have.get(key) != text}
        return self._shaped(changed) if changed else OMIT


@dataclass(frozen=True)
class OldTags(TagsField):
    """The keys of tags that are there and no longer wanted; as pairs with `key`."""

    def write(self, scope: Scope) -> Any:
        want = scope.values.get(self.name) or {}
        keys = sorted(set(scope.actual.get(self.name) or {}) - set(want))
        if not keys:
            return OMIT
        return [{self.key: key} for key in keys] if self.key else keys

    def leaves(self) -> Iterator[Named]:
        yield TagsField()


def merged_tags(tags: Any, default_tags: Mapping[str, str]) -> Any:
    """`tagsAll`: the default tags with the resource's own over them; unknown as soon as a part is."""
    if has_unknown(tags) or has_unknown(default_tags):
        return UNKNOWN
    return {**default_tags, **(tags or {})}


def own_tags(tags_all: Mapping[str, str], default_tags: Mapping[str, str]) -> dict[str, str]:
    """`tags` of a resource that carries `tags_all`: those that the default tags do not account for."""
    return {key: text for key, text in tags_all.items() if default_tags.get(key) != text}


@dataclass(frozen=True)
class TagSpecification(TagsField):
    """EC2's way of tagging at create: a list with the resource's type and its tags."""

    key: str = "Key"
    value: str = "Value"
    resource_type: str = ""

    def write(self, scope: Scope) -> Any:
        tags = super().write(scope)
        return tags if tags is OMIT else [{"ResourceType": self.resource_type, "Tags": tags}]


def tagged_by(
    tag: str,
    untag: str,
    address: Map,
    *,
    tags: str = "tags",
    keys: str = "tagKeys",
    pair: tuple[str, str] = ("", ""),
    create: Map | None = None,
    read: Map | None = None,
    listing: Read | None = None,
) -> Tagging:
    """The common pattern: an operation that tags and one that untags, both given an `address`.

    `tags` and `keys` are their parameters, `pair` the two names in a list of pairs (none: a map). `create` says how
    create's request takes tags; `read` how the first read tells them, or else `listing` is the read that does.
    """
    key, value = pair
    calls = (
        Call(untag, {**address, keys: OldTags()}, needs=(keys,)),
        Call(tag, {**address, tags: NewTags(key=key, value=value)}, needs=(tags,)),
    )
    return Tagging(create or {}, read or {}, (listing,) if listing else (), calls)


def ec2_tags(resource_type: str) -> Tagging:
    """EC2: `TagSpecifications` at create, `Tags` in the description."""
    address = {"Resources": [ID]}
    return Tagging(
        create={"TagSpecifications": TagSpecification(resource_type=resource_type)},
        read={"Tags": TagsField(key="Key", value="Value")},
        calls=(
            Call("delete_tags", {**address, "Tags": OldTags(key="Key")}, needs=("Tags",)),
            Call("create_tags", {**address, "Tags": NewTags(key="Key", value="Value")}, needs=("Tags",)),
        ),
    )


def iam_tags(kind: str, parameter: str) -> Tagging:
    """IAM: `tag_role`, `untag_role` …; the description carries them too."""
    pairs = TagsField(key="Key", value="Value")
    return tagged_by(
        f"tag_{kind}",
        f"untag_{kind}",
        {parameter: ID},
        tags="Tags",
        keys="TagKeys",
        pair=("Key", "Value"),
        create={"Tags": pairs},
        read={"Tags": pairs},
    )
