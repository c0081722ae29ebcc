"""One node's part of a gang: torch's elastic agent, taught when to let its ranks be.

What is done otherwise than by torchrun:

- A signal is passed on to the ranks themselves, not to their children, and the agent goes on watching. The ranks save
  and end by their own agreement, within the time that was asked for; only then are they killed.
- Exit codes are kept.
- Ranks that others leave behind are given as long as the kind of leaving needs, not always 30 s.
- A node that is started anew waits for the gang's new first node and does not join the ranks of the old one.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType

import torch.distributed as dist
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SubprocessContext
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo

from trainer.errors import TrainingError, UserError
from trainer.exit_codes import FAILED, FINISHED, HUNG
from trainer.processes import LAUNCHER_VARIABLE

SECONDS_TO_MEET = 900.0
"""How long the nodes of a gang wait for each other."""

_AFTER_FINISHED_SECONDS = 120.0
"""For rank 0, which may still hand over its last metrics."""
_AFTER_AGREED_SECONDS = 30.0
_AFTER_CRASH_SECONDS = 10.0
"""The others notice by themselves or never: who waits in a collective operation on a GPU hears no signal."""
_MONITOR_SECONDS = 0.1
_BARRIER_SECONDS = 60.0

_GO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)

log = logging.getLogger("trainer.launch")


class ToldToGoError(Exception):
    """A signal came before there was any rank to pass it on to."""


@dataclass
class Signals:
    """What this launcher has been told. Passed on to the ranks as soon as there are any."""

    told: signal.Signals | None = None
    told_at: float = 0.0
    pass_on: Callable[[signal.Signals], None] | None = None

    def listen(self) -> None:
        for number in (*_GO, signal.SIGUSR1):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        said = signal.Signals(number)
        if said is not signal.SIGUSR1 and self.told is None:
            self.told, self.told_at = said, time.monotonic()
        if self.pass_on is not None:
            # A person's Ctrl-C and a lost terminal mean the same to the ranks as SIGTERM.
            self.pass_on(said if said is signal.SIGUSR1 else signal.SIGTERM)


@dataclass(frozen=True)
class Nodes:
    """Where this node stands in the gang."""

    count: int
    rank: int
    address: str
    """Of the first node."""
    port: int
    """Of the first node; 0 for any, with one node."""


class Meeting(RendezvousHandler):
    """The nodes find each other at a store that the first one serves, and that their ranks use too."""

    def __init__(self, nodes: Nodes, signals: Signals, seconds: float = SECONDS_TO_MEET) -> None:
        self._nodes, self._signals, self._seconds = nodes, signals, seconds
        self._token = uuid.uuid4().hex
        self._store: dist.TCPStore | None = None

    def next_rendezvous(self) -> RendezvousInfo:
        """Raises ToldToGoError, UserError for an address or port that can't be used, TrainingError if others stay away.

        Waits in small portions: inside torch no signal would be heard.
        """
        deadline = time.monotonic() + self._seconds
        if self._nodes.rank == 0:
            store = self._serve()
            store.set(self._key(0), self._token)
        else:
            store = self._find(deadline)
        self._store = store
        others = [self._key(rank) for rank in range(self._nodes.count)]
        while missing := [key for key in others if not store.check([key])]:
            self._pause(deadline, f"{len(missing)} of {self._nodes.count} nodes have not come")
        at = RendezvousStoreInfo(self._nodes.address, store.port)
        return RendezvousInfo(dist.PrefixStore("agents", store), self._nodes.rank, self._nodes.count, at)

    def _serve(self) -> dist.TCPStore:
        try:
            return dist.TCPStore(self._nodes.address, self._nodes.port, is_master=True, wait_for_workers=False)
        except (RuntimeError, dist.DistError) as error:
            raise UserError(
                f"--master-port {self._nodes.port}: can't be served here: {_first_line(error)}. Name one that is free"
            ) from None

    def _find(self, deadline: float) -> dist.TCPStore:
        """The first node's store, once it is a new one: in that of an earlier start, this node's place is taken."""
        at = f"{self._nodes.address}:{self._nodes.port}"
        key = self._key(self._nodes.rank)
        why = "has not been reached"
        while True:
            try:
                store = dist.TCPStore(
                    self._nodes.address,
                    self._nodes.port,
                    is_master=False,
                    wait_for_workers=False,
                    timeout=timedelta(seconds=5),
                )
                if store.compare_set(key, "", self._token).decode() == self._token:
                    store.set_timeout(timedelta(seconds=SECONDS_TO_MEET))
                    return store
                why = f"still serves an earlier start (or another node too says --node-rank {self._nodes.rank})"
            except (RuntimeError, dist.DistError) as error:
                why = f"has not been reached: {_first_line(error)}"
            self._pause(deadline, f"the first node, {at} (--master-addr, --master-port), {why}")

    def _pause(self, deadline: float, waiting_for: str) -> None:
        if self._signals.told is not None:
            raise ToldToGoError
        if time.monotonic() > deadline:
            raise TrainingError(f"the nodes did not meet within {self._seconds:.0f} s: {waiting_for}")
        time.sleep(0.2)

    @staticmethod
    def _key(rank: int) -> str:
        return f"node/{rank}"

    @property
    def use_agent_store(self) -> bool:
        return True

    def get_backend(self) -> str:
        return "trainer"

    def get_run_id(self) -> str:
        return "trainer"

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        pass

    def num_nodes_waiting(self) -> int:
        return 0

    def shutdown(self) -> bool:
        return True


@dataclass
class Ended:
    """How the ranks of this node ended."""

    codes: dict[int, int] = field(default_factory=dict)
    """By global rank; -N where signal N ended it."""
    told: signal.Signals | None = None
    """Whether they had been asked to go."""
    killed_late: bool = False
    """Some had not ended when their time was up."""


class Agent(LocalElasticAgent):
    """Starts the ranks of this node and stays until all have ended."""

    def __init__(self, spec: WorkerSpec, signals: Signals, seconds_to_go: float) -> None:
        super().__init__(
            spec, DefaultLogsSpecs(log_dir=os.devnull), exit_barrier_timeout=_BARRIER_SECONDS, shutdown_timeout=5
        )
        self._signals, self._seconds_to_go = signals, seconds_to_go
        self._first_end: tuple[float, int] | None = None
        """When the first rank ended, and how."""
        self.ended = Ended()

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, int]:
        if self._signals.told is not None:
            raise ToldToGoError
        # Until a rank can act on it, a wish for a profile waits; by default it would end the process.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        try:
            pids = super()._start_workers(worker_group)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._signals.pass_on = self._pass_on
        if self._signals.told is not None:
            self._pass_on(signal.SIGTERM)
        return pids

    def _processes(self) -> Mapping[int, subprocess.Popen[bytes]]:
        context = self._pcontext
        assert isinstance(context, SubprocessContext)
        return {local_rank: handler.proc for local_rank, handler in context.subprocess_handlers.items()}

    def _pass_on(self, number: signal.Signals) -> None:
        for process in self._processes().values():
            if process.returncode is None:  # not poll(): this may run inside it
                _send(process.pid, number)

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        """Healthy until the last rank has ended. Kills those whose time is up."""
        processes = self._processes()
        for local_rank, process in processes.items():
            code = process.poll()
            rank = worker_group.workers[local_rank].global_rank
            if code is None or rank in self.ended.codes:
                continue
            self.ended.codes[rank] = code
            if self._first_end is None or self._first_end[1] == FINISHED:
                self._first_end = time.monotonic(), code
            if code < 0:
                log.error("rank %d was ended by %s", rank, signal.Signals(-code).name)
        if self._signals.told is not None and self.ended.told is None:
            self.ended.told = self._signals.told
            log.info("%s: the ranks have %.0f s to save and end", self.ended.told.name, self._seconds_to_go)
        if len(self.ended.codes) == len(processes):
            if any(self.ended.codes.values()):
                return RunResult(WorkerState.FAILED)
            return RunResult(WorkerState.SUCCEEDED, return_values=dict.fromkeys(self.ended.codes))
        if (late := self._time_is_up()) and not self.ended.killed_late:
            self.ended.killed_late = True
            left = [group.global_rank for group in worker_group.workers if group.global_rank not in self.ended.codes]
            log.error("rank %s killed: %s", ", ".join(map(str, left)), late)
            for process in processes.values():
                if process.poll() is None:
                    _send(process.pid, signal.SIGKILL, group=True)
        return RunResult(WorkerState.HEALTHY)

    def _time_is_up(self) -> str | None:
        """Why no rank should run any longer."""
        now = time.monotonic()
        if self._signals.told is not None and now > self._signals.told_at + self._seconds_to_go:
            return f"still running {self._seconds_to_go:.0f} s after {self._signals.told.name}"
        if self._first_end is None:
            return None
        at, code = self._first_end
        allowed = _AFTER_CRASH_SECONDS if code < 0 or code in (FAILED, HUNG) else _AFTER_AGREED_SECONDS
        if code == FINISHED:
            allowed = _AFTER_FINISHED_SECONDS
        if now < at + allowed:
            return None
        return f"still running {allowed:.0f} s after another rank had ended with {code}"


def run_ranks(arguments: list[str], processes: int, nodes: Nodes, signals: Signals, seconds_to_go: float) -> Ended:
    """Runs `python -m trainer` with `arguments` on this node until every rank has ended.

    `seconds_to_go` is how long ranks may run on after a signal. Raises as `Meeting.next_rendezvous` does.
    """
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGURG"  # none that anybody sends: we have handlers of our own
    os.environ["TORCH_ELASTIC_WORKER_IDENTICAL"] = "1"  # ranks follow from the nodes' numbers
    os.environ[LAUNCHER_VARIABLE] = str(os.getpid())
    spec = WorkerSpec(
        role="trainer",
        local_world_size=processes,
        entrypoint=sys.executable,
        args=("-u", "-m", "trainer", *arguments),
        rdzv_handler=Meeting(nodes, signals),
        max_restarts=0,
        monitor_interval=_MONITOR_SECONDS,
    )
    agent = Agent(spec, signals, seconds_to_go)
    agent.run()
    return agent.ended


def _send(pid: int, number: signal.Signals, group: bool = False) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number) if group else os.kill(pid, number)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
