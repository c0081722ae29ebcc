"""How a plain model becomes a distributed one. The order below is the order in which the transforms apply.

Gradients come out as the sum over ranks of d(loss sum) / (valid tokens of the whole step), whatever the strategy.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from trainer.config_sections import ParallelConfig, Precision
from trainer.gang import Gang
from trainer.model import Decoder

COMPUTE_DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@dataclass(frozen=True)
class ParallelModel:
    """A model spread over the gang."""

    decoder: Decoder
    """Owns the parameters (sharded ones under fsdp)."""
    module: nn.Module
    """What to call."""
    strategy: str
    """none, ddp or fsdp."""
    precision: AbstractContextManager[None]
    """Entered around each forward pass."""
    gradient_weight: float
    """Factor on the loss that undoes the mean DDP takes over ranks."""

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for _, parameter in self.named_parameters()]

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names as the bare model has them, the same under every strategy: a checkpoint of one fits the others."""
        self.reshard()
        for name, parameter in self.decoder.named_parameters():
            yield name.replace("_checkpoint_wrapped_module.", ""), parameter

    def reshard(self) -> None:
        """A forward pass without backward leaves gathered copies in the place of fsdp's sharded parameters."""
        for module in self.decoder.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with self.precision:
            return self.module(inputs, targets)

    @contextmanager
    def reducing(self, last_micro_batch: bool) -> Generator[None]:
        """Gradients cross the network only in the last micro-batch of a step; before, they add up locally."""
        if isinstance(self.module, FSDPModule):
            self.module.set_requires_gradient_sync(last_micro_batch)
        if isinstance(self.module, DistributedDataParallel) and not last_micro_batch:
            with self.module.no_sync():
                yield
        else:
            yield

    def clip_gradients(self, largest_norm: float | None) -> Tensor:
        """Scales all gradients down to `largest_norm` if they exceed it. Returns the norm they had, of all together."""
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None], foreach=True)
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        if largest_norm is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, largest_norm, norm, foreach=True)
        return norm


def parallelize(decoder: Decoder, settings: ParallelConfig, precision: Precision, gang: Gang) -> ParallelModel:
    """`decoder`, initialised on the CPU the same on every rank, moved to the gang's devices and spread over them."""
    if settings.activation_checkpointing:
        for name, block in list(decoder.blocks.named_children()):
            decoder.blocks.register_module(name, checkpoint_wrapper(block))

    if settings.compile:
        # Block by block: all blocks share one compiled graph, where the whole model would take ten times as long.
        for block in decoder.blocks.children():
            block.compile(fullgraph=True)

    dtype = COMPUTE_DTYPES[precision]
    autocast = nullcontext() if precision == "fp32" else torch.autocast(gang.device.type, dtype)
    if gang.world_size == 1:
        decoder.to(gang.device)
        return ParallelModel(decoder, decoder, "none", autocast, gradient_weight=1.0)

    if settings.strategy == "ddp":
        decoder.to(gang.device)
        module = DistributedDataParallel(
            decoder,
            device_ids=[gang.device] if gang.device.type == "cuda" else None,
            gradient_as_bucket_view=True,
        )
        return ParallelModel(decoder, module, "ddp", autocast, gradient_weight=float(gang.world_size))

    _shard(decoder, gang, dtype)
    return ParallelModel(decoder, decoder, "fsdp", nullcontext(), gradient_weight=1.0)


def settle(model: ParallelModel, micro_batch_size: int, gang: Gang) -> None:
    """Runs two passes and forgets them, so that the first real step already runs as every later one does.

    DDP regroups its gradient buckets after the first backward pass, and the grouping decides in which order three ranks
    or more are added up: a resumed run would differ in the last bits from one that never stopped.
    """
    if model.strategy != "ddp":
        return
    tokens = torch.zeros((micro_batch_size, model.decoder.shape.context), dtype=torch.int64, device=gang.device)
    with torch.random.fork_rng([gang.device] if gang.device.type == "cuda" else []):
        for _ in range(2):
            loss, _ = model(tokens, tokens)
            loss.backward()
    model.decoder.zero_grad(set_to_none=True)


def _shard(decoder: Decoder, gang: Gang, dtype: torch.dtype) -> None:
    mesh = init_device_mesh(gang.device.type, (gang.world_size,), mesh_dim_names=("data",))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    blocks = list(decoder.blocks.children())
    for block in blocks:
        # The backward pass starts with the last block: freeing its weights in between would be for nothing.
        fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=block is not blocks[-1])
    fully_shard(decoder, mesh=mesh, mp_policy=policy)
    for module in decoder.modules():
        if isinstance(module, FSDPModule):  # neither setter reaches the modules inside
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no pre-multiplied sum
