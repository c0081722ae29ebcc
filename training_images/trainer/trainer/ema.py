"""An exponential moving average of the weights: smoother than the weights themselves, for evaluation and export."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class WeightAverage:
    """float32, beside the weights and sharded as they are: each rank averages what is its own."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._decay = decay
        self._parameters = dict(parameters)
        self.averages: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimiser step `step`, counted from 1. In a run's first steps the average follows more closely, or
        initial weights would stay in it for long."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(*self._pairs(), weight=1 - decay)

    @contextmanager
    @torch.no_grad()
    def in_place(self) -> Generator[None]:
        """The model computes with the averages inside the block."""
        averages, weights = self._pairs()
        kept = [weight.clone() for weight in weights]
        torch._foreach_copy_(weights, averages)
        try:
            yield
        finally:
            torch._foreach_copy_(weights, kept)

    def _pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        return (
            [_own(average) for average in self.averages.values()],
            [_own(parameter.detach()) for parameter in self._parameters.values()],
        )


def _own(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
