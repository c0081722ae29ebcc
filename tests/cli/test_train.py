"""`trainyard train` is the launcher, started with what was typed: its signals, its exit status, its messages."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from waiting import WAIT_SECONDS, wait_until

TRAINYARD = [sys.executable, "-m", "trainyard.cli.main", "train"]


def trainyard(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TRAINYARD, *arguments], capture_output=True, text=True, check=False, timeout=WAIT_SECONDS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "nothing: no such configuration file. Recipes that come with the trainer: cpu-"),
        (["cpu-tiny"], "data: is missing; add it or --set data.uri=..."),
        (["cpu-tiny", "--set", "training.stepps=3"], "training.stepps: there is no such setting; did you mean steps?"),
        (["cpu-tiny", "--process", "2"], "unrecognized arguments: --process 2"),
        (["cpu-tiny", "--nodes", "2", "{set}"], "--master-addr must name the first node"),
        (["cpu-tiny", "--nodes", "2", "--node-rank", "2", "{set}"], "--node-rank 2: with --nnodes 2 it may be 0 to 1"),
        (["cpu-tiny", "--processes", "5", "{set}"], "training.global_batch_size is"),
    ],
)
def test_a_mistake_is_told_once_with_status_2(arguments, said, tmp_path):
    places = [f"--set={name}={tmp_path}" for name in ("data.uri", "checkpoint.uri", "run.directory")]
    typed = [part for argument in arguments for part in (places if argument == "{set}" else [argument])]
    done = trainyard(*typed)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert f"\n{done.stderr}".count("\ntrainer: ") == 1
    assert "Traceback" not in done.stderr


def test_a_run_that_is_asked_to_go_says_start_again_and_does(tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    for name in "abcdefgh":
        (text / f"{name}.txt").write_text(f"yard {name} is full of trains\n" * 2000)
    command = [sys.executable, "-m", "trainyard.cli.main", "data", "prepare", str(text), "--to", str(tmp_path / "data")]
    subprocess.run([*command, "--vocab-size", "300"], check=True, capture_output=True, timeout=WAIT_SECONDS)
    settings = {
        "data.uri": tmp_path / "data",
        "data.cache_directory": tmp_path / "cache",
        "checkpoint.uri": tmp_path / "checkpoints",
        "run.directory": tmp_path / "run",
        "model.layers": 1,
        "model.heads": 1,
        "model.width": 16,
        "model.context": 8,
        "training.steps": 10**6,  # it would go on for hours: nothing here has to be in time
        "training.global_batch_size": 8,
        "training.micro_batch_size": 4,
        "optimizer.warmup_steps": 1,
        "metrics.interval_steps": 1,
        "evaluation.interval_steps": "null",
    }
    typed = ["cpu-tiny", "--processes", "2", *(f"--set={name}={value}" for name, value in settings.items())]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*TRAINYARD, *typed], stderr=log)
        wait_until(lambda: "step 5/" in (tmp_path / "log").read_text() or process.poll() is not None)
        assert process.poll() is None, (tmp_path / "log").read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 75, (tmp_path / "log").read_text()
    saved = max(int(folder.name.partition("-")[2]) for folder in (tmp_path / "checkpoints").glob("step-*"))
    done = trainyard(*typed, f"--set=training.steps={saved + 5}", "--set=checkpoint.allow_changed=[training.steps]")
    assert done.returncode == 0, done.stderr
    assert f"resumed at step {saved}" in done.stderr
    assert f"finished at step {saved + 5}; exit status 0" in done.stderr
