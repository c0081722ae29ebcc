"""A rank that meets what training meets at times: at the steps in FAULTY_STEPS, gradients or losses of the kind FAULT.

nan: the first gradient has no number in it. spike: the loss is told twenty times as high.
"""

from __future__ import annotations

import os
import sys

import torch
import trainer.loop
from torch.distributed.tensor import DTensor
from trainer.__main__ import main

STEPS = {int(step) for step in os.environ["FAULTY_STEPS"].split(",")}
FAULT = os.environ["FAULT"]
accumulate = trainer.loop.Trainer.accumulate
met: set[int] = set()


def faulty(self, batch):
    loss_sum, tokens = accumulate(self, batch)
    step = self.state.progress.step + 1
    # By the samples, not by the step: a rewound run does the step again with others.
    if step in STEPS and self.state.progress.position == (step - 1) * self.config.training.global_batch_size:
        if FAULT == "spike":
            return loss_sum * 20, tokens
        gradient = self.model.parameters[0].grad
        own = gradient.to_local() if isinstance(gradient, DTensor) else gradient
        own.view(-1)[:1] = torch.nan
    return loss_sum, tokens


trainer.loop.Trainer.accumulate = faulty
if status := main():
    sys.exit(status)
