"""Bad steps leave the weights alone, are told with their samples, and end a run that has only such steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

FAULTY = str(Path(__file__).parent / "faulty.py")


def with_fault(run, fault: str, *steps: int):
    run.program = FAULTY
    run.environment = {"FAULT": fault, "FAULTY_STEPS": ",".join(map(str, steps))}
    return run


@pytest.mark.parametrize(("strategy", "ranks"), [("ddp", 1), ("ddp", 2), ("fsdp", 2)])
def test_a_gradient_that_is_no_number_changes_no_weight_and_is_told(
    new_run: Callable, tensors_of: Callable, strategy: str, ranks: int
) -> None:
    settings = {"parallel__strategy": strategy, "training__steps": 6, "checkpoint__interval_steps": 1}
    run = with_fault(new_run(**settings, checkpoint__keep_last=6), "nan", 4).go(ranks)
    before, after, later = (tensors_of(run.checkpoints / f"step-{step:08d}") for step in (3, 4, 5))

    weights = [name for name in before if name.startswith(("model/", "optimizer/"))]
    assert weights
    for name in weights:
        assert torch.equal(before[name], after[name]), name
    assert any(not torch.equal(after[name], later[name]) for name in weights)
    (skipped,) = run.events("step-skipped")
    assert skipped["step"] == 4
    assert len(set(skipped["samples"])) == 12
    assert run.outcome["outcome"] == "finished"


def test_the_samples_told_are_those_the_step_took(new_run: Callable, tmp_path: Path) -> None:
    run = with_fault(new_run(training__steps=4), "nan", 2)
    dump = tmp_path / "batches.jsonl"
    run.flags = ["--dump-batches", str(dump)]
    run.go(2)
    assert run.events("step-skipped")[0]["samples"] == run.dumped(dump)[2]


def test_a_run_of_bad_steps_ends(new_run: Callable) -> None:
    run = with_fault(new_run(training__steps=12, guard__non_finite_steps=3), "nan", 5, 6, 7, 8, 9, 10, 11, 12)
    gang = run.start(2)
    assert gang.wait() == [1, 1]
    assert run.outcome["outcome"] == "failed"
    assert "3 steps in a row, until step 7" in run.outcome["reason"]
    assert run.outcome["checkpoint"].endswith("step-00000004")


def test_single_bad_steps_do_not_add_up(new_run: Callable) -> None:
    run = with_fault(new_run(training__steps=12, guard__non_finite_steps=2), "nan", 2, 4, 6, 8, 10)
    assert [event["step"] for event in run.go().events("step-skipped")] == [2, 4, 6, 8, 10]


def test_a_jump_of_the_loss_goes_back_and_past_the_samples(new_run: Callable, tmp_path: Path) -> None:
    guard = {"guard__spike_factor": 3, "guard__spike_window": 4}
    run = with_fault(new_run(training__steps=12, **guard), "spike", 7)
    dump = tmp_path / "batches.jsonl"
    run.flags = ["--dump-batches", str(dump)]
    run.go(2)

    (rewound,) = run.events("rewound")
    assert (rewound["from_step"], rewound["step"]) == (7, 4)
    assert set(run.steps) == set(range(1, 13))
    plain = new_run(training__steps=15)
    other = tmp_path / "plain.jsonl"
    plain.flags = ["--dump-batches", str(other)]
    plain.go()
    taken, order = run.dumped(dump), plain.dumped(other)
    assert [taken[step] for step in range(1, 5)] == [order[step] for step in range(1, 5)]
    assert [taken[step] for step in range(5, 13)] == [order[step + 3] for step in range(5, 13)]


def test_a_run_killed_after_a_jump_ends_as_one_that_was_not(new_run: Callable, tensors_of: Callable) -> None:
    settings = {"guard__spike_factor": 3, "guard__spike_window": 4, "training__steps": 24}
    uninterrupted = with_fault(new_run(**settings), "spike", 7).go()
    killed = with_fault(new_run(**settings), "spike", 7)
    for step in (6, 10):
        gang = killed.start()
        killed.wait_for(lambda at=step: len(killed.events("rewound")) > (at > 7) - 1 and at in killed.steps)
        gang.kill()
    killed.go()
    assert killed.steps == uninterrupted.steps
    last = [tensors_of(run.checkpoints / "step-00000024") for run in (killed, uninterrupted)]
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[1])


def test_jumps_without_end_end_the_run(new_run: Callable) -> None:
    settings = {"guard__spike_factor": 3, "guard__spike_window": 4, "guard__rewinds": 0, "training__steps": 12}
    run = with_fault(new_run(**settings), "spike", 7)
    assert run.start().wait() == [1]
    assert "guard.rewinds" in run.outcome["reason"]
