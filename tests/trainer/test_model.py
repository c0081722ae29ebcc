"""Either decoder predicts from the past alone and counts its loss honestly; the optimiser decays what it should."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from trainer import llama
from trainer.config_sections import Architecture, ModelConfig, OptimizerConfig
from trainer.model import IGNORED, Decoder
from trainer.schedule import build_optimizer

VOCABULARY = 61
MATRICES = {
    "gpt2": ("attention.qkv", "attention.out", "feed_forward.up", "feed_forward.out"),
    "llama": ("attention.qkv", "attention.out", "feed_forward.gate_up", "feed_forward.out"),
}


@pytest.fixture(params=["gpt2", "llama"])
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return request.param


def decoder(architecture: Architecture, *, tied: bool = True) -> Decoder:
    shape: dict[str, Any] = {"layers": 2, "heads": 4, "width": 16, "context": 12, "tied_embeddings": tied}
    shape |= {"key_value_heads": 2, "feed_forward_width": 48} if architecture == "llama" else {}
    model = Decoder(ModelConfig(architecture=architecture, **shape), VOCABULARY)
    model.initialize(seed=3)
    return model


def test_logits_depend_on_earlier_tokens_only(architecture: Architecture) -> None:
    model = decoder(architecture)
    tokens = torch.randint(VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 7] = (changed[:, 7] + 1) % VOCABULARY
    before, after = model.logits(tokens), model.logits(changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_loss_is_the_sum_over_valid_targets_and_their_count(architecture: Architecture) -> None:
    model = decoder(architecture)
    generator = torch.Generator().manual_seed(1)
    inputs, targets = torch.randint(VOCABULARY, (2, 4, 12), generator=generator)
    targets[0, 5:] = IGNORED
    targets[3] = IGNORED
    loss, count = model(inputs, targets)
    chances = model.logits(inputs).log_softmax(-1).detach()  # of the 61 there are, not of the 64 rows
    assert chances.shape[-1] == VOCABULARY
    expected = -sum(chances[row, at, targets[row, at]] for row in range(4) for at in range(12) if targets[row, at] >= 0)
    assert int(count) == 4 * 12 - 7 - 12
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)
    assert loss.item() / int(count) == pytest.approx(math.log(VOCABULARY), rel=0.05)


def test_padding_alone_gives_no_loss_and_no_gradient(architecture: Architecture) -> None:
    model = decoder(architecture)
    loss, count = model(torch.zeros(2, 12, dtype=torch.int64), torch.full((2, 12), IGNORED))
    loss.backward()
    assert (loss.item(), int(count)) == (0.0, 0)
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


def test_weights_follow_from_the_seed_and_heads_are_tied_by_choice(architecture: Architecture) -> None:
    for left, right in zip(decoder(architecture).parameters(), decoder(architecture).parameters(), strict=True):
        assert torch.equal(left, right)
    extra = sum(p.numel() for p in decoder(architecture, tied=False).parameters()) - sum(
        p.numel() for p in decoder(architecture).parameters()
    )
    assert extra == 64 * 16


def test_only_matrices_between_activations_decay(architecture: Architecture) -> None:
    model = decoder(architecture, tied=False)
    optimizer = build_optimizer(OptimizerConfig(learning_rate=0.1, weight_decay=0.3), model.named_parameters())
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    decayed = {name for name, parameter in model.named_parameters() if decay[id(parameter)] == 0.3}
    matrices = {f"blocks.{block}.{part}.weight" for block in (0, 1) for part in MATRICES[architecture]}
    assert decayed == matrices | {"head.weight"}
    assert set(decay.values()) == {0.3, 0.0}


def test_rotary_positions_tell_distances_alone() -> None:
    """The product of a turned query with a turned key depends on how far apart they are, and on nothing else."""
    generator = torch.Generator().manual_seed(2)
    query, key = torch.randn(2, 8, generator=generator)
    turns = llama.rotations(40, 8, 10_000.0, torch.device("cpu"))
    queries, keys = (llama.rotate(one.expand(1, 1, 40, 8), turns)[0, 0] for one in (query, key))
    for distance in (0, 1, 7):
        products = [(queries[at + distance] @ keys[at]).item() for at in range(30)]
        assert products == pytest.approx([products[0]] * 30, abs=1e-5)
    assert queries[5].norm() == pytest.approx(query.norm().item(), rel=1e-6)
    assert (queries[9] @ keys[2]).item() != pytest.approx((queries[2] @ keys[9]).item(), abs=1e-3)


def test_grouped_queries_share_keys_and_values() -> None:
    """As many key and value heads as query heads, each repeated for its group, compute the same."""
    grouped = decoder("llama")
    whole = Decoder(grouped.shape.model_copy(update={"key_value_heads": 4}), VOCABULARY)
    state = dict(grouped.state_dict())
    for name, weight in state.items():
        if name.endswith("qkv.weight"):
            q, k, v = weight.split([16, 8, 8])
            repeated = [one.view(2, 4, 16).repeat_interleave(2, dim=0).flatten(0, 1) for one in (k, v)]
            state[name] = torch.cat([q, *repeated])
    whole.load_state_dict(state)
    tokens = torch.arange(12)[None]
    torch.testing.assert_close(whole.logits(tokens), grouped.logits(tokens))


def test_default_feed_forward_widths() -> None:
    shape = ModelConfig(architecture="llama", layers=1, heads=32, width=4096, context=8)
    assert llama.feed_forward_width(shape) == 11008, "Llama 2 7B"
