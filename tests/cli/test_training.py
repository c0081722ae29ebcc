"""The launcher follows a run's journal, also where a restart wrote it anew, and says why a run did not end well."""

from __future__ import annotations

import json
import sys

import pytest

from trainyard.cli import training

TRAINER = """
import json, os, sys
from pathlib import Path
directory = Path(sys.argv[sys.argv.index("--directory") + 1])
journal = directory / "metrics.jsonl"
if "--resume" in sys.argv:
    kept = journal.read_text().splitlines()[:2]
    (directory / "metrics.new").write_text("".join(f"{line}\\n" for line in kept))
    os.replace(directory / "metrics.new", journal)
first = 3 if "--resume" in sys.argv else 1
with journal.open("a", buffering=1) as file:
    for step in range(first, first + 3):
        file.write(json.dumps({"step": step, "time": os.getpid()}) + "\\n")
if "--fail" in sys.argv:
    print("out of memory on rank 0")
    sys.exit(1)
ended = {"outcome": "finished", "step": first + 2, "resumed_from_step": 2 if first == 3 else None, "reason": None}
(directory / "outcome.json").write_text(json.dumps(ended))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a stand-in for torchrun and the trainer; returns its outcome and the lines that were followed."""
    program = tmp_path / "trainer.py"
    program.write_text(TRAINER)
    stand_in = tmp_path / "python"
    stand_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setattr(training.sys, "executable", str(stand_in))
    directory = tmp_path / "run"

    def start(*flags: str):
        lines: list[dict] = []
        arguments = ["--directory", str(directory), *flags]
        return training.run(arguments, directory, 1, {}, lines.append), lines

    return start


def test_every_line_is_seen_once(run):
    outcome, lines = run()
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert (outcome.outcome, outcome.step, outcome.resumed_from_step) == ("finished", 3, None)


def test_after_a_restart_only_the_new_lines_are_seen(run):
    run()
    outcome, lines = run("--resume")
    assert [line["step"] for line in lines] == [3, 4, 5]
    assert outcome.resumed_from_step == 2


def test_a_run_without_an_outcome_is_an_error_that_quotes_its_log(run):
    with pytest.raises(training.TrainerError, match=r"status 1[\s\S]*out of memory on rank 0"):
        run("--fail")


def test_the_outcome_of_the_run_before_is_not_taken_for_this_one(run, tmp_path):
    run()
    assert json.loads((tmp_path / "run" / "outcome.json").read_text())["outcome"] == "finished"
    with pytest.raises(training.TrainerError):
        run("--fail")
