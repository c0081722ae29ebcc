"""docs/training-settings.md has every setting of a run, and what it has is what holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from trainer.config import Config, load_config
from trainer.setting_page import page

KEPT = Path(__file__).resolve().parents[2] / "docs/training-settings.md"
ROW = re.compile(r"^\| `([a-z_0-9.]+)` \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)


def test_the_page_is_that_of_the_models() -> None:
    assert KEPT.read_text() == page(), "python -m trainer.setting_page > docs/training-settings.md"


def test_each_setting_is_there_once_and_described() -> None:
    rows = [match.groups() for match in ROW.finditer(page())]
    names = [
        f"{section}.{name}"
        for section, field in Config.model_fields.items()
        for name in field.annotation.model_fields  # ty: ignore[missing-attribute]
    ]
    assert [name for name, *_ in rows] == names
    assert not [name for name, said, may_be, _ in rows if not said.strip() or not may_be.strip()]


@pytest.mark.parametrize("recipe", ["cpu-tiny", "cpu-bench", "gpt2-124m", "llama-1b"])
def test_no_recipe_leaves_out_what_must_be_said_but_the_places(recipe: str) -> None:
    needed = {name for name, *_, default in ROW.findall(page()) if default == "–"}
    given = load_config(recipe, ["data.uri=none", "checkpoint.uri=none"]).model_dump()
    assert needed <= {f"{section}.{name}" for section, fields in given.items() for name in fields}
