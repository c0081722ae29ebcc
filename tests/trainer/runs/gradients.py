"""A rank that trains with plain SGD and leaves every parameter's gradient, whole, for comparison: gradients.pt.

Adam and clipping hide a wrongly scaled gradient; SGD carries it into the next step's gradients as well. Targets are
masked by their content, so that ranks and micro-batches have different numbers of valid tokens.
"""

from __future__ import annotations

import sys

import torch
from torch.distributed.tensor import DTensor
from trainer.config import load_config
from trainer.data import BatchStream, StepBatch
from trainer.gang import Gang
from trainer.loop import Trainer
from trainer.model import IGNORED
from trainer.parallel import settle
from trainer.preemption import Notice
from trainer.reporting import Reporter

config = load_config(sys.argv[2], [argument.removeprefix("--set=") for argument in sys.argv[3:]])
gang = Gang.assemble()
trainer = Trainer(config, gang, Notice(), Reporter(config, None, gang.device), "test")
settle(trainer.model, config.training.micro_batch_size, gang)
batches = BatchStream(trainer.train_samples, config, 0, gang)

steps = []
for _ in range(config.training.steps):
    masked = []
    batch = batches.next()
    for inputs, targets in batch.micro_batches:
        runs = (inputs.cumsum(dim=1) // 97) % 3 == 0
        masked.append((inputs, torch.where(runs, IGNORED, targets)))
    valid = sum(int((targets != IGNORED).sum()) for _, targets in masked)
    loss_sum, tokens = trainer.accumulate(StepBatch(masked, valid, batch.samples))
    gradients = {}
    for name, parameter in trainer.model.named_parameters():
        gradient = parameter.grad
        gradients[name] = (gradient.full_tensor() if isinstance(gradient, DTensor) else gradient).clone()
        with torch.no_grad():
            parameter -= 0.5 * gradient
    trainer.optimizer.zero_grad(set_to_none=True)
    loss = gang.sum_float(loss_sum.item()) / tokens
    steps.append({"loss": loss, "tokens": tokens, "valid_of_ranks": gang.gather(valid), "gradients": gradients})
if gang.leads:
    config.run.directory.mkdir(exist_ok=True)
    torch.save(steps, config.run.directory / "gradients.pt")
batches.close()
gang.dismiss()
