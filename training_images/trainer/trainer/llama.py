"""Llama's block: RMSNorm before each part, rotary positions, grouped queries, SwiGLU, no biases.

Touvron et al., 2023 (2302.13971, 2307.09288). The pairs that rotary positions turn are features i and i + half of each
head, as in the weights that Hugging Face's `transformers` reads, not neighbours as in Meta's own.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor, nn

from trainer.config_sections import ModelConfig

FEED_FORWARD_MULTIPLE = 256


class Attention(nn.Module):
    """Causal self-attention over (batch, tokens, width)."""

    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        self.heads, self.key_value_heads = shape.heads, key_value_heads(shape)
        self.head_width = shape.width // shape.heads
        self.dropout = shape.dropout
        self.rope_theta = shape.rope_theta
        rows = (self.heads + 2 * self.key_value_heads) * self.head_width
        self.qkv = nn.Linear(shape.width, rows, bias=False)  # all queries, then all keys, then all values
        self.out = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        features = self.qkv(x).view(batch, tokens, -1, self.head_width).transpose(1, 2)
        q, k, v = features.split([self.heads, self.key_value_heads, self.key_value_heads], dim=1)
        # Computed where it is used: as an argument FSDP would round it to bf16, as a buffer DDP would broadcast it.
        turns = rotations(tokens, self.head_width, self.rope_theta, x.device)
        q, k = rotate(q, turns), rotate(k, turns)
        dropout = self.dropout if self.training else 0.0
        grouped = self.key_value_heads != self.heads
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, enable_gqa=grouped)
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, width)
        return F.dropout(self.out(mixed), self.dropout, self.training)


class FeedForward(nn.Module):
    """SwiGLU: `out(silu(gate(x)) * up(x))`."""

    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        self.dropout = shape.dropout
        inner = feed_forward_width(shape)
        self.gate_up = nn.Linear(shape.width, 2 * inner, bias=False)  # the gate's rows, then the others
        self.out = nn.Linear(inner, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return F.dropout(self.out(F.silu(gate) * up), self.dropout, self.training)


class Block(nn.Module):
    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = norm(shape)
        self.attention = Attention(shape)
        self.feed_forward_norm = norm(shape)
        self.feed_forward = FeedForward(shape)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


def norm(shape: ModelConfig) -> nn.Module:
    return nn.RMSNorm(shape.width, eps=shape.norm_epsilon)


def key_value_heads(shape: ModelConfig) -> int:
    return shape.key_value_heads or shape.heads


def feed_forward_width(shape: ModelConfig) -> int:
    return shape.feed_forward_width or math.ceil(8 * shape.width / 3 / FEED_FORWARD_MULTIPLE) * FEED_FORWARD_MULTIPLE


def rotations(tokens: int, head_width: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position's angles: float32, (tokens, head_width / 2) each."""
    frequencies = 1.0 / theta ** (torch.arange(0, head_width, 2, device=device, dtype=torch.float32) / head_width)
    angles = torch.arange(tokens, device=device, dtype=torch.float32)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Turns each pair of features of (batch, heads, tokens, head_width) by its angle, in float32."""
    cosine, sine = turns
    left, right = x.float().chunk(2, dim=-1)
    return torch.cat([left * cosine - right * sine, right * cosine + left * sine], dim=-1).type_as(x)
