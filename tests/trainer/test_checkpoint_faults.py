"""S3 that throttles, hangs, fails, forgets, damages, is slow or refuses: training goes on, and is told the truth."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from faulty_s3 import (
    BAD_DIGEST,
    DENIED,
    ERROR,
    EXPIRED,
    SKEWED,
    THROTTLE,
    UNKNOWN_KEY,
    WRONG_SECRET,
    Fault,
    FaultyS3,
    corrupt,
    cut,
    hang,
    lose,
    slow,
    without_checksums,
)
from small_training import SmallTraining, same
from trainer import catalog, saving
from trainer.checkpoint import CheckpointError, Saved, SaveFailed
from trainer.storage import open_storage
from trainer.storage_s3 import Patience
from waiting import wait_until

FILES = r"/step-\d+/__0_0\.distcp$"
MANIFEST = r"/manifest\.json$"
WAIT_SECONDS = 200.0
"""For what should come at once, on a machine that has much else to do."""


@pytest.fixture
def front(s3: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    monkeypatch.setattr(saving, "READ_SECONDS", 1.0)
    monkeypatch.setattr(saving, "PATIENCE_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(saving, "NICENESS", 0)  # what else runs here is no training
    with FaultyS3(s3_endpoint) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        yield front


@pytest.fixture
def training(front: FaultyS3, s3: str, tmp_path: Path) -> Iterator[SmallTraining]:
    made = SmallTraining(tmp_path, f"s3://{s3}/runs/a", checkpoint__asynchronous=True)
    assert made.resume() is None
    yield made
    made.checkpoints.close(wait=False)


def outcome_of_save(training: SmallTraining) -> Saved | SaveFailed:
    """Saves as the loop does at its interval, and trains on until it has been told what came of it."""
    training.step()
    try:
        training.checkpoints.save(training.state, "interval")
    except CheckpointError as error:
        step = training.state.progress.step
        return SaveFailed("", step, str(error), training.checkpoints.newest_durable)
    told: list[object] = []
    wait_until(lambda: told.extend(training.checkpoints.finished()) or told, WAIT_SECONDS)
    assert len(told) == 1
    assert isinstance(told[0], Saved | SaveFailed)
    return told[0]


@pytest.mark.parametrize(
    ("fault", "path", "said"),
    [
        (THROTTLE, FILES, "SlowDown"),
        (THROTTLE, MANIFEST, "SlowDown"),
        (ERROR, FILES, "InternalError"),
        (EXPIRED, FILES, "ExpiredToken.*sign in again"),
        (BAD_DIGEST, FILES, "BadDigest"),
        (SKEWED, FILES, "RequestTimeTooSkewed.*clock"),
        (hang, FILES, "Read timeout"),
        (lose, FILES, "was acknowledged, but is not there"),
        (lose, MANIFEST, "was acknowledged, but is not there"),
    ],
)
def test_what_passes_is_tried_again_until_the_checkpoint_is_there(
    training: SmallTraining, front: FaultyS3, tmp_path: Path, fault: Fault, path: str, said: str
) -> None:
    front.fail("PUT", path, fault, times=2)
    saved = outcome_of_save(training)
    before = training.numbers()

    assert isinstance(saved, Saved), saved
    assert len(front.met) == 2
    assert any(re.search(said, reason) for reason in saved.retried), saved.retried
    assert training.checkpoints.newest_durable == saved.uri == f"{training.config.checkpoint.uri}/step-00000001"
    other = SmallTraining(tmp_path / "another-node", training.config.checkpoint.uri)
    assert other.resume() == saved.uri
    assert same(other.numbers(), before)


def test_a_bit_turned_in_what_was_acknowledged_is_noticed_and_written_again(
    training: SmallTraining, front: FaultyS3, tmp_path: Path
) -> None:
    """By reading it back, where the endpoint keeps no checksums."""
    front.fail("PUT", FILES, corrupt, times=1)
    front.fail("HEAD", ".*", without_checksums)
    saved = outcome_of_save(training)
    before = training.numbers()
    assert isinstance(saved, Saved)
    assert any("has another SHA-256 than what was written" in reason for reason in saved.retried)
    other = SmallTraining(tmp_path / "another-node", training.config.checkpoint.uri)
    assert other.resume() == saved.uri
    assert same(other.numbers(), before)


def test_checksums_that_the_endpoint_keeps_spare_reading_back(training: SmallTraining, front: FaultyS3) -> None:
    assert isinstance(outcome_of_save(training), Saved)
    assert not [path for method, path in front.requests if method == "GET" and path.endswith(".distcp")]


@pytest.mark.parametrize("fault", [THROTTLE, hang, lose], ids=["throttled", "hanging", "forgotten"])
def test_what_does_not_pass_is_given_up_and_the_last_durable_one_named(
    training: SmallTraining, front: FaultyS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: Fault
) -> None:
    monkeypatch.setattr(saving, "PATIENCE_SECONDS", 3.0)
    first = outcome_of_save(training)
    assert isinstance(first, Saved)
    front.fail("PUT", FILES, fault)
    failed = outcome_of_save(training)
    assert isinstance(failed, SaveFailed)
    assert failed.newest_durable == first.uri == training.checkpoints.newest_durable

    front.mend()
    there = catalog.entries(training.checkpoints._tiers.durable)
    assert [step for step, entry in there.items() if entry.finished] == [1]
    third = outcome_of_save(training)
    assert isinstance(third, Saved), "the next save is not held back by the one that failed"
    training.checkpoints.close(wait=True)
    keys = [entry["Key"] for entry in boto3.client("s3").list_objects_v2(Bucket="training-data")["Contents"]]
    assert not [key for key in keys if "step-00000002" in key], "what came of it is deleted"


def test_a_missing_permission_is_not_tried_again(training: SmallTraining, front: FaultyS3) -> None:
    front.fail("PUT", FILES, DENIED)
    failed = outcome_of_save(training)
    assert isinstance(failed, SaveFailed)
    assert "AccessDenied" in failed.reason
    assert "s3:PutObject" in failed.reason
    assert len(front.met) == 1


@pytest.mark.parametrize(
    ("fault", "said"), [(UNKNOWN_KEY, "access key is unknown"), (WRONG_SECRET, "does not belong to the access key")]
)
def test_wrong_credentials_fail_the_save_and_the_next_one_asks_for_them_anew(
    front: FaultyS3, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, said: str
) -> None:
    """As where a person mends the credentials file while the training goes on."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    file.write_text("[default]\naws_access_key_id = FIRST\naws_secret_access_key = a\n")
    training = SmallTraining(tmp_path, f"s3://{s3}/runs/a", checkpoint__asynchronous=True)
    first = outcome_of_save(training)
    assert isinstance(first, Saved)

    front.fail("PUT", FILES, fault, signed_by="FIRST")
    failed = outcome_of_save(training)
    assert isinstance(failed, SaveFailed)
    assert said in failed.reason
    assert failed.newest_durable == first.uri

    file.write_text("[default]\naws_access_key_id = SECOND\naws_secret_access_key = b\n")
    assert isinstance(outcome_of_save(training), Saved)
    training.checkpoints.close(wait=True)


