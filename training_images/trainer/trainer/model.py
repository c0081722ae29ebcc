"""A GPT-style decoder: learned positions, pre-norm blocks, causal scaled-dot-product attention, GELU."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor, nn

from trainer.config_sections import ModelConfig

IGNORED = -100
"""A target that carries no loss: padding."""

VOCABULARY_MULTIPLE = 64
"""Logit rows are padded up to it: odd sizes fall off the fast matrix-multiplication paths."""


class Attention(nn.Module):
    """Causal self-attention over (batch, tokens, width)."""

    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        self.heads = shape.heads
        self.dropout = shape.dropout
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, width)
        return F.dropout(self.out(mixed), self.dropout, self.training)


class FeedForward(nn.Module):
    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        self.dropout = shape.dropout
        self.up = nn.Linear(shape.width, 4 * shape.width)
        self.out = nn.Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.out(F.gelu(self.up(x), approximate="tanh")), self.dropout, self.training)


class Block(nn.Module):
    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(shape.width)
        self.attention = Attention(shape)
        self.feed_forward_norm = nn.LayerNorm(shape.width)
        self.feed_forward = FeedForward(shape)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


class Decoder(nn.Module):
    def __init__(self, shape: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.shape = shape
        rows = math.ceil(vocabulary_size / VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
        self.token_embedding = nn.Embedding(rows, shape.width)
        self.position_embedding = nn.Embedding(shape.context, shape.width)
        self.blocks = nn.ModuleList([Block(shape) for _ in range(shape.layers)])
        self.final_norm = nn.LayerNorm(shape.width)
        # Tied weights are one parameter used twice, not two names for it: sharding and checkpoints then see it once.
        self.head = None if shape.tied_embeddings else nn.Linear(shape.width, rows, bias=False)

    def initialize(self, seed: int) -> None:
        """GPT-2's initial weights. The same on every rank, for every strategy."""
        generator = torch.Generator().manual_seed(seed)
        residual_projections = 2 * self.shape.layers
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                nn.init.constant_(parameter, 1.0 if name.endswith("norm.weight") else 0.0)
            else:
                # What is added to the residual stream starts small, or its variance grows with depth.
                std = 0.02 / math.sqrt(residual_projections) if name.endswith("out.weight") else 0.02
                nn.init.normal_(parameter, std=std, generator=generator)

    def forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy over the targets, as sum and count, so that the caller can divide by a count over all ranks.

        Args:
            inputs: token ids, int64, (batch, tokens); tokens at most `context`.
            targets: the ids that follow, same shape; IGNORED where nothing is to be learned.

        Returns:
            The loss summed over valid targets (float32 scalar, nats) and their number (int64 scalar).
        """
        logits = self.logits(inputs)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
        return loss, (targets != IGNORED).sum()

    def logits(self, inputs: Tensor) -> Tensor:
        """(batch, tokens) ids to (batch, tokens, vocabulary, padded up) scores of the next token."""
        positions = torch.arange(inputs.shape[1], device=inputs.device)
        x = self.token_embedding(inputs) + self.position_embedding(positions)
        x = F.dropout(x, self.shape.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.final_norm(x), self.token_embedding.weight if self.head is None else self.head.weight)
