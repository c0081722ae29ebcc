"""GPT-2's block: LayerNorm before each part, causal attention, GELU, biases everywhere (Radford et al., 2019)."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor, nn

from trainer.config_sections import ModelConfig


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
        inner = feed_forward_width(shape)
        self.up = nn.Linear(shape.width, inner)
        self.out = nn.Linear(inner, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.out(F.gelu(self.up(x), approximate="tanh")), self.dropout, self.training)


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
    return nn.LayerNorm(shape.width, eps=shape.norm_epsilon)


def feed_forward_width(shape: ModelConfig) -> int:
    return shape.feed_forward_width or 4 * shape.width
