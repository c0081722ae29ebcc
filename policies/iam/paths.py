"""Ways from a permission to more permissions or to data, and what an action is: two tables beside this module."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

# Verbs that change nothing. Reading data is a matter of `exfiltration`.
READS = (
    *("batchdescribe", "batchget", "check", "describe", "estimate", "filter", "get", "list", "lookup", "preview"),
    *("query", "scan", "search", "select", "simulate", "test", "validate", "view"),
)

_KINDS = ("escalation", "exfiltration")


@dataclass(frozen=True)
class Way:
    """Actions that together lead further, `grants[0]` on every resource; `passes` is the service that takes a role,
    `unless` are condition keys in lower case that bound it."""

    grants: tuple[str, ...]
    how: str
    passes: str = ""
    unless: tuple[str, ...] = ()


def load(path: Path) -> dict[str, tuple[Way, ...]]:
    """The ways by kind. Raises ValueError saying what is wrong: a broken table must stop, not allow."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(raw, dict) or sorted(raw) != sorted(_KINDS):
        raise ValueError(f"{path}: the keys must be {' and '.join(_KINDS)}")
    return {kind: tuple(_way(path, row) for row in raw[kind]) for kind in _KINDS}


def _way(path: Path, row: Any) -> Way:
    if not isinstance(row, dict) or not {"grants", "how"} <= row.keys() <= {"grants", "how", "passes", "unless"}:
        raise ValueError(f"{path}: a row has grants and how, and may have passes and unless; this is {row!r}")
    if not row["grants"] or not all(":" in action for action in row["grants"]):
        raise ValueError(f"{path}: grants must be actions such as iam:PassRole; this is {row['grants']!r}")
    return Way(tuple(row["grants"]), row["how"], row.get("passes", ""), tuple(row.get("unless", ())))


@cache
def _table() -> dict[str, tuple[Way, ...]]:
    return load(Path(__file__).with_name("paths.yaml"))


def escalations() -> tuple[Way, ...]:
    return _table()["escalation"]


def exfiltrations() -> tuple[Way, ...]:
    return _table()["exfiltration"]


@cache
def _actions() -> dict[str, dict[str, frozenset[str]]]:
    raw = yaml.safe_load(Path(__file__).with_name("actions.yaml").read_text(encoding="utf-8"))
    return {
        service: {kind: frozenset(name.lower() for name in names) for kind, names in kinds.items()}
        for service, kinds in raw.items()
    }


def can_be_restricted(action: str) -> bool:
    """Whether an action, named in full, changes something that could be named as its resource. An action of a service
    that is not in the table is taken to have none."""
    service, _, name = action.lower().partition(":")
    kinds = _actions().get(service)
    return kinds is not None and not name.startswith(READS) and not any(name in names for names in kinds.values())
