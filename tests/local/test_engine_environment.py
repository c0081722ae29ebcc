"""No Pulumi or AWS setting of the user reaches a rehearsal, and a typed `pulumi` leaves the checkout as it was."""

from __future__ import annotations

import os
import subprocess

import pytest

from trainyard.local.engine import Engine, emulated_aws_environment


@pytest.fixture
def engine(tmp_path):
    """An engine whose `pulumi` prints its arguments, in folders whose names need quoting."""
    pulumi = tmp_path / "a $b" / "pulumi"
    pulumi.parent.mkdir()
    pulumi.write_text('#!/bin/sh\necho "$@"\n')
    pulumi.chmod(0o755)
    project = tmp_path / "pro ject"
    project.mkdir()
    return Engine(pulumi, project, "test", tmp_path / "ho #me", "http://127.0.0.1:1")


def _type(engine: Engine, *words: str) -> subprocess.CompletedProcess[str]:
    command = engine.command_directory() / "pulumi"
    return subprocess.run([command, *words], capture_output=True, text=True, check=False, cwd="/")


def test_the_users_settings_stay_out(engine, monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "PULUMI_ACCESS_TOKEN", "PULUMI_STACK"):
        monkeypatch.setenv(name, "the user's")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "https://elsewhere.example")
    environment = engine.environment()
    assert "the user's" not in environment.values()
    assert environment["PULUMI_BACKEND_URL"].startswith("file://")
    assert "#" not in environment["PULUMI_BACKEND_URL"]
    assert environment["AWS_CONFIG_FILE"] == environment["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull


def test_a_proxy_is_not_asked_for_what_is_on_this_machine(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    assert emulated_aws_environment("http://127.0.0.1:1")["NO_PROXY"] == "intranet.example,127.0.0.1,localhost"


@pytest.mark.parametrize(
    "words",
    [("preview",), ("--stack", "test", "up"), ("-s", "test", "--non-interactive", "refresh"), ("config", "get", "a")],
)
def test_verbs_that_use_the_configuration_get_the_rehearsals_copy(engine, words):
    said = _type(engine, *words).stdout
    assert said == f"--cwd {engine.project} {' '.join(words)} --config-file {engine.config_file}\n"


def test_other_verbs_work_on_the_project_from_anywhere(engine):
    assert _type(engine, "stack", "output").stdout == f"--cwd {engine.project} stack output\n"


@pytest.mark.parametrize(
    "words", [("config", "set", "a", "b"), ("-s", "test", "config", "rm", "a"), ("stack", "init", "x")]
)
def test_what_would_be_lost_is_refused(engine, words):
    done = _type(engine, *words)
    assert done.returncode == 2
    assert "stacks/environments" in done.stderr
    assert done.stdout == ""
