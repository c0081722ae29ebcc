"""The interval between checkpoints that a run chooses for itself, and what it says of it."""

from __future__ import annotations

import re
from collections.abc import Callable

AUTO = {"checkpoint__interval_steps": "auto", "training__steps": 260, "metrics__interval_steps": 10}


def test_saves_are_cheap_and_failures_frequent_so_it_saves_more_often(new_run: Callable) -> None:
    run = new_run(**AUTO, checkpoint__mean_seconds_between_failures=0.5).go(2)
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
    gang = run.start()
    run.wait_for(lambda: run.events("interval"))
    gang.kill()
    assert "every 11.6 days" in run.events("interval")[0]["reason"]
    run.go(checkpoint__allow_changed=["training.steps"], training__steps=300)
    later = run.events("interval")[-1]
    assert "1 failure without warning" in later["reason"]
    assert "every 25.3 h" in later["reason"], "(a tenth of 1e6 s) / 1.1"
    assert {event["step"] for event in run.events("checkpoint")} == {100, 200, 300}


def test_fixed_by_hand_it_says_nothing(new_run: Callable) -> None:
    run = new_run(**(AUTO | {"checkpoint__interval_steps": 90})).go()
    assert [event["step"] for event in run.events("checkpoint")] == [90, 180, 260]
    assert not run.events("interval")
