"""`trainyard review`, with the time of each of its phases: the command itself, listened to as it tells what it does.

Processor seconds are of the whole machine, for the services are no children of the command: they mean something only
where nothing else runs.

    python -m benchmarks.policies_review prod-us --set budget.monthly_limit_usd=950000
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import psutil
import typer

from benchmarks.turns import busy_seconds
from trainyard.cli.review import command

# What the command says it does, by what it begins with.
_PHASES = {
    "bringing": "the earlier side brought up",
    "previewing": "the later side previewed on top",
    "applying": "the later side applied",
}


class Phases:
    """Seconds from the begin of each phase to that of the next."""

    def __init__(self) -> None:
        self.taken: dict[str, dict[str, float]] = {}
        self._phase, self._since, self._busy = "start of the command", psutil.Process().create_time(), busy_seconds()

    def begin(self, phase: str) -> None:
        now, busy = time.time(), busy_seconds()
        so_far = self.taken.setdefault(self._phase, {"seconds": 0.0, "processor_seconds": 0.0})
        so_far["seconds"] += now - self._since
        so_far["processor_seconds"] += busy - self._busy
        self._phase, self._since, self._busy = phase, now, busy

    def show(self, detail: str, *_: Any) -> None:
        """As `trainyard.cli.progress.Step` does."""
        self.begin(next((phase for word, phase in _PHASES.items() if detail.startswith(word)), self._phase))

    @contextmanager
    def step(self, title: str) -> Generator[Phases]:
        """As `trainyard.cli.progress.step` does."""
        self.begin("tools" if title == "tools" else "services started")
        yield self
        self.begin("the earlier side laid out" if title == "tools" else "every format written")


def main() -> None:
    phases = Phases()
    command.step = phases.step  # ty: ignore[invalid-assignment]
    asked = typer.Typer()
    asked.command()(command.review)
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as folder, redirect_stdout(io.StringIO()):
        status = asked([*sys.argv[1:], "--output", folder], standalone_mode=False)
        phases.begin("")
    json.dump({"phases": phases.taken, "exit_status": status}, sys.stdout)


if __name__ == "__main__":
    main()
