"""What is generated from the settings' models: the schema for editors and the page for people."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import yaml

from trainyard.stacks.schema import schema
from trainyard.stacks.setting_page import page
from trainyard.stacks.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_schema_for_editors_is_current() -> None:
    kept = json.loads((ROOT / "stacks" / "settings.schema.json").read_text())
    assert kept == json.loads(json.dumps(schema())), "python -m trainyard.stacks.schema > stacks/settings.schema.json"


def test_the_environments_obey_the_schema() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    for file in (ROOT / "stacks" / "environments").glob("Pulumi.*.yaml"):
        assert list(validator.iter_errors(yaml.safe_load(file.read_text()))) == [], file.name


def test_the_schema_refuses_what_is_no_schedule_and_no_country() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    file = yaml.safe_load((ROOT / "stacks" / "environments" / "Pulumi.local.yaml").read_text())
    for key, wrong in (("backups", {"schedule": "daily"}), ("jurisdiction", "Germany")):
        spoiled = {"config": {**file["config"], f"trainyard:{key}": wrong}}
        assert [error.path[1] for error in validator.iter_errors(spoiled)] == [f"trainyard:{key}"]


def test_the_page_of_all_settings_is_current() -> None:
    kept = (ROOT / "docs" / "settings.md").read_text()
    assert kept == page(), "python -m trainyard.stacks.setting_page > docs/settings.md"


def test_the_page_says_how_to_choose_each_setting() -> None:
    told = (ROOT / "docs" / "environments.md").read_text()
    assert [key for key in Settings.model_fields if f"`{key}`" not in told] == []
