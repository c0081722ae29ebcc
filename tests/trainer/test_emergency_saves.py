"""Told to go while S3 hangs: the time left goes to what can still become a checkpoint, and the truth is told."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_s3 import Answer, FaultyS3, Forward, hang
from small_training import SmallTraining, outcome_of_save, same
from trainer import checkpoint, saving
from trainer.checkpoint import CheckpointError, Saved, SaveFailed
from waiting import WAIT_SECONDS, wait_until

FILES = r"/step-\d+/__0_0\.distcp$"
MANIFEST = r"/manifest\.json$"


class Clock:
    """What an emergency has left is read from it. It runs ahead when a test has seen what it waits for."""

    sleep, perf_counter = staticmethod(time.sleep), staticmethod(time.perf_counter)

    def __init__(self) -> None:
        self._ahead = 0.0
        self._read: list[threading.Event] = []

    def monotonic(self) -> float:
        now = time.monotonic() + self._ahead
        while self._read:
            self._read.pop().set()
        return now

    def next_read(self) -> threading.Event:
        """Set when it is read next: the emergency has begun."""
        self._read.append(event := threading.Event())
        return event

    def put_forward(self, seconds: float, once: Callable[[], object]) -> None:
        """After the next reading, as soon as `once` is true."""
        begun = self.next_read()

        def wait() -> None:
            begun.wait(WAIT_SECONDS)
            wait_until(once)
            self._ahead += seconds

        threading.Thread(target=wait, daemon=True).start()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (saving, checkpoint):
        monkeypatch.setattr(module, "time", made)
    return made


def let_uploads_take(training: SmallTraining, seconds: float) -> Saved:
    """As far as the training knows."""
    first = outcome_of_save(training)
    assert isinstance(first, Saved)
    for _ in range(9):
        training.checkpoints.measured.saved(replace(first, seconds=seconds))
    return first


LATER = 100_000.0


def stands_locally(training: SmallTraining, step: int) -> Callable[[], bool]:
    """Whether the save of `step` is under way to the durable place and stands on the node's disk."""

    def stands() -> bool:
        flight = training.checkpoints._saving.flight
        return flight is not None and flight.step == step and flight.is_local

    return stands


def test_an_emergency_without_time_for_the_upload_leaves_it_on_the_nodes_disk(
    training: SmallTraining, front: FaultyS3, clock: Clock, s3: str, tmp_path: Path
) -> None:
    first = outcome_of_save(training)
    front.fail("PUT", FILES, hang)
    training.step()
    clock.put_forward(LATER, once=stands_locally(training, step=2))
    saved = training.checkpoints.save(training.state, "preempted", wait=True, seconds_left=1000.0)
    assert saved.state == "local"
    assert f"newest durable: {first.uri}" in (saved.reason or "")
    numbers = training.numbers()
    training.checkpoints.close(wait=False)

    front.mend()
    again = SmallTraining(tmp_path, f"s3://{s3}/runs/a")
    assert again.resume() == str(training.local / "step-00000002")
    assert same(again.numbers(), numbers)
    assert again.checkpoints.newest_durable == first.uri
    assert again.checkpoints.history.failures == 0, "a warning that left time to save is no failure"
    assert SmallTraining(tmp_path / "another-node", f"s3://{s3}/runs/a").resume() == first.uri


def begin_save(training: SmallTraining, front: FaultyS3, path: str) -> None:
    """Until a request for `path` is being answered, which is after all that is done on the nodes' disks."""
    training.step()
    assert training.checkpoints.save(training.state, "interval").state == "under way"
    wait_until(lambda: training.checkpoints.finished() or any(re.search(path, met) for _, met in front.met))
    training.step()


OLDER_FILES, NEWER_FILES = "/step-00000002/__0_0", "/step-00000003/__0_0"


def test_an_emergency_does_not_wait_for_an_older_save(
    training: SmallTraining, front: FaultyS3, clock: Clock, s3: str, tmp_path: Path
) -> None:
    let_uploads_take(training, 400.0)
    front.fail("PUT", OLDER_FILES, hang)
    begin_save(training, front, OLDER_FILES)
    # Of the 1000 s, the older save may take those that are not needed for two uploads.
    clock.put_forward(300.0, once=lambda: True)
    saved = training.checkpoints.save(training.state, "preempted", wait=True, seconds_left=1000.0)
    assert saved.state == "durable"
    (dropped, told) = training.checkpoints.finished()
    assert isinstance(dropped, SaveFailed)
    assert dropped.step == 2
    assert "to have time for a newer one" in dropped.reason
    assert isinstance(told, Saved)
    training.checkpoints.close(wait=False)
    assert SmallTraining(tmp_path / "another-node", f"s3://{s3}/runs/a").resume() == saved.uri


