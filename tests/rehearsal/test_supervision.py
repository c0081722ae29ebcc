"""Nothing is left running: not after the end, not after Ctrl-C, not after kill -9 of whoever began it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from waiting import WAIT_SECONDS, wait_until

from trainyard.local import supervisor
from trainyard.local.engine import EngineError
from trainyard.local.process import is_running
from trainyard.local.rehearsal import BusyError, NotRunningError, Rehearsal, _is_held

PROGRAM = Path(__file__).parent / "programs" / "lifecycle"

OWNER = """
import sys, time
from pathlib import Path
from trainyard.local.rehearsal import Rehearsal
directory, project, what = sys.argv[1:]
config = Path(directory).parent / "Pulumi.test.yaml"
config.write_text("config: {}\\n")
with Rehearsal("test", Path(directory), Path(project), config, kubernetes=False) as rehearsal:
    engine = rehearsal.engine()
    print("started", flush=True)
    if what == "up":
        rehearsal.up(on_event=lambda event: print("event", flush=True) if "resourcePreEvent" in event else None)
    time.sleep(600)
"""


AFTER_THE_ACCOUNT = """
import pathlib, time
import pulumi_aws
while pathlib.Path({record!r}).exists():
    time.sleep(0.05)
pulumi_aws.sqs.Queue("queue")
"""
"""A program that makes something once the account has ended."""


@pytest.fixture
def owner(tmp_path):
    """Start a process that owns a rehearsal, and give it with the rehearsal's directory."""
    begun = []

    def begin(what: str) -> tuple[subprocess.Popen, Path]:
        directory = tmp_path / "rehearsal"
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(directory), str(PROGRAM), what],
            stdout=subprocess.PIPE,
            text=True,
            # As in a terminal, also where the tests themselves run in the background with Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        begun.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        if what == "up":
            assert process.stdout.readline() == "event\n"
        return process, directory

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def _processes_of(directory: Path) -> list[psutil.Process]:
    """Processes that name the directory in their command or work with its engine."""
    found = []
    for process in psutil.process_iter():
        try:
            said = " ".join(process.cmdline()) + " ".join(process.environ().values())
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if str(directory) in said and process.pid != os.getpid() and is_running(process.pid):
            found.append(process)
    return found


def _wait_until_gone(directory: Path, services: list[int]) -> None:
    # To look at every process of the machine takes longer than to ask for some.
    wait_until(lambda: not any(is_running(pid) for pid in services))
    wait_until(lambda: not _processes_of(directory), every=0.2)


def _service_ids(directory: Path) -> list[int]:
    found = supervisor.running(directory)
    assert found is not None
    return [found.supervisor.pid, *(service.pid for service in found.services)]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_services_end_with_their_owner(owner, how):
    process, directory = owner("wait")
    services = _service_ids(directory)
    process.send_signal(how)
    process.wait(timeout=WAIT_SECONDS)
    _wait_until_gone(directory, services)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_update_under_way_ends_with_its_owner(owner, how):
    process, directory = owner("up")
    services = _service_ids(directory)
    process.send_signal(how)
    process.wait(timeout=WAIT_SECONDS)
    _wait_until_gone(directory, services)


def test_services_without_an_owner_stay_until_they_are_stopped(tmp_path):
    begin = "import sys, pathlib; from trainyard.local.supervisor import start; start(pathlib.Path(sys.argv[1]), False)"
    subprocess.run([sys.executable, "-c", begin, str(tmp_path)], check=True)
    services = _service_ids(tmp_path)
    started, _ = supervisor.start(tmp_path, owned=False)
    assert started.supervisor.pid == services[0]
    assert supervisor.stop(tmp_path)
    assert not any(is_running(pid) for pid in services)
    assert supervisor.running(tmp_path) is None
    assert not supervisor.stop(tmp_path)


def test_killing_the_supervisor_takes_its_services_along_and_the_next_start_is_a_new_account(tmp_path):
    supervisor.start(tmp_path, owned=False)
    services = _service_ids(tmp_path)
    os.kill(services[0], signal.SIGKILL)
    _wait_until_gone(tmp_path, services)
    assert supervisor.running(tmp_path) is None
    again, _ = supervisor.start(tmp_path, owned=False)
    try:
        assert again.supervisor.pid not in services
    finally:
        supervisor.stop(tmp_path)


def test_an_account_that_ended_is_noticed(tmp_path):
    supervisor.start(tmp_path, owned=False)
    services = _service_ids(tmp_path)
    os.kill(services[1], signal.SIGKILL)
    _wait_until_gone(tmp_path, services)
    assert supervisor.last_words(tmp_path).startswith("aws ended with status -9")


