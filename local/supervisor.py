"""Keeps the services of one rehearsal running, and ends them with it.

One supervisor process per rehearsal directory starts each service, waits until it answers, writes `services.json`, and
watches. It stops on SIGTERM, when a service ends, when `services.json` is no longer its own, or when its owner's pipe
closes (an owner that was killed closes it too). An owner that wants the services to outlive it releases them, once they
are ready, by a byte through that pipe. Services die with the supervisor, whatever ends it (`die_with_parent`).
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from trainyard.local.process import die_with_parent, is_running

READY_WITHIN_SECONDS = 60
RELEASED = b"r"

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Services are on loopback, whatever proxy the user has."""


class ServiceError(Exception):
    """A service of the rehearsal did not start or has ended; the message names its log."""


@dataclass(frozen=True)
class Service:
    """One process of the rehearsal."""

    name: str
    command: tuple[str, ...]
    ready_url: str
    """Answers with any HTTP status once the service is ready."""


@dataclass(frozen=True)
class RunningService:
    name: str
    pid: int
    started: float
    """Seconds since the epoch: with the pid it names the process beyond doubt."""
    url: str
    log: str

    @property
    def alive(self) -> bool:
        return is_running(self.pid, self.started)


@dataclass(frozen=True)
class Running:
    """The services of one rehearsal, as `services.json` has them."""

    supervisor: RunningService
    services: tuple[RunningService, ...]

    @property
    def alive(self) -> bool:
        return self.supervisor.alive and all(service.alive for service in self.services)

    @property
    def endpoint(self) -> str:
        """Address of the emulated AWS account."""
        return next(service.url for service in self.services if service.name == "aws")


def running(directory: Path) -> Running | None:
    """What `services.json` in `directory` says, or None where nothing was started or all of it has ended."""
    try:
        said = json.loads((directory / "services.json").read_text())
    except (OSError, ValueError):
        return None
    found = Running(RunningService(**said["supervisor"]), tuple(RunningService(**one) for one in said["services"]))
    return found if found.alive else None


