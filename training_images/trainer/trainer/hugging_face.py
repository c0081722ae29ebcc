"""Weights as Hugging Face's `transformers` reads and writes them: which of its tensors is which of ours, and settings.

`GPT2LMHeadModel` and `LlamaForCausalLM` compute what the decoder here computes. Rows that pad the vocabulary stay here.
Nothing of `transformers` itself is needed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainer import gpt2, llama
from trainer.config_sections import ModelConfig
from trainer.errors import UserError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000
"""Of one file at most, as in `transformers`."""

_GPT2_PARTS = {
    "token_embedding": "transformer.wte",
    "position_embedding": "transformer.wpe",
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.out": "mlp.c_proj",
    "final_norm": "transformer.ln_f",
    "head": "lm_head",
}
_LLAMA_PARTS = {
    "token_embedding": "model.embed_tokens",
    "attention_norm": "input_layernorm",
    "attention.qkv": "self_attn.q_proj self_attn.k_proj self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.gate_up": "mlp.gate_proj mlp.up_proj",
    "feed_forward.out": "mlp.down_proj",
    "final_norm": "model.norm",
    "head": "lm_head",
}
_OVER_THE_VOCABULARY = ("token_embedding.weight", "head.weight")


@dataclass(frozen=True)
class Theirs:
    """The tensors of `transformers` that one of ours is made of, one below the other."""

    names: tuple[str, ...]
    rows: tuple[int, ...]
    """Of each, as it lies in ours."""
    transposed: bool
    """GPT-2's matrices lie there as (inputs, outputs)."""


def theirs(name: str, rows: int, shape: ModelConfig, vocabulary_size: int) -> Theirs:
    """For our parameter `name`, which has `rows` rows."""
    match = re.fullmatch(r"(?:blocks\.(\d+)\.)?(.+)\.(weight|bias)", name)
    assert match is not None, name
    block, part, kind = match.groups()
    is_gpt2 = shape.architecture == "gpt2"
    parts = (_GPT2_PARTS if is_gpt2 else _LLAMA_PARTS)[part].split()
    where = "" if block is None else f"transformer.h.{block}." if is_gpt2 else f"model.layers.{block}."
    names = tuple(f"{where}{one}.{kind}" for one in parts)
    if name in _OVER_THE_VOCABULARY:
        return Theirs(names, (vocabulary_size,), transposed=False)
    if len(parts) == 3:
        head_width = shape.width // shape.heads
        of_keys = llama.key_value_heads(shape) * head_width
        return Theirs(names, (shape.width, of_keys, of_keys), transposed=False)
    in_parts = tuple(rows // len(parts) for _ in parts)
    transposed = is_gpt2 and block is not None and kind == "weight" and "norm" not in part
    return Theirs(names, in_parts, transposed)


def settings(shape: ModelConfig, vocabulary_size: int, end_of_text: int) -> dict[str, Any]:
    """`config.json`."""
    both = {
        "vocab_size": vocabulary_size,
        "tie_word_embeddings": shape.tied_embeddings,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "dtype": "float32",
    }
    if shape.architecture == "gpt2":
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "n_layer": shape.layers,
            "n_head": shape.heads,
            "n_embd": shape.width,
            "n_positions": shape.context,
            "n_inner": gpt2.feed_forward_width(shape),
            "activation_function": "gelu_new",
            "layer_norm_epsilon": shape.norm_epsilon,
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "resid_pdrop": shape.dropout,
            "embd_pdrop": shape.dropout,
            "attn_pdrop": shape.dropout,
            **both,
        }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": llama.key_value_heads(shape),
        "head_dim": shape.width // shape.heads,
        "hidden_size": shape.width,
        "intermediate_size": llama.feed_forward_width(shape),
        "max_position_embeddings": shape.context,
        "hidden_act": "silu",
        "rms_norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rope_theta,  # as transformers 4 reads it, and then 5
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": shape.dropout,
        **both,
    }


