"""Saving in the background changes no number, whenever the run is killed and on however many ranks it goes on."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

PHASES = str(Path(__file__).parent / "phases.py")
BACKGROUND = {"checkpoint__asynchronous": True, "checkpoint__interval_steps": 3, "training__steps": 30}


def assert_same_end(left, right, tensors_of: Callable) -> None:
    """Weights, moments, average and random numbers; progress and loss scale; every loss and gradient norm."""
    assert left.steps == right.steps
    last = [run.checkpoints / "step-00000030" for run in (left, right)]
    tensors = [tensors_of(folder) for folder in last]
    assert tensors[0].keys() == tensors[1].keys()
    for name, value in tensors[0].items():
        assert torch.equal(value, tensors[1][name]), name
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in last]
    assert manifests[0]["progress"] == manifests[1]["progress"]
    assert manifests[0]["scaler"] == manifests[1]["scaler"]


@pytest.mark.parametrize(
    ("strategy", "ranks", "precision"), [("ddp", 2, "fp32"), ("fsdp", 2, "fp16"), ("ddp", 3, "fp32")]
)
def test_killed_at_random_moments_equals_one_that_waits_for_each_save(
    new_run: Callable, tensors_of: Callable, strategy: str, ranks: int, precision: str
) -> None:
    settings = {"parallel__strategy": strategy, "training__precision": precision, "optimizer__ema_decay": 0.9}
    uninterrupted = new_run(**settings, training__steps=30, checkpoint__interval_steps=30).go(ranks)
    killed = new_run(**settings, **BACKGROUND)
    killed.program, killed.environment = PHASES, {"PHASE_LAND": "6"}  # every second one lands before the next is due
    choose = random.Random(f"{strategy} {ranks} {precision}")
    for _ in range(3):
        saved = len(killed.events("checkpoint"))
        gang = killed.start(ranks)
        # Any moment after a checkpoint has become durable: while the next is taken, written, or sealed.
        killed.wait_for(lambda before=saved: len(killed.events("checkpoint")) > before or killed.finished)
        time.sleep(choose.uniform(0, 0.05))
        gang.kill()
    killed.go(ranks)
    assert killed.events("resumed")
    assert_same_end(killed, uninterrupted, tensors_of)


def test_saves_never_hold_up_or_change_what_is_not_killed(new_run: Callable, tensors_of: Callable) -> None:
    waiting = new_run(training__steps=30, checkpoint__interval_steps=3).go(2)
    background = new_run(**BACKGROUND).go(2)
    assert_same_end(background, waiting, tensors_of)
    told = [event["step"] for event in background.events("checkpoint") + background.events("checkpoint-skipped")]
    assert sorted(set(told)) == list(range(3, 31, 3)), "a save was due and nothing is told of it"


def test_two_ranks_then_one_then_four_read_each_sample_once_and_learn_the_same(new_run: Callable, tmp_path) -> None:
    settings = {"model__dropout": 0.0, "training__micro_batch_size": 1, "training__steps": 30}
    alone = new_run(**settings)
    alone.flags = ["--dump-batches", str(tmp_path / "alone.jsonl")]
    alone.go()
    moved = new_run(**settings, checkpoint__asynchronous=True, checkpoint__interval_steps=3)
    moved.flags = ["--dump-batches", str(tmp_path / "moved.jsonl")]
    for ranks, strategy, step in ((2, "fsdp", 8), (1, "ddp", 20)):
        moved.halted(ranks, at=step, land=6, parallel__strategy=strategy).kill()
    moved.go(4, parallel__strategy="fsdp")

    assert len(moved.events("resumed")) == 2
    assert moved.dumped(tmp_path / "moved.jsonl") == alone.dumped(tmp_path / "alone.jsonl")
    assert moved.steps.keys() == alone.steps.keys()
    for step, numbers in alone.steps.items():
        assert moved.steps[step] == pytest.approx(numbers, rel=1e-4), step
