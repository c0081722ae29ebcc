"""Which rank the others wait for. A gang goes at the pace of its slowest: a throttled GPU shows here, not in the loss.

All ranks take equally long for a step, for they wait for each other; what tells them apart is the time each needs for
work of its own. Under fsdp the wait for gathered weights is part of the forward and the backward pass, so there it is
slow data and slow hosts that show.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from trainer.gang import Gang
from trainer.metrics import record

WORK = ("data", "forward", "backward")
"""Phases a rank goes through at its own pace. The last backward pass of a step is not among them: gradients cross."""
WAITING = ("agreement", "reduction")
PHASES = (*WORK, *WAITING, "optimizer")

_SLOW = 1.15
"""Times the median; 5 % of a step at least, so that no trifle is told."""
_SHARE_OF_STEP = 0.05
_STEPS_TO_JUDGE = 10
"""What one step takes says little."""
_SECONDS_BETWEEN_FILES = 5.0


@dataclass(frozen=True)
class Slow:
    rank: int
    phase: str
    """The one it loses most time in."""
    seconds: float
    """It needs for that, for each step."""
    usual_seconds: float
    """The median of all ranks."""
    lost_share: float
    """Of the step's time, lost to the whole gang by this rank's work."""

    def __str__(self) -> str:
        return (
            f"rank {self.rank} is slow: {self.phase} takes it {self.seconds * 1e3:.1f} ms a step, "
            f"the ranks' median is {self.usual_seconds * 1e3:.1f} ms; it costs {self.lost_share:.0%} of each step"
        )


@dataclass(frozen=True)
class Report:
    ranks: list[dict[str, float]]
    """Mean seconds a step, by phase, of each rank."""
    slow: list[Slow]
    """Slowest first."""
    news: list[Slow]
    """Those that were not slow the last time."""


class Stragglers:
    """Adds up where this rank's time goes; with others to compare with, now and then."""

    def __init__(self, gang: Gang, directory: Path) -> None:
        """The leader keeps `ranks.json` in `directory`: where each rank's time has gone lately."""
        self._gang = gang
        self._file = directory / "ranks.json" if gang.leads else None
        self._written_at = -_SECONDS_BETWEEN_FILES
        self._seconds: dict[str, float] = defaultdict(float)
        self._steps = 0
        self._warm = False
        self._known: set[int] = set()

    def measure(self, phase: str, seconds: float) -> None:
        self._seconds[phase] += seconds

    def count_step(self) -> None:
        """The first one of a process is left out: it compiles and fills caches."""
        self._steps += 1
        if not self._warm:
            self._warm = True
            self._seconds.clear()
            self._steps = 0

    def report(self, step: int) -> Report | None:
        """On the steps since the last one, once they are enough. Called by all ranks alike, and the same on all."""
        if self._steps < _STEPS_TO_JUDGE:
            return None
        own = [self._seconds[phase] / self._steps for phase in PHASES]
        self._seconds.clear()
        self._steps = 0
        ranks = [dict(zip(PHASES, one, strict=True)) for one in self._gang.gather_floats(own)]
        slow = slow_ranks(ranks)
        report = Report(ranks, slow, [one for one in slow if one.rank not in self._known])
        self._known = {one.rank for one in slow}
        if self._file is not None and (report.news or time.monotonic() - self._written_at > _SECONDS_BETWEEN_FILES):
            self._written_at = time.monotonic()
            rounded = [{phase: round(seconds, 6) for phase, seconds in rank.items()} for rank in ranks]
            record(self._file, {"step": step, "seconds_per_step": rounded, "slow": [one.rank for one in slow]})
        return report


def slow_ranks(ranks: list[dict[str, float]]) -> list[Slow]:
    """Those whose work takes much longer than the median, slowest first."""
    work = [sum(rank[phase] for phase in WORK) for rank in ranks]
    # Of two ranks the faster is what is usual: their mean would call none slow that is twice as slow.
    usual = statistics.median_low(work)
    step = max(sum(rank.values()) for rank in ranks)
    slow = []
    for number, (rank, seconds) in enumerate(zip(ranks, work, strict=True)):
        if seconds <= _SLOW * usual or seconds - usual <= _SHARE_OF_STEP * step:
            continue
        usually = {phase: statistics.median_low([other[phase] for other in ranks]) for phase in WORK}
        phase = max(WORK, key=lambda phase: rank[phase] - usually[phase])
        slow.append(Slow(number, phase, rank[phase], usually[phase], (seconds - usual) / step))
    return sorted(slow, key=lambda one: -one.lost_share)
