"""As people start it: by the launcher on one node or two, under torchrun, alone; with settings right and wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from free_port import free_port
from waiting import WAIT_SECONDS

LAUNCH = [sys.executable, "-m", "trainer.launch"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

LONG = {"training__steps": 1_000_000, "checkpoint__interval_steps": 1_000_000, "metrics__interval_steps": 10}


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


@contextmanager
def launched(run, *options: str, **changes) -> Iterator[Any]:
    """The launcher with two ranks. Killed, with its ranks, if the test leaves it running."""
    launcher = run.launch(*(options or ("--nproc-per-node", "2")), **changes)
    try:
        yield launcher
    finally:
        launcher.kill()


def ranks_of(launcher: Any) -> list[psutil.Process]:
    return [child for child in psutil.Process(launcher.pids[0]).children() if "trainer" in command_of(child)]


def command_of(process: psutil.Process) -> list[str]:
    """Nothing of one that has just ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=WAIT_SECONDS)[1]


def test_told_to_go_the_ranks_save_and_the_status_asks_for_another_start(new_run: Callable) -> None:
    """As a person starts it, from the first import on."""
    run = new_run(optimizer__schedule="constant")
    command = [*LAUNCH, "--nproc-per-node", "2", "--", *run.arguments(**LONG)]
    with run.log.open("a") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environment()) as launcher:
        try:
            run.wait_for_step(10)
            launcher.send_signal(signal.SIGTERM)
            assert launcher.wait(WAIT_SECONDS) == 75, run.log.read_text()
        finally:
            launcher.kill()
    assert run.outcome["outcome"] == "preempted"
    stopped_at = run.outcome["step"]
    assert stopped_at >= 10
    assert f"ended at step {stopped_at}, newest checkpoint {run.outcome['checkpoint']}" in run.log.read_text()

    end = {"training__steps": stopped_at + 20, "checkpoint__interval_steps": 1_000_000, "metrics__interval_steps": 10}
    with launched(run, checkpoint__allow_changed=["training.steps"], **end) as launcher:
        assert launcher.wait() == [0], run.log.read_text()
    assert run.outcome["outcome"] == "finished"
    assert (run.outcome["step"], run.outcome["resumed_from_step"]) == (stopped_at + 20, stopped_at)
    uninterrupted = new_run(optimizer__schedule="constant", **end).go(2)
    assert run.steps[stopped_at + 20] == uninterrupted.steps[stopped_at + 20]
    common = run.steps.keys() & uninterrupted.steps.keys()
    assert {step: run.steps[step] for step in common} == {step: uninterrupted.steps[step] for step in common}


def test_a_rank_that_is_killed_ends_the_gang_as_failed(new_run: Callable) -> None:
    run = new_run(**LONG)
    with launched(run) as launcher:
        run.wait_for_step(10)
        ranks = ranks_of(launcher)
        ranks[1].kill()
        assert launcher.wait() == [1]
        assert gone(ranks)
    assert "was ended by SIGKILL" in run.log.read_text()
    assert run.outcome["outcome"] == "failed"


def test_a_rank_that_can_not_end_is_killed_when_its_time_is_up_and_the_run_is_to_start_again(new_run: Callable) -> None:
    run = new_run(**LONG)
    with launched(run, "--nproc-per-node", "2", "--shutdown-timeout", "4") as launcher:
        run.wait_for_step(10)
        ranks = ranks_of(launcher)
        ranks[1].suspend()
        told = time.monotonic()
        launcher.signal(0, signal.SIGTERM)
        assert launcher.wait() == [75]
        assert time.monotonic() - told > 4
        assert gone(ranks)
    assert "killed: still running 4 s after SIGTERM" in run.log.read_text()


