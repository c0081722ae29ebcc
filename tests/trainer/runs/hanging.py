"""A rank that stands still, or is slow, in step HANG_STEP if it is rank HANG_RANK, in the way HANG says.

sleep: in a call that lets other threads run. locked: in one that does not. data: waiting for its data. stop: the whole
process. slow: for HANG_SECONDS in every step from then on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

import trainer.loop
from trainer.__main__ import main
from trainer.data import BatchStream

KIND, STEP = os.environ["HANG"], int(os.environ.get("HANG_STEP", "5"))
MINE = os.environ.get("RANK", "0") == os.environ.get("HANG_RANK", "0")
FOR_EVER = 600

accumulate, next_batch = trainer.loop.Trainer.accumulate, BatchStream.next
steps = 0


def stand_still() -> None:
    if KIND == "sleep":
        time.sleep(FOR_EVER)
    elif KIND == "locked":
        ctypes.PyDLL(None).sleep(FOR_EVER)
    elif KIND == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif KIND == "slow":
        time.sleep(float(os.environ["HANG_SECONDS"]))


def hanging(self, batch):
    if MINE and KIND != "data" and self.state.progress.step + 1 >= STEP:
        agreed = self._agree_to_go_on

        def agree(valid_tokens: int = 0) -> int:
            tokens = agreed(valid_tokens)
            if valid_tokens:
                self.phases.enter("forward")
                stand_still()
            return tokens

        self._agree_to_go_on = agree
        try:
            return accumulate(self, batch)
        finally:
            del self._agree_to_go_on
    return accumulate(self, batch)


def starving(self):
    global steps
    steps += 1
    if MINE and KIND == "data" and steps == STEP:
        time.sleep(FOR_EVER)
    return next_batch(self)


trainer.loop.Trainer.accumulate = hanging
BatchStream.next = starving
if status := main():
    sys.exit(status)
