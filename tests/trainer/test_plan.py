"""`--dry-run` tells what a run would hold, as it is when it runs, and refuses what can't be, saying what can."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from trainer.config import Config, load_config
from trainer.errors import UserError
from trainer.memory import estimate
from trainer.model import Decoder
from trainer.plan import GIB, RESERVED_BYTES, plan
from trainer.schedule import build_optimizer
from waiting import WAIT_SECONDS

VOCABULARY = 500


def config(name: str = "cpu-tiny", **changes: Any) -> Config:
    places = {"data.uri": "data", "checkpoint.uri": "checkpoints"}
    settings = {**places, **{key.replace("__", "."): value for key, value in changes.items()}}
    return load_config(name, [f"{key}={value}" for key, value in settings.items()])


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_are_those_that_autograd_keeps(architecture: str, checkpointing: bool, precision: str) -> None:
    """Counted by the bytes of each tensor that a real forward pass saves, but for the weights."""
    settings = config(
        model__architecture=architecture,
        model__layers=5,
        training__precision=precision,
        parallel__activation_checkpointing=checkpointing,
    )
    decoder = Decoder(settings.model, VOCABULARY)
    if checkpointing:
        for name, block in list(decoder.blocks.named_children()):
            decoder.blocks.register_module(name, checkpoint_wrapper(block))
    weights = {parameter.data_ptr() for parameter in decoder.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage  # held, so that no other takes its address
        return tensor

    tokens = torch.zeros((settings.training.micro_batch_size, settings.model.context), dtype=torch.int64)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), autocast:
        decoder(tokens, tokens)
    kept = sum(storage.nbytes() for storage in saved.values())
    probabilities = 4 * tokens.numel() * 512
    estimated = estimate(settings, VOCABULARY, 1)
    assert estimated.activations == pytest.approx(kept - probabilities, rel=0.02)
    assert estimated.working >= 3 * probabilities, "scores, their gradient, and that of the loss at once"


def test_state_is_what_a_step_leaves() -> None:
    settings = config(optimizer__ema_decay=0.99)
    decoder = Decoder(settings.model, VOCABULARY)
    decoder.initialize(0)
    optimizer = build_optimizer(settings.optimizer, decoder.named_parameters())
    tokens = torch.zeros((1, 8), dtype=torch.int64)
    decoder(tokens, tokens)[0].backward()
    optimizer.step()
    weights = sum(parameter.nbytes for parameter in decoder.parameters())
    moments = sum(value.nbytes for state in optimizer.state.values() for value in state.values() if value.dim())
    memory = estimate(settings, VOCABULARY, 1)
    assert (memory.parameters, memory.gradients, memory.average) == (weights, weights, weights)
    assert memory.optimizer == moments
    assert plan(settings, VOCABULARY, 1).checkpoint_bytes == 2 * weights + moments


def test_fsdp_splits_the_state_and_accumulates_whole_gradients() -> None:
    layout: dict[str, Any] = {"parallel__strategy": "fsdp", "training__global_batch_size": 32}
    alone = estimate(config(), VOCABULARY, 1)
    split = estimate(config(**layout, training__micro_batch_size=8), VOCABULARY, 4)
    assert split.parameters == alone.parameters / 4
    assert split.optimizer == alone.optimizer / 4
    assert split.gradients == alone.gradients / 4
    assert split.gathered > 0
    accumulated = estimate(config(**layout, training__micro_batch_size=4), VOCABULARY, 4)
    assert accumulated.gradients == alone.gradients


def big(**changes: Any) -> Config:
    """About a billion parameters, in samples of a thousand tokens."""
    shape = {"model__layers": 20, "model__width": 2048, "model__heads": 16, "model__context": 1024}
    batch = {"training__global_batch_size": 256, "training__micro_batch_size": 32, "training__precision": "bf16"}
    return config("gpt2-124m", **{**shape, **batch, "parallel__compile": False, **changes})


def test_what_does_not_fit_is_refused_with_what_does() -> None:
    refused = plan(big(), 32000, 4, 40 * GIB)
    assert refused.fits is False
    with pytest.raises(UserError, match=r"each rank needs \S+ GiB, and has 38.50 GiB of") as said:
        refused.check()
    ways = str(said.value).partition("What would fit: ")[2].split("; or ")
    assert len(ways) == 3
    for way in ways:
        ranks, _, settings = way.partition(" ranks with ") if " ranks with " in way else ("4", "", way)
        changes: dict[str, Any] = dict(setting.split("=") for setting in settings.split())
        advised = plan(big(**{name.replace(".", "__"): value for name, value in changes.items()}), 32000, int(ranks))
        assert advised.memory.total <= 40 * GIB - RESERVED_BYTES, way
        if "micro_batch_size" in way:  # and it is the largest
            size = int(changes["training.micro_batch_size"])
            larger: dict[str, Any] = {name.replace(".", "__"): value for name, value in changes.items()}
            larger["training__micro_batch_size"] = 2 * size
            assert plan(big(**larger), 32000, int(ranks)).memory.total > 40 * GIB - RESERVED_BYTES


def test_compiled_blocks_are_given_the_benefit_of_the_doubt() -> None:
    needed = plan(big(), 32000, 4).memory
    between = needed.total - needed.activations // 2 + RESERVED_BYTES
    assert plan(big(), 32000, 4, between).fits is False
    compiled = plan(big(parallel__compile=True), 32000, 4, between)
    assert compiled.fits is None
    compiled.check()
    assert "may fit, compiled" in compiled.text()
    assert plan(big(parallel__compile=True), 32000, 4, 8 * GIB).fits is False


def test_too_large_for_any_layout() -> None:
    vast = plan(
        big(model__layers=2000, training__global_batch_size=2, training__micro_batch_size=1), 32000, 2, 40 * GIB
    )
    with pytest.raises(UserError, match="What would fit: fewer layers"):
        vast.check()


def test_the_plan_in_words() -> None:
    said = plan(config(), VOCABULARY, 2, 24 * GIB, samples=640).text()
    for expected in (
        "gpt2, ",
        "2 rank(s), ddp (a whole model each), fp32",
        "32 samples = 2 ranks x 8 at once x 2 accumulated; 4,096 tokens",
        "200 steps, 819,200 tokens, 10.00 epochs",
        "the last 3 kept",
        "of 22.50 GiB usable: fits",
    ):
        assert expected in said
    assert "gathered" not in said
    assert "average" not in said


def dry_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer", "--config", "cpu-tiny", "--set=data.uri=nowhere"]
    command += ["--set=checkpoint.uri=nowhere", "--dry-run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C.UTF-8"})


def test_from_the_command_line_without_data_or_ranks(tmp_path: Path) -> None:
    done = dry_run("--world-size", "4", "--vocabulary-size", "500", "--device-memory-gib", "24")
    assert done.returncode == 0, done.stderr
    assert "4 rank(s), ddp" in done.stdout
    assert "fits" in done.stdout

    done = dry_run("--world-size", "4", "--vocabulary-size", "500", "--device-memory-gib", "1.501")
    assert (done.returncode, done.stdout) == (2, "")
    assert "What would fit" in done.stderr
    assert "Traceback" not in done.stderr

    done = dry_run("--world-size", "3", "--vocabulary-size", "500")
    assert done.returncode == 2
    assert "use a multiple of 24" in done.stderr

    done = dry_run(f"--set=data.uri={tmp_path}")
    assert done.returncode == 2
    assert "manifest.json" in done.stderr


@pytest.mark.parametrize("size", ["nan", "inf", "-3", "0", "much"])
def test_memory_that_no_device_has_is_refused(size: str) -> None:
    done = dry_run("--vocabulary-size", "500", "--device-memory-gib", size)
    assert done.returncode == 2
    assert f"{size}: expected a number of GiB, such as 80" in done.stderr


def test_model_that_no_machine_holds_is_refused_before_it_is_built(tmp_path: Path) -> None:
    settings = ["model.width=1000000", f"run.directory={tmp_path}/run", f"checkpoint.uri={tmp_path}/saved"]
    command = [sys.executable, "-m", "trainer", "--config", "cpu-tiny", "--set=data.uri=nowhere"]
    command += [f"--set={setting}" for setting in settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS)
    assert done.returncode == 2
    assert "its weights and their state take at least 715,25" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    command = [sys.executable, "-m", "trainer", "--config", "cpu-tiny", "--set=data.uri=nowhere", "--dry-run"]
    command += ["--set=checkpoint.uri=nowhere", "--vocabulary-size=500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_memory_adds_up() -> None:
    memory = estimate(config(), VOCABULARY, 2)
    assert memory.total == sum(dataclasses.asdict(memory).values())
