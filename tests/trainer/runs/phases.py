"""A rank that halts at a point of its run and says so, so that a test can act right there, however busy the machine is.

PHASE names the point, PHASE_AT says when: after so many steps for "step", else after so many passes. There the rank
leaves the file PHASE_MARKER.<rank>, and it goes on when there is PHASE_MARKER.go; signals are heard meanwhile.

Where PHASE_PAUSE is a number, each step takes so many seconds more, in which nothing is done.
Where PHASE_LAND is a number, each so many-th step begins when the save under way has become a checkpoint. Saves in the
background would otherwise be as quick as the machine lets them, and these runs are over in a tenth of a second.
"""

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
import trainer.saver
from trainer.__main__ import main

WHERE = {
    "restore": (trainer.checkpoint.Checkpoints, "load"),
    "settle": (trainer.loop, "settle"),
    "step": (trainer.loop.Trainer, "_train_step"),
    "data": (trainer.data.BatchStream, "next"),
    "train": (trainer.loop.Trainer, "accumulate"),
    "micro-batch": (trainer.loop.Trainer, "_agree_to_go_on"),
    "evaluate": (trainer.evaluation, "held_out_loss"),
    "save": (trainer.checkpoint.Checkpoints, "save"),
    "manifest": (trainer.saver.Saver, "manifest"),
}
PHASE, AT = os.environ.get("PHASE"), int(os.environ.get("PHASE_AT", "0"))
LAND = int(os.environ.get("PHASE_LAND", "0"))
PAUSE = float(os.environ.get("PHASE_PAUSE", "0"))


def halt() -> None:
    marker = Path(os.environ["PHASE_MARKER"])
    Path(f"{marker}.{os.environ['RANK']}").touch()
    while not Path(f"{marker}.go").exists():
        time.sleep(0.01)


def halting(phase: Callable) -> Callable:
    passed, halted = 0, False

    def halt_first(*arguments, **named):
        nonlocal passed, halted
        there = arguments[0].state.progress.step if PHASE == "step" else passed
        if there == AT and not halted:
            halted = True
            halt()
        passed += 1
        return phase(*arguments, **named)

    return halt_first


def paced(train_step: Callable) -> Callable:
    def land_and_pause_first(self) -> None:
        if LAND and (self.state.progress.step + 1) % LAND == 0:
            self.checkpoints._saving.until(lambda: self.checkpoints._saving.flight is None)
            self._tell_saves()
        time.sleep(PAUSE)
        train_step(self)

    return land_and_pause_first


if LAND or PAUSE:
    trainer.loop.Trainer._train_step = paced(trainer.loop.Trainer._train_step)
if PHASE:
    place, name = WHERE[PHASE]
    setattr(place, name, halting(getattr(place, name)))
if status := main():
    sys.exit(status)
