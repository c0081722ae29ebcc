"""The workflow that reviews a pull request: what it runs, with which rights, and that its scripts do what they say."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainyard.cli.review import markdown
from trainyard.local.paths import ROOT

FILE = ROOT / ".github" / "workflows" / "review.yml"
WORKFLOW: dict[Any, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
STEPS = [(job, step) for job, content in JOBS.items() for step in content["steps"]]
SCRIPTS = {step.get("name", step["run"]): step["run"] for _, step in STEPS if "run" in step}


def test_nothing_of_a_fork_runs_with_rights() -> None:
    assert "pull_request_target" not in WORKFLOW[True]  # YAML reads `on` so
    assert "workflow_run" not in WORKFLOW[True]
    assert WORKFLOW["permissions"] == {}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_that_runs_what_the_pull_request_wrote_may_write_nothing(job: str) -> None:
    fetches = any(step.get("uses", "").startswith("actions/checkout@") for step in JOBS[job]["steps"])
    writes = "write" in JOBS[job]["permissions"].values()

    assert fetches != writes, "one job fetches and runs the code, the other writes"


def test_actions_are_pinned_and_scripts_take_nothing_by_text() -> None:
    for _, step in STEPS:
        if "uses" in step:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
        assert "${{" not in step.get("run", ""), "what somebody else wrote would become a script"
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def run(name: str, folder: Path, **environment: str) -> dict[str, str]:
    """A step's script as GitHub runs it, and the outputs that it sets."""
    outputs = folder / "outputs"
    outputs.write_text("")
    subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", SCRIPTS[name]],
        cwd=folder,
        check=True,
        env={**os.environ, "GITHUB_OUTPUT": str(outputs), **environment},
    )
    return dict(line.split("=", 1) for line in outputs.read_text().splitlines())


@pytest.mark.parametrize(
    ("files", "touched"),
    [
        (["docs/review.md", "README.md", "modules/README.md", "tests/cli/test_review.py"], "false"),
        (["our-rules/queues.py"], "true"),
        (["docs/review.md", "policies/exemptions.yaml"], "true"),
        (["training_images/trainer/trainer/loop.py"], "true"),
    ],
)
def test_only_words_and_tests_need_no_review(files: list[str], touched: str, tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "before")
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("something\n")
    git("add", "--all")
    git("commit", "--quiet", "--message", "after")

    assert run("anything but words and tests", tmp_path) == {"touched": touched}


@pytest.mark.parametrize("known", ["", "4711"])
def test_its_own_comment_is_changed_and_nobody_else_s(known: str, tmp_path: Path) -> None:
    gh = tmp_path / "gh"
    gh.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncase "$*" in *--jq*) echo "{known}" ;; esac\n')
    gh.chmod(0o755)
    (tmp_path / "review").mkdir()
    (tmp_path / "review" / "review.md").write_text("### it `passes` $HOME\n")

    path = f"{tmp_path}:{os.environ['PATH']}"
    run("comment", tmp_path, PATH=path, GH_REPO="a/b", NUMBER="7", PAGE="https://example.org/page")

    looked, written = (tmp_path / "asked").read_text().splitlines()
    assert (
        'select(.user.login == "github-actions[bot]" and (.body | startswith("<!-- trainyard review -->")))' in looked
    )
    if known:
        assert written == "api --silent --method PATCH repos/a/b/issues/comments/4711 --field body=@comment.md"
    else:
        assert written == "pr comment 7 --body-file comment.md"
    comment = (tmp_path / "comment.md").read_text()
    assert comment.startswith("<!-- trainyard review -->\n### it `passes` $HOME\n")
    assert "(https://example.org/page)" in comment
    assert len(comment) - len("### it `passes` $HOME\n") + markdown.LONGEST + 200 < 65_536
