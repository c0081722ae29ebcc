"""What is measured when programs take turns: their own running time, and nothing else."""

import sys
import time
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from benchmarks.figures import ratios, verdict
from benchmarks.turns import Program

WRITES_A_LINE_EVERY_STEP = """
import json, sys, time
with open(sys.argv[1], "a", buffering=1) as journal:
    journal.write(json.dumps({"event": "started"}) + "\\n")
    for step in range(1, 10_000):
        time.sleep(0.02)
        journal.write(json.dumps({"step": step, "loss": 1 / step, "time": time.time()}) + "\\n")
"""


@pytest.fixture
def program(tmp_path: Path):
    one = Program([sys.executable, "-c", WRITES_A_LINE_EVERY_STEP, str(tmp_path / "journal")], tmp_path / "journal", {})
    yield one
    one.end()


def test_time_in_which_a_program_was_stopped_does_not_count(program):
    program.run_to(2)
    time.sleep(5.0)
    assert 0.01 <= program.turn(1, attempts=1) < 4.0


def test_a_program_stands_still_between_its_turns(program, tmp_path):
    program.run_to(2)
    process = psutil.Process(program._process.pid)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
    written = (tmp_path / "journal").read_text()
    time.sleep(0.3)
    assert (tmp_path / "journal").read_text() == written
    program.turn(1, attempts=1)
    assert len(program.losses) >= len(written.splitlines()) + 1, "a line to come back, and one that counts"


def test_a_line_of_coming_back_does_not_count(tmp_path):
    """Everything after a stop takes long once, as where memory has to be fetched again."""
    slow_to_return = WRITES_A_LINE_EVERY_STEP.replace(
        "time.sleep(0.02)",
        "before = time.monotonic(); time.sleep(0.02); time.sleep(2 * (time.monotonic() - before > 1))",
    )
    program = Program([sys.executable, "-c", slow_to_return, str(tmp_path / "journal")], tmp_path / "journal", {})
    program.run_to(2)
    time.sleep(3.0)
    assert program.turn(1, attempts=1) < 1.5
    program.end()


def test_losses_are_those_of_the_journal(program):
    program.run_to(3)
    assert program.losses[2] == 0.5


def test_a_program_that_fails_is_told_with_what_it_said(tmp_path):
    failing = Program([sys.executable, "-c", "raise ValueError('no such recipe')"], tmp_path / "journal", {})
    with pytest.raises(SystemExit, match="no such recipe"):
        failing.run_to(1)
    failing.end()


def test_the_end_of_a_stopped_program(program):
    program.run_to(1)
    process = psutil.Process(program._process.pid)
    program.end()
    assert not process.is_running()


def test_ratios_are_taken_pair_by_pair():
    assert ratios([1.0, 4.0, 9.0], [1.0, 2.0, 10.0]) == {"median": 1.0, "min": 0.9, "max": 2.0}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"at_least": 0.9}, "met"),
        ({"at_least": 1.1}, "missed"),
        ({"at_most": 0.9}, "missed"),
        ({"at_most": 1.1}, "met"),
    ],
)
def test_a_figure_that_misses_what_is_wanted_says_so(wanted, said):
    assert said in verdict("speed", ratios([2.0], [2.0], **wanted))
