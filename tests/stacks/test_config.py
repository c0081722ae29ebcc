"""How settings get from Pulumi to the program; notices when the SDK keeps them otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pulumi
import pytest
import yaml
from mocked_pulumi import run

from trainyard.stacks import config
from trainyard.stacks.config import settings_of_this_stack, values_under
from trainyard.stacks.settings import LAYERS, Settings, SettingsError

ROOT = Path(__file__).parents[2]


def _seen(values: dict[str, str]) -> dict[str, str]:
    seen: dict[str, str] = {}
    run(lambda: seen.update(values_under("trainyard")), config=values)
    return seen


def test_every_key_of_the_namespace_is_seen_and_no_other() -> None:
    values = {"trainyard:region": "us-east-1", "trainyard:colour": "red", "aws:region": "eu-west-1"}
    assert _seen(values) == {"region": "us-east-1", "colour": "red"}


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


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with the environment `dev`, split."""
    folder = tmp_path / "stacks" / "environments"
    folder.mkdir(parents=True)
    (tmp_path / "Pulumi.yaml").write_text((ROOT / "Pulumi.yaml").read_text())
    base = (ROOT / "stacks/environments/Pulumi.dev.yaml").read_text()
    (folder / "Pulumi.dev.yaml").write_text(f"{base}  trainyard:layers: true\n")
    monkeypatch.setattr(config, "PROJECT", tmp_path)
    return tmp_path


def _settings(stack: str, values: dict[str, str]) -> Settings:
    found: list[Settings] = []
    run(lambda: found.append(settings_of_this_stack()), stack=stack, config=values)
    return found[0]


def _defaults() -> dict[str, str]:
    """What Pulumi gives every stack of the project, whatever its file says."""
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    values = {key: one["default"] for key, one in declared.items()}
    return {f"trainyard:{key}": one if isinstance(one, str) else json.dumps(one) for key, one in values.items()}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layers_stack_has_the_environments_settings(project, layer) -> None:
    settings = _settings(f"dev-{layer}", _defaults())
    assert (settings.environment, settings.layer, settings.owner) == ("dev", layer, "platform-team")
    assert settings.holds(layer)
    assert [one for one in LAYERS if settings.holds(one)] == [layer]


def test_a_layers_stack_has_none_of_its_own(project) -> None:
    with pytest.raises(SettingsError, match=r"trainyard:owner: It belongs into Pulumi.dev.yaml"):
        _settings("dev-data", {**_defaults(), "trainyard:owner": "somebody"})


def test_a_split_environment_is_not_brought_up_as_one(project) -> None:
    values = config.values_of_file(project / "stacks/environments/Pulumi.dev.yaml", "trainyard", "dev")
    given = {f"trainyard:{key}": one if isinstance(one, str) else json.dumps(one) for key, one in values.items()}
    with pytest.raises(SettingsError, match="dev-data, then dev-cluster, then dev-workloads"):
        _settings("dev", given)


def test_a_layer_of_an_environment_that_is_one_stack_is_refused(project) -> None:
    file = project / "stacks/environments/Pulumi.dev.yaml"
    file.write_text(file.read_text().replace("layers: true", "layers: false"))
    with pytest.raises(SettingsError, match="set layers to true"):
        _settings("dev-data", _defaults())


def test_an_encrypted_setting_cannot_be_shared(project) -> None:
    file = project / "stacks/environments/Pulumi.dev.yaml"
    file.write_text(file.read_text().replace("trainyard:owner: platform-team", "trainyard:owner: {secure: v1:abc}"))
    with pytest.raises(SettingsError, match="trainyard:owner: It is encrypted"):
        _settings("dev-data", _defaults())
