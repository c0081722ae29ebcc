"""How settings get from Pulumi to the program; notices when the SDK keeps them otherwise."""

from __future__ import annotations

import json

import pulumi
import pytest
from mocked_pulumi import run

from trainyard.stacks.config import settings_of_this_stack, values_under
from trainyard.stacks.settings import SettingsError


def _seen(config: dict[str, str]) -> dict[str, str]:
    seen: dict[str, str] = {}
    run(lambda: seen.update(values_under("trainyard")), config=config)
    return seen


def test_every_key_of_the_namespace_is_seen_and_no_other() -> None:
    config = {"trainyard:region": "us-east-1", "trainyard:colour": "red", "aws:region": "eu-west-1"}
    assert _seen(config) == {"region": "us-east-1", "colour": "red"}


def test_values_that_pulumi_passes_by_environment_variable_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps({"trainyard:region": "us-east-1", "trainyard:owner": "outside"}))
    assert _seen({"trainyard:owner": "inside"}) == {"region": "us-east-1", "owner": "inside"}


def test_it_agrees_with_pulumis_public_reading() -> None:
    def program() -> None:
        for key, value in values_under("trainyard").items():
            assert pulumi.Config("trainyard").require(key) == value

    run(program, config={"trainyard:region": "us-east-1", "trainyard:availability_zones": '["a"]'})


def test_a_wrong_setting_names_the_stack_and_makes_nothing() -> None:
    with pytest.raises(SettingsError, match=r"of the stack research (is|are) wrong") as refused:
        run(lambda: settings_of_this_stack(), stack="research", config={"trainyard:colour": "red"})
    assert "trainyard:colour" in str(refused.value)
