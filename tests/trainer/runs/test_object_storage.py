"""Checkpoints and tokens in a bucket."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest


@pytest.fixture
def bucket(s3: str, tokens) -> str:
    client = boto3.client("s3")
    for file in tokens.iterdir():
        client.upload_file(str(file), s3, f"tokens/{file.name}")
    return s3


def keys(bucket: str, prefix: str) -> set[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    return {entry["Key"].removeprefix(prefix) for entry in listed.get("Contents", [])}


def test_run_on_a_bucket_survives_kill_damage_and_the_loss_of_its_disk(new_run: Callable, bucket: str) -> None:
    uninterrupted = new_run().go(2)
    run = new_run(data__uri=f"s3://{bucket}/tokens", checkpoint__uri=f"s3://{bucket}/runs/a")
    run.halted(2, at=8).kill()
    client = boto3.client("s3")
    damaged = {"Bucket": bucket, "Key": "runs/a/step-00000008/__1_0.distcp"}
    content = bytearray(client.get_object(**damaged)["Body"].read())
    content[100] ^= 1
    client.put_object(**damaged, Body=bytes(content))
    shutil.rmtree(run.directory / "checkpoints")

    run.go(2)
    assert run.outcome["resumed_from_step"] == 4
    assert run.outcome["checkpoint"] == f"s3://{bucket}/runs/a/step-00000012"
    assert "SHA-256 of __1_0.distcp differs" in run.events("checkpoint-refused")[-1]["reason"]
    assert run.steps == uninterrupted.steps
    expected = {".metadata", "__0_0.distcp", "__1_0.distcp", "manifest.json"}
    assert keys(bucket, "runs/a/step-00000012/") == expected
    on_disk = sorted(folder.name for folder in run.directory.glob("checkpoints/*/step-*"))
    assert on_disk == ["step-00000004", "step-00000008", "step-00000012"]


def test_after_a_failure_of_the_processes_alone_nothing_is_fetched(new_run: Callable, bucket: str, caplog) -> None:
    uninterrupted = new_run(data__uri=f"s3://{bucket}/tokens").go(2)
    run = new_run(data__uri=f"s3://{bucket}/tokens", checkpoint__uri=f"s3://{bucket}/runs/c")
    run.halted(2, at=8).kill()
    caplog.clear()
    run.go(2)
    assert run.outcome["resumed_from_step"] == 8
    (resumed,) = run.events("resumed")
    assert resumed["uri"].startswith(str(run.directory / "checkpoints"))
    assert not [line for line in caplog.messages if "GET" in line and ".distcp" in line]
    assert run.steps == uninterrupted.steps


@pytest.mark.parametrize("lost", [0, 1], ids=["first", "second"])
def test_a_node_that_lost_its_disk_sends_all_to_the_durable_place(
    new_run: Callable, bucket: str, tmp_path: Path, lost: int
) -> None:
    """Two nodes of a rank each, with disks of their own."""
    run = new_run(checkpoint__uri=f"s3://{bucket}/runs/d", parallel__strategy="fsdp")

    def node(rank: int) -> dict[str, str]:
        return {"GROUP_RANK": str(rank), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "HOME": str(tmp_path / f"{rank}")}

    disks = {"checkpoint__local_directory": "~/nvme"}
    run.halted(2, at=8, each=node, **disks).kill()
    shutil.rmtree(tmp_path / str(lost))
    run.start(2, each=node, **disks).finish()
    assert run.outcome["resumed_from_step"] == 8
    (resumed,) = run.events("resumed")
    assert resumed["uri"] == f"s3://{bucket}/runs/d/step-00000008"
    refused = [event["reason"] for event in run.events("checkpoint-refused")]
    assert refused[-1] == "1 of 2 ranks have it on their node's disk"


def test_another_node_with_an_empty_disk_resumes_and_keeps_the_run_id(new_run: Callable, bucket: str) -> None:
    place = {"data__uri": f"s3://{bucket}/tokens", "checkpoint__uri": f"s3://{bucket}/runs/b"}
    first = new_run(**place)
    first.halted(2, at=7).kill()
    second = new_run(**place).go(1)
    assert second.outcome["resumed_from_step"] == 4
    assert set(second.steps) == set(range(5, 13))
    assert (second.directory / "run.json").read_text() == (first.directory / "run.json").read_text()


def test_training_goes_on_when_a_save_fails(new_run: Callable, tmp_path) -> None:
    run = new_run(training__steps=1_000_000, checkpoint__interval_steps=5, metrics__interval_steps=5)
    gang = run.start(2)
    run.wait_for(lambda: len(run.events("checkpoint")) >= 2)
    gang.stop()  # or a save would make the folder anew in between
    run.checkpoints.rename(tmp_path / "moved")
    run.checkpoints.write_text("a file where a folder was")
    gang.resume()
    run.wait_for(lambda: len(run.events("checkpoint-failed")) >= 2)
    gang.stop()
    run.checkpoints.unlink()
    (tmp_path / "moved").rename(run.checkpoints)
    gang.resume()
    saved = len(run.events("checkpoint"))
    run.wait_for(lambda: len(run.events("checkpoint")) > saved)
    gang.kill()
    assert "could not be saved" in run.log.read_text()
    assert run.events("checkpoint-failed")[0]["reason"]


@pytest.mark.parametrize(
    ("settings", "environment", "said"),
    [
        ({"checkpoint__uri": "s3://no-such-bucket/runs"}, {}, "no-such-bucket"),
        ({"checkpoint__uri": "gs://bucket/runs"}, {}, "'gs' is not known"),
        ({"data__uri": "s3://no-such-bucket/tokens"}, {}, "no-such-bucket"),
        ({"checkpoint__uri": "s3://training-data/r"}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "Nothing answers"),
        ({"checkpoint__uri": "s3://training-data/r"}, {"AWS_PROFILE": "nobody"}, "nobody"),
    ],
)
def test_place_that_can_not_be_used_is_told_once_without_a_traceback(
    new_run: Callable, bucket: str, settings: dict[str, str], environment: dict[str, str], said: str
) -> None:
    run = new_run(**settings)
    run.environment = {**os.environ, **environment}
    assert run.start(2).wait() == [2, 2]
    told = run.log.read_text()
    assert said in told
    assert told.count("trainer: ") == 1
    assert "Traceback" not in told
    assert run.outcome["outcome"] == "failed"
