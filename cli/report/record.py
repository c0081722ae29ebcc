"""What a run's directory tells, put in order: its reported steps, each once, and what happened when.

The trainer takes steps out of its journal that it is about to do again; what was done twice in a journal of a run that
still goes on, or was put together by hand, counts the last time here too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import yaml
from trainer.errors import UserError
from trainer.metrics import EVALUATION, read_json, read_lines

JOURNAL, OUTCOME, CONFIG, RANKS = "metrics.jsonl", "outcome.json", "config.yaml", "ranks.json"

ENDS = ("finished", "interrupted", "failed")
"""Events that are a start's last words."""
_LARGEST = 1e300
_LATEST = 1e11
"""Step, and second since 1970."""


@dataclass(frozen=True)
class Reported:
    """A line about the steps since the one before."""

    step: int
    time: float
    """Seconds since 1970, when it was written."""
    steps: int
    """How many it is about."""
    values: dict[str, float]
    """What was measured: finite numbers only."""

    @property
    def seconds(self) -> float:
        """Spent in those steps."""
        return self.steps * self.values.get("seconds_per_step", 0.0)

    @property
    def stalled(self) -> float:
        return self.values.get("checkpoint_stall_seconds", 0.0)


@dataclass(frozen=True)
class Event:
    kind: str
    time: float
    step: int | None
    fields: dict[str, Any]


@dataclass
class Start:
    """One start of the trainer, as far as the journal tells."""

    began: float
    """When it began to train: its first reported step, or that it had restored a checkpoint."""
    resumed_from: int | None
    ended: float
    """What was last heard of it."""
    said_why: bool = False
    """It told how it ended: the last one may still go on, one before it was killed if it did not."""


@dataclass(frozen=True)
class Spent:
    """Where the seconds went from the first reported step on."""

    total: float
    training: float
    """In steps that count."""
    stalled: float
    """Training stood still for checkpoints."""
    restarts: float
    """From the last step that counts to the restored checkpoint, also after a jump of the loss: what was done in vain,
    waiting, starting."""

    @property
    def other(self) -> float:
        """Evaluation, first passes."""
        return max(0.0, self.total - self.training - self.stalled - self.restarts)

    @property
    def goodput(self) -> float | None:
        return min(1.0, self.training / self.total) if self.total > 0 else None


@dataclass(frozen=True)
class Ranks:
    """Where the ranks' time went lately."""

    step: int
    seconds: list[dict[str, float]]
    """Of a step, by phase, for each rank."""
    slow: list[int]
    """Ranks that the others wait for."""


@dataclass
class Record:
    directory: Path
    config: dict[str, dict[str, Any]]
    outcome: dict[str, Any] | None
    """None while the run goes on, or if it was killed."""
    reported: list[Reported] = field(default_factory=list)
    held_out: list[tuple[int, float, float]] = field(default_factory=list)
    """(step, time, loss)"""
    events: list[Event] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    spent: Spent = Spent(0.0, 0.0, 0.0, 0.0)
    ranks: Ranks | None = None

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]

    @property
    def step(self) -> int:
        """The last one that is known of."""
        said = (self.outcome or {}).get("step")
        last = self.reported[-1].step if self.reported else 0
        return max(last, said) if isinstance(said, int) else last

    @property
    def steps_wanted(self) -> int | None:
        wanted = self.config.get("training", {}).get("steps")
        return wanted if isinstance(wanted, int) else None

    @property
    def last_heard(self) -> float | None:
        return max((one.time for one in (*self.reported, *self.events)), default=None)


def read(directory: Path) -> Record:
    """Raises UserError for a folder that is no run's."""
    if not directory.is_dir() or not any((directory / name).exists() for name in (JOURNAL, CONFIG, OUTCOME)):
        raise UserError(
            f"{directory}: holds no run; name its run.directory, where {CONFIG} and {JOURNAL} are"
            + ("" if directory.is_dir() else " (there is no such folder)")
        )
    try:
        config = _config(directory / CONFIG)
        record = Record(directory, config, read_json(directory / OUTCOME))
        record.ranks = _ranks(read_json(directory / RANKS))
        lines = list(read_lines(directory / JOURNAL))
    except OSError as error:
        raise UserError(f"{directory}: can't be read: {error.strerror}") from None
    if not lines and _is_no_text(directory / JOURNAL):
        raise UserError(f"{directory / JOURNAL}: is no text; expected JSON, an object a line")
    restarts = 0.0
    for line in lines:
        restarts += _take(record, line)
    record.reported = _counted(record.reported)
    if record.reported:
        first = record.reported[0]
        begun = first.time - first.seconds - first.stalled
        ended = max(one.time for one in (*record.reported, *record.events))
        record.spent = Spent(
            total=ended - begun,
            training=sum(one.seconds for one in record.reported),
            stalled=sum(one.stalled for one in record.reported),
            restarts=restarts,
        )
    return record


def _is_no_text(path: Path) -> bool:
    try:
        path.read_text()
    except UnicodeDecodeError:
        return True
    except OSError:
        return False
    return False


def _take(record: Record, line: dict[str, Any]) -> float:
    """Adds a line to the record. Returns the seconds that were lost to a restart or a rewind, if it tells of one."""
    kind, step, time = line.get("event"), line.get("step"), line.get("time")
    step = step if isinstance(step, int) and not isinstance(step, bool) and 0 <= step < _LATEST else None
    if not number(time) or not 0 <= time < _LATEST or (kind is None and step is None):
        return 0.0
    seconds = 0.0
    if kind is None and step is not None:
        values = {name: float(value) for name, value in line.items() if number(value) and name not in ("step", "time")}
        record.reported.append(Reported(step, time, 0, values))
    elif kind == EVALUATION and step is not None:
        if number(loss := line.get("evaluation_loss")):
            record.held_out.append((step, time, loss))
    elif isinstance(kind, str):
        fields = {name: value for name, value in line.items() if name not in ("event", "step", "time")}
        record.events.append(Event(kind, time, step, fields))
        if kind in ("resumed", "rewound") and step is not None:
            record.reported = [one for one in record.reported if one.step <= step]
            record.held_out = [one for one in record.held_out if one[0] <= step]
            if record.reported:
                last = record.reported[-1]
                kept = (step - last.step) * last.values.get("seconds_per_step", 0.0)
                seconds = max(0.0, time - last.time - kept)
        if kind == "resumed" and step is not None:
            record.starts.append(Start(time, step, time))
    if not record.starts:
        record.starts.append(Start(time, None, time))
    record.starts[-1].ended = time
    record.starts[-1].said_why = kind in ENDS
    return seconds


def _counted(reported: list[Reported]) -> list[Reported]:
    """Each with the number of steps that it is about."""
    before, counted = 0, []
    for one in sorted({one.step: one for one in reported}.values(), key=lambda one: one.step):
        counted.append(Reported(one.step, one.time, one.step - before, one.values))
        before = one.step
    return counted


def _ranks(content: Any) -> Ranks | None:
    """None for what is not as the trainer writes it."""
    try:
        seconds = [dict(rank) for rank in content["seconds_per_step"]]
        if not all(number(value) and value >= 0 for rank in seconds for value in rank.values()):
            return None
        ranks = Ranks(int(content["step"]), seconds, [int(rank) for rank in content["slow"]])
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    return ranks if len(seconds) > 1 else None


def _config(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise UserError(f"{path}: is no YAML; expected the settings as the trainer writes them") from None
    if not isinstance(content, dict):
        return {}
    return {str(name): section for name, section in content.items() if isinstance(section, dict)}


def number(value: Any) -> TypeGuard[float]:
    """Whether it is one that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST
