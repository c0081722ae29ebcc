"""The decoder predicts from the past alone and counts its loss honestly; the optimiser decays what it should."""

from __future__ import annotations

import math

import pytest
import torch
from trainer.config_sections import ModelConfig, OptimizerConfig
from trainer.model import IGNORED, Decoder
from trainer.schedule import build_optimizer

VOCABULARY = 61
MATRICES = ("attention.qkv", "attention.out", "feed_forward.up", "feed_forward.out")


def decoder(*, tied: bool = True) -> Decoder:
    model = Decoder(ModelConfig(layers=2, heads=2, width=16, context=12, tied_embeddings=tied), VOCABULARY)
    model.initialize(seed=3)
    return model


def test_logits_depend_on_earlier_tokens_only() -> None:
    model = decoder()
    tokens = torch.randint(VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 7] = (changed[:, 7] + 1) % VOCABULARY
    before, after = model.logits(tokens), model.logits(changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_loss_is_the_sum_over_valid_targets_and_their_count() -> None:
    model = decoder()
    generator = torch.Generator().manual_seed(1)
    inputs, targets = torch.randint(VOCABULARY, (2, 4, 12), generator=generator)
    targets[0, 5:] = IGNORED
    targets[3] = IGNORED
    loss, count = model(inputs, targets)
    chances = model.logits(inputs).log_softmax(-1).detach()
    expected = -sum(chances[row, at, targets[row, at]] for row in range(4) for at in range(12) if targets[row, at] >= 0)
    assert int(count) == 4 * 12 - 7 - 12
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)
    assert loss.item() / int(count) == pytest.approx(math.log(VOCABULARY), rel=0.05)


def test_padding_alone_gives_no_loss_and_no_gradient() -> None:
    model = decoder()
    loss, count = model(torch.zeros(2, 12, dtype=torch.int64), torch.full((2, 12), IGNORED))
    loss.backward()
    assert (loss.item(), int(count)) == (0.0, 0)
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


def test_weights_follow_from_the_seed_and_heads_are_tied_by_choice() -> None:
    for left, right in zip(decoder().parameters(), decoder().parameters(), strict=True):
        assert torch.equal(left, right)
    extra = sum(p.numel() for p in decoder(tied=False).parameters()) - sum(p.numel() for p in decoder().parameters())
    assert extra == 64 * 16


def test_only_matrices_between_activations_decay() -> None:
    model = decoder(tied=False)
    optimizer = build_optimizer(OptimizerConfig(learning_rate=0.1, weight_decay=0.3), model.named_parameters())
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    decayed = {name for name, parameter in model.named_parameters() if decay[id(parameter)] == 0.3}
    matrices = {f"blocks.{block}.{part}.weight" for block in (0, 1) for part in MATRICES}
    assert decayed == matrices | {"head.weight"}
    assert set(decay.values()) == {0.3, 0.0}
