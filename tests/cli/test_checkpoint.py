"""`trainyard checkpoint`: what a person sees of a run's checkpoints, in a folder and in a bucket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from small_training import SmallTraining

from trainyard.cli.checkpoint import tables
from trainyard.local.engine import emulated_aws_environment


def trainyard(*arguments: str | Path, **settings) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainyard.cli.main", "checkpoint", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)


def told(*arguments: str | Path) -> dict:
    done = trainyard(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Checkpoints of steps 1 to 5, and of a sixth whose saving was never finished."""
    place = tmp_path / "saved"
    training = SmallTraining(tmp_path, place, checkpoint__keep_last=9)
    for ending in ("interval", "interval", "interval", "interval", "preempted"):
        training.step()
        training.checkpoints.save(training.state, ending, wait=True)
    training.checkpoints.close(wait=True)
    (place / "step-00000006").mkdir()
    (place / "step-00000006/__0_0.distcp").write_bytes(b"half")
    return place


def test_list_tells_of_each_when_why_and_after_what_it_was_saved(place: Path) -> None:
    lines = told("list", place)["checkpoints"]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["finished"] for line in lines] == [True] * 5 + [False]
    assert [line["ending"] for line in lines[:5]] == ["interval"] * 4 + ["preempted"]
    assert lines[4]["bytes"] == sum(file.stat().st_size for file in (place / "step-00000005").iterdir())
    assert "never finished" in lines[5]["problem"]
    shown = trainyard("list", place)
    assert shown.returncode == 0
    assert "unfinished" in shown.stderr
    assert "preempted" in shown.stderr
    assert all(len(row) <= 80 for row in shown.stderr.splitlines()), shown.stderr
    for told_whole in ("step", "size", "files", tables.size(lines[4]["bytes"])):
        assert told_whole in shown.stderr, "cut in a terminal of 80 columns"
    assert shown.stdout == ""


def test_inspect_shows_the_newest_finished_one_or_the_one_asked_for(place: Path) -> None:
    newest = told("inspect", place)
    assert newest["uri"] == str(place / "step-00000005")
    assert newest["progress"]["step"] == 5
    assert newest["config"]["checkpoint"]["uri"] == str(place)
    assert newest["code_revision"].startswith(("git:", "sources:"))
    assert told("inspect", place / "step-00000002")["progress"]["step"] == 2
    assert told("inspect", place, "--step", "3")["progress"]["step"] == 3
    shown = trainyard("inspect", place, "--step", "3").stderr
    assert "optimizer.learning_rate" in shown


def test_verify_reads_every_byte_and_names_what_is_not_whole(place: Path) -> None:
    assert told("verify", place)["checkpoints"][0]["sound"] is True
    file = place / "step-00000004/__0_0.distcp"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    (place / "step-00000003/.metadata").unlink()
    done = trainyard("verify", place, "--all", "--json")
    assert done.returncode == 1
    verdicts = {one["name"]: one["problems"] for one in json.loads(done.stdout)["checkpoints"]}
    assert verdicts == {
        "step-00000001": [],
        "step-00000002": [],
        "step-00000003": [".metadata is missing"],
        "step-00000004": ["the SHA-256 of __0_0.distcp differs"],
        "step-00000005": [],
        "step-00000006": ["no manifest.json: its saving was never finished"],
    }
    newest = trainyard("verify", place)
    assert newest.returncode == 0
    assert "newer, and not finished: step-00000006" in newest.stderr
    assert trainyard("verify", place / "step-00000004").returncode == 1


def test_prune_says_what_would_go_and_deletes_only_when_told_to(place: Path) -> None:
    would = told("prune", place, "--keep-last", "2", "--keep-every", "3")
    assert would["checkpoints"] == ["step-00000001", "step-00000002"]
    assert would["deleted"] is False
    assert len(list(place.glob("step-*"))) == 6
    assert told("prune", place, "--keep-last", "2", "--keep-every", "3", "--yes")["deleted"] is True
    assert sorted(int(folder.name[5:]) for folder in place.glob("step-*")) == [3, 4, 5, 6]
    assert told("prune", place, "--keep-last", "2", "--keep-every", "3", "--yes")["checkpoints"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "{tmp}/nothing"], "no checkpoints there"),
        (["list", "gs://bucket/runs"], "'gs' is not known"),
        (["inspect", "{place}", "--step", "77"], "no checkpoint of step 77; there are 3, 4, 5, 6"),
        (["inspect", "{place}", "--step", "6"], "never finished"),
        (["prune", "{place}", "--keep-last", "0"], "Invalid value"),
    ],
)
def test_a_mistake_is_told_in_words(place: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = trainyard(*(argument.format(tmp=tmp_path, place=place) for argument in arguments))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bucket_is_a_place_like_any_other(place: Path, endpoint: str) -> None:
    environment = os.environ | emulated_aws_environment(endpoint)
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    client.create_bucket(Bucket="runs")
    for file in place.rglob("*"):
        if file.is_file():
            client.upload_file(str(file), "runs", f"a/{file.relative_to(place)}")
    listed = trainyard("list", "s3://runs/a", "--json", env=environment)
    assert listed.returncode == 0, listed.stderr
    assert len(json.loads(listed.stdout)["checkpoints"]) == 6
    assert trainyard("verify", "s3://runs/a/step-00000005", env=environment).returncode == 0
    client.delete_object(Bucket="runs", Key="a/step-00000005/__0_0.distcp")
    done = trainyard("verify", "s3://runs/a/", env=environment)
    assert done.returncode == 1
    assert "__0_0.distcp is missing" in done.stderr
    pruned = trainyard("prune", "s3://runs/a", "--keep-last", "1", "--yes", env=environment)
    assert pruned.returncode == 0, pruned.stderr
    left = {entry["Key"].split("/")[1] for entry in client.list_objects_v2(Bucket="runs", Prefix="a/step-")["Contents"]}
    assert left == {"step-00000005", "step-00000006"}
