"""The ranks that train together, and the few small things they have to agree on.

Agreement runs over a gloo group of its own, on the CPU: it neither waits for the GPU nor mixes with gradient traffic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from trainer.errors import UserError
from trainer.processes import Place
from trainer.shards import DataError
from trainer.storage import StorageError

T = TypeVar("T")

EXPECTED_ERRORS = (UserError, DataError, StorageError, OSError)
"""What a setting or a place can cause; these are agreed on and told to the person. Anything else is a defect."""


@dataclass(frozen=True)
class Gang:
    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    node_rank: int
    device: torch.device
    control: dist.ProcessGroup | None
    """The gloo group of all ranks; None for one process."""

    @classmethod
    def assemble(cls) -> Gang:
        """Joins the ranks that the launcher started (gloo for CPU tensors, NCCL for CUDA), or stands alone."""
        place = Place.of()
        device = torch.device("cpu")
        if torch.cuda.is_available():
            if place.local_rank >= torch.cuda.device_count():
                raise UserError(
                    f"local rank {place.local_rank} has no GPU: {torch.cuda.device_count()} on this node. "
                    "Start at most that many processes per node (--nproc-per-node)"
                )
            device = torch.device("cuda", place.local_rank)
            torch.cuda.set_device(device)
        control = None
        if place.world_size > 1:
            if device.type == "cuda":
                dist.init_process_group("cpu:gloo,cuda:nccl", device_id=device)
            else:
                dist.init_process_group("gloo")
            control = dist.new_group(backend="gloo")
            assert isinstance(control, dist.ProcessGroup)
        return cls(
            rank=place.rank,
            world_size=place.world_size,
            local_rank=place.local_rank,
            local_world_size=place.local_world_size,
            node_rank=place.node_rank,
            device=device,
            control=control,
        )

    def dismiss(self) -> None:
        if self.control is not None:
            dist.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Rank 0: the one that writes and talks."""
        return self.rank == 0

    def sum(self, *values: int) -> list[int]:
        """Each value summed over all ranks."""
        if self.control is None:
            return list(values)
        summed = torch.tensor(values, dtype=torch.int64)
        dist.all_reduce(summed, group=self.control)
        return summed.tolist()

    def sum_float(self, value: float) -> float:
        """In float64, so that splitting a sum over ranks does not show in what is logged."""
        if self.control is None:
            return value
        summed = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(summed, group=self.control)
        return summed.item()

    def gather_floats(self, values: list[float]) -> list[list[float]]:
        """The values of every rank, equally many on each, on every rank, in rank order. Cheaper than `gather`."""
        if self.control is None:
            return [values]
        gathered = torch.empty(self.world_size * len(values), dtype=torch.float64)
        dist.all_gather_into_tensor(gathered, torch.tensor(values, dtype=torch.float64), group=self.control)
        return gathered.view(self.world_size, len(values)).tolist()

    def gather(self, value: T) -> list[T]:
        """The value of every rank, on every rank, in rank order."""
        if self.control is None:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def together(self, action: Callable[[], T]) -> T:
        """Runs `action` on every rank. If it fails on any, every rank raises the first failure, as a UserError."""
        result, failure = _attempt(action)
        failures = [(rank, text) for rank, text in enumerate(self.gather(failure)) if text is not None]
        if failures:
            raise UserError(failures[0][1] if failures[0][0] == 0 else f"rank {failures[0][0]}: {failures[0][1]}")
        return result  # ty: ignore[invalid-explicit-return]

    def from_leader(self, action: Callable[[], T]) -> T:
        """Runs `action` on rank 0 and gives every rank its result, or raises its failure there, as a UserError."""
        result, failure = _attempt(action) if self.leads else (None, None)
        if self.control is not None:
            shared = [result, failure]
            dist.broadcast_object_list(shared, src=0, group=self.control)
            result, failure = shared
        if failure is not None:
            raise UserError(failure)
        return result  # ty: ignore[invalid-explicit-return]


def _attempt(action: Callable[[], T]) -> tuple[T | None, str | None]:
    try:
        return action(), None
    except EXPECTED_ERRORS as error:
        return None, str(error)
