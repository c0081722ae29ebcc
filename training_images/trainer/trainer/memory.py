"""What one rank will hold in its device's memory, found out without the device.

The state (weights, gradients, Adam's moments, averages) is counted. Activations are measured: a forward and backward
pass of the very model runs on fake tensors, which have shapes and no bytes, under torch's memory tracker.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import astuple, dataclass
from functools import lru_cache

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from trainer.config import Config, accumulation_steps
from trainer.config_sections import ModelConfig, Precision
from trainer.errors import UserError
from trainer.model import Decoder
from trainer.parallel import COMPUTE_DTYPES

_FLOAT32_BYTES = 4
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Memory:
    """Bytes that one rank holds at the moment it holds most."""

    parameters: int
    gradients: int
    optimizer: int
    """Adam's two moments."""
    average: int
    """Of the weights (optimizer.ema_decay)."""
    gathered: int
    """fsdp: whole weights of the blocks at work, and their gradients on the way to the ranks that keep them."""
    activations: int
    """What the forward pass keeps for the backward pass. Compiled blocks keep less."""
    working: int
    """Logits and whatever else lives for a moment."""

    @property
    def total(self) -> int:
        return sum(astuple(self))


def estimate(config: Config, vocabulary_size: int, world_size: int) -> Memory:
    """Of each of `world_size` ranks. Raises UserError where the batch can't be shared out over them."""
    accumulation = accumulation_steps(config.training, world_size)
    strategy = config.parallel.strategy if world_size > 1 else "none"
    sharded = strategy == "fsdp"
    with torch.device("meta"):
        decoder = Decoder(config.model, vocabulary_size)
    sizes = [tuple(parameter.shape) for parameter in decoder.parameters()]
    whole = _FLOAT32_BYTES * sum(math.prod(size) for size in sizes)
    # fsdp cuts along the first dimension, into equal parts.
    own = _FLOAT32_BYTES * sum(math.ceil(size[0] / world_size) * math.prod(size[1:]) for size in sizes)
    own = own if sharded else whole
    activations, working = _activations(
        config.model,
        vocabulary_size,
        config.training.precision,
        sharded,
        config.parallel.activation_checkpointing,
        config.training.micro_batch_size,
    )
    return Memory(
        parameters=own,
        # fsdp adds up the micro-batches' gradients whole, and cuts them only once they are summed over the ranks.
        gradients=whole if accumulation > 1 else own,
        optimizer=2 * own,
        average=own if config.optimizer.ema_decay else 0,
        gathered=_gathered(decoder, config.training.precision) if sharded else 0,
        activations=activations,
        working=working,
    )


def check_state_fits(config: Config, world_size: int, local_world_size: int, device: torch.device) -> None:
    """Raises UserError for a model that a rank can't even hold, before its building takes the machine's memory.

    A lower bound, for it knows neither the vocabulary nor activations: weights, gradients and moments on the device;
    and the whole weights in the memory of the node for each of its ranks, which draw them there.
    """
    with torch.device("meta"):
        blocks = [Decoder(config.model.model_copy(update={"layers": layers}), 1) for layers in (1, 2)]
    one, two = (sum(parameter.numel() for parameter in decoder.parameters()) for decoder in blocks)
    whole = _FLOAT32_BYTES * (one + (config.model.layers - 1) * (two - one))
    sharded = config.parallel.strategy == "fsdp" and world_size > 1
    state = 4 * whole // world_size if sharded else 4 * whole
    node = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    on_device = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else node
    needed = whole if device.type == "cuda" else max(whole, state)
    for what, bytes_needed, there in (
        (f"{local_world_size} rank(s) of this node", local_world_size * needed, node),
        ("each rank's device", state, on_device),
    ):
        if bytes_needed > there:
            raise UserError(
                f"model: its weights and their state take at least {bytes_needed / 2**30:,.1f} GiB on {what}, and "
                f"{there / 2**30:,.1f} GiB are there. Fewer or narrower layers, or parallel.strategy=fsdp on more "
                "ranks and nodes; --dry-run says what would fit"
            )