def test_an_account_that_ends_while_the_engine_works_is_told_as_the_reason(tmp_path):
    config = tmp_path / "Pulumi.test.yaml"
    config.write_text("config: {}\n")
    program = tmp_path / "program"
    program.mkdir()
    (program / "Pulumi.yaml").write_text("name: patient\nruntime: python\n")
    (program / "__main__.py").write_text(AFTER_THE_ACCOUNT.format(record=str(tmp_path / "rehearsal/services.json")))

    def end(event) -> None:
        if "preludeEvent" in event:
            supervisor.stop(tmp_path / "rehearsal")

    with (
        Rehearsal("test", tmp_path / "rehearsal", program, config, kubernetes=False) as rehearsal,
        pytest.raises(EngineError, match="the emulated account ended while the engine worked in it: it was stopped"),
    ):
        rehearsal.up(end)


def test_of_two_starts_at_once_neither_takes_the_others_state(tmp_path):
    """What an account left is set aside before a new one begins, and not while another command begins to work in it."""
    state = tmp_path / "rehearsal" / "engine" / "state"
    begin = (
        "import sys, pathlib; from trainyard.local.rehearsal import Rehearsal; folder = pathlib.Path(sys.argv[1]); "
        "Rehearsal('test', folder, folder.parent, folder.parent / 'Pulumi.test.yaml', kubernetes=False).start(); "
        "(folder / 'engine/state').mkdir(parents=True, exist_ok=True); (folder / 'engine/state' / sys.argv[2]).touch()"
    )
    (tmp_path / "Pulumi.test.yaml").write_text("config: {}\n")
    try:
        begun = [subprocess.Popen([sys.executable, "-c", begin, str(tmp_path / "rehearsal"), name]) for name in "ab"]
        assert [one.wait(timeout=WAIT_SECONDS) for one in begun] == [0, 0]
        assert sorted(one.name for one in state.iterdir()) == ["a", "b"]
    finally:
        supervisor.stop(tmp_path / "rehearsal")


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ('{"pid": %(me)d, "timestamp": "%(now)s"}', True),
        ('{"pid": %(me)d, "timestamp": "2020-01-01T00:00:00.123456789Z"}', False),
        ('{"pid": 4194305, "timestamp": "%(now)s"}', False),
        ('{"pid": ', False),
        ("", False),
    ],
)
def test_a_lock_of_the_state_holds_as_long_as_its_engine_lives(tmp_path, content, held):
    (tmp_path / "lock.json").write_text(content % {"me": os.getpid(), "now": datetime.now(UTC).isoformat()})
    assert _is_held(tmp_path / "lock.json") is held


def test_a_disk_without_room_is_told_before_anything_is_started(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100 * 2**20))
    rehearsal = Rehearsal("test", tmp_path / "rehearsal", PROGRAM, PROGRAM / "Pulumi.yaml")
    with pytest.raises(supervisor.ServiceError, match="100 MiB free; a rehearsal takes up to 256"):
        rehearsal.start()
    assert list((tmp_path / "rehearsal").iterdir()) == []


def test_one_command_at_a_time(tmp_path):
    rehearsal = Rehearsal("test", tmp_path / "rehearsal", PROGRAM, PROGRAM / "Pulumi.yaml")
    with rehearsal.exclusive():
        other = Rehearsal("test", tmp_path / "rehearsal", PROGRAM, PROGRAM / "Pulumi.yaml")
        with pytest.raises(BusyError, match="another command is at work"), other.exclusive():
            pass
    with pytest.raises(NotRunningError, match="trainyard local up"):
        _ = rehearsal.endpoint


def test_a_start_that_is_killed_leaves_no_supervisor_behind(tmp_path):
    begin = "import sys, pathlib; from trainyard.local.supervisor import start; start(pathlib.Path(sys.argv[1]), False)"
    process = subprocess.Popen([sys.executable, "-c", begin, str(tmp_path / "rehearsal")])
    # Until the supervisor is there beside the process that starts it.
    wait_until(lambda: len(_processes_of(tmp_path / "rehearsal")) >= 2)
    process.kill()
    process.wait()
    _wait_until_gone(tmp_path / "rehearsal", [])
    assert supervisor.running(tmp_path / "rehearsal") is None


def test_after_an_engine_was_killed_the_next_up_begins_with_a_new_account(tmp_path):
    config = tmp_path / "Pulumi.test.yaml"
    config.write_text("config: {}\n")
    with Rehearsal("test", tmp_path / "rehearsal", PROGRAM, config, kubernetes=False) as rehearsal:
        rehearsal.up()
        before = rehearsal.outputs()["vpc_id"]
        locks = tmp_path / "rehearsal" / "engine" / "state" / ".pulumi" / "locks" / "organization"
        locks.mkdir(parents=True, exist_ok=True)
        (locks / "left.json").write_text('{"pid": 4194305}')  # more than Linux counts
        result = rehearsal.up()
        assert rehearsal.started_over
        assert set(result.changes) == {"create"}
        assert rehearsal.outputs()["vpc_id"] != before
