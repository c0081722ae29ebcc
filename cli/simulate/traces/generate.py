"""Makes the shipped traces, the same ones each time: `python -m trainyard.cli.simulate.traces.generate [FOLDER]`.

No recorded trace is shipped; these are synthetic. In each a gang is there or gone, and changes from one to the other at
random, at rates that change with time: a Markov chain of two states, one draw for each gap. None has the constant rate
that the interval's formula supposes.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HOUR, DAY = 3600.0, 86_400.0

Means = Callable[[float, float], tuple[float, float]]
"""(seconds from the beginning, seconds since the last loss) to (mean seconds until the next loss, mean outage)."""


@dataclass(frozen=True)
class Recipe:
    description: str
    days: int
    gap_seconds: int
    seed: int
    means: Means


def _day_and_night(now: float, _: float) -> tuple[float, float]:
    return (2 * HOUR, 30 * 60) if 9 <= now / HOUR % 24 < 21 else (14 * HOUR, 10 * 60)


def _calm_then_storm(now: float, _: float) -> tuple[float, float]:
    return (0.75 * HOUR, 10 * 60) if 10 <= now / DAY < 14 else (4 * DAY, 30 * 60)


def _capacity_crunch(now: float, _: float) -> tuple[float, float]:
    """From a loss a day to one an hour, and outages from ten minutes to three hours."""
    scarcity = now / (28 * DAY)
    return 24 * HOUR * (1 / 24) ** scarcity, 10 * 60 * 18**scarcity


def _weekly(now: float, _: float) -> tuple[float, float]:
    weekend = now / DAY % 7 >= 5
    if weekend:
        return 2 * DAY, 15 * 60
    return (3 * HOUR, 45 * 60) if 8 <= now / HOUR % 24 < 20 else (10 * HOUR, 15 * 60)


def _rare(_: float, __: float) -> tuple[float, float]:
    return 7 * DAY, 1 * HOUR


def _aftershocks(_: float, since_loss: float) -> tuple[float, float]:
    """What has just come back is soon gone again: a loss makes the next more likely for some hours."""
    return 1 / (1 / (2 * DAY) + math.exp(-since_loss / (3 * HOUR)) / HOUR), 12 * 60


RECIPES = {
    "day-and-night": Recipe(
        "four weeks; by day a loss every 2 h and outages of 30 min, by night every 14 h and 10 min", 28, 60, 1,
        _day_and_night,
    ),
    "calm-then-storm": Recipe(
        "four weeks; a loss every 4 days, but every 45 min from the tenth day to the fourteenth", 28, 60, 2,
        _calm_then_storm,
    ),
    "capacity-crunch": Recipe(
        "four weeks; ever scarcer, from a loss a day to one an hour, from outages of 10 min to 3 h", 28, 60, 3,
        _capacity_crunch,
    ),
    "weekly": Recipe(
        "four weeks; on working days a loss every 3 h from 8 to 20 and every 10 h else, at week-ends every 2 days", 28,
        60, 4, _weekly,
    ),
    "rare": Recipe("ten weeks; a loss every 7 days, outages of an hour", 70, 300, 5, _rare),
    "aftershocks": Recipe(
        "four weeks; a loss every 2 days, each followed by others within hours", 28, 60, 6, _aftershocks
    ),
}  # fmt: skip


def generate(recipe: Recipe) -> list[int]:
    """0 or 1 for each gap."""
    draw = random.Random(recipe.seed)  # noqa: S311 - for numbers, not for secrets
    data, there, lost_at = [], True, -math.inf
    for index in range(round(recipe.days * DAY / recipe.gap_seconds)):
        now = index * recipe.gap_seconds
        until_loss, outage = recipe.means(now, now - lost_at)
        if draw.random() < -math.expm1(-recipe.gap_seconds / (until_loss if there else outage)):
            there = not there
            lost_at = lost_at if there else now
        data.append(int(there))
    return data


def write(folder: Path) -> None:
    for name, recipe in RECIPES.items():
        metadata = {
            "gap_seconds": recipe.gap_seconds,
            "description": recipe.description,
            "synthetic": f"generate.py, seed {recipe.seed}",
        }
        content = json.dumps({"metadata": metadata, "data": generate(recipe)}, separators=(",", ":"))
        (folder / f"{name}.json").write_text(f"{content}\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
