"""When the next checkpoint is due: at a fixed number of steps, or at one chosen anew after each save from its cost."""

from __future__ import annotations

from trainer.config_sections import CheckpointConfig
from trainer.flight import Medians
from trainer.gang import Gang
from trainer.interval import UNMEASURED_STEPS, FailureRate, Measured, choose, prior_mean_seconds
from trainer.manifest import History

_WORTH_TELLING = 0.1
"""A choice that differs less from the last one told is followed in silence."""


class SaveInterval:
    """The same on every rank."""

    def __init__(self, settings: CheckpointConfig, gang: Gang) -> None:
        self._gang = gang
        self._chosen = settings.interval_steps == "auto"
        self.steps = UNMEASURED_STEPS if settings.interval_steps == "auto" else settings.interval_steps
        nodes = max(1, gang.world_size // gang.local_world_size)
        self._prior_seconds = settings.mean_seconds_between_failures or prior_mean_seconds(nodes)
        self._saved_step = 0
        self._told_steps = 0

    def due(self, step: int) -> bool:
        """A fixed interval is counted from step 0, so that runs save at the same steps; a chosen one from the last."""
        return step - self._saved_step >= self.steps if self._chosen else step % self.steps == 0

    def begun(self, step: int) -> None:
        """A save at `step` has begun, or the run goes on from one."""
        self._saved_step = step

    @property
    def waits(self) -> bool:
        """Whether it is to be chosen, and has not been in this process."""
        return self._chosen and not self._told_steps

    def choose(self, measured: Medians, history: History, step_seconds: float | None) -> str | None:
        """After a save, and while it `waits`, as soon as the time of a step is known. A resumed run begins with what
        saves have cost before. Returns the reason in words where the interval is to be chosen and has changed notably.
        """
        stall, upload, restore = measured.stall_seconds, measured.upload_seconds, measured.restore_seconds
        if not self._chosen or step_seconds is None or stall is None or upload is None:
            return None
        # What was never restored is assumed to come back as fast as it went.
        costs = Measured(step_seconds, stall, upload, upload if restore is None else restore)
        self.steps, reason = self._gang.from_leader(lambda: self._choice(costs, history))
        if not measured.of_a_save:
            reason += "; what a save costs was measured before the restart"
            if self.steps > UNMEASURED_STEPS:
                # In a storm no process lives for so long, and without a checkpoint none leaves word of its failure.
                self.steps = UNMEASURED_STEPS
                reason += f", and the first comes after {self.steps} steps"
        if abs(self.steps - self._told_steps) <= _WORTH_TELLING * self._told_steps:
            return None
        self._told_steps = self.steps
        return reason

    def _choice(self, costs: Measured, history: History) -> tuple[int, str]:
        rate = FailureRate(
            self._prior_seconds, observed_failures=history.failures, observed_seconds=history.seconds_trained
        )
        choice = choose(costs, rate)
        return choice.steps, choice.reason
