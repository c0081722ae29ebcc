"""Processes that answer by HTTP on loopback: started together, waited for, watched, and ended together.

Example: `Services((Service("aws", command, "http://127.0.0.1:5000"),), logs).start()` returns when all are ready.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from trainyard.local.process import die_with_parent, is_running, started_at

READY_WITHIN_SECONDS = 180
"""Far more than any start takes, a busy machine's too: it ends one that hangs."""
_ANSWER_WITHIN_SECONDS = 5
LINES_OF_A_LOG = 6
"""How much of a log an error quotes."""


class ServiceError(Exception):
    """A service of the rehearsal did not start or has ended; the message names its log."""


class PortTakenError(ServiceError):
    """Another program listened on a service's port before it did: other ports may serve."""


@dataclass(frozen=True)
class Service:
    """One process of the rehearsal."""

    name: str
    command: tuple[str, ...]
    url: str
    ready_path: str = "/"
    """Answers with status 200 once the service is ready."""
    authority: Path | None = None
    """File of the authority that signed the certificate, where `url` is https."""
    after: tuple[str, ...] = ()
    """Services that have to be ready before this one starts."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those that all processes have."""


@dataclass(frozen=True)
class RunningService:
    """One process of the rehearsal that runs or ran."""

    name: str
    pid: int
    started: float
    """As `process.started_at` tells it: with the pid it names the process beyond doubt."""
    url: str
    log: str

    @property
    def alive(self) -> bool:
        return is_running(self.pid, self.started)


class Services:
    """The processes of `services`, whose output goes to `<name>.log` in `logs`. They die with the starting thread."""

    def __init__(self, services: Sequence[Service], logs: Path) -> None:
        self._services = tuple(services)
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, interrupted: Callable[[], bool] = lambda: False) -> tuple[RunningService, ...]:
        """Start all, each as soon as those it needs are ready, and wait until all are. Raises `ServiceError`."""
        ready: set[str] = set()
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while True:
            for service in self._services:
                if service.name in self._processes:
                    if service.name not in ready and _answers(service):
                        ready.add(service.name)
                elif ready.issuperset(service.after):
                    self._begin(service)
            if len(ready) == len(self._services):
                return tuple(self._running(service) for service in self._services)
            if interrupted():
                raise ServiceError("stopped while starting")
            for service in self._services:
                self._check_start(service, ready, deadline)
            time.sleep(0.05)

    def ended(self) -> str | None:
        """Which service has ended and how; None while all run."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                return f"{name} ended with status {process.returncode}; see {self._logs / f'{name}.log'}"
        return None

    def end(self) -> None:
        """End all processes at once. Nothing of a rehearsal outlives it, so there is nothing to bring to safety.

        Left to itself the API server waits a second and more for those who watch it, and they are ending too.
        """
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def _begin(self, service: Service) -> None:
        with (self._logs / f"{service.name}.log").open("ab") as out:
            self._processes[service.name] = subprocess.Popen(
                service.command,
                env={**os.environ, **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=die_with_parent,
            )

    def _check_start(self, service: Service, ready: set[str], deadline: float) -> None:
        process = self._processes.get(service.name)
        if process is None:
            return
        if process.poll() is not None:
            said = self._said_by(service.name)
            kind = PortTakenError if "address already in use" in said.lower() else ServiceError
            raise kind(f"{service.name} ended with status {process.returncode} before it was ready; {said}")
        if service.name not in ready and time.monotonic() > deadline:
            said = self._said_by(service.name)
            raise ServiceError(f"{service.name} did not answer within {READY_WITHIN_SECONDS} s; {said}")

    def _said_by(self, name: str) -> str:
        """The end of a service's log: the log itself may be gone with its folder before anybody reads it."""
        log = self._logs / f"{name}.log"
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-LINES_OF_A_LOG:]
        return f"{log} ends with\n  " + "\n  ".join(line[:400] for line in lines) if lines else f"{log} is empty"

    def _running(self, service: Service) -> RunningService:
        pid = self._processes[service.name].pid
        started = started_at(pid)
        if started is None:
            raise ServiceError(f"{service.name} ended as soon as it was ready; {self._said_by(service.name)}")
        return RunningService(service.name, pid, started, service.url, str(self._logs / f"{service.name}.log"))


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on, all different, and for a minute given to nobody else who asks for any.

    A port of which a connection has just been closed waits (TIME_WAIT): who names it may listen on it, as servers do
    with SO_REUSEADDR, but the kernel hands it out to no other program meanwhile, and another rehearsal that starts in
    this moment gets others.
    """
    with ExitStack() as probes:
        ports = []
        for _ in range(count):
            listening = probes.enter_context(socket.socket())
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", 0))
            listening.listen(1)
            client = probes.enter_context(socket.create_connection(listening.getsockname()))
            accepted, _ = listening.accept()
            accepted.close()  # before the client does: it is the side that closes first that waits
            client.recv(1)
            ports.append(listening.getsockname()[1])
        return ports


def _answers(service: Service) -> bool:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]  # whatever proxy the user has
    if service.authority is not None:
        context = ssl.create_default_context(cafile=str(service.authority))
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(
            service.url + service.ready_path, timeout=_ANSWER_WITHIN_SECONDS
        ) as answer:
            return answer.status == 200
    except urllib.error.HTTPError as refused:
        refused.close()
        return False
    except (OSError, http.client.HTTPException):  # nobody yet, or another program that took the port and is no server
        return False
