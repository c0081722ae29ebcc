"""A run that is killed, at any moment, ends with the very numbers of one that never was."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

LLAMA = {"model__architecture": "llama", "model__heads": 4, "model__key_value_heads": 2}


def assert_same_tensors(left: dict, right: dict) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


@pytest.mark.parametrize(
    ("strategy", "ranks", "precision", "kills", "model"),
    [
        ("ddp", 1, "fp32", 3, {}),
        ("ddp", 2, "fp32", 4, {}),
        ("ddp", 3, "fp32", 2, {}),
        ("fsdp", 2, "fp32", 2, {}),
        ("fsdp", 3, "fp32", 2, {}),
        ("fsdp", 2, "fp16", 2, {}),
        ("ddp", 1, "fp32", 2, LLAMA),
        ("fsdp", 2, "fp32", 2, LLAMA),
        ("fsdp", 2, "bf16", 2, LLAMA | {"model__tied_embeddings": False, "parallel__activation_checkpointing": True}),
    ],
)
def test_killed_at_random_steps_equals_uninterrupted(
    new_run: Callable, tensors_of: Callable, strategy: str, ranks: int, precision: str, kills: int, model: dict
) -> None:
    settings = {"parallel__strategy": strategy, "training__precision": precision, "training__steps": 24, **model}
    uninterrupted = new_run(**settings).go(ranks)
    killed = new_run(**settings)
    choose = random.Random(f"{strategy} {ranks} {precision}")
    for earliest in sorted(choose.sample(range(4, 22), kills)):
        gang = killed.start(ranks)
        killed.wait_for_step(earliest)
        gang.kill()
    killed.go(ranks)
    resumed_steps = [event["step"] for event in killed.events("resumed")]

    assert resumed_steps, "the kills came before the first checkpoint"
    assert killed.steps == uninterrupted.steps
    last = [run.checkpoints / "step-00000024" for run in (killed, uninterrupted)]
    assert_same_tensors(*map(tensors_of, last))
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in last]
    assert manifests[0]["progress"] == manifests[1]["progress"]
    assert manifests[0]["scaler"] == manifests[1]["scaler"]
    assert (manifests[0]["scaler"] is not None) == (precision == "fp16")


def test_killed_while_saving_goes_on_from_the_checkpoint_before(new_run: Callable) -> None:
    uninterrupted = new_run().go(2)
    killed = new_run()
    folder = killed.checkpoints / "step-00000008"
    killed.halted(2, "manifest", at=1, who=[0]).kill()  # about to write the second one
    assert any(folder.glob("*.distcp"))
    assert not (folder / "manifest.json").exists()

    killed.go(2)
    assert killed.outcome["resumed_from_step"] == 4
    assert [refused["step"] for refused in killed.events("checkpoint-refused")] == [8]
    assert "never finished" in killed.events("checkpoint-refused")[0]["reason"]
    assert killed.steps == uninterrupted.steps


@pytest.mark.parametrize(
    ("saved_by", "resumed_by"),
    [((2, "ddp"), (1, "ddp")), ((2, "fsdp"), (1, "ddp")), ((1, "ddp"), (3, "fsdp")), ((3, "fsdp"), (2, "ddp"))],
)
def test_other_ranks_resume_what_some_saved(
    new_run: Callable, saved_by: tuple[int, str], resumed_by: tuple[int, str]
) -> None:
    alone = new_run(model__dropout=0.0).go()
    moved = new_run(model__dropout=0.0)
    moved.halted(saved_by[0], at=5, parallel__strategy=saved_by[1]).kill()
    moved.go(resumed_by[0], parallel__strategy=resumed_by[1])

    (resumed,) = moved.events("resumed")
    assert resumed["step"] == 4
    assert ("derived" in resumed["random_numbers"]) == (resumed_by[0] > saved_by[0])
    assert moved.steps.keys() == alone.steps.keys()
    for step, (loss, norm) in alone.steps.items():
        assert moved.steps[step] == pytest.approx((loss, norm), rel=1e-4), step


def flip_a_byte(folder: Path) -> str:
    file = folder / "__1_0.distcp"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return "SHA-256 of __1_0.distcp differs"


def truncate(folder: Path) -> str:
    file = folder / "__0_0.distcp"
    file.write_bytes(file.read_bytes()[:-100])
    return "__0_0.distcp has"


def lose_a_file(folder: Path) -> str:
    (folder / ".metadata").unlink()
    return ".metadata is missing"


def lose_the_manifest(folder: Path) -> str:
    (folder / "manifest.json").unlink()
    return "no manifest.json"


def cut_the_manifest(folder: Path) -> str:
    manifest = folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    return "no whole manifest"


def forge_the_manifest(folder: Path) -> str:
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"step": 8', '"step": 9'))
    return "SHA-256"


@pytest.fixture(scope="module")
def saved_twice(make_run: Callable, tmp_path_factory: pytest.TempPathFactory):
    """Two ranks, killed with checkpoints of steps 4 and 8. For copies only."""
    run = make_run(tmp_path_factory.mktemp("saved-twice"))
    run.halted(2, at=8).kill()
    return run


@pytest.fixture(scope="module")
def eight_steps(make_run: Callable, tmp_path_factory: pytest.TempPathFactory):
    """One rank, finished, with checkpoints of steps 4 and 8. For copies only."""
    return make_run(tmp_path_factory.mktemp("eight-steps"), training__steps=8).go()


def copy(run: Any, to: Any) -> None:
    """What `run` has left behind: its record and its checkpoints."""
    for source, target in ((run.directory, to.directory), (run.checkpoints, to.checkpoints)):
        shutil.copytree(source, target)


@pytest.mark.parametrize(
    "damage", [flip_a_byte, truncate, lose_a_file, lose_the_manifest, cut_the_manifest, forge_the_manifest]
)
def test_damaged_checkpoint_is_refused_by_name_and_the_one_before_used(
    new_run: Callable, saved_twice: Any, damage: Callable
) -> None:
    run = new_run()
    copy(saved_twice, run)
    reason = damage(run.checkpoints / "step-00000008")
    run.go(2)

    (refused,) = [event for event in run.events("checkpoint-refused") if event["step"] == 8]
    assert reason in refused["reason"]
    assert refused["uri"] == str(run.checkpoints / "step-00000008")
    assert run.outcome["resumed_from_step"] == 4
    assert run.outcome["outcome"] == "finished"
    assert run.steps.keys() == set(range(1, 13))


def test_without_any_sound_checkpoint_the_run_begins_anew(new_run: Callable, eight_steps: Any) -> None:
    run = new_run(training__steps=8)
    copy(eight_steps, run)
    before = run.steps
    for folder in run.checkpoints.glob("step-*"):
        flip = folder / "__0_0.distcp"
        flip.write_bytes(flip.read_bytes()[:-1])
    run.go()
    assert [event["step"] for event in run.events("checkpoint-refused")] == [8, 4]
    assert run.outcome["resumed_from_step"] is None
    assert run.steps == before


def test_finished_run_has_nothing_left_to_do(new_run: Callable) -> None:
    run = new_run().go()
    before = run.steps
    run.go()
    assert run.outcome == {**run.outcome, "outcome": "finished", "step": 12, "resumed_from_step": 12}
    assert run.steps == before


def test_only_the_last_checkpoints_are_kept(new_run: Callable) -> None:
    run = new_run(checkpoint__interval_steps=2, checkpoint__keep_last=2).go()
    assert sorted(folder.name for folder in run.checkpoints.glob("step-*")) == ["step-00000010", "step-00000012"]


def test_changed_settings_are_refused_with_the_difference_unless_allowed(new_run: Callable, eight_steps: Any) -> None:
    run = new_run(training__steps=8)
    copy(eight_steps, run)
    refused = run.start(optimizer__learning_rate=0.02, training__steps=12)
    assert refused.wait() == [2]
    said = run.log.read_text()
    assert "optimizer.learning_rate: saved with 0.01, now 0.02" in said
    assert "training.steps: saved with 8, now 12" in said
    assert run.outcome["outcome"] == "failed"

    run.go(training__steps=12, checkpoint__allow_changed=["training.steps"])
    assert run.outcome["resumed_from_step"] == 8
    assert run.steps.keys() == set(range(1, 13))


def test_a_run_that_is_past_the_steps_asked_for_is_refused_and_left_as_it_is(
    new_run: Callable, eight_steps: Any
) -> None:
    run = new_run(training__steps=8)
    copy(eight_steps, run)
    kept = sorted(run.checkpoints.glob("step-*"))
    assert run.start(training__steps=6, checkpoint__allow_changed=["training.steps"]).wait() == [2]
    assert "is of step 8, beyond training.steps, which is 6" in run.log.read_text()
    assert sorted(run.checkpoints.glob("step-*")) == kept


def test_an_average_that_was_never_kept_is_refused_in_words(new_run: Callable) -> None:
    run = new_run(training__steps=4).go(2)
    changed = {"optimizer__ema_decay": 0.9, "checkpoint__allow_changed": ["optimizer.ema_decay"]}
    assert run.start(2, **changed).wait() == [2, 2]
    said = run.log.read_text()
    assert "does not fit this model: Missing key in checkpoint state_dict: average/" in said
    assert "It holds no averaged weights: it was saved without optimizer.ema_decay" in said
    assert "Traceback" not in said


def test_other_data_is_refused(new_run: Callable, eight_steps: Any, write_tokens: Callable, tmp_path: Path) -> None:
    run = new_run(training__steps=8)
    copy(eight_steps, run)
    (tmp_path / "other").mkdir()
    write_tokens(tmp_path / "other", {"train": (1400, 1237), "val": (401,)})
    assert run.start(data__uri=tmp_path / "other").wait() == [2]
    assert "data: saved with" in run.log.read_text()


@pytest.mark.parametrize(("strategy", "precision"), [("ddp", "fp32"), ("fsdp", "fp32"), ("fsdp", "bf16")])
def test_evaluation_changes_neither_training_nor_what_is_saved_after_it(
    new_run: Callable, tensors_of: Callable, strategy: str, precision: str
) -> None:
    settings = {"parallel__strategy": strategy, "training__precision": precision}
    plain = new_run(**settings).go(2)
    evaluated = new_run(**settings, evaluation__interval_steps=4, evaluation__samples=7)
    evaluated.halted(2, at=7).kill()
    evaluated.go(2)
    assert evaluated.steps == plain.steps
    assert [line["step"] for line in evaluated.events("evaluation")] == [4, 8, 12]
    assert_same_tensors(
        tensors_of(evaluated.checkpoints / "step-00000012"), tensors_of(plain.checkpoints / "step-00000012")
    )


def test_held_out_loss_does_not_depend_on_the_number_of_ranks(new_run: Callable) -> None:
    settings = {"evaluation__interval_steps": 12, "evaluation__samples": 7, "model__dropout": 0.0}
    alone, shared = new_run(**settings).go(1), new_run(**settings).go(3)
    expected = alone.events("evaluation")[0]["evaluation_loss"]
    assert shared.events("evaluation")[0]["evaluation_loss"] == pytest.approx(expected, rel=1e-5)
