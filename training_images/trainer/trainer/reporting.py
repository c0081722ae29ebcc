"""What a run tells: lines for people, the journal, MLflow, the outcome. Rank 0 writes; the others stay silent."""

from __future__ import annotations

import logging
import os
import resource
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from trainer import ownership
from trainer.config import Config
from trainer.errors import UserError
from trainer.metrics import Journal, read_json, record, write_json
from trainer.storage import StorageError
from trainer.tracking import Tracker

log = logging.getLogger("trainer")

Ending = Literal["finished", "preempted", "failed"]

_TRACKING_PATIENCE_SECONDS: dict[Ending, float] = {"finished": 60.0, "preempted": 3.0, "failed": 3.0}
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_EVENT_OF_OUTCOME: dict[Ending, str] = {"finished": "finished", "preempted": "interrupted", "failed": "failed"}


@dataclass(frozen=True)
class Outcome:
    """How a process's work ended; `outcome.json` in the run directory."""

    outcome: Ending
    step: int
    """Optimiser steps done over all restarts."""
    resumed_from_step: int | None = None
    reason: str | None = None
    checkpoint: str | None = None
    """URI of the newest one."""


class RunDirectory:
    """`metrics.jsonl`, `outcome.json`, `config.yaml` and `run.json` of one run."""

    def __init__(self, config: Config) -> None:
        """Takes it for this process, and removes what an earlier one said of its end.

        Raises UserError if it can't be written, or another run that is alive writes its record there.
        """
        self.path = config.run.directory.absolute()
        self._config = config
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._hold()
            (self.path / "outcome.json").unlink(missing_ok=True)
            for name in ("metrics.jsonl", "run.json"):
                (self.path / name).open("a").close()  # on the first rank alone, later, the others would wait for it
            settings = config.model_dump(mode="json")
            (self.path / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        except OSError as error:
            where = f"{error.strerror} ({error.filename})"
            raise UserError(f"run.directory {self.path}: can't be written: {where}; name a folder that can") from None

    def _hold(self) -> None:
        """By its real name: a run whose checkpoints lie here too holds the same lock for them."""
        try:
            ownership.hold(self.path.resolve(), ownership.Owner.here(self.path))
        except ownership.HeldError:
            holder = ownership.holder(self.path) or "it has just ended"
            raise UserError(
                f"run.directory {self.path}: another run is using it: {holder}. Each would spoil the other's record: "
                "wait for its end or end it, or give this one a run.directory of its own"
            ) from None
        except StorageError as error:  # it speaks of checkpoints
            raise error.__cause__ or error from None

    def run_id(self) -> str:
        """That of the run whose record is here, if it had these settings; else a new one."""
        known = read_json(self.path / "run.json")
        if known is not None and known.get("essentials") == self._config.essentials():
            return known["run_id"]
        return uuid.uuid4().hex

    def keep_run_id(self, run_id: str) -> None:
        write_json(self.path / "run.json", {"run_id": run_id, "essentials": self._config.essentials()})

    def write_outcome(self, outcome: Outcome) -> None:
        record(self.path / "outcome.json", asdict(outcome))


def memory_bytes(device: torch.device) -> int:
    """The most that this rank has held on its GPU since the last call; without one, what it holds now of the RAM."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    with suppress(OSError, ValueError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Reporter:
    def __init__(self, config: Config, directory: RunDirectory | None, device: torch.device) -> None:
        """`directory` is None on the ranks that stay silent."""
        self._config = config
        self._directory = directory
        self._journal: Journal | None = None
        self.step_seconds: float | None = None
        """Mean of the last line."""
        self.utilisation: Callable[[float], float | None] = lambda _tokens_per_second: None
        """Gives the MFU; the loop sets it when it knows the model."""
        self._device = device
        self.start_clock(0.0)

    def open(self, run_id: str, resumed_step: int) -> None:
        """Begins to report: steps after `resumed_step` are about to be done, perhaps again."""
        if self._directory is not None:
            try:
                self._directory.keep_run_id(run_id)
                self._journal = Journal(self._directory.path / "metrics.jsonl", resumed_step)
                self._tracker = Tracker(self._config.tracking, run_id, self._directory.path)
            except OSError as error:
                raise UserError(f"run.directory {self._directory.path}: can't be written: {error.strerror}") from None

    def go_back(self, step: int) -> None:
        """Takes back the lines after `step`, which will be done again with other data."""
        if self._journal is not None:
            self._journal.go_back(step)

    def start_clock(self, data_wait_seconds: float) -> None:
        self._line_started = time.perf_counter()
        self._line_data_wait = data_wait_seconds
        self._line_stall = 0.0
        self._line_steps = 0
        self._line_tokens = 0

    def count_step(self, tokens: int) -> None:
        self._line_steps += 1
        self._line_tokens += tokens

    def pause_clock(self, seconds: float) -> None:
        """Takes time that was not spent in training steps out of their rate."""
        self._line_started += seconds

    def stalled(self, seconds: float) -> None:
        """Training stood still for a checkpoint."""
        self._line_stall += seconds
        self.pause_clock(seconds)

    def step(self, step: int, tokens: int, data_wait_seconds: float, **measured: float) -> None:
        """A line about the steps since the last one. `data_wait_seconds` counts from the start of the process."""
        seconds = (time.perf_counter() - self._line_started) / self._line_steps
        rate = self._line_tokens / self._line_steps / seconds
        waited = (data_wait_seconds - self._line_data_wait) / self._line_steps
        memory = memory_bytes(self._device)
        mfu = self.utilisation(rate)
        self.step_seconds = seconds
        if self._journal is not None:
            self._journal.write(
                step=step,
                **measured,
                tokens=tokens,
                tokens_per_second=round(rate, 1),
                **({} if mfu is None else {"mfu": round(mfu, 4)}),
                seconds_per_step=round(seconds, 6),
                data_wait_seconds=round(waited, 6),
                checkpoint_stall_seconds=round(self._line_stall, 6),
                memory_bytes=memory,
            )
            log.info(
                "step %d/%d  loss %.4f  gradient norm %.3f  %.0f tokens/s  %s"
                "data wait %.0f %%  save stall %.2f s  %.1f GB",
                step, self._config.training.steps, measured["loss"], measured["grad_norm"], rate,
                "" if mfu is None else f"MFU {mfu:.1%}  ", 100 * waited / seconds, self._line_stall, memory / 1e9,
            )  # fmt: skip
        self.start_clock(data_wait_seconds)

    def event(self, event: str, said: str, **fields: Any) -> None:
        """Something other than a step: a line in the journal, and `said` for people."""
        if self._journal is not None:
            self._journal.write(event=event, **fields)
            log.info("%s", said)

    def end(self, outcome: Outcome) -> None:
        """The last thing a process tells; waits a little for MLflow."""
        if self._directory is None:
            return
        name = _EVENT_OF_OUTCOME[outcome.outcome]
        self.event(name, f"{name} at step {outcome.step}", step=outcome.step, reason=outcome.reason)
        # Before MLflow, which may be slow: whoever supervises this process looks here.
        self._directory.write_outcome(outcome)
        if self._journal is not None:
            self._journal.close()
            if problem := self._tracker.close(_TRACKING_PATIENCE_SECONDS[outcome.outcome]):
                log.warning("%s", problem)
