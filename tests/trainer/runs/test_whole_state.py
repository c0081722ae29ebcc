"""All that a run remembers beside weights and moments survives a kill: averages, the decay of the schedule, the
patience with the held-out loss, the window of the spike guard, skipped steps."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

DYING = str(Path(__file__).parent / "dying.py")

SETTINGS: dict[str, Any] = {
    "model__architecture": "llama",
    "model__heads": 4,
    "model__key_value_heads": 2,
    "training__steps": 40,
    "optimizer__schedule": "wsd",
    "optimizer__decay_steps": 30,
    "optimizer__ema_decay": 0.9,
    "evaluation__interval_steps": 3,
    "evaluation__samples": 8,
    "evaluation__patience": 2,
    "evaluation__minimum_improvement": 0.5,
    "guard__spike_factor": 4.0,
    "guard__spike_window": 6,
}
"""Ends early, by patience, some way into the decay."""


def test_a_run_that_ends_early_ends_at_the_same_step_wherever_it_was_killed(
    new_run: Callable, tensors_of: Callable
) -> None:
    whole, killed = new_run(**SETTINGS).go(), new_run(**SETTINGS)
    step = whole.outcome["step"]
    assert 10 < step < 40, "made to end by patience, in the decay"
    program, killed.program = killed.program, DYING
    # After an evaluation and before the next checkpoint; then right after a checkpoint.
    for dies_at in (7, 8, step - 1):
        killed.environment = {"DIES_AT": str(dies_at)}
        assert killed.start().wait() == [-signal.SIGKILL]
    killed.program = program
    killed.go()

    assert next(event["step"] for event in killed.events("resumed")) == 4
    assert killed.steps == whole.steps

    def told(run: Any) -> tuple:
        rates = {line["step"]: line["learning_rate"] for line in run.lines if "event" not in line}
        losses = {line["step"]: line["evaluation_loss"] for line in run.events("evaluation")}
        manifest = json.loads((run.checkpoints / f"step-{step:08d}/manifest.json").read_text())
        return rates, losses, manifest["progress"], run.outcome["step"], run.outcome["reason"]

    assert told(killed) == told(whole)
    assert len(told(whole)[2]["recent_losses"]) == 6
    left, right = (tensors_of(run.checkpoints / f"step-{step:08d}") for run in (killed, whole))
    assert left.keys() == right.keys()
    assert any(name.startswith("average/") for name in left)
    assert all(torch.equal(value, right[name]) for name, value in left.items())
