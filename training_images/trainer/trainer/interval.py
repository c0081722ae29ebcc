"""How often to save: often enough that little is lost at a failure, seldom enough that saving costs little.

    choose(Measured(15.0, 10.0, 40.0, 600.0), FailureRate(prior_mean_seconds=6000)).steps     # 24

Sources: J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM 17 (1974); J. T. Daly, "A
higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22 (2006): T = √(2C(M + R)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SECONDS_PER_NODE = 40 * 86_400.0
"""Between failures of one node without warning, before any has been seen. Llama 3's run met 419 unexpected stops
in 54 days on 2,048 nodes of eight GPUs, 264 days for a node; small clusters have worse luck and younger software."""


UNMEASURED_STEPS = 100
"""Between saves until a process has measured what one costs."""


def prior_mean_seconds(nodes: int) -> float:
    """Between failures anywhere in a gang of `nodes` nodes: any one of them stops all."""
    return SECONDS_PER_NODE / nodes


@dataclass(frozen=True)
class FailureRate:
    """What is believed of failures: a guess that counts as much as `prior_weight` failures seen, and those seen.

    Only failures without warning count. One that leaves time to save costs no work, however often it comes. The guess
    is good to an order of magnitude at best, and on spot far too hopeful, so little weight is put on it: replayed on
    the traces of `trainyard simulate`, a tenth of a failure loses least. Old evidence counts like new: to forget it
    with a half-life of one to fourteen days gained nothing there that was worth keeping it by date.
    """

    prior_mean_seconds: float
    prior_weight: float = 0.1
    observed_failures: int = 0
    observed_seconds: float = 0.0

    @property
    def mean_seconds_between(self) -> float:
        """The inverse of the rate's posterior mean: failures as a Poisson process, its rate Gamma distributed.

        While none has been seen, it is no longer than the guess or the time without one, where the posterior, with so
        little weight on the guess, would jump to ten times that time.
        """
        if not self.observed_failures:
            return max(self.prior_mean_seconds, self.observed_seconds)
        seconds = self.prior_weight * self.prior_mean_seconds + self.observed_seconds
        return seconds / (self.prior_weight + self.observed_failures)


@dataclass(frozen=True)
class Measured:
    """What this run has measured, in seconds."""

    step_seconds: float
    stall_seconds: float
    """How long a save stops the training."""
    upload_seconds: float
    """From the snapshot until the checkpoint is durable, while training goes on."""
    restore_seconds: float
    """To find, fetch, verify and load a checkpoint; the start of processes comes on top, little beside a failure."""


@dataclass(frozen=True)
class IntervalChoice:
    steps: int
    seconds: float
    reason: str
    """One sentence with the numbers in it."""


def choose(measured: Measured, rate: FailureRate) -> IntervalChoice:
    """Daly's interval, but no shorter than an upload takes, since two can't be under way at once, nor than a step."""
    between = rate.mean_seconds_between
    best = math.sqrt(2 * measured.stall_seconds * (between + measured.restore_seconds))
    step = measured.step_seconds
    bound = ""
    if measured.upload_seconds > best:
        best = measured.upload_seconds
        bound = f", raised to the upload's {_said(measured.upload_seconds)}"
        steps = math.ceil(best / step)
    else:
        steps = max(1, round(best / step))
    seen = (
        f"{rate.observed_failures} failure{'' if rate.observed_failures == 1 else 's'} without warning in "
        f"{_said(rate.observed_seconds)}"
    )
    reason = (
        f"every {steps} steps ({_said(steps * step)}): a save stops training for {_said(measured.stall_seconds)}, "
        f"a restart takes {_said(measured.restore_seconds)}, a failure is expected every {_said(between)} "
        f"({seen}){bound}"
    )
    return IntervalChoice(steps, steps * step, reason)


def waste(interval_seconds: float, measured: Measured, between_seconds: float) -> float:
    """The share of time that saving, redone work and restarts take: C/T + T/2M + R/M."""
    return (
        measured.stall_seconds / interval_seconds
        + interval_seconds / (2 * between_seconds)
        + measured.restore_seconds / between_seconds
    )


def _said(seconds: float) -> str:
    for unit, length in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.3g} s"
