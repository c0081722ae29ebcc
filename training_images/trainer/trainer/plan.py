"""`--dry-run`: what a configuration means on so many ranks, and whether it fits, before any of them is started."""

from __future__ import annotations

import argparse
import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from trainer.config import Config, accumulation_steps
from trainer.errors import UserError
from trainer.flops import flops_per_token, parameters
from trainer.memory import Memory, estimate, state_bytes
from trainer.shards import Manifest
from trainer.storage import open_storage

GIB = 2**30
RESERVED_BYTES = int(1.5 * GIB)
"""Of a GPU, for what torch does not count: the CUDA context, NCCL's buffers, cuBLAS's workspace, fragments."""
_MOST_RANKS_TRIED = 1024


@dataclass(frozen=True)
class Plan:
    config: Config
    vocabulary_size: int
    world_size: int
    device_bytes: int | None
    """Memory of one device; None if not known."""
    accumulation: int
    memory: Memory
    samples: int | None
    """In an epoch; None if not known."""

    @property
    def strategy(self) -> str:
        return self.config.parallel.strategy if self.world_size > 1 else "none"

    @property
    def tokens_per_step(self) -> int:
        return self.config.training.global_batch_size * self.config.model.context

    @property
    def checkpoint_bytes(self) -> int:
        return state_bytes(self.config, self.vocabulary_size)

    @property
    def fits(self) -> bool | None:
        """None where that is not known: no memory size, or compiled blocks, of which only bounds are."""
        if self.device_bytes is None:
            return None
        room = self.device_bytes - RESERVED_BYTES
        if self.memory.total <= room:
            return True
        if self.config.parallel.compile and self._at_least <= room:
            return None
        return False

    @property
    def _at_least(self) -> int:
        """However much compiled blocks leave to the backward pass, their inputs stay."""
        checkpointed = _changed(self.config, parallel={"activation_checkpointing": True})
        least = estimate(checkpointed, self.vocabulary_size, self.world_size)
        return self.memory.total - self.memory.activations + least.activations

    def check(self) -> None:
        """Raises UserError, naming what would fit, if this does not."""
        if self.fits is not False:
            return
        assert self.device_bytes is not None
        room = self.device_bytes - RESERVED_BYTES
        instead = "; or ".join(islice(self._alternatives(), 3)) or "fewer layers, a smaller width or a shorter context"
        raise UserError(
            f"each rank needs {_gib(self.memory.total)}, and has {_gib(room)} of its device's "
            f"{_gib(self.device_bytes)} ({_gib(RESERVED_BYTES)} are taken by CUDA itself). What would fit: {instead}"
        )

    def text(self) -> str:
        """For people."""
        config, memory = self.config, self.memory
        counted = parameters(config.model, self.vocabulary_size)
        token_flops = flops_per_token(config.model, self.vocabulary_size)
        training, compiled = config.training, config.parallel.compile
        tokens = self.tokens_per_step * training.steps
        how = {"none": "one process", "ddp": "a whole model each", "fsdp": "split over them"}[self.strategy]
        extras = [
            name for name in ("activation_checkpointing", "compile") if getattr(config.parallel, name)
        ]  # fmt: skip
        lines = [
            ("model", f"{config.model.architecture}, {counted.total:,} parameters, {self.vocabulary_size:,} tokens"),
            (
                "layout",
                f"{self.world_size} rank(s), {self.strategy} ({how}), {', '.join([training.precision, *extras])}",
            ),
            (
                "step",
                f"{training.global_batch_size} samples = {self.world_size} ranks x {training.micro_batch_size} at once "
                f"x {self.accumulation} accumulated; {self.tokens_per_step:,} tokens",
            ),
            ("run", f"{training.steps:,} steps, {tokens:,} tokens{self._epochs()}"),
            (
                "compute",
                f"{token_flops / 1e9:.3g} GFLOP per token (causal attention), {token_flops * tokens:.3g} FLOP in all",
            ),
            ("checkpoint", f"{_decimal(self.checkpoint_bytes)} each, {self._kept()}"),
            ("memory", "of each rank, when it holds most:"),
            ("  parameters", _gib(memory.parameters)),
            ("  gradients", _gib(memory.gradients)),
            ("  optimiser", _gib(memory.optimizer)),
            ("  average", _gib(memory.average)),
            ("  gathered", _gib(memory.gathered)),
            ("  activations", _gib(memory.activations) + (" at most: compiled blocks keep less" if compiled else "")),
            ("  logits, work", _gib(memory.working)),
            ("  in all", _gib(memory.total) + self._verdict()),
        ]
        without = {"  average": memory.average, "  gathered": memory.gathered}
        return "\n".join(f"{name:<16}{said}" for name, said in lines if without.get(name, 1))

    def _verdict(self) -> str:
        if self.device_bytes is None:
            return " (say --device-memory-gib to have it compared)"
        of = f" of {_gib(self.device_bytes - RESERVED_BYTES)} usable"
        return of + {True: ": fits", None: ": may fit, compiled", False: ": does not fit"}[self.fits]

    def _epochs(self) -> str:
        if self.samples is None:
            return ""
        return f", {self.config.training.steps * self.config.training.global_batch_size / self.samples:.2f} epochs"

    def _kept(self) -> str:
        settings = self.config.checkpoint
        every = f", and every {settings.keep_every_steps} steps for ever" if settings.keep_every_steps else ""
        return f"the last {settings.keep_last} kept{every}"

    def _would_fit(self, config: Config, ranks: int) -> bool:
        assert self.device_bytes is not None
        try:
            return estimate(config, self.vocabulary_size, ranks).total <= self.device_bytes - RESERVED_BYTES
        except UserError:
            return False

    def _alternatives(self) -> Iterator[str]:
        """Settings that fit, those that cost least speed first."""
        smaller = self._largest_micro_batch(self.config, self.world_size)
        if smaller:
            yield f"training.micro_batch_size={smaller}"
        split: dict[str, object] = {"strategy": "fsdp"} if self.strategy == "ddp" else {}
        spare: dict[str, object] = {}
        if not self.config.parallel.activation_checkpointing:
            spare = {"activation_checkpointing": True}
        for way in [split, spare, {**split, **spare}]:
            if way and (said := self._said_if_it_fits(way, self.world_size)):
                yield said
        ranks = 2 * self.world_size
        while ranks <= min(_MOST_RANKS_TRIED, self.config.training.global_batch_size):
            if said := self._said_if_it_fits({"strategy": "fsdp", "activation_checkpointing": True}, ranks):
                yield f"{ranks} ranks with {said}"
                return
            ranks *= 2

    def _said_if_it_fits(self, way: dict[str, object], ranks: int) -> str | None:
        """The settings `way` of `parallel` in words, with a smaller micro-batch where they need one."""
        said = " ".join(f"parallel.{name}={str(value).lower()}" for name, value in way.items())
        config = _changed(self.config, parallel=way)
        if self._would_fit(config, ranks):
            return said
        smaller = self._largest_micro_batch(config, ranks)
        return f"{said} training.micro_batch_size={smaller}" if smaller else None

    def _largest_micro_batch(self, config: Config, ranks: int) -> int | None:
        """The largest one below the present that divides and fits."""
        share, uneven = divmod(config.training.global_batch_size, ranks)
        present = config.training.micro_batch_size
        sizes = [size for size in range(1, present) if not uneven and share % size == 0]

        def too_large(size: int) -> bool:
            return not self._would_fit(_changed(config, training={"micro_batch_size": size}), ranks)

        fitting = bisect.bisect_left(sizes, True, key=too_large)
        return sizes[fitting - 1] if fitting else None


