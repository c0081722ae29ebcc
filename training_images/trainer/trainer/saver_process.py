"""The rank's end of what saves for it: a process, or, where it waits for each save anyway, threads."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import trainer
from trainer.saver import Answer, Saver, Setup


class Background(Protocol):
    def send(self, job: str, **fields: Any) -> None: ...

    def answers(self) -> list[Answer]:
        """Those that have come since the last call."""
        ...

    @property
    def ended(self) -> str | None:
        """How, if it has: it should not, as long as the rank lives."""
        ...

    def kill(self) -> None:
        """What it was about is left unfinished, which is no checkpoint."""
        ...


class SaverThreads:
    """Spares the rank the start of a process. Competes with it for the interpreter."""

    def __init__(self, setup: Setup) -> None:
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._saver = Saver(setup, self._answers.put)
        self.ended: str | None = None

    def send(self, job: str, **fields: Any) -> None:
        self._saver.start(self._fail, job, **fields)

    def answers(self) -> list[Answer]:
        return [self._answers.get() for _ in range(self._answers.qsize())]

    def kill(self) -> None:
        self._saver.give_up()

    def _fail(self) -> None:
        self.ended = "the saving threads met a defect (see above)"


class SaverProcess:
    """Started with the first save; takes jobs and gives answers without ever making the rank wait."""

    def __init__(self, setup: Setup) -> None:
        # The same code as this process runs, wherever that came from.
        package = Path(next(iter(trainer.__path__))).parent
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainer.saver", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[setup.memory],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._received = b""
        self._ended = False
        self._send(asdict(setup))

    def send(self, job: str, **fields: Any) -> None:
        self._send({"job": job, **fields})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._ended = True

    def answers(self) -> list[Answer]:
        while not self._ended:
            try:
                part = os.read(self._output, 1 << 20)
            except BlockingIOError:
                break
            self._ended = not part
            self._received += part
        *lines, self._received = self._received.split(b"\n")
        return [Answer.from_line(line) for line in lines]

    @property
    def ended(self) -> str | None:
        if not self._ended and self._process.poll() is None:
            return None
        return f"the saving process ended with status {self._process.wait()}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
