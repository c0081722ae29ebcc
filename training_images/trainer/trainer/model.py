"""A decoder-only transformer: embedding, blocks of the architecture asked for, output projection, loss."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor, nn

from trainer import gpt2, llama
from trainer.config_sections import ModelConfig

IGNORED = -100
"""A target that carries no loss: padding."""

VOCABULARY_MULTIPLE = 64
"""Logit rows are padded up to it: odd sizes fall off the fast matrix-multiplication paths."""


class Decoder(nn.Module):
    def __init__(self, shape: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.shape = shape
        self.vocabulary_size = vocabulary_size
        rows = math.ceil(vocabulary_size / VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
        architecture = {"gpt2": gpt2, "llama": llama}[shape.architecture]
        self.token_embedding = nn.Embedding(rows, shape.width)
        # Rotary positions are the blocks' own.
        self.position_embedding = nn.Embedding(shape.context, shape.width) if architecture is gpt2 else None
        self.blocks = nn.ModuleList([architecture.Block(shape) for _ in range(shape.layers)])
        self.final_norm = architecture.norm(shape)
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
        logits = self._padded_logits(inputs)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
        return loss, (targets != IGNORED).sum()

    def logits(self, inputs: Tensor) -> Tensor:
        """(batch, tokens) ids to (batch, tokens, vocabulary) scores of the next token."""
        return self._padded_logits(inputs)[..., : self.vocabulary_size]

    def _padded_logits(self, inputs: Tensor) -> Tensor:
        x = self.token_embedding(inputs)
        if self.position_embedding is not None:
            x = x + self.position_embedding(torch.arange(inputs.shape[1], device=inputs.device))
        x = F.dropout(x, self.shape.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        weight = self.token_embedding.weight if self.head is None else self.head.weight
        return F.linear(self.final_norm(x), weight, self._no_chance_for_padding(weight))

    def _no_chance_for_padding(self, weight: Tensor) -> Tensor | None:
        """A bias that keeps the rows beyond the vocabulary out of the softmax, so that padding changes no loss."""
        rows = weight.shape[0]
        if rows == self.vocabulary_size:
            return None
        bias = torch.zeros(rows, dtype=weight.dtype, device=weight.device)
        bias[self.vocabulary_size :] = -math.inf
        return bias
