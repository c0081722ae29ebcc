"""Notices a gang that stands still, says which rank holds it up and where, and ends it so that it can start again.

The loop calls `beat` at every boundary. A thread of each rank tells the leader, through the store that the ranks have
met at, how long its loop has been silent: neither the thread nor the store waits for the loop, for a collective
operation, or for the device. The leader judges. A second thread, which waits for nothing at all, judges where the
leader or the store is gone.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TextIO

import torch.distributed as dist

from trainer.errors import UserError
from trainer.exit_codes import HUNG
from trainer.gang import Gang

_TICKS = 10
"""So many times within the time allowed a rank tells how it is."""
_LONGEST_TICK_SECONDS = 5.0
_STORE_SECONDS = 5.0
_LEAVE_TOGETHER_SECONDS = 8.0
"""Until all have left their stacks: the first to end takes the others' connections with it."""
_AFTER_THE_LEADER_SECONDS = 2.0
_LAST_WORDS_SECONDS = 8.0
"""For the outcome and the journal; MLflow is given three."""
_WAITING_FRAMES = 4
_PREFIX = "watchdog"

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Sign:
    """What a rank tells of itself."""

    rank: int
    beats: int
    """The loop's, since the start: the same on ranks that are equally far."""
    phase: str
    silent_seconds: float
    where: str
    """Innermost lines of the loop's stack; empty while there is no reason to look."""
    waits: bool
    """Whether that is in a collective operation."""
    answers: bool = True


def _report_in(directory: Path, rank: int) -> TextIO:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return (directory / f"hang-rank{rank}.txt").open("w")
    except OSError as error:
        raise UserError(f"run.directory {directory}: can't be written: {error.strerror}") from None


class Watchdog:
    """One for each rank, made and closed by all of them alike. Without `seconds` it does nothing."""

    def __init__(
        self,
        gang: Gang,
        seconds: float | None,
        directory: Path,
        last_words: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        """`directory` gets this rank's stacks, `hang-rankN.txt`; `last_words` is called on the leader, in mid-hang.

        Raises UserError, on every rank, where one can't write there.
        """
        self._gang = gang
        self._directory = directory
        self._last_words = last_words
        self._beats, self._phase, self._beat_at = 0, "start", time.monotonic()
        self._closed = threading.Event()
        self._tripped = threading.Lock()
        """Taken by the thread that ends this process."""
        self._threads: list[threading.Thread] = []
        if seconds is None:
            return
        self._seconds = seconds
        self._tick_seconds = min(seconds / _TICKS, _LONGEST_TICK_SECONDS)
        self._loop_thread = threading.get_ident()
        self._told = 0
        self._file = gang.together(lambda: _report_in(directory, gang.rank))
        self._store = self._connect()
        self._threads = [
            threading.Thread(target=run, name="watchdog", daemon=True) for run in (self._watch, self._talk)
        ]
        self._watch_the_watchers()
        for thread in self._threads:
            thread.start()

    def beat(self, phase: str) -> None:
        """The loop is alive and enters `phase`, to be named if it does not come out of it."""
        self._phase, self._beat_at = phase, time.monotonic()
        self._beats += 1

    def close(self) -> None:
        """Ends the watch. In mid-hang, when a rank fails for the others have gone, it waits for the watchdog's end."""
        if not self._threads:
            return
        if self._tripped.locked():
            time.sleep(2 * (_LEAVE_TOGETHER_SECONDS + _LAST_WORDS_SECONDS))
        self._closed.set()
        for thread in self._threads:
            thread.join(1.0)
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
        Path(self._file.name).unlink(missing_ok=True)
        self._threads = []

    def _connect(self) -> dist.Store | None:
        """A connection of its own: on the ranks' common one a collective operation may be waiting."""
        if self._gang.control is None:
            return None
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        timeout = timedelta(seconds=_STORE_SECONDS)
        tcp = dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timeout)
        store = dist.PrefixStore(_PREFIX, tcp)
        store.set(str(self._gang.rank), self._sign())
        self._gang.gather(None)  # from here on each rank's sign is there to be read
        return store

    def _watch(self) -> None:
        patience = self._seconds + 3 * self._tick_seconds + _STORE_SECONDS
        while not self._closed.wait(self._tick_seconds):
            self._watch_the_watchers()
            if time.monotonic() - self._beat_at > patience:
                self._trip(f"{_described(self._own())}; rank 0, which judges, does not answer")

    def _watch_the_watchers(self) -> None:
        """A loop that holds the interpreter lock lets no thread of Python's run. This one is not Python's.

        It lets the leader judge first, who would otherwise see no more than a connection that is closed, and is done
        before the leader leaves.
        """
        seconds = self._seconds + self._tick_seconds + _AFTER_THE_LEADER_SECONDS
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._file)

    def _talk(self) -> None:
        leader = _Leader(self._seconds) if self._gang.leads else None
        while not self._closed.wait(self._tick_seconds):
            try:
                reason = self._exchange(self._own(), leader)
            except (RuntimeError, dist.DistError):  # the store has gone with its host
                continue
            if reason is not None and not self._closed.is_set():
                self._trip(reason)

    def _exchange(self, own: Sign, leader: _Leader | None) -> str | None:
        """Tells how this rank is. Returns the verdict, if there is one."""
        if self._store is None:
            return leader.judge({0: own}) if leader is not None else None
        self._store.set(str(self._gang.rank), self._sign(own))
        if leader is None:
            return self._store.get("verdict").decode() if self._store.check(["verdict"]) else None
        told = self._store.multi_get([str(rank) for rank in range(self._gang.world_size)])
        reason = leader.judge({rank: _read(one) for rank, one in enumerate(told)}, told)
        if reason is not None:
            self._store.set("verdict", reason)
        return reason

    def _own(self) -> Sign:
        silent = time.monotonic() - self._beat_at
        where, waits = "", False
        if silent > self._seconds / 2:
            where, waits = _where(sys._current_frames().get(self._loop_thread))
        return Sign(self._gang.rank, self._beats, self._phase, round(silent, 1), where, waits)

    def _sign(self, own: Sign | None = None) -> str:
        self._told += 1
        own = own or Sign(self._gang.rank, self._beats, self._phase, 0.0, "", False)
        return json.dumps({"told": self._told, **asdict(own)})

    def _trip(self, reason: str) -> None:
        self._tripped.acquire()
        faulthandler.cancel_dump_traceback_later()
        try:
            self._file.write(f"{reason}\n\nRank {self._gang.rank}, in {self._phase!r}:\n")
            self._file.flush()
            faulthandler.dump_traceback(self._file, all_threads=True)
            os.fsync(self._file.fileno())
        except OSError as error:  # a full disk must not keep the gang standing
            log.error("hung: %s. %s: can't be written: %s", reason, self._file.name, error.strerror)
            faulthandler.dump_traceback(sys.stderr, all_threads=True)
        if self._gang.leads:
            log.error("hung: %s. Stacks of each rank: %s/hang-rank*.txt on its node", reason, self._directory)
            words = threading.Thread(target=self._last_words, args=(f"hung: {reason}",), daemon=True)
            words.start()
            words.join(_LAST_WORDS_SECONDS)  # the loop may hold what they need
        leaving = threading.Thread(target=self._leave_together, daemon=True)
        leaving.start()
        leaving.join(_LEAVE_TOGETHER_SECONDS)  # a store whose host stands still answers never
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(HUNG)

    def _leave_together(self) -> None:
        if self._store is None:
            return
        deadline = time.monotonic() + _LEAVE_TOGETHER_SECONDS
        try:
            self._store.add("left", 1)
            while time.monotonic() < deadline and self._store.add("left", 0) < self._gang.world_size:
                time.sleep(0.1)
        except (RuntimeError, dist.DistError):
            return