def plan(
    config: Config, vocabulary_size: int, world_size: int, device_bytes: int | None = None, samples: int | None = None
) -> Plan:
    """Raises UserError where the batch can't be shared out over the ranks, saying which numbers can."""
    accumulation = accumulation_steps(config.training, world_size)
    memory = estimate(config, vocabulary_size, world_size)
    return Plan(config, vocabulary_size, world_size, device_bytes, accumulation, memory, samples)


def dry_run(config: Config, asked: argparse.Namespace, world_size: int) -> str:
    """The plan in words, on `world_size` ranks unless `asked` says otherwise. Raises UserError, with the plan before
    the reason, if it can't be done."""
    vocabulary_size, samples = asked.vocabulary_size, None
    if vocabulary_size is None:
        vocabulary_size, samples = _of_data(config)
    memory = device_bytes() if asked.device_memory_gib is None else int(asked.device_memory_gib * GIB)
    planned = plan(config, vocabulary_size, asked.world_size or world_size, memory, samples)
    try:
        planned.check()
    except UserError as error:
        raise UserError(f"this does not fit\n{planned.text()}\n{error}") from None
    return planned.text()


def _of_data(config: Config) -> tuple[int, int]:
    """Vocabulary and samples per epoch, as the data set's manifest tells. Raises UserError where that can't be read."""
    manifest = Manifest.load(open_storage(config.data.uri))
    tokens = manifest.totals["train"].tokens if "train" in manifest.totals else 0
    samples = math.ceil((tokens - 1) / config.model.context)
    if samples < config.training.global_batch_size:
        raise UserError(
            f"{config.data.uri}: its train split makes {max(0, samples)} samples of {config.model.context} tokens "
            f"(model.context), fewer than training.global_batch_size {config.training.global_batch_size}: prepare "
            "more text, or use shorter samples or fewer"
        )
    return manifest.vocab_size, samples


def device_bytes() -> int | None:
    """Memory of this machine's GPU; None without one."""
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None


def _changed(config: Config, **sections: dict[str, object]) -> Config:
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=fields) for name, fields in sections.items()}
    )


def _gib(count: int) -> str:
    return f"{count / GIB:.2f} GiB" if count >= GIB / 10 else f"{count / 2**20:.1f} MiB"


def _decimal(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