def test_a_slow_upload_costs_the_training_no_time_and_a_save_due_meanwhile_is_told(
    front: FaultyS3, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "READ_SECONDS", 10.0)
    training = SmallTraining(tmp_path, f"s3://{s3}/runs/a", checkpoint__asynchronous=True)
    outcome_of_save(training)  # starts the saving process
    front.fail("PUT", FILES, slow(2.0))
    training.step()
    began = time.monotonic()
    assert training.checkpoints.save(training.state, "interval").state == "under way"
    at_save = training.numbers()
    while not training.checkpoints.finished():
        training.step()
        due = training.checkpoints.save(training.state, "interval")
        if time.monotonic() - began < 1.5:
            assert due.state == "skipped"
            assert "step-00000002 has been under way" in (due.reason or "")
            assert f"newest durable: s3://{s3}/runs/a/step-00000001" in (due.reason or "")
    assert training.state.progress.step > 10, "training did not go on meanwhile"
    training.checkpoints.close(wait=False)
    other = SmallTraining(tmp_path / "another-node", f"s3://{s3}/runs/a")
    assert other.resume() == f"s3://{s3}/runs/a/step-00000002"
    assert same(other.numbers(), at_save), "training on has changed what was being saved"


def let_uploads_take(training: SmallTraining, seconds: float) -> Saved:
    """As far as the training knows."""
    first = outcome_of_save(training)
    assert isinstance(first, Saved)
    for _ in range(9):
        training.checkpoints.measured.saved(replace(first, seconds=seconds))
    return first


