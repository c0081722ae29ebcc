"""Averaged weights are those of the formula, on any layout, and evaluation uses them; it ends runs by choice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch


@pytest.mark.parametrize(("strategy", "ranks"), [("ddp", 1), ("fsdp", 2)])
def test_averages_follow_the_weights(new_run: Callable, tensors_of: Callable, strategy: str, ranks: int) -> None:
    run = new_run(
        parallel__strategy=strategy,
        training__steps=6,
        checkpoint__interval_steps=1,
        checkpoint__keep_last=6,
        optimizer__ema_decay=0.3,
        optimizer__warmup_steps=0,
    ).go(ranks)
    states = [tensors_of(run.checkpoints / f"step-{step:08d}") for step in range(1, 7)]
    names = [name.removeprefix("average/") for name in states[0] if name.startswith("average/")]
    assert len(names) == sum(name.startswith("model/") for name in states[0])
    for name in names:
        expected = states[0][f"average/{name}"]
        for step, state in enumerate(states[1:], start=2):
            decay = min(0.3, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * state[f"model/{name}"]
            torch.testing.assert_close(state[f"average/{name}"], expected, rtol=1e-5, atol=1e-7)


def test_evaluation_with_averages_leaves_training_as_it_was(new_run: Callable, tensors_of: Callable) -> None:
    settings = {"optimizer__ema_decay": 0.9, "parallel__strategy": "fsdp", "model__dropout": 0.0}
    quiet = new_run(**settings).go(2)
    evaluated = new_run(**settings, evaluation__interval_steps=3, evaluation__samples=8).go(2)
    plain = new_run(model__dropout=0.0, evaluation__interval_steps=3, evaluation__samples=8).go()

    assert evaluated.steps == quiet.steps
    left, right = (tensors_of(run.checkpoints / "step-00000012") for run in (quiet, evaluated))
    assert all(torch.equal(left[name], right[name]) for name in left)
    averaged, bare = ([event["evaluation_loss"] for event in run.events("evaluation")] for run in (evaluated, plain))
    assert len(averaged) == len(bare) == 4
    assert averaged != pytest.approx(bare, abs=1e-4)


def test_an_average_is_the_same_interrupted_or_not(new_run: Callable, tensors_of: Callable) -> None:
    settings = {"optimizer__ema_decay": 0.99, "training__steps": 20}
    whole = new_run(**settings).go(2)
    killed = new_run(**settings)
    killed.halted(2, at=10).kill()
    killed.go(2)
    left, right = (tensors_of(run.checkpoints / "step-00000020") for run in (whole, killed))
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_run_ends_when_the_held_out_loss_no_longer_falls_and_stays_ended(new_run: Callable) -> None:
    run = new_run(
        training__steps=60,
        evaluation__interval_steps=2,
        evaluation__samples=8,
        evaluation__patience=2,
        evaluation__minimum_improvement=0.2,
    ).go(2)
    told = [event["evaluation_loss"] for event in run.events("evaluation")]
    step = run.outcome["step"]
    assert step < 60
    assert "held-out loss no lower" in run.outcome["reason"]
    assert min(told[:-2]) - 0.2 <= min(told[-2:])
    assert run.outcome["checkpoint"].endswith(f"step-{step:08d}")

    again = run.go(2)
    assert again.outcome["step"] == step
    assert "held-out loss no lower" in again.outcome["reason"]
    assert max(run.steps) == step
