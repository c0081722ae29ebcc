"""The optimiser and its learning rate: AdamW, warm-up, schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from trainer.config_sections import OptimizerConfig


def learning_rate(settings: OptimizerConfig, step: int, steps: int) -> float:
    """For the step counted from 1: up in a straight line over the warm-up, then as the schedule says.

    A function of the step alone: there is no scheduler state that a resumed run could get wrong.
    """
    if step <= settings.warmup_steps:
        return settings.learning_rate * step / settings.warmup_steps
    decay = steps - settings.warmup_steps
    if settings.schedule == "wsd":
        decay = min(decay, settings.decay_steps or math.ceil(steps / 10))
    done = max(0.0, 1 - (steps - step) / decay)
    height = {
        "constant": 1.0,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
        "linear": 1.0 - done,
        "wsd": 1.0 - done,
    }[settings.schedule]
    return settings.minimum_learning_rate + height * (settings.learning_rate - settings.minimum_learning_rate)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def build_optimizer(
    settings: OptimizerConfig, named_parameters: Iterable[tuple[str, nn.Parameter]]
) -> torch.optim.AdamW:
    """Fused AdamW; weight decay for matrices that multiply activations, none for norms, biases and embeddings."""
    decayed: list[Tensor] = []
    spared: list[Tensor] = []
    for name, parameter in named_parameters:
        (spared if parameter.dim() < 2 or "embedding" in name else decayed).append(parameter)
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": spared, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )
