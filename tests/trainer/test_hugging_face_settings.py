"""Weights that compute something else than the model here are refused, also where every tensor has its shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from trainer import hugging_face
from trainer.config_sections import ModelConfig
from trainer.errors import UserError

GPT2 = ModelConfig(layers=1, heads=2, width=8, context=4)
LLAMA = ModelConfig(architecture="llama", layers=1, heads=2, width=8, context=4)


def written(folder: Path, shape: ModelConfig, **changes: Any) -> Path:
    content = hugging_face.settings(shape, vocabulary_size=7, end_of_text=0) | changes
    (folder / hugging_face.CONFIG).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("shape", "name", "value"),
    [
        (LLAMA, "attention_bias", True),
        (LLAMA, "mlp_bias", True),
        (GPT2, "scale_attn_weights", False),
        (GPT2, "scale_attn_by_inverse_layer_idx", True),
    ],
)
def test_what_shows_in_no_tensor_that_is_read(tmp_path: Path, shape: ModelConfig, name: str, value: bool) -> None:
    assert hugging_face.differences(written(tmp_path, shape), shape) == []
    (found,) = hugging_face.differences(written(tmp_path, shape, **{name: value}), shape)
    assert found.startswith(f"{name} is {value}")


def test_a_config_of_old_that_leaves_out_what_is_usual_is_no_other_model(tmp_path: Path) -> None:
    content = hugging_face.settings(LLAMA, vocabulary_size=7, end_of_text=0)
    for name in ("attention_bias", "mlp_bias"):
        del content[name]
    (tmp_path / hugging_face.CONFIG).write_text(json.dumps(content))
    assert hugging_face.differences(tmp_path, LLAMA) == []


@pytest.mark.parametrize("content", ["[]", "null", '{"model_type": "llama", "rope_scaling": 3}', "{"])
def test_a_config_that_is_none_is_told_by_its_folder(tmp_path: Path, content: str) -> None:
    (tmp_path / hugging_face.CONFIG).write_text(content)
    with pytest.raises(UserError, match="no Hugging Face weights to read"):
        hugging_face.differences(tmp_path, LLAMA)


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}', "{"])
def test_an_index_that_is_none_is_told_by_its_folder(tmp_path: Path, content: str) -> None:
    (tmp_path / hugging_face.INDEX).write_text(content)
    with pytest.raises(UserError, match="no Hugging Face weights to read"):
        hugging_face.Weights(tmp_path)