def write_weights(
    folder: Path,
    weights: dict[str, Tensor],
    shape: ModelConfig,
    vocabulary_size: int,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Our `weights` by name, as safetensors: one file, or several and an index above `shard_bytes`."""
    files: list[dict[str, Tensor]] = [{}]
    sizes: dict[str, int] = {}
    for name, tensor in weights.items():
        for their_name, part in _taken_apart(name, tensor, shape, vocabulary_size):
            if files[-1] and sum(one.nbytes for one in files[-1].values()) + part.nbytes > shard_bytes:
                files.append({})
            files[-1][their_name] = part
            sizes[their_name] = part.nbytes
    if len(files) == 1:
        save_file(files[0], folder / WEIGHTS, metadata={"format": "pt"})
        return
    where: dict[str, str] = {}
    for number, tensors in enumerate(files, start=1):
        file = f"model-{number:05}-of-{len(files):05}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, file)
    write_json(folder / INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": where})


def _taken_apart(
    name: str, tensor: Tensor, shape: ModelConfig, vocabulary_size: int
) -> Iterator[tuple[str, Tensor]]:  # fmt: skip
    found = theirs(name, tensor.shape[0], shape, vocabulary_size)
    parts = tensor[: sum(found.rows)].split(found.rows)
    for their_name, part in zip(found.names, parts, strict=True):
        yield their_name, (part.T if found.transposed else part).contiguous()


class Weights:
    """A folder of weights to read from, tensor by tensor. To be used in a `with` block."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError where there are none."""
        self._folder = folder
        self._open = ExitStack()
        self._where: dict[str, Any] = {}
        try:
            files = [WEIGHTS]
            if (folder / INDEX).exists():
                files = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
            for file in files:
                content = self._open.enter_context(safe_open(folder / file, framework="pt"))
                self._where |= dict.fromkeys(content.keys(), content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            self._open.close()
            raise UserError(f"{folder}: no Hugging Face weights to read ({WEIGHTS} or {INDEX}): {error}") from None

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def problems(self, sizes: dict[str, torch.Size], shape: ModelConfig, vocabulary_size: int) -> list[str]:
        """What keeps our parameters of these `sizes` from being read: each missing tensor, each of another shape."""
        problems = []
        for name, size in sizes.items():
            found = theirs(name, size[0], shape, vocabulary_size)
            for their_name, rows in zip(found.names, found.rows, strict=True):
                wanted = [rows, *size[1:]]
                wanted = wanted[::-1] if found.transposed else wanted
                content = self._file(their_name)
                if content is None:
                    problems.append(f"{their_name} is missing")
                elif (there := content.get_slice(self._key(their_name)).get_shape()) != wanted:
                    problems.append(f"{their_name} is {_times(there)}, the model here wants {_times(wanted)}")
        return problems

    def read(self, name: str, size: torch.Size, shape: ModelConfig, vocabulary_size: int) -> Tensor:
        """Our parameter `name`, whole, float32; rows that pad the vocabulary are zero."""
        found = theirs(name, size[0], shape, vocabulary_size)
        parts = []
        for their_name in found.names:
            content = self._file(their_name)
            assert content is not None
            part = content.get_tensor(self._key(their_name)).float()
            parts.append(part.T if found.transposed else part)
        whole = torch.zeros(size)
        torch.cat(parts, out=whole[: sum(found.rows)])
        return whole

    def _file(self, their_name: str) -> Any:
        return self._where.get(self._key(their_name))

    def _key(self, their_name: str) -> str:
        """GPT-2's first files, which are still about, leave out the first part of the names."""
        bare = their_name.removeprefix("transformer.")
        return their_name if their_name in self._where or bare not in self._where else bare


def differences(folder: Path, shape: ModelConfig) -> list[str]:
    """Settings of the weights in `folder` with which they compute something else than `shape` does."""
    try:
        there = json.loads((folder / CONFIG).read_text())
        rope = there.get("rope_parameters") or there.get("rope_scaling") or {}
        if not isinstance(rope, dict):
            raise TypeError(f"its rotary positions are {rope!r}")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{folder}: no Hugging Face weights to read ({CONFIG}): {error}") from None
    here = settings(shape, 0, 0)
    there = {"rope_theta": rope.get("rope_theta", 10_000.0), **there}
    if (kind := rope.get("rope_type", "default")) != "default":
        there["rope_type"] = kind
    if "num_attention_heads" in there:
        there.setdefault("num_key_value_heads", there["num_attention_heads"])
    decides = {
        "model_type": ("model.architecture", None),
        "n_layer": ("model.layers", None),
        "num_hidden_layers": ("model.layers", None),
        "n_head": ("model.heads", None),
        "num_attention_heads": ("model.heads", None),
        "num_key_value_heads": ("model.key_value_heads", None),
        "activation_function": ("the activation", "gelu_new"),
        "hidden_act": ("the activation", "silu"),
        "layer_norm_epsilon": ("model.norm_epsilon", 1e-5),
        "rms_norm_eps": ("model.norm_epsilon", 1e-6),
        "rope_theta": ("model.rope_theta", None),
        "rope_type": ("the kind of rotary positions", "default"),
        "tie_word_embeddings": ("model.tied_embeddings", shape.architecture == "gpt2"),
        # Their tensors would be left over without a word.
        "attention_bias": ("a bias in attention", False),
        "mlp_bias": ("a bias in the feed-forward layers", False),
        "scale_attn_weights": ("the scale of attention", True),
        "scale_attn_by_inverse_layer_idx": ("a scale of attention by layer", False),
    }
    here["rope_type"] = "default"
    found = []
    for name, (ours, default) in decides.items():
        wanted, given = here.get(name), there.get(name, default)
        if name == "rope_theta" and shape.architecture == "gpt2":
            continue
        if wanted is None or _same(wanted, given):
            continue
        found.append(f"{name} is {given!r}, {ours} here is {wanted!r}")
        if name == "model_type":
            return found
    return found


def write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n")


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, int | float):
        return math.isclose(left, right)
    return left == right


def _times(size: Any) -> str:
    return " x ".join(map(str, size))
