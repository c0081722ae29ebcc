"""A rank that dwells for a moment in the phase of a run named by PHASE, and says so in a file, so that a test can act
right then: restore, settle, data, train, evaluate or save."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import trainer.checkpoint
import trainer.data
import trainer.evaluation
import trainer.loop
from trainer.__main__ import main

WHERE = {
    "restore": (trainer.checkpoint.Checkpoints, "load"),
    "settle": (trainer.loop, "settle"),
    "data": (trainer.data.BatchStream, "next"),
    "train": (trainer.loop.Trainer, "accumulate"),
    "evaluate": (trainer.evaluation, "held_out_loss"),
    "save": (trainer.checkpoint.Checkpoints, "save"),
}
RANK = os.environ["RANK"]
AFTER = int(os.environ.get("PHASE_AFTER", "0"))
SECONDS = float(os.environ.get("PHASE_SECONDS", "0.5"))
MARKER = Path(os.environ["PHASE_MARKER"] + f".{RANK}")


def dwelling(phase: Callable) -> Callable:
    passed = 0

    def dwell(*arguments, **named):
        nonlocal passed
        if passed == AFTER:
            MARKER.touch()
            time.sleep(SECONDS)
        passed += 1
        return phase(*arguments, **named)

    return dwell


place, name = WHERE[os.environ["PHASE"]]
setattr(place, name, dwelling(getattr(place, name)))
if status := main():
    sys.exit(status)
