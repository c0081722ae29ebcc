"""Starts the trainer by its launcher on this machine and follows what it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainyard.local.process import die_with_parent

Line = dict[str, Any]

_PATIENCE_SECONDS = 120.0
"""The launcher gives its ranks 105 s to save and end, unless told otherwise."""


class TrainerError(Exception):
    """The trainer ended without an outcome that the caller can go on from; the message names its log."""

    exit_status = 1


@dataclass(frozen=True)
class Outcome:
    """How one start of the trainer ended, as its `outcome.json` has it."""

    outcome: str
    step: int
    resumed_from_step: int | None
    reason: str


def run(
    arguments: list[str],
    directory: Path,
    ranks: int,
    environment: dict[str, str],
    on_line: Callable[[Line], None],
) -> Outcome:
    """Train until the trainer ends, calling `on_line` with each line of its journal; return how it ended.

    `arguments` are those of `python -m trainer`; `directory` is the run's. Raises TrainerError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    outcome_file = directory / "outcome.json"
    outcome_file.unlink(missing_ok=True)
    journal = directory / "metrics.jsonl"
    log = directory / "trainer.log"
    command = [sys.executable, "-m", "trainer.launch", "--nproc-per-node", str(ranks)]
    threads = max(1, (os.cpu_count() or 1) // ranks)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, "--", *arguments],
            env={**os.environ, **environment, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # a Ctrl-C reaches us; we let the trainer save first
            # So that the ranks save: a launcher that is killed takes them with it.
            preexec_fn=lambda: die_with_parent(signal.SIGTERM),
        )
        try:
            for line in _follow(journal, process):
                on_line(line)
        except BaseException:
            _terminate(process)
            raise
    try:
        said = json.loads(outcome_file.read_text())
    except FileNotFoundError:
        raise TrainerError(f"the trainer ended with status {process.returncode}; {log} says:\n{_tail(log)}") from None
    return Outcome(said["outcome"], said["step"], said.get("resumed_from_step"), said.get("reason") or "")


def _follow(journal: Path, process: subprocess.Popen[bytes]) -> Iterator[Line]:
    """Lines that are new since now, until the process has ended.

    A resumed run writes its journal anew, without the steps it will repeat, so what was there is known by its text.
    """
    seen = set(journal.read_text().splitlines()) if journal.exists() else set()
    position, inode, rest = 0, None, ""
    while True:
        ended = process.poll() is not None
        if journal.exists():
            with journal.open() as file:
                if os.fstat(file.fileno()).st_ino != inode:
                    position, inode, rest = 0, os.fstat(file.fileno()).st_ino, ""
                file.seek(position)
                rest += file.read()
                position = file.tell()
        *lines, rest = rest.split("\n")
        for line in lines:
            if line and line not in seen:
                seen.add(line)
                yield json.loads(line)
        if ended:
            return
        time.sleep(0.1)


def _terminate(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _tail(log: Path, lines: int = 8) -> str:
    return "\n".join(f"  {line}" for line in log.read_text(errors="replace").strip().splitlines()[-lines:])
