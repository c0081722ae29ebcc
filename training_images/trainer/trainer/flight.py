"""One save under way, what comes of it, and what saves have cost so far."""

from __future__ import annotations

import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, ClassVar

from trainer.manifest import CheckpointManifest, Costs, Ending, FileRecord, History
from trainer.saver import Answer, Stage


@dataclass(frozen=True)
class Saved:
    """A checkpoint has become durable."""

    event: ClassVar[str] = "checkpoint"

    uri: str
    step: int
    bytes: int
    seconds: float
    """From the snapshot until it was durable."""
    stall_seconds: float
    """Of it, the time that training stood still."""
    retried: tuple[str, ...] = ()
    """Why parts of it had to be tried again, each reason once."""
    not_local: str | None = None
    """Why there is none on the nodes' own disks, if one should be."""

    def __str__(self) -> str:
        return (
            f"step {self.step}: saved {self.uri} ({self.bytes / 1e6:.1f} MB in {self.seconds:.2f} s, training stood "
            f"still for {self.stall_seconds:.2f} s)"
        )


@dataclass(frozen=True)
class SaveFailed:
    """A checkpoint could not be made durable; those before are untouched."""

    event: ClassVar[str] = "checkpoint-failed"

    uri: str
    step: int
    reason: str
    newest_durable: str | None
    """What a loss of the node would go back to."""

    def __str__(self) -> str:
        newest = self.newest_durable or "none yet"
        return f"{self.uri}: could not be saved: {self.reason}; newest durable checkpoint: {newest}"


@dataclass(frozen=True)
class PruneFailed:
    """Older checkpoints could not be deleted."""

    event: ClassVar[str] = "prune-failed"

    step: int
    """Of the one whose saving made them superfluous."""
    reason: str

    def __str__(self) -> str:
        return f"older checkpoints could not be deleted: {self.reason}"


@dataclass
class Flight:
    """One save, from the snapshot until its manifest stands in the durable place. Holds what the manifest will say."""

    step: int
    name: str
    ending: Ending
    progress: dict[str, Any]
    scaler: dict[str, Any] | None
    strategy: str
    history: History
    bytes: int
    """Of this rank's part."""
    stall_seconds: float
    started: float = field(default_factory=time.perf_counter)
    problems: dict[Stage, str | None] = field(default_factory=dict)
    """What this rank's process has said of the stages it has ended: None if all went well."""
    records: tuple[FileRecord, ...] = ()
    """Of this rank's files."""
    retried: list[str] = field(default_factory=list)
    manifest: CheckpointManifest | None = None
    """Once all ranks have told what their files are."""
    not_local: str | None = None
    """Why it will not stand on the nodes' own disks, as far as it should."""
    is_local: bool = False
    """It stands there."""
    sealed: bool = False
    """All files have arrived, and the manifest that makes them a checkpoint is being written."""

    def hear(self, answer: Answer) -> None:
        if answer.stage == "retry":
            if answer.problem is not None and answer.problem not in self.retried:
                self.retried.append(answer.problem)
            return
        self.problems[answer.stage] = answer.problem
        if answer.stage == "files":
            self.records = answer.records

    def lose(self, problem: str) -> None:
        """The process is gone: what it has not answered yet, it never will."""
        for stage in ("files", "durable", "local manifest", "durable manifest"):
            self.problems.setdefault(stage, problem)

    def ended(self, stage: Stage) -> bool:
        return stage in self.problems


class Medians:
    """What the last saves and restores have cost, in seconds; the same on every rank. None: never measured."""

    def __init__(self) -> None:
        self._stall: deque[float] = deque(maxlen=9)
        self._upload: deque[float] = deque(maxlen=9)
        self._restore: deque[float] = deque(maxlen=9)
        self._copy_seconds: float | None = None
        self._laid_out = False
        self._remembered = Costs()

    def remember(self, costs: Costs) -> None:
        """What the processes before have measured: better than nothing, until this one has."""
        self._remembered = costs

    def laid_out(self, copy_seconds: float) -> None:
        """The save that begins lays the snapshot out and stalls far longer than others will: those only copy."""
        self._copy_seconds, self._laid_out = copy_seconds, True

    def saved(self, saved: Saved) -> None:
        if not self._laid_out:
            self._stall.append(saved.stall_seconds)
        self._laid_out = False
        self._upload.append(saved.seconds)

    def restored(self, seconds: float) -> None:
        self._restore.append(seconds)

    @property
    def of_a_save(self) -> bool:
        """Whether this process has measured one; what is known of saves is remembered otherwise."""
        return bool(self._upload)

    @property
    def stall_seconds(self) -> float | None:
        if self._stall:
            return statistics.median(self._stall)
        return self._copy_seconds if self._copy_seconds is not None else self._remembered.stall_seconds

    @property
    def upload_seconds(self) -> float | None:
        return statistics.median(self._upload) if self._upload else self._remembered.upload_seconds

    @property
    def restore_seconds(self) -> float | None:
        return statistics.median(self._restore) if self._restore else self._remembered.restore_seconds

    @property
    def costs(self) -> Costs:
        return Costs(
            stall_seconds=self.stall_seconds, upload_seconds=self.upload_seconds, restore_seconds=self.restore_seconds
        )
