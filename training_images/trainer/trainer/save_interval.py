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

    def choose(self, measured: Medians, history: History, step_seconds: float | None) -> str | None:
        """After a save. Returns the reason in words where the interval is to be chosen and has changed notably."""
        if not self._chosen:
            return None
        self.steps, reason = self._gang.from_leader(lambda: self._choice(measured, history, step_seconds))
        if abs(self.steps - self._told_steps) <= _WORTH_TELLING * self._told_steps:
            return None
        self._told_steps = self.steps
        return reason

    def _choice(self, measured: Medians, history: History, step_seconds: float | None) -> tuple[int, str]:
        stall, upload = measured.stall_seconds, measured.upload_seconds
        if step_seconds is None or stall is None or upload is None:
            return self.steps, ""
        # What was never restored is assumed to come back as fast as it went.
        restore = measured.restore_seconds if measured.restore_seconds is not None else upload
        rate = FailureRate(
            self._prior_seconds, observed_failures=history.failures, observed_seconds=history.seconds_trained
        )
        choice = choose(Measured(step_seconds, stall, upload, restore), rate)
        return choice.steps, choice.reason
