"""Programs measured in turn: all are kept alive, one runs while the others are stopped (SIGSTOP, SIGCONT).

So the pairs that are compared ran within seconds of each other, and no start is paid twice. What a program does is
read from its journal, which gets a line of step, loss and time every so many steps. A turn in which other programs
used the machine is taken again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

POLL_SECONDS = 0.005
START_SECONDS = 600.0  # until a line; compiling takes most of it
QUIET_SHARE = 0.1  # of the machine that others may use meanwhile: two busy threads feel every third one
QUIET_WAIT_SECONDS = 5.0

Losses = dict[int, float]  # step -> mean loss of its batch


class Program:
    """Started at once; it runs until it is stopped, and then only in its turns."""

    def __init__(self, command: Sequence[str], journal: Path, environment: Mapping[str, str]) -> None:
        self._command, self._journal, self._read = list(command), journal, 0
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in end()
        self._process = psutil.Popen(
            self._command, env={**os.environ, **environment}, stdout=self._said, stderr=subprocess.STDOUT
        )
        self._lines: list[dict[str, Any]] = []
        self.disturbed_seconds = 0.0
        """Of the turns that count although others used the machine."""

    def run_to(self, lines: int) -> None:
        """Lets it go on until it has written so many lines in all, and stops it."""
        self._process.resume()
        deadline = time.monotonic() + START_SECONDS
        while len(self._lines) < lines:
            self._read_on()
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._said.seek(0)
                sys.exit(f"{' '.join(self._command)} ended early, or hangs:\n{self._said.read()[-3000:]}")
            time.sleep(POLL_SECONDS)
        self._process.suspend()
        self._read_on()

    def turn(self, lines: int, attempts: int) -> float:
        """Seconds per step over so many lines; if `attempts` allow it, while nobody else used the machine.

        The first line of a turn does not count: a system short of memory takes it from who stands still, and the steps
        up to there get it back.
        """
        for attempts_left in reversed(range(attempts)):
            if attempts > 1:
                wait_for_quiet()
            busy, own, began = busy_seconds(), self._own_seconds(), time.time()
            first = len(self._lines)
            self.run_to(first + 1 + lines)
            elapsed = time.time() - began
            others = busy_seconds() - busy - (self._own_seconds() - own)
            if others <= QUIET_SHARE * elapsed * (os.cpu_count() or 1):
                break
            if not attempts_left:
                self.disturbed_seconds += elapsed
        begin, end = self._lines[first], self._lines[-1]
        return (end["time"] - begin["time"]) / (end["step"] - begin["step"])

    @property
    def losses(self) -> Losses:
        return {line["step"]: line["loss"] for line in self._lines}

    def end(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self._process.kill()
        self._process.wait()
        self._said.close()

    def _read_on(self) -> None:
        if not self._journal.exists():
            return
        with self._journal.open() as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind("\n") + 1]
        self._read += len(whole.encode())
        self._lines += [line for line in map(json.loads, whole.splitlines()) if "event" not in line]

    def _own_seconds(self) -> float:
        """Of its processors, and of those that this program uses to watch it."""
        return sum(self._process.cpu_times()[:2]) + time.process_time()


def busy_seconds() -> float:
    """Of all processors together, since the machine started; stolen by the hypervisor counts."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def wait_for_quiet() -> None:
    """Until the machine is idle for a moment, but no longer than QUIET_WAIT_SECONDS."""
    deadline = time.monotonic() + QUIET_WAIT_SECONDS
    while psutil.cpu_percent(interval=0.1) > 100 * QUIET_SHARE and time.monotonic() < deadline:
        pass
