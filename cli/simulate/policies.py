"""When to save: at the trainer's own adaptive interval, at a fixed one, or knowing what will come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from trainer.interval import UNMEASURED_STEPS, FailureRate, choose

from trainyard.cli.simulate.replay import Account, Job
from trainyard.cli.simulate.traces import MICROSECONDS, Trace


@dataclass
class Fixed:
    steps: int
    fixed: bool = True

    def start(self) -> None:
        pass

    def saved(self, begun: int, counts: int, ending: Literal["interval", "preempted"]) -> None:
        pass


class Adaptive:
    """`checkpoint.interval_steps=auto`, by the trainer's code and with no more knowledge than it has.

    What is known of failures stands in the newest checkpoint: failures seen, and seconds trained until it was saved. A
    process that goes on from one saved at its interval adds a failure. What saves cost is known after the first
    one, and stands in those that follow.
    """

    fixed = False

    def __init__(self, job: Job, prior_mean_seconds: float) -> None:
        self._job = job
        self._measured = job.measured
        self._prior_mean_seconds = prior_mean_seconds
        self._saved: tuple[int, float, str, bool] = 0, 0.0, "none", False
        """Failures, seconds and ending in the newest checkpoint, and whether it knows what saves cost."""
        self.start()

    def start(self) -> None:
        failures, self._seconds, ending, self._cost_known = self._saved
        self._failures = failures + (ending == "interval")
        self.steps = UNMEASURED_STEPS
        if self._cost_known:
            self.steps = min(self.steps, choose(self._measured, self.rate()).steps)

    def saved(self, begun: int, counts: int, ending: Literal["interval", "preempted"]) -> None:
        self._saved = self._failures, self._seconds + begun / MICROSECONDS, ending, self._cost_known
        self._cost_known = True
        if ending == "interval":
            self.steps = choose(self._measured, self.rate(counts)).steps

    def rate(self, microseconds: int = 0) -> FailureRate:
        """What is believed so long after the process's start."""
        seconds = self._seconds + microseconds / MICROSECONDS
        return FailureRate(self._prior_mean_seconds, observed_failures=self._failures, observed_seconds=seconds)


def clairvoyant(trace: Trace, job: Job) -> Account:
    """Saves once, as late as still counts, before each loss and never else: no policy gets more done."""
    account = Account()
    for window in trace.windows():
        length = window.end - window.start
        restoring = min(job.restore, length)
        usable = max(0, length - restoring - (job.upload if window.lost else 0))
        useful = usable - usable % job.step
        saves = int(window.lost and useful > 0)
        stalled = saves * job.stall
        account += Account(
            available=length,
            useful=useful,
            lost=length - restoring - useful - stalled,
            stalled=stalled,
            restoring=restoring,
            saves=saves,
            losses=int(window.lost),
        )
    return account


def sweep(job: Job, most_seconds: float, count: int = 25) -> list[int]:
    """Intervals in steps, evenly spread on a logarithmic scale: from the shortest possible one to `most_seconds`."""
    step = job.step / MICROSECONDS
    least = max(1, math.ceil((job.upload - job.stall) / job.step))
    most = max(least, math.ceil(most_seconds / step))
    growth = (most / least) ** (1 / max(1, count - 1))
    return sorted({round(least * growth**index) for index in range(count)})
