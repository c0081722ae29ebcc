"""Parameters and FLOPs are those that others publish, and those that torch counts as it runs."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from trainer.config_sections import Architecture, ModelConfig
from trainer.flops import flops_per_token, mfu, parameters, peak_flops
from trainer.model import Decoder

GPT2 = ModelConfig(layers=12, heads=12, width=768, context=1024)
LLAMA_2_7B = ModelConfig(
    architecture="llama", layers=32, heads=32, width=4096, context=4096, tied_embeddings=False
)  # fmt: skip
LLAMA_3_8B = ModelConfig(
    architecture="llama", layers=32, heads=32, key_value_heads=8, width=4096, feed_forward_width=14336,
    context=8192, tied_embeddings=False,
)  # fmt: skip


def test_parameters_are_those_published() -> None:
    assert parameters(GPT2, 50257).total == 124_439_808
    assert parameters(LLAMA_2_7B, 32000).total == 6_738_415_616
    assert parameters(LLAMA_3_8B, 128256).total == 8_030_261_248


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_flops_are_those_torch_counts(architecture: Architecture, tied: bool) -> None:
    grouped = {"key_value_heads": 2} if architecture == "llama" else {}
    shape = ModelConfig(
        architecture=architecture, layers=3, heads=4, width=32, context=24, tied_embeddings=tied, **grouped
    )
    decoder = Decoder(shape, 128)
    decoder.initialize(0)
    tokens = torch.zeros((2, 24), dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        decoder(tokens, tokens)[0].backward()
    assert counter.get_total_flops() == 2 * 24 * flops_per_token(shape, 128, causal=False)


def test_causal_attention_looks_at_half() -> None:
    whole, half = (flops_per_token(GPT2, 50257, causal=causal) for causal in (False, True))
    projected = 6 * parameters(GPT2, 50257).multiplied
    assert whole - projected == 12 * 12 * 768 * 1024
    assert half - projected == 12 * 12 * 768 * sum(range(1, 1025)) / 1024


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.5),
        ("NVIDIA H100 PCIe", "bf16", 756),
        ("NVIDIA H200", "fp16", 989.5),
        ("NVIDIA H200 NVL", "bf16", 835.5),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312),
        ("NVIDIA A100-SXM4-40GB", "fp32", 19.5),
        ("NVIDIA L4", "bf16", 121),
        ("NVIDIA L40S", "bf16", 362),
        ("NVIDIA A10G", "bf16", 70),
        ("Tesla T4", "fp16", 65),
        ("NVIDIA GB200", "bf16", 2500),
    ],
)
def test_peaks_by_the_names_devices_have(name, precision, tflops) -> None:
    assert peak_flops(name, precision) == tflops * 1e12


def test_no_peak_where_none_is_known() -> None:
    assert peak_flops("NVIDIA GeForce RTX 4090", "bf16") is None
    assert peak_flops("Tesla T4", "bf16") is None, "it would be emulated"


def test_mfu_of_a_published_run() -> None:
    """llm.c's 124M on H100s: about 468k tokens/s on each, about 41 % with the whole context counted."""
    tokens_per_second = 8 * 468_000
    share = mfu(tokens_per_second, flops_per_token(GPT2, 50257, causal=False), 8, 989.5e12)
    assert share == pytest.approx(0.41, abs=0.01)
