"""What a person sees who types something wrong, or asks while nothing runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from trainyard.cli.main import _status_of
from trainyard.local.engine import EngineError, Result
from trainyard.local.rehearsal import BusyError
from trainyard.local.toolchain import ToolError


def _trainyard(*arguments: str, **settings) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainyard.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **settings,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["local", "upp"], "No such command"),
        (["data", "prepare", "/no/such/folder", "--to", "{tmp}/tokens"], "no such file or folder"),
        (["data", "prepare", "--to", "{tmp}/tokens", "--vocab-size", "many"], "Invalid value"),
        (["data", "prepare", "--to", "{tmp}/tokens", "--vocab-size", "3"], "--vocab-size 3: expected"),
        (["data", "prepare", "--to", "ftp://somewhere/tokens"], "ftp://somewhere/tokens"),
    ],
)
def test_a_mistake_is_told_with_status_2_and_without_a_traceback(arguments, said, tmp_path):
    done = _trainyard(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_preparing_data_prints_its_manifest_and_nothing_else(tmp_path):
    source = tmp_path / "text"
    source.mkdir()
    for name in "abcdefgh":
        (source / f"{name}.txt").write_text(f"yard {name} is full of trains\n" * 500)
    done = _trainyard("data", "prepare", str(source), "--to", str(tmp_path / "tokens"), "--vocab-size", "300", "--json")
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    assert manifest == json.loads((tmp_path / "tokens" / "manifest.json").read_text())
    assert manifest["source"]["files"] == 8


def test_the_exit_status_tells_a_violated_policy_from_a_failed_engine():
    violated = Result("up", violations=[{"policy": "p", "level": "mandatory", "urn": "u", "message": "m"}])
    advised = Result("up", violations=[{"policy": "p", "level": "advisory", "urn": "u", "message": "m"}])
    assert _status_of(EngineError("stopped", violated)) == 1
    assert _status_of(EngineError("broke", advised)) == 3
    assert _status_of(ToolError("no Go")) == 3
    assert _status_of(BusyError("at work")) == 2
    assert _status_of(KeyError("a bug")) is None


def test_wrong_settings_are_the_users_mistake_and_name_their_file(tmp_path, monkeypatch):
    from trainyard.cli.environments import SettingsError, parse, read_values
    from trainyard.local.paths import ROOT
    from trainyard.local.rehearsal import NoEnvironmentError, Rehearsal

    def check_settings(rehearsal: Rehearsal) -> None:
        parse(rehearsal.environment, read_values(rehearsal.config), str(rehearsal.config))

    text = (ROOT / "stacks/environments/Pulumi.local.yaml").read_text()
    file = tmp_path / "Pulumi.local.yaml"
    file.write_text(text)
    check_settings(Rehearsal("local", tmp_path / "rehearsal", config=file))
    file.write_text(text.replace("10.64.0.0/16", "10.64.0.0/99"))
    with pytest.raises(SettingsError, match=rf"10\.64\.0\.0/99[\s\S]*{file}") as wrong:
        check_settings(Rehearsal("local", tmp_path / "rehearsal", config=file))
    assert _status_of(wrong.value) == 2
    file.write_text("config: [")
    with pytest.raises(SettingsError, match=f"{file} is not the YAML of a stack"):
        check_settings(Rehearsal("local", tmp_path / "rehearsal", config=file))
    with pytest.raises(NoEnvironmentError, match="there are dev, local") as missing:
        Rehearsal("nowhere", tmp_path / "rehearsal")
    assert _status_of(missing.value) == 2
