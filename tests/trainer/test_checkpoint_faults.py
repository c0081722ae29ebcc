"""S3 that throttles, hangs, fails, forgets, damages, is slow or refuses: training goes on, and is told the truth."""

from __future__ import annotations

import re
import threading
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
    Answer,
    Fault,
    FaultyS3,
    Forward,
    corrupt,
    cut,
    hang,
    lose,
    without_checksums,
)
from small_training import SmallTraining, outcome_of_save, same
from trainer import catalog, saving
from trainer.checkpoint import Saved, SaveFailed
from trainer.storage import open_storage
from trainer.storage_s3 import Patience
from waiting import WAIT_SECONDS, wait_until

FILES = r"/step-\d+/__0_0\.distcp$"
MANIFEST = r"/manifest\.json$"


PASSING = [
    (THROTTLE, FILES, "SlowDown"),
    (THROTTLE, MANIFEST, "SlowDown"),
    (ERROR, FILES, "InternalError"),
    (EXPIRED, FILES, "ExpiredToken.*sign in again"),
    (BAD_DIGEST, FILES, "BadDigest"),
    (SKEWED, FILES, "RequestTimeTooSkewed.*clock"),
    (lose, FILES, "was acknowledged, but is not there"),
    (lose, MANIFEST, "was acknowledged, but is not there"),
]


def test_what_passes_is_tried_again_until_the_checkpoint_is_there(
    training: SmallTraining, front: FaultyS3, s3: str, tmp_path: Path
) -> None:
    """One fault after the other, in one run."""
    place, at_save = f"s3://{s3}/runs/a", {}
    for fault, path, said in PASSING:
        front.met.clear()
        front.fail("PUT", path, fault, times=2)
        saved = outcome_of_save(training)
        at_save[saved.step] = training.numbers()

        assert isinstance(saved, Saved), (said, saved)
        assert len(front.met) == 2, said
        assert any(re.search(said, reason) for reason in saved.retried), (said, saved.retried)
        assert training.checkpoints.newest_durable == saved.uri == f"{place}/step-{saved.step:08d}"
    training.checkpoints.close(wait=True)

    storage = open_storage(place)
    for step in reversed(at_save):
        other = SmallTraining(tmp_path / f"node-{step}", place)
        assert other.resume() == f"{place}/step-{step:08d}"
        assert same(other.numbers(), at_save[step])
        storage.delete(storage.list(f"step-{step:08d}/"))  # so that the one before is the newest
    assert len(at_save) == len(PASSING)


def test_a_request_without_an_answer_is_made_again(
    training: SmallTraining, front: FaultyS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "READ_SECONDS", 1.0)
    front.fail("PUT", FILES, hang, times=2)
    saved = outcome_of_save(training)
    before = training.numbers()
    assert isinstance(saved, Saved), saved
    assert len(front.met) == 2
    assert any("Read timeout" in reason for reason in saved.retried), saved.retried
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
    # Only the fault makes it give up: a slow request is no failure, unless it takes as long as one that hangs.
    monkeypatch.setattr(saving, "READ_SECONDS", 2.0 if fault is hang else WAIT_SECONDS)
    monkeypatch.setattr(saving, "PATIENCE_SECONDS", 6.0 if fault is hang else 2.0)
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
    training: SmallTraining, front: FaultyS3, s3: str, tmp_path: Path
) -> None:
    outcome_of_save(training)  # starts the saving process
    arrived, going_on = threading.Event(), threading.Event()

    def held(_front: FaultyS3, body: bytes, forward: Forward) -> Answer:
        arrived.set()
        going_on.wait(WAIT_SECONDS)
        return forward(body)

    front.fail("PUT", FILES, held)
    training.step()
    assert training.checkpoints.save(training.state, "interval").state == "under way"
    at_save = training.numbers()
    wait_until(arrived.is_set)
    for _ in range(20):
        training.step()
        due = training.checkpoints.save(training.state, "interval")
        assert not training.checkpoints.finished()
        assert due.state == "skipped"
        assert "step-00000002 has been under way" in (due.reason or "")
        assert f"newest durable: s3://{s3}/runs/a/step-00000001" in (due.reason or "")
    going_on.set()
    wait_until(training.checkpoints.finished)
    training.checkpoints.close(wait=False)
    other = SmallTraining(tmp_path / "another-node", f"s3://{s3}/runs/a")
    assert other.resume() == f"s3://{s3}/runs/a/step-00000002"
    assert same(other.numbers(), at_save), "training on has changed what was being saved"


@pytest.mark.parametrize("fault", [cut, ERROR, THROTTLE, hang])
def test_restoring_survives_a_connection_that_breaks(front: FaultyS3, s3: str, tmp_path: Path, fault: Fault) -> None:
    training = SmallTraining(tmp_path, f"s3://{s3}/runs/a")
    saved = outcome_of_save(training)
    numbers = training.numbers()
    other = SmallTraining(tmp_path / "another-node", f"s3://{s3}/runs/a")
    hasty = open_storage(f"s3://{s3}/runs/a", Patience(read_seconds=1.0 if fault is hang else WAIT_SECONDS, attempts=1))
    other.checkpoints._tiers = replace(other.checkpoints._tiers, durable=hasty)
    front.fail("GET", FILES, fault, times=2)
    assert other.resume() == saved.uri
    assert same(other.numbers(), numbers)
    assert len(front.met) == 2
