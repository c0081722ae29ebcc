"""A rank that takes one step and leaves what each rank holds then, in bytes by kind: state_bytes.json."""

from __future__ import annotations

import json
import sys

from torch import Tensor
from torch.distributed.tensor import DTensor
from trainer.config import load_config
from trainer.data import BatchStream
from trainer.gang import Gang
from trainer.loop import Trainer
from trainer.preemption import Notice
from trainer.reporting import Reporter


def own_bytes(tensors: list[Tensor]) -> int:
    return sum((one.to_local() if isinstance(one, DTensor) else one).nbytes for one in tensors)


config = load_config(sys.argv[2], [argument.removeprefix("--set=") for argument in sys.argv[3:]])
gang = Gang.assemble()
trainer = Trainer(config, gang, Notice(), Reporter(config, None, gang.device), "test")
batches = BatchStream(trainer.train_samples, config, 0, gang)
trainer.accumulate(batches.next())
trainer.optimizer.step()
parameters = trainer.model.parameters
held = {
    "parameters": own_bytes([parameter.detach() for parameter in parameters]),
    "gradients": own_bytes([parameter.grad for parameter in parameters if parameter.grad is not None]),
    "optimizer": own_bytes(
        [value for state in trainer.optimizer.state.values() for value in state.values() if value.dim()]
    ),
    "average": own_bytes(list(trainer.average.averages.values())) if trainer.average else 0,
}
told = gang.gather(held)
if gang.leads:
    config.run.directory.mkdir(exist_ok=True)
    (config.run.directory / "state_bytes.json").write_text(json.dumps(told))
batches.close()
gang.dismiss()
