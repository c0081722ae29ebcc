"""The tables `reach.yaml`, what counts as which access, and `iam/managed_policies.yaml`, the policies of AWS itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from trainyard.policies.iam import documents
from trainyard.policies.iam.documents import Statement
from trainyard.policies.values import Value

_FOLDER = Path(__file__).parent.parent
_KEYS = ["excepted", "kinds", "may_read_data", "services"]
_WAYS = {"pod", "instance", "service"}


@dataclass(frozen=True)
class Table:
    """What counts as which access by kind of resource, who may read data, and the tags of who may more."""

    kinds: Mapping[str, Mapping[str, tuple[str, ...]]]
    may_read_data: frozenset[str]
    services: frozenset[str]
    excepted: Mapping[str, frozenset[str]]


def load(path: Path) -> Table:
    """Raises ValueError saying what is wrong: a broken table must stop, not allow."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(raw, dict) or sorted(raw) != _KEYS:
        raise ValueError(f"{path}: the keys must be {', '.join(_KEYS)}")
    if strange := set(raw["may_read_data"]) - _WAYS:
        raise ValueError(f"{path}: may_read_data has {sorted(strange)}; there are {sorted(_WAYS)}")
    kinds = {
        kind: {access: _actions(path, actions) for access, actions in rows.items()}
        for kind, rows in raw["kinds"].items()
    }
    excepted = {tag: frozenset(values) for tag, values in raw["excepted"].items()}
    return Table(kinds, frozenset(raw["may_read_data"]), frozenset(raw["services"]), excepted)


def _actions(path: Path, actions: Any) -> tuple[str, ...]:
    if not isinstance(actions, list) or not actions or not all(":" in one for one in actions):
        raise ValueError(f"{path}: {actions!r} must be a list of actions such as s3:GetObject")
    return tuple(actions)


@cache
def table() -> Table:
    return load(_FOLDER / "reach.yaml")


@cache
def _managed() -> dict[str, tuple[Statement, ...]]:
    raw = yaml.safe_load((_FOLDER / "iam/managed_policies.yaml").read_text(encoding="utf-8"))
    return {name: tuple(documents.statements(Value({"Statement": rows}))) for name, rows in raw.items()}


def managed_policy(arn: str) -> tuple[Statement, ...] | None:
    """What one of AWS's own policies says of the kinds in the table; None where the ARN is no such policy."""
    head, _, name = arn.partition(":policy/")
    return _managed().get(name.rpartition("/")[2]) if head.startswith("arn:aws") and head.endswith(":aws") else None
