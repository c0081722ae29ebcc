"""`trainyard policies mutate`: what a compliance person sees of it, over a small state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from trainyard.cli.environments import SettingsError
from trainyard.cli.main import app
from trainyard.cli.policies.document import UnreadableFileError


def _mutate(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["policies", "mutate", *arguments], env={"COLUMNS": "200"})


def _state(folder: Path, *resources: tuple[str, str, dict[str, Any]]) -> str:
    """An exported state with these resources: their kinds, names and properties."""
    raw = [
        {"urn": f"urn:pulumi:dev::trainyard::{kind}::{name}", "type": kind, "inputs": props, "outputs": props}
        for kind, name, props in resources
    ]
    file = folder / "state.json"
    file.write_text(json.dumps({"version": 3, "deployment": {"manifest": {}, "resources": raw}}))
    return str(file)


def test_what_is_caught_and_what_is_missed_is_told_and_too_little_fails(tmp_path):
    """The key's own safeguards are rules' matter; what an address of mail is worth is nobody's."""
    key = {"region": "us-east-1", "enableKeyRotation": True, "deletionWindowInDays": 30, "policy": "{}"}
    heard = {"protocol": "email", "endpoint": "team@example.com", "topic": "alarms"}
    state = _state(
        tmp_path, ("aws:kms/key:Key", "key", key), ("aws:sns/topicSubscription:TopicSubscription", "team", heard)
    )

    done = _mutate("--state", state)

    assert done.exit_code == 1, done.output
    assert "mutations caught" in done.stdout
    missed = done.stdout.partition("Missed\n")[2]
    assert "accounts: TopicSubscription team: endpoint: team@example.com becomes someone@stranger.example" in missed
    assert "enableKeyRotation" not in missed


def test_json_has_every_mutation_with_the_rule_that_catches_it(tmp_path):
    state = _state(tmp_path, ("aws:kms/key:Key", "key", {"region": "us-east-1", "enableKeyRotation": True}))

    (found,) = json.loads(_mutate("--state", state, "--json").stdout)["environments"]

    by_what = {one["what"]: one for one in found["mutations"]}
    rotation = by_what["enableKeyRotation: True becomes False"]
    assert (rotation["outcome"], rotation["by"], rotation["loses"]) == ("caught", "kms-rotation", "keys")
    assert rotation["urn"].endswith("::key")
    losses = [one for one in found["mutations"] if one["outcome"] != "no loss"]
    caught = [one for one in losses if one["outcome"] == "caught"]
    assert found["share_caught"] == pytest.approx(len(caught) / len(losses), abs=1e-4)


def test_what_cannot_be_judged_is_the_users_mistake(tmp_path):
    none = tmp_path / "none.json"
    none.write_text("{}")

    with pytest.raises(UnreadableFileError, match=r"none\.json"):
        raise _mutate("--state", str(none)).exception
    with pytest.raises(SettingsError, match="nothing that could be taken away"):
        raise _mutate("--state", _state(tmp_path)).exception
    with pytest.raises(SettingsError, match="leave out dev"):
        raise _mutate("dev", "--state", str(none)).exception
    with pytest.raises(SettingsError, match="there are dev, local"):
        raise _mutate("nowhere").exception
