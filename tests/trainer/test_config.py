"""Settings are read once, and what is wrong with them is said in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from trainer.config import RECIPES, accumulation_steps, load_config
from trainer.errors import UserError

PLACES = ["data.uri=tokens", "checkpoint.uri=checkpoints"]


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_recipe_is_complete_but_for_its_places(recipe: str) -> None:
    assert load_config(recipe, PLACES).data.uri == "tokens"


def test_changes_win_over_the_file_and_keep_its_other_fields() -> None:
    config = load_config("cpu-tiny", [*PLACES, "optimizer.learning_rate=1e-3", "tracking.run_name=7", "model.layers=2"])
    assert config.optimizer.learning_rate == 1e-3
    assert config.tracking.run_name == "7"
    assert (config.model.layers, config.model.width) == (2, 128)


def test_every_mistake_is_listed_at_once() -> None:
    with pytest.raises(UserError) as refused:
        load_config("cpu-tiny", ["model.layrs=2", "training.steps=0", "modle.width=3"])
    assert str(refused.value).splitlines()[1:] == [
        "  data: is missing; add it or --set data.uri=...",
        "  model.layrs: there is no such setting; did you mean layers?",
        "  training.steps: Input should be greater than or equal to 1, not 0",
        "  checkpoint.uri: is missing; add it or --set checkpoint.uri=...",
        "  modle: there is no such setting; did you mean model?",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- a list\n", "expected sections such as `model:`"),
        ("a: [1", "can't be read as YAML"),
        ("", "expected sections"),
        ("a: " + 100_000 * "[", "can't be read as YAML: too many brackets"),
        ("model: 3\n", "model: Input should be a valid dictionary"),
    ],
)
def test_file_that_is_no_configuration_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(UserError, match=said):
        load_config(str(tmp_path / "run.yaml"))


@pytest.mark.parametrize("change", ["steps=3", "training.steps", "=3", "training.=3"])
def test_change_without_section_field_and_value_is_refused(change: str) -> None:
    with pytest.raises(UserError, match=r"expected section\.field=value"):
        load_config("cpu-tiny", [change])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("training.steps=true", "training.steps: expected another kind of value than true"),
        ("run.directory=", "run.directory: expected a value, found none"),
        ("run.directory='  '", "run.directory: '  ': expected a text with something in it"),
        (r'data.uri="a\0b"', "data.uri: .*no NUL characters"),
        ("model.layers=99999999999999999999", "model.layers: Input should be less than or equal to 10000"),
        ("checkpoint.interval_steps=often", "  checkpoint.interval_steps: Input should be 'auto', not 'often'"),
        ("checkpoint.allow_changed=training.steps", r"expected a list, such as \[training.steps\]"),
    ],
)
def test_value_that_cannot_be_meant_is_refused(change: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_config("cpu-tiny", [*PLACES, change])


def test_missing_file_names_the_recipes() -> None:
    with pytest.raises(UserError, match="cpu-bench, cpu-tiny, gpt2-124m"):
        load_config("cpu-tyni")


@pytest.mark.parametrize(("world_size", "expected"), [(1, 6), (2, 3), (3, 2), (6, 1)])
def test_accumulation_follows_from_the_number_of_ranks(world_size: int, expected: int) -> None:
    training = load_config(
        "cpu-tiny", [*PLACES, "training.global_batch_size=12", "training.micro_batch_size=2"]
    ).training
    assert accumulation_steps(training, world_size) == expected


def test_batch_that_ranks_can_not_share_says_what_would_do() -> None:
    training = load_config(
        "cpu-tiny", [*PLACES, "training.global_batch_size=12", "training.micro_batch_size=4"]
    ).training
    with pytest.raises(UserError, match=r"use a multiple of 8, or set training.micro_batch_size to one of 1, 2, 3, 6$"):
        accumulation_steps(training, 2)
    with pytest.raises(UserError, match=r"use a multiple of 20$"):
        accumulation_steps(training, 5)


def test_allowing_a_change_that_needs_no_permission_is_refused() -> None:
    with pytest.raises(UserError, match=r"'training\.stepps'.*did you mean training\.steps"):
        load_config("cpu-tiny", [*PLACES, "checkpoint.allow_changed=[training.stepps]"])


def test_only_what_decides_the_numbers_is_essential() -> None:
    one = load_config("cpu-tiny", PLACES)
    moved = [*PLACES, "run.directory=elsewhere", "parallel.strategy=fsdp", "training.micro_batch_size=4"]
    assert load_config("cpu-tiny", moved).essentials() == one.essentials()
    for change in ("run.seed=1", "model.dropout=0.2", "training.global_batch_size=64", "optimizer.beta1=0.8"):
        assert load_config("cpu-tiny", [*PLACES, change]).essentials() != one.essentials()
