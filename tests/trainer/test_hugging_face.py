"""Our weights and those of `transformers` are the same function, in either direction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from trainer.config_sections import ModelConfig
from trainer.errors import UserError
from trainer.hugging_face import INDEX, WEIGHTS, Weights, differences, settings, write_json, write_weights
from trainer.model import Decoder
from transformers import AutoModelForCausalLM, GPT2LMHeadModel, LlamaForCausalLM

VOCABULARY = 61

GPT2 = ModelConfig(layers=2, heads=2, width=16, context=12)
LLAMA = ModelConfig(
    architecture="llama", layers=2, heads=4, key_value_heads=2, width=16, context=12, feed_forward_width=40,
    rope_theta=5000.0, norm_epsilon=1e-6,
)  # fmt: skip
SHAPES = {
    "gpt2": GPT2,
    "gpt2, untied, wider": GPT2.model_copy(update={"tied_embeddings": False, "feed_forward_width": 24}),
    "llama": LLAMA,
    "llama, untied, ungrouped": LLAMA.model_copy(update={"tied_embeddings": False, "key_value_heads": None}),
}


def decoder(shape: ModelConfig) -> Decoder:
    model = Decoder(shape, VOCABULARY)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too, unlike those of a new model
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


def written(model: Decoder, folder: Path, **how: int) -> Path:
    folder.mkdir()
    write_weights(folder, dict(model.state_dict()), model.shape, VOCABULARY, **how)
    write_json(folder / "config.json", settings(model.shape, VOCABULARY, end_of_text=0))
    return folder


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_transformers_computes_the_same(name: str, tokens: torch.Tensor, tmp_path: Path) -> None:
    model = decoder(SHAPES[name])
    theirs, told = AutoModelForCausalLM.from_pretrained(written(model, tmp_path / "model"), output_loading_info=True)
    assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(theirs) is (LlamaForCausalLM if "llama" in name else GPT2LMHeadModel)
    theirs.eval()
    torch.testing.assert_close(theirs(tokens).logits, model.logits(tokens), atol=1e-4, rtol=1e-4)
    loss, count = model(tokens[:, :-1], tokens[:, 1:])
    assert theirs(tokens, labels=tokens).loss.item() == pytest.approx(loss.item() / int(count), abs=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_what_transformers_writes_is_read(name: str, tokens: torch.Tensor, tmp_path: Path) -> None:
    there = AutoModelForCausalLM.from_pretrained(written(decoder(SHAPES[name]), tmp_path / "ours")).eval()
    with torch.no_grad():
        for parameter in there.parameters():
            parameter.mul_(1.1)
    there.save_pretrained(tmp_path / "theirs")
    assert differences(tmp_path / "theirs", SHAPES[name]) == []
    model = Decoder(SHAPES[name], VOCABULARY).eval()
    with Weights(tmp_path / "theirs") as weights, torch.no_grad():
        sizes = {one: parameter.shape for one, parameter in model.named_parameters()}
        assert weights.problems(sizes, model.shape, VOCABULARY) == []
        for one, parameter in model.named_parameters():
            parameter.copy_(weights.read(one, parameter.shape, model.shape, VOCABULARY))
        torch.testing.assert_close(model.logits(tokens), there(tokens).logits, atol=1e-4, rtol=1e-4)


def test_large_models_come_in_several_files(tokens: torch.Tensor, tmp_path: Path) -> None:
    model = decoder(LLAMA)
    folder = written(model, tmp_path / "model", shard_bytes=6000)
    index = json.loads((folder / INDEX).read_text())
    files = sorted(file.name for file in folder.glob("*.safetensors"))
    assert len(files) > 2
    assert sorted(set(index["weight_map"].values())) == files
    assert WEIGHTS not in files
    assert all((folder / file).stat().st_size < 8000 for file in files)
    theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    torch.testing.assert_close(theirs(tokens).logits, model.logits(tokens), atol=1e-4, rtol=1e-4)
    with Weights(folder) as weights:
        for one, parameter in model.named_parameters():
            read = weights.read(one, parameter.shape, LLAMA, VOCABULARY)
            assert torch.equal(read[:VOCABULARY], parameter[:VOCABULARY]), one


def test_the_first_gpt2_files_name_tensors_without_prefix(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = decoder(GPT2)
    folder = written(model, tmp_path / "model")
    old = {name.removeprefix("transformer."): tensor for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(old, folder / WEIGHTS)
    with Weights(folder) as weights:
        sizes = {one: parameter.shape for one, parameter in model.named_parameters()}
        assert weights.problems(sizes, GPT2, VOCABULARY) == []
        name = "blocks.1.attention.qkv.weight"
        expected = model.get_parameter(name)
        assert torch.equal(weights.read(name, expected.shape, GPT2, VOCABULARY), expected)


def test_other_shapes_and_settings_are_named_one_by_one(tmp_path: Path) -> None:
    folder = written(decoder(LLAMA), tmp_path / "model")
    other = LLAMA.model_copy(update={"feed_forward_width": 48, "layers": 3})
    sizes = {one: parameter.shape for one, parameter in Decoder(other, 99).named_parameters()}
    with Weights(folder) as weights:
        problems = weights.problems(sizes, other, 99)
    assert "model.embed_tokens.weight is 61 x 16, the model here wants 99 x 16" in problems
    assert "model.layers.1.mlp.up_proj.weight is 40 x 16, the model here wants 48 x 16" in problems
    assert "model.layers.2.self_attn.k_proj.weight is missing" in problems
    assert len(problems) == 1 + 2 * 3 + 9

    assert differences(folder, other) == ["num_hidden_layers is 2, model.layers here is 3"]
    turned = LLAMA.model_copy(update={"rope_theta": 1e4, "norm_epsilon": 1e-5, "tied_embeddings": False})
    assert [line.split()[0] for line in differences(folder, turned)] == [
        "rms_norm_eps", "rope_theta", "tie_word_embeddings",
    ]  # fmt: skip
    assert differences(folder, GPT2) == ["model_type is 'llama', model.architecture here is 'gpt2'"]


def test_rotary_positions_of_another_kind_are_noticed(tmp_path: Path) -> None:
    folder = written(decoder(LLAMA), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0}
    write_json(folder / "config.json", config)
    assert differences(folder, LLAMA) == ["rope_type is 'llama3', the kind of rotary positions here is 'default'"]


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no Hugging Face weights to read \(config.json\)"):
        differences(tmp_path, GPT2)
    with pytest.raises(UserError, match=r"no Hugging Face weights to read \(model.safetensors"):
        Weights(tmp_path)
