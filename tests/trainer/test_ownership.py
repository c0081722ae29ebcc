"""Whose a place is: the lock that goes with its process, and the token that the newest start leaves."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_training import SmallTraining
from trainer import ownership
from trainer.errors import UserError
from trainer.ownership import LOCK, OWNER, HeldError, Owner, TakenOverError, claim, confirm, hold, holder, release
from trainer.storage import Storage, StorageError, open_storage

HOLD = """
import sys, time
from pathlib import Path
from trainer.ownership import Owner, hold
hold(Path(sys.argv[1]), Owner.here(Path("/runs/other")))
print("held", flush=True)
time.sleep(600)
"""
FORK = """
import os
if not (child := os.fork()):
    Path(sys.argv[1], "child").write_text(str(os.getpid()))
    time.sleep(600)
while not (said := Path(sys.argv[1], "child")).exists() or not said.read_text():
    time.sleep(0.01)
print"""


@contextmanager
def other_process(folder: Path, program: str = HOLD) -> Generator[subprocess.Popen]:
    with subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def own(tmp_path: Path) -> Owner:
    return Owner.here(tmp_path / "run")


@pytest.fixture(params=["path", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "place" if request.param == "path" else f"s3://{request.getfixturevalue('s3')}/a")


def test_a_folder_is_held_until_its_process_is_killed(
    tmp_path: Path, own: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "_ENDING_SECONDS", 0.2)
    with other_process(tmp_path) as other:
        there = holder(tmp_path)
        assert isinstance(there, Owner)
        assert (there.process, there.run) == (other.pid, "/runs/other")
        with pytest.raises(HeldError, match=rf"another run is using it: process {other.pid} on .* checkpoint\.uri"):
            hold(tmp_path, own)
        assert holder(tmp_path) == there, "it has not been overwritten"
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert holder(tmp_path) is None
        hold(tmp_path, own)
    assert holder(tmp_path) == own
    release(tmp_path)
    assert holder(tmp_path) is None


def test_one_that_is_about_to_end_is_waited_for(tmp_path: Path, own: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    with other_process(tmp_path) as other:
        waits = []

        def end_it(seconds: float) -> None:
            waits.append(seconds)
            other.kill()
            other.wait()

        monkeypatch.setattr(ownership.time, "sleep", end_it)
        hold(tmp_path, own)
        assert len(waits) == 1
    release(tmp_path)


def test_a_lock_of_a_lost_machine_is_waited_for_longer(
    tmp_path: Path, own: Owner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ownership, "_ENDING_SECONDS", 0.0)
    with other_process(tmp_path) as other:
        there = holder(tmp_path)
        assert isinstance(there, Owner)
        assert not there.is_elsewhere
        (tmp_path / LOCK).write_bytes(there.model_copy(update={"machine": "another kernel"}).to_json())
        monkeypatch.setattr(ownership, "_LOST_SECONDS", 0.1)
        with pytest.raises(HeldError, match=f"another run is using it: process {other.pid} on "):
            hold(tmp_path, own)
        monkeypatch.setattr(ownership, "_LOST_SECONDS", 180.0)
        waits = []

        def given_up_in_the_end(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                other.kill()
                other.wait()

        monkeypatch.setattr(ownership.time, "sleep", given_up_in_the_end)
        hold(tmp_path, own)
        assert len(waits) == 3
        assert f"waiting up to 180 s for process {other.pid} on " in caplog.text
    release(tmp_path)


def test_what_an_earlier_release_wrote_is_read(own: Owner) -> None:
    earlier = Owner.from_json(own.model_dump_json(exclude={"machine"}).encode())
    assert earlier is not None
    assert not earlier.is_elsewhere


def test_a_child_does_not_go_on_holding_what_its_killed_parent_held(tmp_path: Path) -> None:
    with other_process(tmp_path, HOLD.replace("print", FORK)) as other:
        child = int((tmp_path / "child").read_text())
        other.kill()
        other.wait()
        try:
            assert Path(f"/proc/{child}").exists()
            assert holder(tmp_path) is None
        finally:
            os.kill(child, signal.SIGKILL)


def test_where_the_file_system_knows_no_locks_the_token_has_to_do(
    tmp_path: Path, own: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_handle: int, _how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    hold(tmp_path, own)
    assert (tmp_path / LOCK).exists()
    assert holder(tmp_path) is None
    release(tmp_path)


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path, own: Owner) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file can't be a folder of checkpoints: it is a file"):
        hold(tmp_path / "file", own)
    with pytest.raises(StorageError, match=r"/proc/ck can't be a folder of checkpoints: "):
        hold(Path("/proc/ck"), own)
    with pytest.raises(UserError, match=r"^checkpoint.uri /proc/ck can't be .*; name one that can be written$"):
        SmallTraining(tmp_path, "/proc/ck")


def test_who_used_a_place_before_is_told_unless_its_process_is_gone(
    tmp_path: Path, own: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    place = open_storage(tmp_path / "place")
    caplog.set_level("INFO", "trainer")
    for before, told in (
        (own, True),
        (own.model_copy(update={"process": 2**30}), False),
        (own.model_copy(update={"process": 2**30, "host": "elsewhere"}), True),
    ):
        claim(place, before)
        caplog.clear()
        SmallTraining(tmp_path, place.uri)
        assert any("was last used by" in line for line in caplog.messages) is told


def test_the_newest_claim_counts(storage: Storage, own: Owner, tmp_path: Path) -> None:
    assert claim(storage, own) is None
    confirm(storage, own.token)
    later = Owner.here(tmp_path / "later")
    assert claim(storage, later) == own
    confirm(storage, later.token)
    with pytest.raises(TakenOverError, match=rf"{storage.uri} was taken over .* with run.directory {later.run}"):
        confirm(storage, own.token)


def test_a_place_that_was_emptied_belongs_to_nobody_else(storage: Storage, own: Owner) -> None:
    claim(storage, own)
    storage.delete([OWNER])
    confirm(storage, own.token)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"token": 3}', b"\xff\x00"])
def test_what_is_no_owner_is_not_taken_for_ours(storage: Storage, own: Owner, content: bytes) -> None:
    storage.write_bytes(OWNER, content)
    with pytest.raises(TakenOverError, match="none of ours"):
        confirm(storage, own.token)
    assert claim(storage, own) is None
    confirm(storage, own.token)


@pytest.mark.parametrize("asynchronous", [True, False])
def test_who_was_overtaken_neither_writes_nor_deletes(s3: str, tmp_path: Path, asynchronous: bool) -> None:
    place = open_storage(f"s3://{s3}/runs/a")
    settings = {"checkpoint__asynchronous": asynchronous, "checkpoint__keep_last": 1}
    lost = SmallTraining(tmp_path / "lost", place.uri, **settings)
    lost.step()
    lost.checkpoints.save(lost.state, "interval", wait=True)
    successor = SmallTraining(tmp_path / "successor", place.uri, checkpoint__keep_last=9)
    successor.resume()
    successor.step()
    successor.checkpoints.save(successor.state, "interval", wait=True)
    before = place.sizes()

    lost.step()
    with pytest.raises(TakenOverError, match=f"run.directory {tmp_path / 'successor'}"):
        lost.checkpoints.save(lost.state, "interval", wait=True)
    lost.checkpoints.close(wait=False)
    assert place.sizes() == before
    assert SmallTraining(tmp_path / "third", place.uri).resume() == f"{place.uri}/step-00000002"


def test_overtaken_between_upload_and_manifest_it_publishes_nothing(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = open_storage(f"s3://{s3}/runs/a")
    lost = SmallTraining(tmp_path / "lost", place.uri)
    make = lost.checkpoints._saving._make_manifest

    def overtaken_meanwhile(*arguments):  # the manifest is made when all files have been hashed
        monkeypatch.setattr(lost.checkpoints._saving, "_seal", _after(lost.checkpoints._saving._seal, place, tmp_path))
        return make(*arguments)

    monkeypatch.setattr(lost.checkpoints._saving, "_make_manifest", overtaken_meanwhile)
    lost.step()
    with pytest.raises(TakenOverError):
        lost.checkpoints.save(lost.state, "interval", wait=True)
    assert [key for key in place.list("step-") if key.endswith(".distcp")], "it was to be overtaken after the upload"
    assert not [key for key in place.list() if key.endswith("manifest.json")]


def _after(seal, place: Storage, tmp_path: Path):
    def sealed(flight) -> None:
        claim(place, Owner.here(tmp_path / "successor"))
        seal(flight)

    return sealed
