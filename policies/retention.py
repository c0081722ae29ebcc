"""For how long an environment keeps its logs, and a key that someone asked to delete: the table `retention.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from trainyard.policies import team_file


@dataclass(frozen=True)
class Retention:
    """The least number of days; and whether what is in buckets may be deleted with them."""

    key_deletion: int
    logs: int
    thrown_away: bool = False


def load(path: Path) -> tuple[Retention, dict[str, Retention]]:
    """The default, and what each environment has instead. Raises ValueError: a broken table must stop, not allow."""
    raw = team_file.read(path)
    if not isinstance(raw, dict) or sorted(raw) != ["default", "environments"]:
        raise ValueError(f"{path}: the keys must be default and environments")
    rows = raw["environments"] or {}
    return _row(path, "default", raw["default"]), {str(name): _row(path, name, row) for name, row in rows.items()}


def _row(path: Path, name: object, row: Any) -> Retention:
    if not isinstance(row, dict) or sorted({*row} - {"thrown_away"}) != ["key_deletion", "logs"]:
        raise ValueError(f"{path}: {name} must have key_deletion and logs, and may have thrown_away")
    if not all(type(row[days]) is int and row[days] > 0 for days in ("key_deletion", "logs")):
        raise ValueError(f"{path}: {name} must have whole numbers of days above 0")
    if not isinstance(row.get("thrown_away", False), bool):
        raise ValueError(f"{path}: thrown_away of {name} must be true or false")
    return Retention(**row)


@cache
def table() -> tuple[Retention, dict[str, Retention]]:
    return load(Path(__file__).with_name("retention.yaml"))


def retention_of(environment: str) -> Retention:
    default, rows = table()
    return rows.get(environment, default)
