"""The training loops that the trainer is compared with, each as its own documentation writes it.

All of them train the trainer's model from the same weights, on the same samples in the same order, with the same fused
AdamW, learning rates and clipping, and leave a line of step, loss and time at the same steps. They evaluate, save and
log nothing. `llama` is the bare loop with transformers' model in the place of the trainer's. Runs in the peers'
environment (environment.py), to the end of the configured steps:

    python -m benchmarks.peers.loops accelerate --config cpu-bench --set run.directory=...
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from trainer.config import Config, load_config
from trainer.config_sections import Precision
from trainer.data import SampleOrder, Samples
from trainer.gang import Gang
from trainer.metrics import Journal
from trainer.model import Decoder
from trainer.parallel import COMPUTE_DTYPES, parallelize
from trainer.schedule import build_optimizer, learning_rate
from trainer.shards import TokenShards

Row = dict[str, Tensor]


class MeanLoss(nn.Module):
    """The trainer's model as the peers expect one: it returns the mean loss of a batch."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        loss_sum, _ = self.decoder(input_ids, labels)
        return {"loss": loss_sum / labels.numel()}


@dataclass
class Work:
    """What everyone is given."""

    config: Config
    model: nn.Module
    """Takes input_ids and labels, returns a mapping with the mean loss."""
    precision: AbstractContextManager[None]
    """Entered around each forward pass."""
    device: torch.device
    optimizer: torch.optim.AdamW
    rows: list[Row]
    """All samples of the run in the trainer's order, in memory."""
    journal: Journal

    @classmethod
    def of(cls, config: Config, loop: str) -> Work:
        tokens = TokenShards.open(config.data.uri, "train", config.data.cache_directory)
        decoder = Decoder(config.model, tokens.manifest.vocab_size)
        decoder.initialize(config.run.seed)
        gang = Gang.assemble()
        if loop == "llama":
            from benchmarks.peers.llama import HuggingFaceLlama

            model: nn.Module = HuggingFaceLlama(decoder, config.parallel.compile).to(gang.device)
            precision = autocast(config.training.precision, gang.device)
        else:
            parallel = parallelize(decoder, config.parallel, config.training.precision, gang)
            model, precision = MeanLoss(parallel.module), parallel.precision
        optimizer = build_optimizer(config.optimizer, model.named_parameters())
        samples = Samples(tokens, config.model.context)
        journal = Journal(config.run.directory / "metrics.jsonl", resumed_step=0)
        return cls(config, model, precision, gang.device, optimizer, list(_rows(samples, config)), journal)

    @property
    def batch_size(self) -> int:
        return self.config.training.global_batch_size

    @property
    def clip_norm(self) -> float:
        return self.config.optimizer.gradient_clip_norm or float("inf")

    def rate(self, step: int) -> float:
        """Learning rate of a step counted from 1."""
        return learning_rate(self.config.optimizer, step, self.config.training.steps)

    def set_rate(self, optimizer: Any, step: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.rate(step)

    def loader(self) -> torch.utils.data.DataLoader[Row]:
        return torch.utils.data.DataLoader(self.rows, batch_size=self.batch_size)  # ty: ignore[invalid-argument-type]

    def count(self, step: int, loss: Tensor) -> None:
        """To be called after each step."""
        if step % self.config.metrics.interval_steps == 0:
            self.journal.write(step=step, loss=loss.item())


def _rows(samples: Samples, config: Config) -> Iterator[Row]:
    order = SampleOrder(len(samples), config.run.seed)
    count = config.training.steps * config.training.global_batch_size
    inputs, targets = samples.read(order.at(np.arange(count, dtype=np.int64)))
    for one_input, one_target in zip(torch.from_numpy(inputs), torch.from_numpy(targets), strict=True):
        yield {"input_ids": one_input, "labels": one_target}


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, COMPUTE_DTYPES[precision])


def bare(work: Work) -> None:
    """The least that trains: nothing but PyTorch calls, on batches that lie ready in memory."""
    model, optimizer = work.model, work.optimizer
    ready = list(work.loader())
    for step, batch in enumerate(ready, start=1):
        work.set_rate(optimizer, step)
        with work.precision:
            loss = model(**{name: tensor.to(work.device) for name, tensor in batch.items()})["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), work.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        work.count(step, loss)


def fabric(work: Work) -> None:
    """Lightning Fabric, as its documentation converts a loop."""
    from lightning.fabric import Fabric  # ty: ignore[import-not-found]

    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    model, optimizer = fabric.setup(work.model, work.optimizer)
    loader = fabric.setup_dataloaders(work.loader())
    for step, batch in enumerate(loader, start=1):
        work.set_rate(optimizer, step)
        loss = model(**batch)["loss"]
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=work.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        work.count(step, loss)


def accelerate(work: Work) -> None:
    """Hugging Face accelerate, as its documentation converts a loop."""
    from accelerate import Accelerator  # ty: ignore[import-not-found]

    accelerator = Accelerator(cpu=True)
    model, optimizer, loader = accelerator.prepare(work.model, work.optimizer, work.loader())
    for step, batch in enumerate(loader, start=1):
        work.set_rate(optimizer, step)
        loss = model(**batch)["loss"]
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), work.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        work.count(step, loss)


def transformers(work: Work) -> None:
    """transformers' Trainer, told to do nothing that the other loops do not do."""
    import transformers as hf

    class InOrder(hf.Trainer):
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(work.rows)

        def training_step(self, *arguments: Any, **named: Any) -> Tensor:
            self.step_loss = super().training_step(*arguments, **named)
            return self.step_loss

    class Lines(hf.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:  # noqa: ARG002
            work.count(state.global_step, trainer.step_loss)

    with tempfile.TemporaryDirectory() as folder:
        arguments = hf.TrainingArguments(
            output_dir=folder,
            max_steps=work.config.training.steps,
            per_device_train_batch_size=work.batch_size,
            max_grad_norm=work.clip_norm,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
        )
        peak = work.config.optimizer.learning_rate
        schedule = torch.optim.lr_scheduler.LambdaLR(work.optimizer, lambda done: work.rate(done + 1) / peak)
        trainer = InOrder(
            work.model,
            arguments,
            train_dataset=work.rows,
            optimizers=(work.optimizer, schedule),
            callbacks=[Lines()],
        )
        for callback in (hf.PrinterCallback, hf.ProgressCallback):
            trainer.remove_callback(callback)
        trainer.train()


LOOPS: dict[str, Callable[[Work], None]] = {
    "bare": bare,
    "llama": bare,
    "fabric": fabric,
    "accelerate": accelerate,
    "transformers": transformers,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("--config", required=True, help="a recipe's name, or a file")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, as the trainer's")
    given = parser.parse_args()
    config = load_config(given.config, given.set)
    assert config.training.global_batch_size == config.training.micro_batch_size, "the peers accumulate nothing here"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    LOOPS[given.loop](Work.of(config, given.loop))
    return 0


if __name__ == "__main__":
    sys.exit(main())
