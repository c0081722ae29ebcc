"""Known ways from a permission to more permissions or to data: the table `iam_paths.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

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
    return load(Path(__file__).with_name("iam_paths.yaml"))


def escalations() -> tuple[Way, ...]:
    return _table()["escalation"]


def exfiltrations() -> tuple[Way, ...]:
    return _table()["exfiltration"]
