"""Looking into a run: torch's profiler for some steps, and CUDA memory, when asked. Costs nothing while it is off.

Steps come from `profile.steps`, or are the next three after a SIGUSR1 to a rank or its launcher. Each rank leaves a
Chrome trace in the run's directory, below `profile/`; https://ui.perfetto.dev shows it. With `profile.memory`, and when
memory runs out, it leaves a snapshot beside it, for https://pytorch.org/memory_viz.
"""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from types import FrameType

import torch
from torch.profiler import ProfilerActivity, profile

from trainer.config_sections import ProfileConfig
from trainer.gang import Gang

STEPS_ON_DEMAND = 3
_MEMORY_ENTRIES = 100_000

log = logging.getLogger("trainer")


class Profiling:
    def __init__(self, settings: ProfileConfig, gang: Gang, directory: Path) -> None:
        self._gang, self._folder = gang, directory / "profile"
        self._asked = False
        self._recording = False
        """Of the allocator's history."""
        self._steps: range | None = None
        if settings.steps is not None:
            first, last = settings.steps.split("-")
            self._steps = range(int(first), int(last) + 1)
        self._profile: profile | None = None
        self._began = 0
        self._always_records = settings.memory
        if settings.memory:
            self._record_memory()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR1, self._on_signal)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})  # the launcher has blocked it until now

    def step(self, done: int) -> None:
        """Between step `done` and the next."""
        if self._profile is None and self._steps is None and not self._asked:
            return
        if self._asked and self._profile is None:
            self._asked = False
            self._record_memory()
            self._steps = range(done + 1, done + 1 + STEPS_ON_DEMAND)
        if self._profile is not None and (self._steps is None or done + 1 >= self._steps.stop):
            self._stop(done)
        if self._steps is not None and done + 1 >= self._steps.stop:
            self._steps = None  # also where a resumed run is past them
        if self._profile is None and self._steps is not None and done + 1 in self._steps:
            self._start(done + 1)

    def out_of_memory(self) -> Path | None:
        """What the allocator held when it could give no more. For who catches torch.OutOfMemoryError."""
        if self._gang.device.type != "cuda":
            return None
        return self._snapshot("out-of-memory")

    def close(self, done: int) -> None:
        """A run that ends within the steps leaves what it has."""
        if self._profile is not None:
            self._stop(done)
        self._record_memory(on=False)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True

    def _record_memory(self, on: bool = True) -> None:
        if self._gang.device.type == "cuda" and on != self._recording:
            torch.cuda.memory._record_memory_history(enabled="all" if on else None, max_entries=_MEMORY_ENTRIES)
            self._recording = on

    def _start(self, step: int) -> None:
        activities = [ProfilerActivity.CPU]
        if self._gang.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._profile = profile(activities=activities, record_shapes=True, profile_memory=self._recording)
        self._profile.start()
        self._began = step

    def _stop(self, last: int) -> None:
        assert self._profile is not None
        stopped, self._profile = self._profile, None
        stopped.stop()
        name = f"steps-{self._began}-{last}"
        path = self._folder / f"{name}-rank{self._gang.rank}.json.gz"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            stopped.export_chrome_trace(str(path))
        except (OSError, RuntimeError) as error:
            log.warning("profile of steps %d to %d could not be written: %s", self._began, last, error)
            return
        if self._recording:
            self._snapshot(name)
            self._record_memory(on=self._always_records)
        if self._gang.leads:
            log.info("steps %d to %d profiled: %s", self._began, last, path)

    def _snapshot(self, name: str) -> Path | None:
        path = self._folder / f"{name}-memory-rank{self._gang.rank}.pickle"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            torch.cuda.memory._dump_snapshot(str(path))
        except (OSError, RuntimeError) as error:
            log.warning("memory snapshot %s could not be written: %s", path, error)
            return None
        log.info("memory snapshot: %s", path)
        return path
