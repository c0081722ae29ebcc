"""`metrics.jsonl`: one JSON object per line, the record of a run across all its restarts."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

EVALUATION = "evaluation"

log = logging.getLogger("trainer")


class Journal:
    """Appends lines, each written whole and at once. Lines with an `event` tell what happened, the others are steps."""

    def __init__(self, path: Path, resumed_step: int) -> None:
        """Steps and evaluations after `resumed_step` are taken out: they are about to be done again."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _rewrite(path, resumed_step)
        self._path = path
        self._file = path.open("a", buffering=1)
        self._told = False

    def write(self, **fields: Any) -> None:
        """A full disk costs lines and not the run; some of them are written after all when there is room again."""
        numbers = {
            # JSON has no infinity: fp16 meets it while it looks for a scale.
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in fields.items()
        }
        try:
            self._file.write(json.dumps({**numbers, "time": round(time.time(), 3)}) + "\n")
        except OSError as error:
            if not self._told:
                log.warning("%s: can't be written: %s; training goes on without it", self._path, error.strerror)
            self._told = True
        else:
            self._told = False

    def go_back(self, step: int) -> None:
        """Takes out the steps and evaluations after `step`; where the disk is full, it goes on after them."""
        self.close()
        try:
            _rewrite(self._path, step)
        except OSError as error:
            log.warning("%s: still has the steps after %d: %s", self._path, step, error.strerror)
        self._file = self._path.open("a", buffering=1)

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a journal. A kill in mid-write leaves half a line, a full disk worse; passed over."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        with suppress(ValueError, RecursionError):
            if isinstance(value := json.loads(line), dict):
                yield value


def _rewrite(path: Path, resumed_step: int) -> None:
    kept = [json.dumps(line) for line in read_lines(path) if not _done_again(line, resumed_step)]
    temporary = path.with_suffix(".new")
    try:
        temporary.write_text("".join(f"{line}\n" for line in kept))
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _done_again(line: dict[str, Any], resumed_step: int) -> bool:
    step = line.get("step", 0)
    return line.get("event") in (None, EVALUATION) and not (isinstance(step, int) and step <= resumed_step)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replaces the file at once: a reader sees the old content or the new."""
    temporary = path.with_name(f"{path.name}.new")
    try:
        temporary.write_text(json.dumps(value, indent=2) + "\n")
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def record(path: Path, value: dict[str, Any]) -> None:
    """As `write_json`, of what the run can do without: a full disk is told, and no more."""
    try:
        write_json(path, value)
    except OSError as error:
        log.warning("%s: can't be written: %s", path, error.strerror)


def read_json(path: Path) -> dict[str, Any] | None:
    """None if there is no such file, it can't be read, or is not whole."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
