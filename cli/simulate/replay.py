"""What a run gets done on machines that come and go: an exact replay, from event to event.

The gang is lost whole. Spot instances of one type and zone are interrupted together, within three minutes of each other
in more than 92 % of cases (Spot-and-Scoot), and a gang that lacks one node stands still anyway.

A start takes `restore` before the first step. A save stops training for `stall`; its checkpoint counts from `upload`
after the save's beginning on, and until then no other is begun. What was not in a checkpoint that counts is lost with
the machines. Told `notice` before, the gang drops the step begun, saves if that can be done in time, and leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, Protocol

from trainer.errors import UserError
from trainer.interval import Measured
from trainer.preemption import SECONDS_TO_END

from trainyard.cli.simulate.traces import MICROSECONDS, Trace, Window


@dataclass(frozen=True)
class Job:
    """What training, saving and starting take, in microseconds."""

    step: int
    stall: int
    upload: int
    """From a save's beginning until its checkpoint counts, the stall included."""
    restore: int
    """From the machines being there until the first step: processes, fetching and loading the checkpoint, compiling."""
    notice: int = 0
    """From the warning until the machines go; 0: none comes."""

    @classmethod
    def of_seconds(cls, step: float, stall: float, upload: float, restore: float, notice: float = 0) -> Job:
        """Raises UserError for times that can't be."""
        named = {"step": step, "stall": stall, "upload": upload, "restore": restore, "notice": notice}
        for name, seconds in named.items():
            least = 1e-3 if name == "step" else 0
            if not least <= seconds <= 1e7:
                raise UserError(f"--{name}-seconds {seconds:g}: expected {least:g} to 10,000,000")
        if upload < stall:
            raise UserError(f"--upload-seconds {upload:g}: counts from the save's beginning, so it is at least the "
                            f"stall's {stall:g}")  # fmt: skip
        return cls(**{name: round(seconds * MICROSECONDS) for name, seconds in named.items()})

    @property
    def measured(self) -> Measured:
        """As the trainer measures it."""
        parts = (self.step, self.stall, self.upload, self.restore)
        return Measured(*(part / MICROSECONDS for part in parts))

    @property
    def saves_on_notice(self) -> bool:
        """Whether an emergency save fits; an older one under way is dropped for it if it has to be."""
        return self.upload <= self.notice - SECONDS_TO_END * MICROSECONDS


@dataclass
class Account:
    """Where the time went in which machines were there, in microseconds."""

    available: int = 0
    useful: int = 0
    """In steps that were kept."""
    lost: int = 0
    """In steps that had to be done again, or were not finished."""
    stalled: int = 0
    restoring: int = 0
    leaving: int = 0
    """From a warning until the machines went."""
    saves: int = 0
    losses: int = 0
    """Times that the machines were taken away."""
    unwarned: int = 0
    """Of these, those at which no checkpoint was saved."""

    @property
    def goodput(self) -> float:
        """The useful share of the time that is paid for; 0 where there was none."""
        return self.useful / self.available if self.available else 0.0

    def __add__(self, other: Account) -> Account:
        return Account(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Account)))


class Policy(Protocol):
    """When to save."""

    steps: int
    """From a process's start, or its last save, to the next save."""
    fixed: bool
    """`steps` never changes."""

    def start(self) -> None:
        """A process begins."""

    def saved(self, begun: int, counts: int, ending: Literal["interval", "preempted"]) -> None:
        """A checkpoint counts that was begun at `begun`; both in microseconds from the process's start."""


def replay(trace: Trace, job: Job, policy: Policy) -> Account:
    account = Account()
    for window in trace.windows():
        policy.start()
        account += _replay_window(window, job, policy)
    return account


def _replay_window(window: Window, job: Job, policy: Policy) -> Account:
    warned = window.lost and job.notice > 0
    restored = min(window.start + job.restore, window.end)
    leaves = max(restored, window.end - job.notice) if warned else window.end
    account = Account(
        available=window.end - window.start,
        restoring=restored - window.start,
        leaving=window.end - leaves,
        losses=int(window.lost),
    )
    least_steps = -(-(job.upload - job.stall) // job.step)  # while a save is under way
    begins, steps = restored, policy.steps
    """When the steps since the last save begin, and how many there are to be before the next."""
    while (left := leaves - begins - steps * job.step - job.upload) >= 0:
        # A checkpoint that counts before the machines go, or as many as do at this interval.
        cycle = steps * job.step + job.stall
        saves = 1 + (left // cycle if policy.fixed and steps >= least_steps else 0)
        account.saves += saves
        account.useful += saves * steps * job.step
        account.stalled += saves * job.stall
        begins += saves * cycle
        begun = begins - job.stall - window.start
        policy.saved(begun, begun + job.upload, "interval")
        steps = max(policy.steps, least_steps)

    # A last save may have been begun and not be ended.
    save = begins + steps * job.step
    before, after = 0, leaves - begins
    """Time trained up to that save, and after it."""
    if save < leaves:
        account.saves += 1
        account.stalled += min(job.stall, leaves - save)
        before, after = steps * job.step, max(0, leaves - save - job.stall)
    whole = after - after % job.step
    if warned and job.saves_on_notice:
        account.saves += int(whole > 0)
        kept = before + whole
        if leaves > restored:
            policy.saved(leaves - window.start, window.end - window.start, "preempted")
    elif not window.lost:
        kept = before + whole
    else:
        account.unwarned += 1
        kept = before if save + job.upload <= window.end else 0
    account.useful += kept
    account.lost += before + after - kept
    return account
