"""The table of resource types: Terraform's names for what the rules know under Pulumi's, read both ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from trainyard.policies.terraform.kubernetes import api_version
from trainyard.policies.terraform.names import camel, snake

_FILE = Path(__file__).with_name("types.yaml")


@dataclass
class _Part:
    """A property, and the exceptions below it. One that is no exception has no part at all."""

    name: str = ""
    """In Pulumi."""
    single: bool = False
    object: bool = False
    inline: frozenset[str] = frozenset()
    """In Pulumi: what Terraform has inside this block, and Kubernetes beside it."""
    parts: dict[str, _Part] = field(default_factory=dict)
    """By Terraform's names."""

    def at(self, path: str) -> _Part:
        part = self
        for step in path.split("."):
            part = part.parts.setdefault(step, _Part(camel(step)))
        return part

    def to_pulumi(self, values: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in values.items():
            part = self.parts.get(name) or _Part(camel(name))
            if part.inline:
                for inside in value if isinstance(value, list) else ():
                    found |= part.to_pulumi(inside) if isinstance(inside, Mapping) else {}
            elif (read := part._read(value)) is not None:
                found[part.name] = read
        return found

    def _read(self, value: Any) -> Any:
        if isinstance(value, list):
            if self.single and len(value) <= 1:
                return self._read_item(value[0]) if value else None
            return [self._read_item(item) for item in value]
        return self.to_pulumi(value) if self.object and isinstance(value, Mapping) else value

    def _read_item(self, item: Any) -> Any:
        return self.to_pulumi(item) if isinstance(item, Mapping) else item

    def to_terraform(self, props: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        named = {part.name: (name, part) for name, part in self.parts.items()}
        homes = {inside: name for name, part in self.parts.items() for inside in part.inline}
        for name, value in props.items():
            if home := homes.get(name):
                (block,) = found.setdefault(home, [{}])
                block |= self.parts[home].to_terraform({name: value})
            elif not name.startswith("__"):
                terraform, part = named.get(name) or (snake(name), _Part())
                found[terraform] = part._written(value)
        return found

    def _written(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            if self.single:
                return [self.to_terraform(value)]
            return self.to_terraform(value) if self.object else value
        if isinstance(value, list):
            return [self.to_terraform(item) if isinstance(item, Mapping) else item for item in value]
        return [value] if self.single and value is not None else value


@dataclass(frozen=True)
class Kind:
    """A resource type under both names. `computed` holds what only the provider gives, in Pulumi's names."""

    terraform: str
    pulumi: str
    computed: frozenset[str]
    _root: _Part

    def to_pulumi(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Terraform's values as Pulumi has them. What is null or an empty block in Terraform is absent."""
        found = self._root.to_pulumi({name: value for name, value in values.items() if value is not None})
        return found | self._object_type()

    def to_terraform(self, props: Mapping[str, Any]) -> dict[str, Any]:
        said_by_type = self._object_type()
        return self._root.to_terraform({name: value for name, value in props.items() if name not in said_by_type})

    def _object_type(self) -> dict[str, str]:
        """What a Kubernetes object says of its type itself, and Terraform by the type alone."""
        if not self.pulumi.startswith("kubernetes:"):
            return {}
        return {"apiVersion": api_version(self.pulumi), "kind": self.pulumi.rpartition(":")[2]}

    def pulumi_names(self, name: str) -> tuple[str, ...]:
        """What a property at the top is called in Pulumi."""
        part = self._root.parts.get(name)
        return (part.name if part else camel(name),)

    def holds_blocks(self, name: str) -> bool:
        """Whether a property at the top is made of blocks of which the table knows something."""
        part = self._root.parts.get(name)
        return part is not None and (part.single or bool(part.parts))

    def terraform_name(self, name: str) -> str:
        """The Terraform name of a property at the top."""
        return next((terraform for terraform, part in self._root.parts.items() if part.name == name), snake(name))

    def paths(self) -> Iterable[tuple[str, ...]]:
        """Every path of an exception, in Pulumi's names."""
        waiting: list[tuple[tuple[str, ...], _Part]] = [((), self._root)]
        while waiting:
            above, part = waiting.pop()
            for below in part.parts.values():
                path = above if below.inline else (*above, below.name)
                yield path
                waiting.append((path, below))


def _kind(terraform: str, row: Mapping[str, Any]) -> Kind:
    root = _Part()
    for path, name in row.get("names", {}).items():
        root.at(path).name = name
    for path in row.get("single", ()):
        root.at(path).single = True
    for path in row.get("objects", ()):
        root.at(path).object = True
    for path, inside in row.get("inline", {}).items():
        block = root.at(path)
        block.inline = frozenset(block.parts[name].name if name in block.parts else camel(name) for name in inside)
    computed = (root.parts[name].name if name in root.parts else camel(name) for name in row.get("computed", ()))
    return Kind(terraform, row["pulumi"], frozenset(computed), root)


@cache
def _rows() -> Mapping[str, Mapping[str, Any]]:
    # The loader in C reads it ten times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(_FILE.read_text(encoding="utf-8"), loader)["types"]  # noqa: S506


@cache
def by_terraform(name: str) -> Kind | None:
    """The type of that name in Terraform; None where the table has none."""
    row = _rows().get(name)
    if row is None:
        return None
    return _kind(name, _rows()[row["same_as"]] if "same_as" in row else row)


@cache
def _by_token() -> Mapping[str, str]:
    return {row["pulumi"]: name for name, row in _rows().items() if "pulumi" in row}


def by_pulumi(token: str) -> Kind | None:
    """The type of that token in Pulumi; None where the table has none."""
    name = _by_token().get(token)
    return by_terraform(name) if name else None


def all_kinds() -> list[Kind]:
    return [kind for name in _rows() if (kind := by_terraform(name))]
