"""Availability traces: when a gang's machines were there. The format is that of the public collections of spot traces:
`{"metadata": {"gap_seconds": 60}, "data": [1, 1, 0, …]}`, an entry for each `gap_seconds`, 1 where all are there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from trainer.errors import UserError

MICROSECONDS = 1_000_000
"""Times are whole microseconds, so that sums come out exact."""


@dataclass(frozen=True)
class Window:
    """Machines that are there without a break; in microseconds from the trace's beginning."""

    start: int
    end: int
    lost: bool
    """Ended by their being taken away, and not by the end of the trace."""


@dataclass(frozen=True)
class Trace:
    name: str
    gap_seconds: float
    data: tuple[int, ...]
    description: str = ""

    @property
    def seconds(self) -> float:
        return len(self.data) * self.gap_seconds

    def windows(self) -> Iterator[Window]:
        gap = round(self.gap_seconds * MICROSECONDS)
        start = 0
        for there, entries in groupby(self.data):
            end = start + sum(1 for _ in entries)
            if there:
                yield Window(start * gap, end * gap, lost=end < len(self.data))
            start = end


def shipped() -> list[Trace]:
    """Made by `generate.py` beside them, each with its description."""
    return [read(path) for path in sorted(Path(__file__).parent.glob("*.json"))]


def find(name: str) -> Trace:
    """The shipped trace of that name, else the file. Raises UserError as `read` does."""
    ours = Path(__file__).parent / f"{name}.json"
    if "/" not in name and ours.is_file():
        return read(ours)
    return read(Path(name))


def read(path: Path) -> Trace:
    """Raises UserError for a file that can't be read or is no trace."""
    try:
        content: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}; shipped are {_names()}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no JSON: {error}; {_EXPECTED}") from None
    metadata = content.get("metadata") if isinstance(content, dict) else None
    metadata = metadata if isinstance(metadata, dict) else {}
    gap = metadata.get("gap_seconds")
    if isinstance(gap, bool) or not isinstance(gap, int | float) or not 1e-3 <= gap <= 1e6:
        raise UserError(f"{path}: metadata.gap_seconds is {gap!r}; {_EXPECTED}")
    data = content.get("data")
    if not isinstance(data, list) or not data:
        raise UserError(f"{path}: data holds nothing; {_EXPECTED}")
    for index, entry in enumerate(data):
        if type(entry) is not int or entry not in (0, 1):
            raise UserError(f"{path}: data[{index}] is {entry!r}; {_EXPECTED}")
    description = metadata.get("description")
    return Trace(path.stem, float(gap), tuple(map(int, data)), description if isinstance(description, str) else "")


def _names() -> str:
    return ", ".join(sorted(path.stem for path in Path(__file__).parent.glob("*.json")))


_EXPECTED = 'expected {"metadata": {"gap_seconds": 60}, "data": [1, 1, 0, …]}, with seconds from 0.001 to 1,000,000'
