"""Traces are there when asked for, of the steps asked for, and change no number."""

from __future__ import annotations

import gzip
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def events(trace: Path) -> list[dict[str, Any]]:
    return json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]


def test_the_steps_that_were_named_are_traced_on_every_rank(new_run: Callable) -> None:
    plain = new_run().go(2)
    run = new_run(profile__steps="3-4").go(2)
    assert run.steps == plain.steps
    traces = sorted((run.directory / "profile").iterdir())
    assert [trace.name for trace in traces] == ["steps-3-4-rank0.json.gz", "steps-3-4-rank1.json.gz"]
    for trace in traces:
        names = [event.get("name") for event in events(trace)]
        assert names.count("Optimizer.step#AdamW.step") == 2
        assert "aten::embedding" in names
    assert not (plain.directory / "profile").exists()


def test_a_signal_traces_the_next_three_steps_of_that_rank(new_run: Callable) -> None:
    run = new_run(training__steps=1_000_000, checkpoint__interval_steps=1_000_000)
    gang = run.start(2)
    run.wait_for_step(2)
    gang.signal(1, signal.SIGUSR1)
    run.wait_for(lambda: list(run.directory.glob("profile/*")))
    gang.signal(1, signal.SIGTERM)
    assert gang.wait() == [75, 75]
    [trace] = run.directory.glob("profile/*")
    first, last = map(int, trace.name.split("-")[1:3])
    assert last - first == 2
    assert trace.name == f"steps-{first}-{last}-rank1.json.gz"
    assert [event.get("name") for event in events(trace)].count("Optimizer.step#AdamW.step") == 3


def test_a_run_that_ends_within_the_steps_leaves_what_it_has(new_run: Callable) -> None:
    run = new_run(profile__steps="11-20").go()
    [trace] = (run.directory / "profile").iterdir()
    assert trace.name == "steps-11-12-rank0.json.gz"


def test_a_resumed_run_that_is_past_the_steps_traces_nothing(new_run: Callable) -> None:
    run = new_run(training__steps=12, profile__steps="2-3").go()
    for trace in (run.directory / "profile").iterdir():
        trace.unlink()
    run.start(1, training__steps=12).finish()
    assert not list((run.directory / "profile").iterdir())


@pytest.mark.parametrize("steps", ["3", "0-2", "4-3", "a-b", "10:12"])
def test_steps_that_are_none_are_refused(new_run: Callable, steps: str) -> None:
    run = new_run(profile__steps=f'"{steps}"')
    assert run.start(1).wait() == [2]
    assert "expected first-last, such as 10-12" in run.log.read_text()
