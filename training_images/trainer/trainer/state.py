"""Everything a run has to remember to go on as if nothing had happened, and its form as named tensors.

There is no scheduler state: the learning rate is a function of the step.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainer.ema import WeightAverage
from trainer.gang import Gang
from trainer.parallel import ParallelModel

RngState = dict[str, Tensor]


@dataclass
class Progress:
    step: int = 0
    """Optimiser steps done."""
    position: int = 0
    """Samples taken from the data order; the next step begins there."""
    tokens: int = 0
    """Valid tokens trained on."""
    evaluated_step: int = 0
    """The step after which the held-out loss was last taken."""
    best_evaluation_loss: float | None = None
    evaluations_without_improvement: int = 0
    """In a row, until now."""
    skipped_steps: int = 0
    """Steps whose gradient was no number, so that the weights stayed as they were."""
    rewinds: int = 0
    """How often a jump of the loss has undone a stretch."""
    recent_losses: list[float] = field(default_factory=list)
    """What the next losses are compared with, where jumps are watched for."""


@dataclass
class TrainingState:
    model: ParallelModel
    optimizer: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    gang: Gang
    average: WeightAverage | None = None
    progress: Progress = field(default_factory=Progress)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and optimiser state as flat names to the very tensors in use (DTensors where sharded).

        Loading writes into them in place, so no rank ever holds more than its own part.
        """
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            tensors[f"model/{name}"] = parameter.detach()
            for key, value in self._optimizer_state(parameter).items():
                tensors[f"optimizer/{name}/{key}"] = value.detach()
        if self.average is not None:
            tensors |= {f"average/{name}": value for name, value in self.average.averages.items()}
        return tensors

    def _optimizer_state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """As AdamW makes it in its first step, if that is to come: before loading, or while fp16 skips steps."""
        if parameter not in self.optimizer.state:
            self.optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter.detach()),
                "exp_avg_sq": torch.zeros_like(parameter.detach()),
            }
        return self.optimizer.state[parameter]

    def scaler_state(self) -> dict[str, Any] | None:
        return self.scaler.state_dict() if self.scaler.is_enabled() else None


def rng_state(device: torch.device) -> RngState:
    """Of the generators that training draws from. Nothing here uses Python's or NumPy's."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_rng_state(state: RngState, device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def seed_rank(seed: int, rank: int, step: int) -> None:
    """A stream of its own for each rank and starting step, for ranks that have no saved one."""
    digest = hashlib.blake2b(f"rank {rank} from step {step} of seed {seed}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)
