"""What `--dry-run` says of a rank's state and of a checkpoint is what real ranks hold and save."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from trainer.config import load_config
from trainer.plan import plan

STATE_BYTES = str(Path(__file__).parent / "state_bytes.py")
WIDE = {"model__width": 128, "optimizer__ema_decay": 0.9, "training__steps": 4}


def planned(run, ranks: int):
    empty, *arguments = run.arguments()[1:]
    return plan(load_config(empty, [argument.removeprefix("--set=") for argument in arguments]), 61, ranks)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_state_of_each_rank(new_run: Callable, strategy: str, ranks: int) -> None:
    run = new_run(**WIDE, parallel__strategy=strategy, training__micro_batch_size=12 // ranks)
    run.program = STATE_BYTES
    run.start(ranks).finish()
    memory = planned(run, ranks).memory
    told = json.loads((run.directory / "state_bytes.json").read_text())
    for kind in ("parameters", "gradients", "optimizer", "average"):
        # Cut into three, the last rank's parts are smaller; the plan is for the rank that holds most.
        assert max(held[kind] for held in told) == getattr(memory, kind), kind


def test_size_of_a_checkpoint(new_run: Callable) -> None:
    run = new_run(**WIDE | {"model__width": 256}, parallel__strategy="fsdp").go(2)
    files = (run.checkpoints / "step-00000004").glob("*.distcp")
    size = sum(file.stat().st_size for file in files)
    expected = planned(run, 2).checkpoint_bytes
    assert 1.0 < size / expected < 1.03, "a kilobyte or two of framing for each tensor's part comes on top"