def break_disk(training: SmallTraining) -> None:
    shutil.rmtree(training.local)
    training.local.write_text("a file where a folder should be")


def begin_older_save(training: SmallTraining, front: FaultyS3, clock: Clock) -> None:
    """That of step 2, whose upload does not end before the emergency has begun. That of step 3 never will."""
    going_on = threading.Event()

    def held(_front: FaultyS3, body: bytes, forward: Forward) -> Answer:
        going_on.wait(WAIT_SECONDS)
        return forward(body)

    let_uploads_take(training, 2000.0)
    front.fail("PUT", OLDER_FILES, held, times=1)
    front.fail("PUT", NEWER_FILES, hang)
    begin_save(training, front, OLDER_FILES)
    begun = clock.next_read()
    threading.Thread(target=lambda: begun.wait(WAIT_SECONDS) and going_on.set(), daemon=True).start()


def test_an_emergency_that_can_not_fit_lets_the_older_save_end_and_goes_to_the_nodes_disk(
    training: SmallTraining, front: FaultyS3, clock: Clock, s3: str, tmp_path: Path
) -> None:
    begin_older_save(training, front, clock)
    clock.put_forward(LATER, once=stands_locally(training, step=3))
    saved = training.checkpoints.save(training.state, "preempted", wait=True, seconds_left=1000.0)
    assert saved.state == "local"
    (older,) = training.checkpoints.finished()
    assert isinstance(older, Saved)
    assert older.step == 2
    training.checkpoints.close(wait=False)
    assert SmallTraining(tmp_path, f"s3://{s3}/runs/a").resume() == str(training.local / "step-00000003")
    assert SmallTraining(tmp_path / "another-node", f"s3://{s3}/runs/a").resume() == older.uri


def test_an_emergency_that_can_not_fit_is_told_as_skipped_where_the_older_save_is_all_there_is(
    training: SmallTraining, front: FaultyS3, clock: Clock, s3: str, tmp_path: Path
) -> None:
    begin_older_save(training, front, clock)
    break_disk(training)
    clock.put_forward(LATER, once=lambda: any(NEWER_FILES in path for _, path in front.met))
    skipped = training.checkpoints.save(training.state, "preempted", wait=True, seconds_left=1000.0)
    assert skipped.state == "skipped"
    said = "an upload takes 2000 s, so step-00000002, which was under way, was let end instead; it is durable"
    assert skipped.reason == said
    training.checkpoints.close(wait=False)
    other = SmallTraining(tmp_path / "another-node", f"s3://{s3}/runs/a")
    assert other.resume() == f"s3://{s3}/runs/a/step-00000002"
    assert other.checkpoints.history.failures == 1, "the warning came too late to lose nothing"


def test_an_older_save_that_does_not_end_either_is_told_where_it_stands(
    training: SmallTraining, front: FaultyS3, clock: Clock, s3: str, tmp_path: Path
) -> None:
    let_uploads_take(training, 2000.0)
    front.fail("PUT", MANIFEST, hang)
    begin_save(training, front, MANIFEST)
    clock.put_forward(LATER, once=stands_locally(training, step=2))
    skipped = training.checkpoints.save(training.state, "preempted", wait=True, seconds_left=1000.0)
    assert skipped.state == "skipped"
    assert "step-00000002, which was under way, was let end instead; it stands on the nodes' disks" in (
        skipped.reason or ""
    )
    assert f"newest durable: s3://{s3}/runs/a/step-00000001" in (skipped.reason or "")
    training.checkpoints.close(wait=False)
    front.mend()
    assert SmallTraining(tmp_path, f"s3://{s3}/runs/a").resume() == str(training.local / "step-00000002")


def test_nothing_that_could_be_saved_is_told_as_such(
    training: SmallTraining, front: FaultyS3, clock: Clock, s3: str
) -> None:
    let_uploads_take(training, 2000.0)
    break_disk(training)
    front.fail("PUT", MANIFEST, hang)
    begin_save(training, front, MANIFEST)
    clock.put_forward(LATER, once=lambda: True)
    with pytest.raises(CheckpointError, match=rf"let end instead, in vain; newest durable: s3://{s3}/runs/a/step-0+1"):
        training.checkpoints.save(training.state, "preempted", wait=True, seconds_left=1000.0)
