"""What a person sees who types something wrong, or asks while nothing runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from trainyard.cli import main
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


def test_a_reader_that_had_enough_is_no_answer():
    """`trainyard policies list | head -1` in a script that asks for the status of each part."""
    with subprocess.Popen(
        [sys.executable, "-m", "trainyard.cli.main", "policies", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


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


REPORT = {"environment", "region", "status", "resources", "policies"}


@pytest.mark.parametrize(
    ("arguments", "settings", "status", "said"),
    [
        (["nowhere"], {}, 2, "no environment is called 'nowhere'; there are dev"),
        ([], {}, 2, "Missing argument"),
        (["dev", "--nonsense"], {}, 2, "No such option"),
        (["dev", "--set"], {}, 2, "--set --json: it is written key=value"),
        (["dev", "--set=region"], {}, 2, "it is written key=value"),
        (["dev", "--set=layer=data"], {}, 2, "an environment is judged whole"),
        (["dev", "--set=owner=\udcff"], {}, 2, "no YAML"),
        (["dev"], {"TRAINYARD_CACHE_DIR": "/proc/nowhere"}, 3, "TRAINYARD_CACHE_DIR names another folder"),
    ],
)
def test_a_preview_that_comes_to_nothing_still_prints_its_report(arguments, settings, status, said):
    done = _trainyard("preview", *arguments, "--json", env={**os.environ, **settings})
    assert done.returncode == status, done.stderr
    report = json.loads(done.stdout)
    assert set(report) == REPORT
    assert report["status"] == {2: "bad settings", 3: "failed"}[status]
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["doctor", "nowhere"], ["bootstrap", "nowhere", "--yes"], ["bootstrap", "dev"], ["local", "up", "-x"]]
)
def test_every_command_that_was_asked_for_json_prints_one_object(arguments):
    done = _trainyard(*arguments, "--json")
    assert done.returncode == 2
    assert set(json.loads(done.stdout)) == {"error"}
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_changes_nothing_about_how_it_ends():
    command = [sys.executable, "-m", "trainyard.cli.main", "preview", "nowhere", "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 2
    assert done.stderr == "error: no environment is called 'nowhere'; there are " + done.stderr.partition("are ")[2]


def test_a_bug_is_no_violated_policy(monkeypatch, capsys):
    def broken():
        raise KeyError("a bug")

    monkeypatch.setattr(main, "app", broken)
    monkeypatch.setattr(sys, "argv", ["trainyard", "preview", "dev", "--json"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["status"] == "failed"
    assert "a bug in Trainyard: KeyError" in said.err
    assert "Traceback" not in said.err
