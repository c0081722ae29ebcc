"""Two runs in one place of checkpoints: the second does not start, or, where nobody could know, the first one ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

LONG = {
    "training__steps": 1_000_000,
    "checkpoint__interval_steps": 20,
    "checkpoint__asynchronous": True,
    "metrics__interval_steps": 20,
}
PHASES = str(Path(__file__).parent / "phases.py")
SLOW = {"PHASE_PAUSE": "0.02"}
"""A run that others look at while it goes on need not take all there is of the machine."""


def prune(place: object) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "trainyard.cli.main",
        "checkpoint",
        "prune",
        str(place),
        "--keep-last",
        "1",
        "--yes",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_second_run_in_the_same_folder_ends_at_once_and_says_who_is_there(new_run: Callable, ranks: int) -> None:
    first, second = new_run(**LONG), new_run(**LONG)
    first.program, first.environment = PHASES, SLOW
    gang = first.start(ranks)
    first.wait_for(lambda: len(first.events("checkpoint")) >= 2)
    assert second.start(ranks, checkpoint__uri=first.checkpoints).wait() == [2] * ranks
    told = second.log.read_text()
    assert told.count("trainer: ") == 1
    assert f"{first.checkpoints}: another run is using it: process {gang.pids[0]} on {socket.gethostname()}" in told
    assert f"with run.directory {first.directory}" in told
    assert "checkpoint.uri of its own" in told
    assert "Traceback" not in told
    assert second.outcome["outcome"] == "failed"
    assert not second.steps

    refused = prune(first.checkpoints)
    assert refused.returncode == 2
    assert f"a run is using it and deletes by itself what is not to be kept: process {gang.pids[0]}" in refused.stderr

    newest = first.events("checkpoint")[-1]["step"]
    first.wait_for(lambda: first.events("checkpoint")[-1]["step"] > newest)  # it has not been disturbed
    gang.kill()
    assert prune(first.checkpoints).returncode == 0, "a run that was killed keeps nobody out"


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_that_was_killed_is_started_again_right_away(new_run: Callable, ranks: int) -> None:
    settings = {"training__steps": 24}
    uninterrupted = new_run(**settings).go(ranks)
    run = new_run(**settings)
    gang = run.halted(ranks, at=6)
    for pid in gang.pids:
        os.kill(pid, signal.SIGKILL)
    again = run.start(ranks)  # while the kernel may still be about the first ones' end
    for rank in range(ranks):
        gang.wait_for_rank(rank)
    again.finish()
    assert run.outcome["resumed_from_step"] is not None
    assert run.steps == uninterrupted.steps


def objects(bucket: str, prefix: str) -> dict[str, str]:
    """Keys and what tells their content."""
    listed = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return {entry["Key"].removeprefix(prefix): entry["ETag"] for entry in listed}


@pytest.mark.parametrize("asynchronous", [True, False], ids=["background", "foreground"])
def test_a_run_whose_place_in_a_bucket_was_taken_over_ends_without_touching_it(
    new_run: Callable, s3: str, asynchronous: bool
) -> None:
    place = {**LONG, "checkpoint__uri": f"s3://{s3}/runs/a", "checkpoint__asynchronous": asynchronous}
    lost, successor = new_run(**place), new_run(**place)
    # A node that nobody reaches looks like one that halts: between two saves, for what is on its way still arrives.
    gang = lost.halted(2, at=50, land=5)

    further = lost.events("checkpoint")[-1]["step"] + 100
    successor.go(1, training__steps=further, checkpoint__allow_changed=["training.steps"])
    assert successor.outcome["resumed_from_step"] is not None
    left = objects(s3, "runs/a/")
    owner = json.loads(boto3.client("s3").get_object(Bucket=s3, Key="runs/a/owner.json")["Body"].read())
    assert owner["run"] == str(successor.directory)

    gang.go_on()
    assert gang.wait() == [2, 2], "a scheduler must not start it again: that would take the place back"
    told = lost.log.read_text()
    assert told.count("trainer: ") == 1
    assert f"s3://{s3}/runs/a was taken over by another run: process {owner['process']}" in told
    assert f"with run.directory {successor.directory}" in told
    assert lost.outcome["outcome"] == "failed"
    assert "was taken over" in lost.outcome["reason"]
    assert objects(s3, "runs/a/") == left
    assert f"s3://{s3}/runs/a was last used by process {gang.pids[0]}" in successor.log.read_text()


def test_on_a_bucket_the_nodes_own_disk_tells_of_a_run_that_is_alive(new_run: Callable, s3: str, tmp_path) -> None:
    place = {**LONG, "checkpoint__uri": f"s3://{s3}/runs/a", "checkpoint__local_directory": tmp_path / "nvme"}
    first, second = new_run(**place), new_run(**place)
    first.program, first.environment = PHASES, SLOW
    gang = first.start(2)
    first.wait_for(lambda: first.events("checkpoint"))
    assert second.start(1).wait() == [2]
    assert f"another run is using it: process {gang.pids[0]}" in second.log.read_text()
    newest = first.events("checkpoint")[-1]["step"]
    first.wait_for(lambda: first.events("checkpoint")[-1]["step"] > newest)
    gang.kill()


def test_nodes_of_one_gang_may_share_a_disk(new_run: Callable, s3: str, tmp_path) -> None:
    """As where two nodes are rehearsed on one machine."""

    def node(rank: int) -> dict[str, str]:
        return {"GROUP_RANK": str(rank), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}

    run = new_run(checkpoint__uri=f"s3://{s3}/runs/a", checkpoint__local_directory=tmp_path / "nvme")
    run.start(2, each=node).finish()
    assert run.outcome["step"] == 12
