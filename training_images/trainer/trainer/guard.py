"""Steps that would spoil the weights: gradients that are no number are skipped, losses that jump undo a stretch."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config_sections import GuardConfig


@dataclass(frozen=True)
class Skipped:
    """A step whose gradient was no number, so that the weights stayed as they were."""

    step: int
    position: int
    """Of its first sample in the data order."""


class NonFiniteGuard:
    """Keeps the optimiser from taking a step on a gradient that is no number, and counts.

    The optimiser's own kernel looks at the flag, on the device: training never waits for the answer. `skipped` asks for
    it, where the loop waits anyway.
    """

    def __init__(self, settings: GuardConfig, scaler: torch.amp.GradScaler) -> None:
        self._limit = settings.non_finite_steps
        self._scaler = scaler
        self._pending: list[tuple[int, int, Tensor]] = []
        self.in_a_row = 0
        """As of the last call of `skipped`; once too many, it stays so."""
        self.last_skipped = 0
        """Number of the step, once there was one."""

    def arm(self, optimizer: torch.optim.Optimizer, norm: Tensor, step: int, position: int) -> None:
        """Before the optimiser's step number `step`, whose samples begin at `position`. `norm` is that of all
        gradients, the same on every rank."""
        bad = ~torch.isfinite(norm.detach())
        if self._scaler.is_enabled():
            # The scaler skips by itself, and while it looks for a scale that is no fault.
            bad = bad & (self._scaler._scale <= 1.0) if self._scaler._scale is not None else bad
        else:
            optimizer.found_inf = bad.to(torch.float32)  # ty: ignore[missing-attribute]
            optimizer.grad_scale = None  # ty: ignore[missing-attribute]
        self._pending.append((step, position, bad))

    def skipped(self) -> list[Skipped]:
        """Those since the last call; waits for the device."""
        pending, self._pending = self._pending, []
        if not pending:
            return []
        flags = torch.stack([bad.reshape(()) for *_, bad in pending]).tolist()
        for (step, *_), flag in zip(pending, flags, strict=True):
            if self.too_many:
                break
            self.in_a_row = self.in_a_row + 1 if flag else 0
            self.last_skipped = step if flag else self.last_skipped
        return [Skipped(step, position) for (step, position, _), flag in zip(pending, flags, strict=True) if flag]

    @property
    def too_many(self) -> bool:
        return self.in_a_row >= self._limit


class SpikeGuard:
    """Notices a loss far above those of the steps before."""

    def __init__(self, settings: GuardConfig) -> None:
        self._factor = settings.spike_factor
        self._losses: deque[float] = deque(maxlen=settings.spike_window)

    @property
    def watches(self) -> bool:
        return self._factor is not None

    def jumped(self, loss: float) -> float | None:
        """The median that `loss` exceeds by the factor, or None. A window that is not full yet says nothing."""
        if self._factor is None:
            return None
        full = len(self._losses) == self._losses.maxlen
        usual = statistics.median(self._losses) if full else loss
        if full and not loss <= self._factor * usual:  # a loss that is no number is a jump too
            return usual
        self._losses.append(loss)
        return None

    @property
    def window(self) -> list[float]:
        """The losses it compares with; a checkpoint keeps them, so that a resumed run jumps where this one would."""
        return list(self._losses)

    def restore(self, window: list[float]) -> None:
        self._losses.clear()
        self._losses.extend(window)
