"""Every recipe that comes with the trainer is valid and fits the layout it is meant for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from trainer.config import RECIPES, Config, accumulation_steps, load_config
from trainer.flops import parameters
from trainer.plan import GIB, plan

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


@dataclass(frozen=True)
class Meant:
    ranks: int
    vocabulary: int
    device_gib: int | None
    million_parameters: float
    any_divisor_of: int
    """Numbers of ranks that share the batch out evenly."""


MEANT = {
    "cpu-tiny": Meant(2, 4096, None, 1.33, 4),
    "cpu-bench": Meant(1, 65, None, 0.81, 1),
    "gpt2-124m": Meant(8, 50257, 40, 124.4, 40),
    "llama-1b": Meant(8, 128256, 80, 1235.8, 128),
}


def recipe(name: str) -> Config:
    return load_config(name, ["data.uri=data", "checkpoint.uri=checkpoints"])


def test_each_recipe_is_looked_at_here_and_described() -> None:
    shipped = {file.stem for file in RECIPES.glob("*.yaml")}
    assert shipped == set(MEANT)
    assert all(f"`{name}`" in PAGE.read_text() for name in shipped)


@pytest.mark.parametrize("name", MEANT)
def test_recipe_fits_its_layout(name: str) -> None:
    meant, config = MEANT[name], recipe(name)
    assert parameters(config.model, meant.vocabulary).total / 1e6 == pytest.approx(meant.million_parameters, rel=0.01)
    planned = plan(config, meant.vocabulary, meant.ranks, meant.device_gib and meant.device_gib * GIB)
    planned.check()
    assert planned.fits is (True if meant.device_gib else None)
    for ranks in range(1, meant.any_divisor_of + 1):
        if meant.any_divisor_of % ranks == 0:
            assert accumulation_steps(config.training, ranks) >= 1


@pytest.mark.parametrize("name", MEANT)
def test_recipe_names_no_place(name: str) -> None:
    """Where data and checkpoints lie is for whoever trains to say."""
    values = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    assert "data" not in values
    assert "uri" not in values["checkpoint"]
    assert values["run"]["directory"] == f"runs/{name}"
