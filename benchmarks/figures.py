"""Medians, spreads and ratios, and how they are said."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

from trainyard.local.paths import RUNS

Spread = dict[str, float]
"""median, min and max; with `at_least` or `at_most` where a figure is wanted."""


def spread(values: Sequence[float]) -> Spread:
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }


def ratios(
    over: Sequence[float], under: Sequence[float], at_least: float | None = None, at_most: float | None = None
) -> Spread:
    """Pair by pair: each pair ran within the same minute. Of seconds, `over` / `under` is a ratio of speeds."""
    values = spread([one / other for one, other in zip(over, under, strict=True)])
    wanted = {"at_least": at_least, "at_most": at_most}
    return values | {name: value for name, value in wanted.items() if value is not None}


def verdict(what: str, figure: Spread) -> str:
    """A line, in rich's markup."""
    said = f"{what}: {figure['median']:.3f} ({figure['min']:.3f} … {figure['max']:.3f})"
    if "at_least" in figure:
        met, wanted = figure["median"] >= figure["at_least"], f"at least {figure['at_least']}"
    elif "at_most" in figure:
        met, wanted = figure["median"] <= figure["at_most"], f"at most {figure['at_most']}"
    else:
        return said
    return f"{said}; wanted {wanted}: {'met' if met else '[bold red]missed[/]'}"


def work_folder() -> Path:
    """On the disk of the checkout, as checkpoints would be; /tmp may be memory."""
    folder = RUNS / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def machine() -> dict[str, str | int | None]:
    return {"processor": _processor(), "cores": os.cpu_count()}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
