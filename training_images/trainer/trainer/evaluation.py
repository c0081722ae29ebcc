"""The loss on held-out samples, and when it has stopped to fall."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

import torch

from trainer.config import Config
from trainer.config_sections import EvaluationConfig
from trainer.data import Samples, held_out_batches
from trainer.ema import WeightAverage
from trainer.gang import Gang
from trainer.parallel import ParallelModel
from trainer.state import Progress


@torch.no_grad()
def held_out_loss(
    model: ParallelModel,
    samples: Samples,
    config: Config,
    gang: Gang,
    agree_to_go_on: Callable[[], object],
    average: WeightAverage | None = None,
) -> float:
    """Mean loss, in nats per token, over the first held-out samples; with the averaged weights where there are any.

    `agree_to_go_on` is asked before each micro-batch and may raise to break off; the model is as before in any case.
    """
    loss_sum, tokens = torch.zeros(2, dtype=torch.float64, device=gang.device)
    model.module.eval()
    try:
        with average.in_place() if average else nullcontext():
            batches = held_out_batches(samples, config.evaluation.samples, config.training.micro_batch_size, gang)
            try:
                for inputs, targets in batches:
                    agree_to_go_on()
                    loss, valid = model(inputs, targets)
                    loss_sum += loss
                    tokens += valid
            finally:
                model.reshard()  # gathered copies of the averages go before the averages do
    finally:
        model.module.train()
    return gang.sum_float(loss_sum.item()) / gang.sum_float(tokens.item())


def note(progress: Progress, settings: EvaluationConfig, loss: float) -> None:
    """Takes an evaluation's result into the run's progress."""
    progress.evaluated_step = progress.step
    best = progress.best_evaluation_loss
    # A loss that is no number is no best one either: nothing would ever be lower.
    if math.isfinite(loss) and (best is None or loss < best - settings.minimum_improvement):
        progress.best_evaluation_loss, progress.evaluations_without_improvement = loss, 0
    else:
        progress.evaluations_without_improvement += 1


def patience_ended(progress: Progress, settings: EvaluationConfig) -> bool:
    return settings.patience is not None and progress.evaluations_without_improvement >= settings.patience