def test_sigusr1_profiles_every_rank_and_a_rank_that_stops_ends_the_gang_as_hung(new_run: Callable) -> None:
    run = new_run(**LONG, watchdog__seconds=12)
    with launched(run) as launcher:
        run.wait_for_step(10)
        ranks = ranks_of(launcher)
        launcher.signal(0, signal.SIGUSR1)
        run.wait_for(lambda: len(list(run.directory.glob("profile/steps-*-rank[01].json.gz"))) == 2)
        ranks[1].suspend()
        assert launcher.wait() == [76]
        assert gone(ranks)
    assert "rank 1 has been silent for" in run.outcome["reason"]


def test_told_to_go_while_starting_nothing_is_lost_and_no_rank_is_left(new_run: Callable) -> None:
    run = new_run(**LONG | {"metrics__interval_steps": 1})
    with launched(run, "--nproc-per-node", "1") as launcher:
        run.wait_for(lambda: ranks_of(launcher))
        ranks = ranks_of(launcher)
        launcher.signal(0, signal.SIGTERM)
        assert launcher.wait() == [75]
        assert gone(ranks)
    if run.steps:  # it was further than this test: on a busy machine that may be
        assert run.outcome["checkpoint"] == str(run.checkpoints / f"step-{max(run.steps):08d}")
    else:
        assert not list(run.checkpoints.glob("step-*"))


def node(rank: int, port: int) -> list[str]:
    place = ["--nnodes", "2", "--node-rank", str(rank), "--master-addr", "127.0.0.1", "--master-port", str(port)]
    return ["--nproc-per-node", "1", *place]


def test_two_nodes_meet_one_is_started_anew_and_waits_for_the_new_gang_and_a_signal_to_it_ends_both_saved(
    new_run: Callable,
) -> None:
    run, port = new_run(**LONG), free_port()
    with launched(run, *node(1, port)) as second:
        time.sleep(1)  # mostly, it has to wait for the first
        with launched(run, *node(0, port)) as first:
            run.wait_for_step(10)
            (first_rank,), second_rank = ranks_of(first), ranks_of(second)
            first_rank.suspend()  # so that the old gang is still there when the new node comes
            second.kill()
            assert gone(second_rank), "it goes with its launcher"
            with launched(run, *node(1, port)) as again:
                time.sleep(4)  # several times what it needs to find the old gang's place taken, if it is not busy
                assert again.running
                assert not ranks_of(again)
                first_rank.resume()
                assert first.wait() == [1]
                assert not ranks_of(again)
                run.directory.joinpath("metrics.jsonl").unlink()
                with launched(run, *node(0, port)) as first_again:
                    run.wait_for_step(10)
                    again.signal(0, signal.SIGTERM)
                    assert first_again.wait() + again.wait() == [75, 75], run.log.read_text()
    assert run.outcome["outcome"] == "preempted"
    assert run.outcome["reason"] == "SIGTERM (rank 1)"
    assert run.outcome["checkpoint"] == str(run.checkpoints / f"step-{run.outcome['step']:08d}")


def test_a_port_in_use_is_told_as_what_it_is(new_run: Callable) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [*LAUNCH, *node(0, str(port)), "--", *new_run().arguments()]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=WAIT_SECONDS)
    assert done.returncode == 2
    assert f"--master-port {port}: can't be served here" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        ([], {"training.stepps": 3}, "training.stepps: there is no such setting; did you mean steps?"),
        ([], {"training.global_batch_size": 10}, "which 2 rank(s) x 2 samples"),
        (["--nproc-per-node", "some"], {}, "--nproc-per-node some: expected a number from 1, gpu"),
        (["--nnodes", "2"], {}, "--master-addr must name the first node"),
        (["--node-rank", "1"], {}, "--node-rank 1: with --nnodes 1 it may be 0 to 0"),
        (["--nnodes", "0"], {}, "--nnodes 0: expected a number from 1"),
        (["--master-port", "99999"], {}, "--master-port 99999: it may be 1 to 65535"),
        (["--shutdown-timeout", "nan"], {}, "--shutdown-timeout nan: expected seconds, such as 120"),
        (["--processes", "2"], {}, "unrecognized arguments: --processes 2"),
    ],
)
def test_what_can_not_be_done_is_told_once_and_at_once(
    new_run: Callable, options: list[str], changes: dict, said: str
) -> None:
    run = new_run()
    run.settings |= changes
    command = [*LAUNCH, "--nproc-per-node", "2", *options, "--", *run.arguments()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=WAIT_SECONDS)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("trainer: ") == 1
    assert "Traceback" not in done.stderr
    assert not run.directory.exists()


