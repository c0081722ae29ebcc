"""The interval between checkpoints that a run chooses for itself, and what it says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

AUTO = {"checkpoint__interval_steps": "auto", "training__steps": 260, "metrics__interval_steps": 10}
PHASES = str(Path(__file__).parent / "phases.py")
SLOW = {"PHASE_PAUSE": "0.03"}
"""A save of these small states is to cost few steps, on a machine with a slow disk or much else to do as well."""


def test_saves_are_cheap_and_failures_frequent_so_it_saves_more_often(new_run: Callable) -> None:
    run = new_run(**AUTO | {"training__steps": 170}, checkpoint__mean_seconds_between_failures=0.5)
    run.program, run.environment = PHASES, SLOW
    run.go(2)
    saved = [event["step"] for event in run.events("checkpoint")]
    told = run.events("interval")
    assert saved[0] == told[0]["step"] == 100, "nothing is measured before"
    assert saved[1] - saved[0] == told[0]["steps"] < 100
    assert told[0]["steps"] < 60, "the first save stalls longer, and is not taken for what the next will cost"
    said = told[0]["reason"]
    assert re.match(
        rf"every {told[0]['steps']} steps \(.*\): a save stops training for [\d.e-]+ s, a restart takes", said
    )
    assert "a failure is expected every " in said
    assert "0 failures without warning" in said


def test_after_a_failure_more_failures_are_expected(new_run: Callable) -> None:
    run = new_run(**AUTO, checkpoint__mean_seconds_between_failures=1e6)
    run.halted(at=110).kill()
    assert "every 11.6 days" in run.events("interval")[0]["reason"]
    run.go(checkpoint__allow_changed=["training.steps"], training__steps=300)
    later = run.events("interval")[-1]
    assert "1 failure without warning" in later["reason"]
    assert "every 25.3 h" in later["reason"], "(a tenth of 1e6 s) / 1.1"
    assert {event["step"] for event in run.events("checkpoint")} == {100, 200, 300}


def test_a_resumed_run_begins_with_what_saves_have_cost_before(new_run: Callable) -> None:
    run = new_run(**AUTO, checkpoint__mean_seconds_between_failures=0.5)
    run.environment = SLOW
    run.halted(2, "save", at=2).kill()  # about to make the third one
    saved = run.events("checkpoint")
    costs = json.loads(Path(saved[1]["uri"], "manifest.json").read_text())["history"]["costs"]
    assert costs["upload_seconds"] == saved[0]["seconds"], "known when the second one was saved"
    assert costs["restore_seconds"] is None
    assert 0 < costs["stall_seconds"] < saved[0]["stall_seconds"], "the first save stalls longer"

    before = len(run.events("interval"))
    run.program = PHASES
    run.go(2, checkpoint__keep_last=50)
    (resumed,) = run.events("resumed")
    told = run.events("interval")[before]
    first = next(event["step"] for event in run.events("checkpoint") if event["step"] > resumed["step"])
    assert resumed["step"] < told["step"] <= resumed["step"] + 10, "at the first line"
    assert first == max(told["step"], resumed["step"] + told["steps"]) < resumed["step"] + 100, "not after 100 steps"
    assert told["reason"].endswith("; what a save costs was measured before the restart")
    assert f"a save stops training for {costs['stall_seconds']:.3g} s, a restart takes" in told["reason"]
    later = run.events("checkpoint")[-1]
    costs = json.loads(Path(later["uri"], "manifest.json").read_text())["history"]["costs"]
    assert costs["restore_seconds"] > 0
    assert not [one for one in run.events("interval")[before + 1 :] if "before the restart" in one["reason"]]


def test_fixed_by_hand_it_says_nothing(new_run: Callable) -> None:
    run = new_run(**(AUTO | {"checkpoint__interval_steps": 90})).go()
    assert [event["step"] for event in run.events("checkpoint")] == [90, 180, 260]
    assert not run.events("interval")