def test_an_emergency_without_time_for_the_upload_leaves_it_on_the_nodes_disk(
    front: FaultyS3, s3: str, tmp_path: Path
) -> None:
    training = SmallTraining(tmp_path, f"s3://{s3}/runs/a", checkpoint__asynchronous=True)
    first = outcome_of_save(training)
    front.fail("PUT", FILES, hang)
    training.step()
    began = time.monotonic()
    saved = training.checkpoints.save(training.state, "preempted", wait=True, seconds_left=10.0)
    assert time.monotonic() - began < 60, "it waited for what hangs"
    assert saved.state == "local"
    assert f"newest durable: {first.uri}" in (saved.reason or "")
    numbers = training.numbers()
    training.checkpoints.close(wait=False)

    front.mend()
    again = SmallTraining(tmp_path, f"s3://{s3}/runs/a")
    assert again.resume() == saved.uri == str(training.local / "step-00000002")
    assert same(again.numbers(), numbers)
    assert again.checkpoints.newest_durable == first.uri, "the loss of the node would go back to it"
    assert again.checkpoints.history.failures == 0, "it was warned"
    assert SmallTraining(tmp_path / "another-node", f"s3://{s3}/runs/a").resume() == first.uri


def test_an_emergency_does_not_wait_for_an_older_save(
    training: SmallTraining, front: FaultyS3, s3: str, tmp_path: Path
) -> None:
    let_uploads_take(training, 20.0)
    front.fail("PUT", "/step-00000002/__0_0", hang)
    training.step()
    assert training.checkpoints.save(training.state, "interval").state == "under way"
    training.step()
    saved = training.checkpoints.save(training.state, "preempted", wait=True, seconds_left=44.0)
    assert saved.state == "durable"
    (dropped, told) = training.checkpoints.finished()
    assert isinstance(dropped, SaveFailed)
    assert dropped.step == 2
    assert isinstance(told, Saved)
    assert told.step == 3
    training.checkpoints.close(wait=False)
    assert SmallTraining(tmp_path / "another-node", f"s3://{s3}/runs/a").resume() == saved.uri


def begin_save(training: SmallTraining, front: FaultyS3, path: str) -> None:
    """Until a request for `path` is being answered, which is after all that is done on the nodes' disks."""
    training.step()
    assert training.checkpoints.save(training.state, "interval").state == "under way"
    wait_until(
        lambda: training.checkpoints.finished() or any(re.search(path, met) for _, met in front.met), WAIT_SECONDS
    )
    training.step()


def break_disk(training: SmallTraining) -> None:
    shutil.rmtree(training.local)
    training.local.write_text("a file where a folder should be")


OLDER_FILES = "/step-00000002/__0_0"


