"""`trainyard review`: what it is given and cannot use is refused before any work begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from trainyard.cli.environments import SettingsError
from trainyard.cli.main import app
from trainyard.cli.review.command import LAID_OUT

STACK = {"urn": "urn:pulumi:dev::trainyard::pulumi:pulumi:Stack::trainyard-dev", "type": "pulumi:pulumi:Stack"}

DEEP = json.dumps({"version": 3, "deployment": {"resources": [{**STACK, "inputs": "VALUE"}]}})
DEEP = DEEP.replace('"VALUE"', '{"a": ' * 900 + "1" + "}" * 900).encode()


def refused(*arguments: str) -> Exception:
    done = CliRunner().invoke(app, ["review", "dev", *arguments])
    assert isinstance(done.exception, Exception), "it was not refused"
    assert getattr(done.exception, "exit_status", None) == 2
    return done.exception


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty; give an exported state"),
        (json.dumps({"version": 3, "deployment": {"resources": [STACK]}})[:60].encode(), "it is cut off"),
        (b"[" * 100_000, "nested too deeply"),
        (DEEP, "nested too deeply"),
        (b'{"version": 3, "deployment": {"resources": [null]}}', "is no list of resources"),
        (b"\x89PNG\r\n\xff", "is no text"),
    ],
    ids=["empty", "cut", "deep", "deep value", "no resource", "binary"],
)
def test_another_file_than_a_state_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(content)

    said = str(refused("--state", str(tmp_path / "state.json")))

    assert "state.json" in said
    assert why in said


def test_what_a_killed_review_left_is_cleared_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / f"trainyard-{LAID_OUT}-{2**22}.1-abc"  # above the highest process id
    (left / "stacks").mkdir(parents=True)

    said = str(refused("--base", "no-such-revision"))

    assert "no-such-revision" in said
    assert not list(tmp_path.iterdir())


def test_what_can_be_no_folder_for_the_results_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")

    for place in ("taken", "taken/below"):
        wrong: Any = refused("--output", str(tmp_path / place))
        assert isinstance(wrong, SettingsError)
        assert place in str(wrong)
        assert "give another" in str(wrong)
    assert (tmp_path / "taken").read_text() == "a file"


def test_another_settings_file_is_of_one_environment() -> None:
    file = str(Path(__file__).parents[2] / "stacks" / "environments" / "Pulumi.local.yaml")

    said = str(refused("local", "--base", file))

    assert "is of one environment; name it" in said


def test_a_settings_file_that_is_not_there_is_said_to_be_missing() -> None:
    done = CliRunner().invoke(app, ["review", "dev", "--base", "no-such.yaml"])

    assert done.exit_code == 2
    assert "no-such.yaml" in done.output
    assert "its settings are wrong" in done.output