class _Leader:
    """Judges by what the ranks tell, and by whether they do."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[int, tuple[bytes, float]] = {}

    def judge(self, signs: dict[int, Sign], told: list[bytes] | None = None) -> str | None:
        """In words who holds the gang up, or None. `told` is what the signs were read from."""
        now = time.monotonic()
        present = []
        for rank, sign in signs.items():
            text = told[rank] if told is not None else b""
            since = 0.0
            if told is not None:
                known, at = self._seen.get(rank, (b"", now))
                since = now - at if known == text else 0.0
                if known != text:
                    self._seen[rank] = text, now
            answers = since <= self._seconds / 2
            present.append(
                Sign(
                    rank, sign.beats, sign.phase, round(sign.silent_seconds + since, 1), sign.where, sign.waits, answers
                )
            )
        if max(sign.silent_seconds for sign in present) <= self._seconds:
            return None
        return verdict(present)


def verdict(signs: list[Sign]) -> str:
    """Which of the ranks holds the others up, in words.

    One that does not even answer; else those behind the others; else those that do something other than wait for
    others; else the one that has been silent longest.
    """
    waiting = [sign for sign in signs if sign.waits]
    behind = [sign for sign in signs if sign.beats == min(other.beats for other in signs)]
    suspects = [sign for sign in signs if not sign.answers]
    if not suspects and len(behind) < len(signs):
        suspects = behind
    if not suspects and 0 < len(waiting) < len(signs):
        suspects = [sign for sign in signs if not sign.waits]
    if not suspects:
        suspects = [max(signs, key=lambda sign: sign.silent_seconds)]
    said = "; ".join(_described(sign) for sign in suspects)
    others = [sign for sign in signs if sign not in suspects]
    if not others:
        return said
    phases = ", ".join(sorted({f"{sign.phase!r}" for sign in others}))
    return f"{said}; the other {len(others)} of {len(signs)} ranks are in {phases}"


def _described(sign: Sign) -> str:
    said = f"rank {sign.rank} has been silent for {sign.silent_seconds:.0f} s"
    if not sign.answers:
        why = "its process is stopped, gone, or in a call that lets no thread run"
        return f"{said}, last heard of in {sign.phase!r}, and does not answer: {why}"
    said = f"{said} in {sign.phase!r}"
    return f"{said} at {sign.where}" if sign.where else said


def _where(frame: FrameType | None) -> tuple[str, bool]:
    """The innermost line of a stack and the innermost of the trainer's own; whether it waits for other ranks."""
    lines: list[str] = []
    own: str | None = None
    waits, depth = False, 0
    while frame is not None:
        code = frame.f_code
        line = f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}"
        if depth < _WAITING_FRAMES:
            waits = waits or "torch/distributed/" in code.co_filename or code.co_name == "_engine_run_backward"
        if depth == 0:
            lines.append(line)
        if own is None and frame.f_globals.get("__name__", "").partition(".")[0] == "trainer":
            own = line
        frame, depth = frame.f_back, depth + 1
    if own is not None and own not in lines:
        lines.insert(0, own)
    return " → ".join(lines), waits


def _read(text: bytes) -> Sign:
    fields = json.loads(text)
    fields.pop("told")
    return Sign(**fields)