def test_torchrun_starts_it_too_and_fsdp_reaches_the_losses_of_one_process(new_run: Callable) -> None:
    alone = new_run(model__dropout=0.0).go()
    run = new_run(model__dropout=0.0, parallel__strategy="fsdp")
    command = [*TORCHRUN, "-m", "trainer", *run.arguments()]
    subprocess.run(command, check=True, env=environment(), capture_output=True, timeout=WAIT_SECONDS)
    assert run.outcome["outcome"] == "finished"
    for step, (loss, norm) in alone.steps.items():
        assert run.steps[step] == pytest.approx((loss, norm), rel=1e-4), step


def test_python_m_trainer_runs_alone(new_run: Callable) -> None:
    run = new_run()
    command = [sys.executable, "-m", "trainer", *run.arguments()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=WAIT_SECONDS)
    assert done.returncode == 0, done.stderr
    assert run.outcome["outcome"] == "finished"
    assert "step 12/12" in done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    ("said_of_ranks", "told"),
    [
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many': expected a number from 1"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0': expected a number from 1"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, and RANK, MASTER_ADDR, MASTER_PORT is not set"),
        ({"RANK": "1"}, "RANK is 1: with WORLD_SIZE 1 it may be 0 to 0"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK is '-1': expected a number from 0"),
    ],
)
def test_an_environment_that_no_launcher_makes_is_refused(new_run: Callable, said_of_ranks: dict, told: str) -> None:
    run = new_run()
    command = [sys.executable, "-m", "trainer", *run.arguments()]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment() | said_of_ranks, timeout=WAIT_SECONDS
    )
    assert done.returncode == 2
    assert f"trainer: the environment's {told}" in done.stderr
    assert "unset it for one process" in done.stderr
    assert "Traceback" not in done.stderr


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
        ({"run.directory": "/dev/null"}, "run.directory /dev/null: can't be written"),
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


def test_evaluation_without_held_out_text_is_refused_with_what_to_do(
    new_run: Callable, write_tokens: Callable, tmp_path: Path
) -> None:
    (tmp_path / "train-only").mkdir()
    write_tokens(tmp_path / "train-only", {"train": (1500,)})
    run = new_run(data__uri=tmp_path / "train-only", evaluation__interval_steps=4)
    assert run.start(1).wait() == [2]
    assert "no split 'val'; it has: train. Set evaluation.interval_steps=null, or prepare it" in run.log.read_text()
    run.go(evaluation__interval_steps=None)


@pytest.mark.parametrize("name", ["metrics.jsonl", "run.json", "outcome.json"])
def test_a_folder_where_the_record_belongs_is_refused(new_run: Callable, name: str) -> None:
    run = new_run()
    (run.directory / name).mkdir(parents=True)
    assert run.start(2).wait() == [2, 2]
    assert f"/{name}); name a folder that can" in run.log.read_text()
    assert "Traceback" not in run.log.read_text()


def test_loss_that_is_no_number_ends_the_run_as_failed(new_run: Callable) -> None:
    run = new_run(optimizer__learning_rate=1e30, optimizer__gradient_clip_norm="null", optimizer__warmup_steps=0)
    assert run.start(2).wait() == [1, 1]
    assert run.outcome["outcome"] == "failed"
    assert "Lower optimizer.learning_rate" in run.outcome["reason"]
    assert run.log.read_text().count("trainer: ") == 1
