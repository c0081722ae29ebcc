"""Keeps the services of one rehearsal running, and ends them with it.

One supervisor process per rehearsal directory starts the services together (the emulated AWS account and, where wanted,
the Kubernetes control plane), waits until they answer, writes `services.json`, and watches. It stops on SIGTERM, when a
service ends, when `services.json` is no longer its own, or when its owner's pipe closes (an owner that was killed
closes it too). An owner that wants the services to outlive it releases them, once they are ready, by a byte through
that pipe. Services die with the supervisor, whatever ends it (`die_with_parent`).
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from trainyard.local import isolation, loopback
from trainyard.local.process import started_at
from trainyard.local.service import (
    LINES_OF_A_LOG,
    READY_WITHIN_SECONDS,
    PortTakenError,
    RunningService,
    Service,
    ServiceError,
    Services,
    free_ports,
)
from trainyard.local.toolchain import ToolError

__all__ = ["Running", "RunningService", "ServiceError", "running", "start", "stop"]

RELEASED = b"r"
KILLED_WITHIN_SECONDS = 30
BEGINS = "a supervisor begins"
"""Line of its log with which each one does."""


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

    @property
    def kubernetes(self) -> str | None:
        """Address of the Kubernetes API server; None where the rehearsal does without."""
        return next((service.url for service in self.services if service.name == "kube-apiserver"), None)


def running(directory: Path) -> Running | None:
    """What `services.json` in `directory` says, or None where nothing was started or all of it has ended."""
    try:
        said = json.loads((directory / "services.json").read_text(encoding="utf-8"))
        found = Running(RunningService(**said["supervisor"]), tuple(RunningService(**one) for one in said["services"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if found.alive else None


def start(
    directory: Path,
    owned: bool,
    kubernetes: bool = False,
    prepare: Callable[[], None] = lambda: None,
    account: str | None = None,
    caller: str | None = None,
) -> tuple[Running, int | None]:
    """Start the services of the rehearsal in `directory`, or find them running.

    With `kubernetes` there is a control plane too, with its administrator's kubeconfig in `kubeconfig_of(directory)`;
    its executables have to be built already. Returns the services and, where `owned`, the file descriptor that keeps
    them alive: they end when it is closed, by this process or by its death. Without `owned` they run until `stop`.
    `prepare` is called before services are started, and not where they run: nobody else starts any meanwhile.
    `account` is the emulated account's id. None: the emulation's own. `caller` is the ARN of a role's session: as whom
    the account knows whoever has no keys of its own there. None: as its root.
    Raises `ServiceError`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / "services.lock"):
        found = running(directory)
        if found is not None:
            if owned:
                raise ServiceError(f"a rehearsal runs in {directory} already (process {found.supervisor.pid})")
            if kubernetes and found.kubernetes is None:
                raise ServiceError(f"the rehearsal in {directory} was started without Kubernetes: end it first")
            return found, None
        (directory / "services.json").unlink(missing_ok=True)
        prepare()
        (directory / "logs").mkdir(exist_ok=True)
        log = directory / "logs" / "supervisor.log"
        read_end, write_end = os.pipe()
        command = [sys.executable, "-m", "trainyard.local.supervisor", str(directory), "--owner", str(read_end)]
        if kubernetes:
            command.append("--kubernetes")
        if account is not None:
            command += ["--account", account]
        if caller is not None:
            command += ["--caller", caller]
        with log.open("ab") as out:
            before = out.tell()
            process = subprocess.Popen(
                command,
                env=isolation.inherited(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # a Ctrl-C in the terminal reaches the owner, who decides
                pass_fds=(read_end,),
            )
        os.close(read_end)
        try:
            ready = _await_ready(directory, process, log, before)
        except BaseException:
            process.terminate()
            process.wait()
            os.close(write_end)
            raise
        if owned:
            return ready, write_end
        try:
            os.write(write_end, RELEASED)
        except BrokenPipeError:
            raise ServiceError(f"the rehearsal's services ended as soon as they were ready; see {log}") from None
        finally:
            os.close(write_end)
        return ready, None


def stop(directory: Path, within_seconds: float = 30) -> bool:
    """End the services of the rehearsal in `directory`; False where none ran."""
    found = running(directory)
    if found is None:
        return False
    _send(found.supervisor, signal.SIGTERM)
    left = _left_after(within_seconds, (found.supervisor, *found.services))
    for one in left:
        _send(one, signal.SIGKILL)
    _left_after(KILLED_WITHIN_SECONDS, left)
    return True


def _send(process: RunningService, number: signal.Signals) -> None:
    if process.alive:
        with suppress(ProcessLookupError):  # it ended in this moment
            os.kill(process.pid, number)


def _left_after(seconds: float, processes: Sequence[RunningService]) -> list[RunningService]:
    """Those that still run after at most `seconds`. Where nobody takes leave of orphans, as in many containers, one
    that has ended stays as a zombie, which does not count."""
    deadline = time.monotonic() + seconds
    while (left := [one for one in processes if one.alive]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _await_ready(directory: Path, process: subprocess.Popen[bytes], log: Path, before: int) -> Running:
    """Wait for the services; what the supervisor has said from byte `before` of its log on is why there are none."""
    # The supervisor gives up by itself, after a second try on other ports at the latest: this ends one that hangs.
    deadline = time.monotonic() + 3 * READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        found = running(directory)
        if found is not None:
            return found
        if process.poll() is not None:
            break
        time.sleep(0.05)
    with log.open("rb") as supervisors:
        supervisors.seek(before)
        said = supervisors.read().decode(errors="replace").strip().splitlines()[-2 * LINES_OF_A_LOG :]
    raise ServiceError(f"the rehearsal's services did not start; {log} says:\n  " + "\n  ".join(said))


def last_words(directory: Path) -> str:
    """Why the services in `directory` ended, as far as their supervisor could say."""
    log = directory / "logs" / "supervisor.log"
    try:
        said = log.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        said = ""
    words = said.rpartition(BEGINS)[2].strip().rpartition("\n")[2]
    return words or "it was stopped, or killed"


def kubeconfig_of(directory: Path) -> Path:
    """The kubeconfig of the administrator of the rehearsal in `directory`."""
    return directory / "kubernetes" / "kubeconfig"


def _services(directory: Path, kubernetes: bool, account: str | None, caller: str | None) -> tuple[Service, ...]:
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", "trainyard.local.aws.server", "--host", "127.0.0.1", "--port", str(port))
    variables = {"TRAINYARD_EMULATED_CALLER": caller or "", **({"MOTO_ACCOUNT_ID": account} if account else {})}
    if not kubernetes:
        return (Service("aws", command, address, environment=variables),)
    from trainyard.local.kubernetes import authenticator, control_plane

    plane = control_plane.prepare(directory / "kubernetes", control_plane.find_binaries(), address + authenticator.PATH)
    command += ("--kubernetes", plane.endpoint, "--kubernetes-ca", str(plane.certificate_authority))
    command += ("--kubernetes-config", str(plane.kubeconfig))
    return (Service("aws", command, address, environment=variables), *plane.services)


class _Supervisor:
    def __init__(
        self, directory: Path, owner: int, kubernetes: bool, account: str | None = None, caller: str | None = None
    ) -> None:
        self.directory = directory
        self.record = directory / "services.json"
        self.owner: int | None = owner
        self.kubernetes = kubernetes
        self.account = account
        self.caller = caller
        self.services: Services | None = None
        self.stopping = False

    def run(self) -> int:
        for stop_signal in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop_signal, self._stop)
        print(BEGINS, flush=True)
        alone = FileLock(self.directory / "supervisor.lock")  # held for life
        try:
            alone.acquire(timeout=60)
        except Timeout:
            print("another supervisor is at work here", flush=True)
            return 1
        try:
            loopback.ensure_up()
            services = self._start()
            log = str(self.directory / "logs" / "supervisor.log")
            me = RunningService("supervisor", os.getpid(), started_at(os.getpid()) or 0.0, "", log)
            _write(self.record, Running(me, services))
            return self._watch()
        except (ServiceError, ToolError, loopback.LoopbackError, OSError) as failed:
            print(failed, flush=True)
            return 1
        finally:
            if self.services is not None:
                self.services.end()
            if self._record_is_mine():
                self.record.unlink(missing_ok=True)

    def _start(self) -> tuple[RunningService, ...]:
        """Start the services; once more, on other ports, where another program was faster on one of the first."""
        try:
            return self._begin()
        except PortTakenError as taken:
            print(f"{taken}\ntrying other ports", flush=True)
        if self.services is not None:
            self.services.end()
        return self._begin()

    def _begin(self) -> tuple[RunningService, ...]:
        self.services = Services(
            _services(self.directory, self.kubernetes, self.account, self.caller), self.directory / "logs"
        )
        return self.services.start(lambda: self.stopping or self._owner_is_gone())

    def _watch(self) -> int:
        while not self.stopping:
            if self._owner_is_gone(wait_seconds=0.3) or not self._record_is_mine():
                return 0
            if self.services is not None and (ended := self.services.ended()):
                # Its state was of this run: starting it again would pass an empty account off as the rehearsed one.
                print(ended, flush=True)
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
            return json.loads(self.record.read_text(encoding="utf-8"))["supervisor"]["pid"] == os.getpid()
        except (OSError, ValueError, TypeError, KeyError):
            return False

    def _stop(self, *_: object) -> None:
        self.stopping = True


def _write(path: Path, content: Running) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(content), indent=2), encoding="utf-8")
    partial.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--owner", type=int, required=True, help="file descriptor of the owner's pipe")
    parser.add_argument("--kubernetes", action="store_true", help="with a Kubernetes control plane")
    parser.add_argument("--account", help="id of the emulated account")
    parser.add_argument("--caller", help="ARN of the session as which the account knows its caller")
    arguments = parser.parse_args()
    one = _Supervisor(arguments.directory, arguments.owner, arguments.kubernetes, arguments.account, arguments.caller)
    return one.run()


if __name__ == "__main__":
    sys.exit(main())