def test_an_emergency_that_can_not_fit_lets_the_older_save_end_and_goes_to_the_nodes_disk(
    training: SmallTraining, front: FaultyS3, s3: str, tmp_path: Path
) -> None:
    let_uploads_take(training, 2000.0)
    front.fail("PUT", OLDER_FILES, slow(2.0), times=1)
    front.fail("PUT", "/step-00000003/__0_0", hang)
    begin_save(training, front, OLDER_FILES)
    saved = training.checkpoints.save(training.state, "preempted", wait=True, seconds_left=12.0)
    assert saved.state == "local"
    (older,) = training.checkpoints.finished()
    assert isinstance(older, Saved)
    assert older.step == 2
    training.checkpoints.close(wait=False)
    assert SmallTraining(tmp_path, f"s3://{s3}/runs/a").resume() == str(training.local / "step-00000003")
    assert SmallTraining(tmp_path / "another-node", f"s3://{s3}/runs/a").resume() == older.uri


def test_an_emergency_that_can_not_fit_is_told_as_skipped_where_the_older_save_is_all_there_is(
    training: SmallTraining, front: FaultyS3, s3: str, tmp_path: Path
) -> None:
    let_uploads_take(training, 2000.0)
    front.fail("PUT", OLDER_FILES, slow(2.0), times=1)
    front.fail("PUT", "/step-00000003/__0_0", hang)
    begin_save(training, front, OLDER_FILES)
    break_disk(training)
    skipped = training.checkpoints.save(training.state, "preempted", wait=True, seconds_left=12.0)
    assert skipped.state == "skipped"
    said = "an upload takes 2000 s, so step-00000002, which was under way, was let end instead; it is durable"
    assert skipped.reason == said
    training.checkpoints.close(wait=False)
    other = SmallTraining(tmp_path / "another-node", f"s3://{s3}/runs/a")
    assert other.resume() == f"s3://{s3}/runs/a/step-00000002"
    assert other.checkpoints.history.failures == 1, "the warning came too late to lose nothing"


def test_an_older_save_that_does_not_end_either_is_told_where_it_stands(
    training: SmallTraining, front: FaultyS3, s3: str, tmp_path: Path
) -> None:
    let_uploads_take(training, 2000.0)
    front.fail("PUT", MANIFEST, hang)
    begin_save(training, front, MANIFEST)
    began = time.monotonic()
    skipped = training.checkpoints.save(training.state, "preempted", wait=True, seconds_left=4.0)
    assert time.monotonic() - began < WAIT_SECONDS, "it waited for what hangs"
    assert skipped.state == "skipped"
    assert "step-00000002, which was under way, was let end instead; it stands on the nodes' disks" in (
        skipped.reason or ""
    )
    assert f"newest durable: s3://{s3}/runs/a/step-00000001" in (skipped.reason or "")
    training.checkpoints.close(wait=False)
    front.mend()
    assert SmallTraining(tmp_path, f"s3://{s3}/runs/a").resume() == str(training.local / "step-00000002")


def test_nothing_that_could_be_saved_is_told_as_such(training: SmallTraining, front: FaultyS3, s3: str) -> None:
    let_uploads_take(training, 2000.0)
    break_disk(training)
    front.fail("PUT", MANIFEST, hang)
    begin_save(training, front, MANIFEST)
    with pytest.raises(CheckpointError, match=rf"let end instead, in vain; newest durable: s3://{s3}/runs/a/step-0+1"):
        training.checkpoints.save(training.state, "preempted", wait=True, seconds_left=4.0)


@pytest.mark.parametrize("fault", [cut, ERROR, THROTTLE, hang])
def test_restoring_survives_a_connection_that_breaks(front: FaultyS3, s3: str, tmp_path: Path, fault: Fault) -> None:
    training = SmallTraining(tmp_path, f"s3://{s3}/runs/a")
    saved = outcome_of_save(training)
    numbers = training.numbers()
    other = SmallTraining(tmp_path / "another-node", f"s3://{s3}/runs/a")
    hasty = open_storage(f"s3://{s3}/runs/a", Patience(connect_seconds=2.0, read_seconds=1.0, attempts=1))
    other.checkpoints._tiers = replace(other.checkpoints._tiers, durable=hasty)
    front.fail("GET", FILES, fault, times=2)
    assert other.resume() == saved.uri
    assert same(other.numbers(), numbers)
    assert len(front.met) == 2