def state_bytes(config: Config, vocabulary_size: int) -> int:
    """What a checkpoint holds, over all ranks: weights, both moments, the average."""
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in Decoder(config.model, vocabulary_size).parameters())
    return _FLOAT32_BYTES * count * (4 if config.optimizer.ema_decay else 3)


def _gathered(decoder: Decoder, precision: Precision) -> int:
    """The parts outside the blocks stay whole through a step; of the blocks one is at work while the next one comes,
    and one's gradients, in float32, are being summed over the ranks."""
    width = COMPUTE_DTYPES[precision].itemsize
    block = sum(parameter.numel() for parameter in decoder.blocks[0].parameters())
    outside = sum(parameter.numel() for parameter in decoder.parameters()) - len(decoder.blocks) * block
    return width * (outside + 3 * block) + _FLOAT32_BYTES * block


def _activations(
    shape: ModelConfig, vocabulary_size: int, precision: Precision, sharded: bool, checkpointing: bool, samples: int
) -> tuple[int, int]:
    """Bytes kept for the backward pass, and the most that comes on top of them and of the weights and gradients.

    Blocks are alike: what the second one adds, each further one adds.
    """
    # Attention with dropout has no fused form on the CPU, where this runs; its masks, a byte each, are added.
    one, two = (
        _one_pass(
            shape.model_copy(update={"layers": layers, "dropout": 0.0}),
            vocabulary_size,
            precision,
            sharded,
            checkpointing,
            samples,
        )
        for layers in (1, 2)
    )
    masks = samples * shape.context * shape.width * (1 if checkpointing else 2 * shape.layers + 1)
    kept = one[0] + (shape.layers - 1) * (two[0] - one[0])
    return kept + (masks if shape.dropout else 0), two[1]


@lru_cache
def _one_pass(
    shape: ModelConfig, vocabulary_size: int, precision: Precision, sharded: bool, checkpointing: bool, samples: int
) -> tuple[int, int]:
    """As `_activations`, of all of `shape`, where gradients are there already and this pass adds to them."""
    compute = COMPUTE_DTYPES[precision]
    # fsdp computes on weights of that type; otherwise they stay float32 and autocast converts them on the way.
    autocast = precision != "fp32" and not sharded
    with FakeTensorMode(), _weights_of(compute if sharded else torch.float32):
        decoder = Decoder(shape, vocabulary_size)
        if checkpointing:
            for name, block in list(decoder.blocks.named_children()):
                decoder.blocks.register_module(name, checkpoint_wrapper(block))
        tokens = torch.zeros((samples, shape.context), dtype=torch.int64)
        for parameter in decoder.parameters():
            parameter.grad = torch.zeros_like(parameter)
        tracker = MemTracker()
        tracker.track_external(decoder)
        with tracker:
            with torch.autocast("cpu", compute) if autocast else nullcontext():
                loss, _ = decoder(tokens, tokens)
            after_forward = _held(tracker, "current")
            loss.backward()
        at_the_end, peak = _held(tracker, "current"), _held(tracker, "peak")
    rows = decoder.token_embedding.num_embeddings
    probabilities = _FLOAT32_BYTES * samples * shape.context * rows  # cross-entropy keeps them
    kept = after_forward["Activation"] - probabilities
    return kept, peak["Total"] - at_the_end["Parameter"] - at_the_end["Gradient"] - kept


def _held(tracker: MemTracker, moment: str) -> dict[str, int]:
    """Bytes by kind."""
    by_kind = tracker.get_tracker_snapshot(moment)[_CPU]
    return {getattr(kind, "value", kind): count for kind, count in by_kind.items()}


@contextmanager
def _weights_of(dtype: torch.dtype) -> Generator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
