"""A trained model leaves for `transformers` and comes back: the held-out loss goes with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
import torch
from trainer.data import Samples
from trainer.errors import UserError
from trainer.export import export
from trainer.shards import TokenShards
from transformers import AutoModelForCausalLM

LLAMA = {"model__architecture": "llama", "model__heads": 4, "model__key_value_heads": 2}
EVALUATED = {"evaluation__interval_steps": 12, "evaluation__samples": 20}


@torch.no_grad()
def held_out_loss(folder: Path, tokens: Path, samples: int) -> float:
    """As plain `transformers` computes it, in nats per token."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    data = Samples(TokenShards.open(str(tokens), "val", folder / "cache"), 16)
    inputs, targets = (torch.from_numpy(one) for one in data.read(torch.arange(samples).numpy()))
    logits = model(inputs).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100).item()


def told_loss(run) -> float:
    return run.events("evaluation")[-1]["evaluation_loss"]


@pytest.mark.parametrize("architecture", [{}, LLAMA])
def test_transformers_has_the_same_held_out_loss(
    new_run: Callable, tokens: Path, tmp_path: Path, architecture: dict
) -> None:
    run = new_run(**architecture, **EVALUATED, parallel__strategy="fsdp", model__dropout=0.0).go(2)
    done = export(str(run.directory), tmp_path / "model")
    assert (done.step, done.which, done.tokenizer) == (12, "trained", False)
    assert held_out_loss(tmp_path / "model", tokens, 20) == pytest.approx(told_loss(run), abs=1e-4)


def test_averages_are_exported_where_there_are_any(new_run: Callable, tokens: Path, tmp_path: Path) -> None:
    run = new_run(**EVALUATED, optimizer__ema_decay=0.9).go()
    assert export(str(run.checkpoints), tmp_path / "average").which == "average"
    assert held_out_loss(tmp_path / "average", tokens, 20) == pytest.approx(told_loss(run), abs=1e-4)
    assert export(str(run.checkpoints / "step-00000012"), tmp_path / "trained", which="trained").step == 12
    assert held_out_loss(tmp_path / "trained", tokens, 20) != pytest.approx(told_loss(run), abs=1e-3)


@pytest.mark.parametrize(("strategy", "ranks"), [("ddp", 1), ("fsdp", 2)])
def test_a_run_begins_where_exported_weights_left_off(
    new_run: Callable, tokens: Path, tmp_path: Path, strategy: str, ranks: int
) -> None:
    first = new_run(**LLAMA, **EVALUATED).go()
    export(str(first.directory), tmp_path / "model")
    second = new_run(
        **LLAMA, model__initialize_from=str(tmp_path / "model"), parallel__strategy=strategy, model__dropout=0.0,
        optimizer__learning_rate=1e-9, optimizer__ema_decay=0.9, evaluation__interval_steps=4, evaluation__samples=20,
    )  # fmt: skip
    second.start(ranks, training__steps=4).finish()
    assert told_loss(second) == pytest.approx(told_loss(first), abs=1e-4)

    # A resumed run has weights of its own and does not look for those.
    (tmp_path / "model" / "model.safetensors").unlink()
    resumed = second.start(ranks, training__steps=8, checkpoint__allow_changed='["training.steps"]')
    resumed.finish()
    assert second.outcome["resumed_from_step"] == 4


def test_weights_of_another_model_are_refused_on_every_rank(new_run: Callable, tmp_path: Path) -> None:
    first = new_run(**LLAMA).go()
    export(str(first.directory), tmp_path / "model")
    other = new_run(**LLAMA, model__width=64, model__initialize_from=str(tmp_path / "model"))
    assert set(other.start(2).wait()) == {2}
    said = other.log.read_text()
    assert "model.layers.0.self_attn.q_proj.weight is 32 x 32, the model here wants 64 x 64" in said
    assert "Traceback" not in said


def test_from_a_bucket_and_back(new_run: Callable, tokens: Path, tmp_path: Path, s3: str) -> None:
    run = new_run(**EVALUATED, checkpoint__uri=f"s3://{s3}/runs/a").go()
    export(f"s3://{s3}/runs/a", tmp_path / "model")
    assert held_out_loss(tmp_path / "model", tokens, 20) == pytest.approx(told_loss(run), abs=1e-4)
    for file in (tmp_path / "model").glob("*.*"):
        boto3.client("s3").upload_file(str(file), s3, f"model/{file.name}")
    again = new_run(
        model__initialize_from=f"s3://{s3}/model", optimizer__learning_rate=1e-9, training__steps=4,
        evaluation__interval_steps=4, evaluation__samples=20,
    ).go(2)  # fmt: skip
    assert told_loss(again) == pytest.approx(told_loss(run), abs=1e-4)


def test_what_can_not_be_exported_is_said(new_run: Callable, tmp_path: Path) -> None:
    run = new_run().go()
    folder = tmp_path / "model"
    with pytest.raises(UserError, match="no averaged weights"):
        export(str(run.directory), folder, which="average")
    with pytest.raises(UserError, match="no finished checkpoint of step 5; there are 4, 8, 12"):
        export(str(run.directory), folder, step=5)
    with pytest.raises(UserError, match="no finished checkpoint there"):
        export(str(tmp_path / "nothing"), folder)
    (shard,) = (run.checkpoints / "step-00000012").glob("*.distcp")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match="is damaged: the SHA-256 of"):
        export(str(run.directory), folder)
    assert not folder.exists()
    export(str(run.directory), folder, step=8)
    with pytest.raises(UserError, match="already and not empty"):
        export(str(run.directory), folder, step=8)
    assert {file.name for file in folder.iterdir()} == {"config.json", "generation_config.json", "model.safetensors"}
    assert not list(tmp_path.glob(".model.*"))


def test_a_place_that_takes_no_folder_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    for folder in (Path("/proc/exported"), tmp_path / "notes" / "exported"):
        with pytest.raises(UserError, match=f"{folder}: can't be written: .*; name another folder"):
            export("nowhere", folder)
    for settings in ("[1", "3", "checkpoint: 3", 10_000 * "["):
        (tmp_path / "config.yaml").write_text(settings)
        with pytest.raises(UserError, match="names no checkpoint"):
            export(str(tmp_path), tmp_path / "exported")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "notes"]


def test_from_the_command_line_with_the_tokenizer(new_run: Callable, tmp_path: Path) -> None:
    """On a data set as `prepare` makes it, text comes out of the exported folder."""
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("the cat sat on the mat. " * 400)
    prepared = [sys.executable, "-m", "trainer.prepare", str(tmp_path / "text"), "--to", str(tmp_path / "data")]
    subprocess.run([*prepared, "--vocab-size", "300", "--val-fraction", "0"], check=True, capture_output=True)
    run = new_run(**{"data.uri": str(tmp_path / "data"), "training__steps": 4}).go()
    command = [
        sys.executable,
        "-m",
        "trainyard.cli.main",
        "export",
        str(run.directory),
        str(tmp_path / "model"),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tokenizer"] is True

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    text = "the cat sat"
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert ids.max() < model.config.vocab_size
    assert tokenizer.decode(ids[0]) == text
    assert tokenizer.eos_token_id == model.config.eos_token_id
    written = model.generate(ids, max_new_tokens=3, do_sample=False)
    assert written.shape[1] <= ids.shape[1] + 3
