"""As people start it: `python -m trainer` alone and under torchrun, with settings that are right and that are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def test_torchrun_told_to_go_ends_its_ranks_saved_and_the_run_goes_on(new_run: Callable) -> None:
    settings = {"training__steps": 200, "checkpoint__interval_steps": 200}
    uninterrupted = new_run(**settings).go(2)
    run = new_run(**settings)
    with run.log.open("w") as log:
        launcher = subprocess.Popen(
            [*TORCHRUN, "-m", "trainer", *run.arguments()], stdout=log, stderr=log, env=environment()
        )
        run.wait_for_step(5)
        told = time.monotonic()
        launcher.send_signal(signal.SIGTERM)
        launcher.wait(30)
    assert time.monotonic() - told < 15
    assert run.outcome["outcome"] == "preempted"
    stopped_at = run.outcome["step"]
    assert 5 <= stopped_at < 200

    run.go(2)
    assert run.outcome == {**run.outcome, "outcome": "finished", "step": 200, "resumed_from_step": stopped_at}
    assert run.steps == uninterrupted.steps


def test_torchrun_with_fsdp_reaches_the_losses_of_one_process(new_run: Callable) -> None:
    alone = new_run(model__dropout=0.0).go()
    run = new_run(model__dropout=0.0, parallel__strategy="fsdp")
    command = [*TORCHRUN, "-m", "trainer", *run.arguments()]
    subprocess.run(command, check=True, env=environment(), capture_output=True, timeout=120)
    assert run.outcome["outcome"] == "finished"
    for step, (loss, norm) in alone.steps.items():
        assert run.steps[step] == pytest.approx((loss, norm), rel=1e-4), step


def test_python_m_trainer_runs_without_torchrun(new_run: Callable) -> None:
    run = new_run()
    command = [sys.executable, "-m", "trainer", *run.arguments()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert run.outcome["outcome"] == "finished"
    assert "step 12/12" in done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training.stepps": 3}, "training.stepps: there is no such setting; did you mean steps?"),
        ({"training.steps": "many"}, "training.steps: Input should be a valid integer"),
        ({"optimizer.learning_rate": -1}, "optimizer.learning_rate: Input should be greater than 0"),
        ({"parallel.strategy": "zero"}, "parallel.strategy: Input should be 'ddp' or 'fsdp', not 'zero'"),
        ({"model.heads": 5}, "model: width 32 is no multiple of heads 5"),
        ({"optimizer.warmup_steps": 12}, "optimizer.warmup_steps is 12: fewer than training.steps (12)"),
        (
            {"training.global_batch_size": 10},
            "which 2 rank(s) x 2 samples (training.micro_batch_size) = 4 do not divide",
        ),
        ({"training.global_batch_size": 10}, "use a multiple of 4, or set training.micro_batch_size to one of 1, 5"),
        ({"tracking.uri": "mlruns"}, "expected sqlite:///path/to/mlflow.db"),
        ({"data.uri": "/nowhere"}, "/nowhere: no data set here"),
        (
            {"training.global_batch_size": 400},
            "makes 165 samples of 16 tokens (model.context), at least 400 are needed",
        ),
        ({"run.directory": "/proc/run"}, "run.directory /proc/run: can't be written"),
    ],
)
def test_bad_setting_is_told_once_with_what_may_stand_there(new_run: Callable, changes: dict, said: str) -> None:
    run = new_run()
    run.settings |= changes
    assert run.start(2).wait() == [2, 2]
    told = run.log.read_text()
    assert said in told
    assert told.count("trainer: ") == 1
    assert "Traceback" not in told
    assert not run.checkpoints.exists()


def test_loss_that_is_no_number_ends_the_run_as_failed(new_run: Callable) -> None:
    run = new_run(optimizer__learning_rate=1e30, optimizer__gradient_clip_norm="null", optimizer__warmup_steps=0)
    assert run.start(2).wait() == [1, 1]
    assert run.outcome["outcome"] == "failed"
    assert "Lower optimizer.learning_rate" in run.outcome["reason"]
    assert run.log.read_text().count("trainer: ") == 1
