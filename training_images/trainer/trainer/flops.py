"""How much arithmetic a token costs, and how much of what a device can do that is (MFU).

The count is the one of PaLM's appendix B (Chowdhery et al., 2022, 2204.02311): what the model needs, whatever is
recomputed. A matrix entry costs a multiplication and an addition, once forward and twice backward: 6 FLOPs per token.
Attention adds 12 x width FLOPs per layer for each token looked at. Papers and most trainers let each token look at the
whole context; here it looks at itself and those before it, half as many, which gives the lower figure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from trainer.config import Config
from trainer.config_sections import ModelConfig, Precision
from trainer.model import Decoder


@dataclass(frozen=True)
class Parameters:
    total: int
    multiplied: int
    """Of them, those that multiply activations: all matrices but looked-up embeddings. A tied one multiplies too."""


def parameters(shape: ModelConfig, vocabulary_size: int) -> Parameters:
    """Those of the model itself: rows that pad the vocabulary are left out."""
    with torch.device("meta"):
        decoder = Decoder(shape, vocabulary_size)
    padding = (decoder.token_embedding.num_embeddings - vocabulary_size) * shape.width
    projection = vocabulary_size * shape.width
    total = sum(parameter.numel() for parameter in decoder.parameters()) - padding * (1 if decoder.head is None else 2)
    in_blocks = sum(parameter.numel() for parameter in decoder.blocks.parameters() if parameter.dim() == 2)
    return Parameters(total, in_blocks + projection)


def flops_per_token(shape: ModelConfig, vocabulary_size: int, causal: bool = True) -> float:
    """Of training, forward and backward, the mean over a sample's tokens.

    6 x (parameters that multiply) + 12 x layers x width x (tokens looked at), which are (context + 1) / 2 on average if
    `causal`, else `context`.
    """
    looked_at = (shape.context + 1) / 2 if causal else shape.context
    attention = 12 * shape.layers * shape.width * looked_at
    return 6 * parameters(shape, vocabulary_size).multiplied + attention


# TFLOP/s without sparsity (half of what data sheets print with it), as (tensor cores on bf16 or fp16, fp32 without
# TF32, which torch leaves off). Sources: NVIDIA's data sheets of the products, as in torchtitan's tools/utils.py.
_PEAK_TFLOPS: dict[str, tuple[float, float]] = {
    "GB200": (2500, 80),
    "B300": (2250, 75),
    "B200": (2250, 75),
    "H200 NVL": (835.5, 60),
    "H200": (989.5, 67),
    "H100 NVL": (835.5, 60),
    "H100 PCIe": (756, 51),
    "H100": (989.5, 67),
    "A100": (312, 19.5),
    "A10G": (70, 35),
    "L40S": (362, 91.6),
    "L4": (121, 30.3),
    "T4": (65, 8.1),
    "V100": (125, 15.7),
}
_WITHOUT_BF16 = ("T4", "V100")


def peak_flops(device_name: str, precision: Precision) -> float | None:
    """FLOP/s of one device as `torch.cuda.get_device_name` calls it; None where no figure is known or it can't."""
    for name, (halves, single) in _PEAK_TFLOPS.items():  # the longer names first
        if re.search(rf"\b{name}\b", device_name):
            if precision == "bf16" and name in _WITHOUT_BF16:
                return None
            return (single if precision == "fp32" else halves) * 1e12
    return None


def utilisation_of(
    config: Config, vocabulary_size: int, device: torch.device, devices: int
) -> Callable[[float], float | None]:
    """Gives the MFU for the tokens/s of the whole gang; None where the peak is neither told nor known, as on CPUs."""
    peak = None
    if config.metrics.device_peak_tflops is not None:
        peak = config.metrics.device_peak_tflops * 1e12
    elif device.type == "cuda":
        peak = peak_flops(torch.cuda.get_device_name(device), config.training.precision)
    if peak is None:
        return lambda _tokens_per_second: None
    token_flops = flops_per_token(config.model, vocabulary_size)
    return lambda tokens_per_second: mfu(tokens_per_second, token_flops, devices, peak)


def mfu(tokens_per_second: float, token_flops: float, devices: int, peak: float) -> float:
    """Model FLOPs utilisation, 0 to 1: tokens/s of the whole gang x FLOPs per token / FLOP/s of all its devices."""
    return tokens_per_second * token_flops / (devices * peak)
