"""The pack's side of the process that a team's own rules run in: asked with a time limit, and started again where a
rule has ended it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from trainyard.policies import own_wire
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.own_worker import Key
from trainyard.policies.rule import Finding, OwnRuleError

SECONDS = 10.0
"""That one rule may take for one resource, or a module to be imported, unless own_rules.yaml says otherwise."""
_SECONDS_TO_READ = 120.0
"""For what runs none of the team's code: to start, and to take in a whole stack."""
_LONGEST_ANSWER = 64 << 20
_MOST_SHOWN = 64 << 10
"""Bytes of what the rules write that are passed on."""


class _EndedError(Exception):
    """The process gives no answer; the message says why."""


class OwnProcess:
    """A process for rules in any number of folders. None is started before the first is imported.

    A rule that has ended the process, or kept it too long, is not asked again: each resource would cost as much.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()  # the engine asks from several threads
        self._running: _Running | None = None
        self._modules: list[tuple[str, str]] = []
        self._given_up: dict[Key, str] = {}
        self._graph: weakref.ref[Graph] | None = None

    def rules_in(self, folder: Path, stem: str) -> list[dict[str, Any]]:
        """The rules of a module, described. Raises `OwnRuleError` saying why it cannot be imported."""
        with self._lock:
            try:
                answer = self._ask({"do": "import", "folder": str(folder), "stem": stem})
            except _EndedError as ended:
                raise OwnRuleError(str(ended)) from None
            if "failed" in answer:
                raise OwnRuleError(_text(answer["failed"]))
            self._modules.append((str(folder), stem))
            return answer["rules"]

    def applies(self, rule: Key, resource_type: str) -> bool:
        """Whether the rule is about a type; True also where that cannot be told, so that `judge` tells it."""
        with self._lock:
            if rule in self._given_up:
                return True
            try:
                return self._ask({"do": "applies", "rule": rule, "type": resource_type}).get("applies") is not False
            except _EndedError as ended:
                self._given_up[rule] = str(ended)
                return True

    def judge(self, rule: Key, resource: Resource, graph: Graph) -> Iterator[Finding]:
        """What the rule finds. Raises `UnverifiedError` where it does, and `OwnRuleError` where it fails."""
        with self._lock:
            if rule in self._given_up:
                raise OwnRuleError(f"{self._given_up[rule]}; not asked again")
            try:
                self._tell(graph)
                answer = self._ask({"do": "judge", "rule": rule, "urn": resource.urn})
            except _EndedError as ended:
                self._given_up[rule] = str(ended)
                raise OwnRuleError(str(ended)) from None
        yield from map(own_wire.finding_meant, answer.get("findings", ()))
        if "unread" in answer:
            raise own_wire.unread_meant(answer["unread"])
        if "failed" in answer:
            raise OwnRuleError(_text(answer["failed"]))

    def _tell(self, graph: Graph) -> None:
        running = self._started()
        if running.graph is None or running.graph() is not graph:
            running.ask({"do": "graph", "graph": own_wire.graph_as_told(graph)}, _SECONDS_TO_READ)
            running.graph = weakref.ref(graph)

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._started().ask(request, self._seconds)

    def _started(self) -> _Running:
        """The process, with every module imported that could be."""
        if self._running is None or self._running.ended:
            self._running = _Running()
            self._running.ask({"do": "graph", "graph": own_wire.graph_as_told(Graph(()))}, _SECONDS_TO_READ)
            for folder, stem in self._modules:
                self._running.ask({"do": "import", "folder": folder, "stem": stem}, self._seconds)
        return self._running


class _Running:
    """One process, until it ends."""

    def __init__(self) -> None:
        # Not by a fork of this process, which has threads. In a session of its own: an interrupt is for the command.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainyard.policies.own_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )
        self.ended = False
        self.graph: weakref.ref[Graph] | None = None
        threading.Thread(target=_pass_on, args=(self._process.stderr,), daemon=True).start()
        weakref.finalize(self, _end, self._process)

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to one request. Raises `_EndedError` where there is none in time; the process has then ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(own_wire.line({**request, "seconds": seconds}))
            self._process.stdin.flush()
            answer = own_wire.read(self._line(seconds))
        except _EndedError:
            self._finish()
            raise
        except OSError:
            raise _EndedError(self._finish()) from None
        except (ValueError, RecursionError):
            self._finish()
            raise _EndedError("its process answers what cannot be read") from None
        except BaseException:
            self._finish()  # what it answers later would be taken for the next
            raise
        return answer

    def _line(self, seconds: float) -> bytes:
        assert self._process.stdout is not None
        pipe, found, until = self._process.stdout.fileno(), bytearray(), time.monotonic() + seconds
        while not found.endswith(b"\n"):
            if len(found) > _LONGEST_ANSWER:
                raise _EndedError("it answers with more than can be read")
            ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise _EndedError(f"it takes more than {seconds:g} seconds")
            part = os.read(pipe, 1 << 16)
            if not part:
                raise _EndedError(self._finish())
            found += part
        return bytes(found)

    def _finish(self) -> str:
        """Ends the process, if it has not ended by itself; and how it did."""
        self.ended = True
        _end(self._process)
        status = self._process.returncode
        if status < 0:
            return f"it ended its process by {signal.Signals(-status).name}"
        return f"it ended its process with exit status {status}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that its rules have started, which is in its session."""
    if process.returncode is not None:
        return
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:
            continue  # what was still to be written
    try:
        process.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError, PermissionError):  # nothing of it is left, as a rule
        os.killpg(process.pid, signal.SIGKILL)


def _pass_on(written: IO[bytes]) -> None:
    """What the rules write is for a person, and not without end."""
    left = _MOST_SHOWN
    with written:
        while part := os.read(written.fileno(), 1 << 16):
            if left > 0:
                sys.stderr.write(part[:left].decode(errors="replace"))
                left -= len(part)


def _text(failed: Any) -> str:
    return ": ".join(map(str, failed)) if isinstance(failed, list) else str(failed)