def start(directory: Path, owned: bool) -> tuple[Running, int | None]:
    """Start the services of the rehearsal in `directory`, or find them running.

    Returns them and, where `owned`, the file descriptor that keeps them alive: they end when it is closed, by this
    process or by its death. Without `owned` they run until `stop`. Raises `ServiceError`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / "services.lock"):
        found = running(directory)
        if found is not None:
            if owned:
                raise ServiceError(f"a rehearsal runs in {directory} already (process {found.supervisor.pid})")
            return found, None
        (directory / "services.json").unlink(missing_ok=True)
        (directory / "logs").mkdir(exist_ok=True)
        log = directory / "logs" / "supervisor.log"
        read_end, write_end = os.pipe()
        command = [sys.executable, "-m", "trainyard.local.supervisor", str(directory), "--owner", str(read_end)]
        with log.open("ab") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # a Ctrl-C in the terminal reaches the owner, who decides
                pass_fds=(read_end,),
            )
        os.close(read_end)
        try:
            ready = _await_ready(directory, process, log)
        except BaseException:
            process.terminate()
            process.wait()
            os.close(write_end)
            raise
        if owned:
            return ready, write_end
        os.write(write_end, RELEASED)
        os.close(write_end)
        return ready, None


def stop(directory: Path, within_seconds: float = 15) -> bool:
    """End the services of the rehearsal in `directory`; False where none ran."""
    found = running(directory)
    if found is None:
        return False
    everything = []
    for service in (found.supervisor, *found.services):
        if service.alive:
            everything.append(psutil.Process(service.pid))
    os.kill(found.supervisor.pid, signal.SIGTERM)
    _, left = psutil.wait_procs(everything, timeout=within_seconds)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=5)
    return True


def _await_ready(directory: Path, process: subprocess.Popen[bytes], log: Path) -> Running:
    deadline = time.monotonic() + READY_WITHIN_SECONDS + 5
    while time.monotonic() < deadline:
        found = running(directory)
        if found is not None:
            return found
        if process.poll() is not None:
            break
        time.sleep(0.05)
    tail = log.read_text(errors="replace").strip().splitlines()[-3:]
    raise ServiceError(f"the rehearsal's services did not start; {log} says:\n  " + "\n  ".join(tail))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _services() -> list[Service]:
    port = _free_port()
    aws = (sys.executable, "-m", "trainyard.local.aws.server", "--host", "127.0.0.1", "--port", str(port))
    return [Service("aws", aws, f"http://127.0.0.1:{port}")]


def _answers(url: str) -> bool:
    try:
        _direct.open(url, timeout=1).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


class _Supervisor:
    def __init__(self, directory: Path, owner: int) -> None:
        self.directory = directory
        self.record = directory / "services.json"
        self.owner: int | None = owner
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.stopping = False

    def run(self) -> int:
        for stop_signal in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop_signal, self._stop)
        me = psutil.Process()
        alone = FileLock(self.directory / "supervisor.lock")  # held for life
        try:
            alone.acquire(timeout=15)
        except Timeout:
            print("another supervisor is at work here", flush=True)
            return 1
        try:
            services = tuple(self._start(service) for service in _services())
            log = str(self.directory / "logs" / "supervisor.log")
            _write(
                self.record,
                Running(RunningService("supervisor", me.pid, me.create_time(), "", log), services),
            )
            return self._watch()
        except ServiceError as failed:
            print(failed, flush=True)
            return 1
        finally:
            self._end_all()
            if self._record_is_mine():
                self.record.unlink(missing_ok=True)

    def _start(self, service: Service) -> RunningService:
        log = self.directory / "logs" / f"{service.name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                service.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=die_with_parent
            )
        self.processes[service.name] = process
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not _answers(service.ready_url):
            if self.stopping or self._owner_is_gone():
                raise ServiceError("stopped while starting")
            if process.poll() is not None:
                raise ServiceError(
                    f"{service.name} ended with status {process.returncode} before it was ready; see {log}"
                )
            if time.monotonic() > deadline:
                raise ServiceError(f"{service.name} did not answer within {READY_WITHIN_SECONDS} s; see {log}")
            time.sleep(0.05)
        started = psutil.Process(process.pid).create_time()
        return RunningService(service.name, process.pid, started, service.ready_url, str(log))

    def _watch(self) -> int:
        while not self.stopping:
            if self._owner_is_gone(wait_seconds=0.3) or not self._record_is_mine():
                return 0
            for name, process in self.processes.items():
                if process.poll() is not None:
                    # Its state was in memory: starting it again would pass an empty account off as the rehearsed one.
                    print(f"{name} ended with status {process.returncode}", flush=True)
                    return 1
        return 0

    def _owner_is_gone(self, wait_seconds: float = 0.0) -> bool:
        """Whether the pipe was closed; an owner that has released the services may go."""
        if self.owner is None:
            time.sleep(wait_seconds)
            return False
        readable, _, _ = select.select([self.owner], [], [], wait_seconds)
        if not readable:
            return False
        if os.read(self.owner, 1) == RELEASED:
            os.close(self.owner)
            self.owner = None
        return self.owner is not None

    def _record_is_mine(self) -> bool:
        """False where the directory was removed or taken over: nobody could find these services to stop them."""
        try:
            return json.loads(self.record.read_text())["supervisor"]["pid"] == os.getpid()
        except (OSError, ValueError):
            return False

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _end_all(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _write(path: Path, content: Running) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(content), indent=2))
    partial.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--owner", type=int, required=True, help="file descriptor of the owner's pipe")
    arguments = parser.parse_args()
    return _Supervisor(arguments.directory, arguments.owner).run()


if __name__ == "__main__":
    sys.exit(main())
