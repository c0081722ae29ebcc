"""Several ranks compute what one process computes: the same losses, and the same gradient of every parameter."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

GRADIENTS = str(Path(__file__).parent / "gradients.py")


def gradients(run, ranks: int) -> list[dict]:
    run.program = GRADIENTS
    run.start(ranks).finish()
    return torch.load(run.directory / "gradients.pt")


ARCHITECTURES = {
    "gpt2": {},
    "llama": {"model__architecture": "llama", "model__heads": 4, "model__key_value_heads": 2},
    "llama, untied": {"model__architecture": "llama", "model__tied_embeddings": False},
}


@pytest.fixture(scope="module")
def alone_of() -> dict[str, list[dict]]:
    """What one process computes, by architecture, once it has."""
    return {}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("strategy", "ranks", "micro_batch", "checkpointing"),
    [("ddp", 2, 6, False), ("ddp", 3, 2, True), ("fsdp", 2, 6, True), ("fsdp", 2, 2, False), ("fsdp", 3, 2, False)],
)
def test_gradient_of_every_parameter_matches_one_process(
    new_run: Callable,
    alone_of: dict[str, list[dict]],
    architecture: str,
    strategy: str,
    ranks: int,
    micro_batch: int,
    checkpointing: bool,
) -> None:
    settings = {**ARCHITECTURES[architecture], "model__dropout": 0.0, "training__steps": 3}
    if architecture not in alone_of:
        alone_of[architecture] = gradients(new_run(**settings, training__micro_batch_size=12), 1)
    alone = alone_of[architecture]
    layout = {"parallel__strategy": strategy, "parallel__activation_checkpointing": checkpointing}
    together = gradients(new_run(**settings, **layout, training__micro_batch_size=micro_batch), ranks)

    for one, many in zip(alone, together, strict=True):
        assert len(set(many["valid_of_ranks"])) > 1, "the ranks were meant to have different numbers of valid tokens"
        assert many["tokens"] == one["tokens"] < 12 * 16
        assert many["loss"] == pytest.approx(one["loss"], rel=1e-6)
        assert many["gradients"].keys() == one["gradients"].keys()
        for name, expected in one["gradients"].items():
            torch.testing.assert_close(
                many["gradients"][name], expected, rtol=0, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
            )
            assert expected.norm() > 0, name


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-5), ("bf16", 0.02), ("fp16", 0.01)])
def test_two_ranks_reach_the_losses_of_one_process(
    new_run: Callable, strategy: str, precision: str, tolerance: float
) -> None:
    alone = new_run(model__dropout=0.0).go()
    together = new_run(model__dropout=0.0, parallel__strategy=strategy, training__precision=precision).go(2)

    assert together.steps.keys() == alone.steps.keys() == set(range(1, 13))
    for step, (loss, norm) in alone.steps.items():
        assert together.steps[step][0] == pytest.approx(loss, abs=tolerance)
        assert together.steps[step][1] == pytest.approx(norm, rel=20 * tolerance)
    assert alone.steps[12][0] < math.log(61) - 0.5, "nothing was learned"


@pytest.mark.parametrize(
    ("architecture", "ranks", "how"),
    [
        ("gpt2", 1, {}),
        ("llama", 1, {}),
        ("llama", 2, {"parallel__strategy": "fsdp", "parallel__activation_checkpointing": True}),
    ],
)
def test_compiled_blocks_reach_the_losses_of_uncompiled_ones(
    new_run: Callable, architecture: str, ranks: int, how: dict
) -> None:
    settings = {"training__steps": 4, "training__micro_batch_size": 12, "model__layers": 1, "model__dropout": 0.0}
    settings |= ARCHITECTURES[architecture]
    plain = new_run(**settings).go()
    compiled = new_run(**settings | {"training__micro_batch_size": 6}, **how, parallel__compile=True).go(ranks)
    for step, told in plain.steps.items():
        assert compiled.steps[step] == pytest.approx(told, rel=1e-4)
