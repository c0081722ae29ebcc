"""Where the loop is: told to the watchdog, and timed, at the boundaries between its phases.

On a GPU the passes over the model are timed by events on its stream: the host only puts them in a queue.
"""

from __future__ import annotations

import time

import torch

from trainer.stragglers import Stragglers
from trainer.watchdog import Watchdog

_ON_DEVICE = frozenset({"forward", "backward", "reduction", "optimizer"})
_MOST_EVENTS = 2048
"""Between two reports; where more pass, the first ones stand for all."""


class Phases:
    def __init__(self, watchdog: Watchdog, stragglers: Stragglers, device: torch.device) -> None:
        self._watchdog, self._stragglers = watchdog, stragglers
        self._on_gpu = device.type == "cuda"
        self.phase = "start"
        self._since = time.perf_counter()
        self._events: list[tuple[str, torch.cuda.Event]] = []

    def enter(self, phase: str) -> None:
        """The loop leaves the phase it was in, and begins `phase`."""
        self._watchdog.beat(phase)
        now = time.perf_counter()
        if self._on_gpu:
            device_work = self.phase in _ON_DEVICE
            if (device_work or phase in _ON_DEVICE) and len(self._events) < _MOST_EVENTS:
                event = torch.cuda.Event(enable_timing=True)
                event.record()
                self._events.append((phase, event))
            if not device_work:
                self._stragglers.measure(self.phase, now - self._since)
        else:
            self._stragglers.measure(self.phase, now - self._since)
        self.phase, self._since = phase, now
        if phase == "optimizer":
            self._stragglers.count_step()

    def settle(self) -> None:
        """Takes in what the device has timed. Where the loop has waited for the device anyway."""
        if not self._events:
            return
        self._events[-1][1].synchronize()
        for (phase, begin), (_, end) in zip(self._events, self._events[1:], strict=False):
            if phase in _ON_DEVICE:
                self._stragglers.measure(phase, begin.elapsed_time(end) / 1e3)
        self._events.clear()
