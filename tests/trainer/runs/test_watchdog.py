"""A gang that stands still ends by itself, says who held it up and where, and is as it was when started again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from trainer.watchdog import Sign, verdict

PROGRAM = str(Path(__file__).parent / "hanging.py")
SECONDS = 12
"""What a rank may be silent: more than it is on a busy machine while nothing hangs. What hangs does so for ever."""


def hanging(run, kind: str, rank: int = 1, **more: str) -> None:
    run.program = PROGRAM
    run.environment = {"HANG": kind, "HANG_RANK": str(rank), **more}


HANGS = {
    "sleep 1": ("sleep", 1, 2),
    "sleep 0": ("sleep", 0, 2),
    "data 1": ("data", 1, 2),
    "locked 1": ("locked", 1, 2),
    "stop 1": ("stop", 1, 2),
    "stop 0": ("stop", 0, 2),
    "alone": ("sleep", 0, 1),
}
"""How a rank stands still, which one, and of how many. `hanging.py` explains the kinds."""


@pytest.fixture(scope="module")
def stood_still(make_run: Callable, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple]:
    """All of them at once, for they are silent together: each run and its gang, at step 5 or already ended."""
    gangs = {}
    for name, (kind, rank, ranks) in HANGS.items():
        run = make_run(tmp_path_factory.mktemp("hung"), watchdog__seconds=SECONDS)
        hanging(run, kind, rank)
        gangs[name] = run, run.start(ranks)
        run.wait_for_step(4)
    return gangs.__getitem__


@pytest.fixture(scope="module")
def uninterrupted(make_run: Callable, tmp_path_factory: pytest.TempPathFactory):
    return make_run(tmp_path_factory.mktemp("uninterrupted")).go(2)


@pytest.mark.parametrize(
    ("name", "phase"),
    [("sleep 1", "forward"), ("sleep 0", "forward"), ("data 1", "data")],
)
def test_the_rank_that_holds_the_others_up_is_named_with_its_phase_and_line(
    stood_still: Callable, uninterrupted, name: str, phase: str
) -> None:
    run, gang = stood_still(name)
    rank = HANGS[name][1]
    assert gang.wait() == [76, 76], run.log.read_text()
    reason = run.outcome["reason"]
    assert run.outcome["outcome"] == "failed"
    assert reason.startswith(f"hung: rank {rank} has been silent for ")
    assert f"in '{phase}' at " in reason
    assert "hanging.py:" in reason
    assert "the other 1 of 2 ranks are in " in reason
    stacks = [(run.directory / f"hang-rank{one}.txt").read_text() for one in range(2)]
    assert "hanging.py" in stacks[rank]
    assert "all_reduce" in stacks[1 - rank]
    assert run.log.read_text().count("hung: rank") == 1

    run.program, run.environment = "trainer", {}
    run.go(2)
    assert run.outcome["resumed_from_step"] == 4
    assert run.steps == uninterrupted.steps
    assert not list(run.directory.glob("hang-rank*.txt")), "a run that ended well leaves no stacks of an earlier one"


def test_a_rank_that_lets_no_other_thread_run_is_named_and_leaves_its_stack_too(stood_still: Callable) -> None:
    run, gang = stood_still("locked 1")
    assert gang.wait() == [76, 1], run.log.read_text()
    assert "rank 1 has been silent for" in run.outcome["reason"]
    assert "and does not answer" in run.outcome["reason"]
    assert "stand_still" in (run.directory / "hang-rank1.txt").read_text()


@pytest.mark.parametrize("rank", [1, 0])
def test_a_stopped_process_is_noticed_by_the_others_whichever_it_is(stood_still: Callable, rank: int) -> None:
    run, gang = stood_still(f"stop {rank}")
    assert gang.wait_for_rank(1 - rank) == 76, run.log.read_text()
    os.kill(gang.pids[rank], signal.SIGKILL)
    assert gang.wait_for_rank(rank) == -9
    stack = (run.directory / f"hang-rank{1 - rank}.txt").read_text()
    assert f"rank {rank}" in stack
    assert "does not answer" in stack


def test_one_process_alone_is_watched_too(stood_still: Callable) -> None:
    run, gang = stood_still("alone")
    assert gang.wait() == [76]
    assert "hung: rank 0 has been silent for" in run.outcome["reason"]


def test_a_slow_rank_that_goes_on_is_left_alone_and_told_as_slow(new_run: Callable) -> None:
    # Eight steps of a second: the rank is slow for longer than it may be silent, and never silent for so long.
    run = new_run(watchdog__seconds=6)
    hanging(run, "slow", 1, HANG_SECONDS="1.0")
    assert run.start(2).wait() == [0, 0]
    assert run.outcome["outcome"] == "finished"
    [told] = run.events("straggler")
    assert told["rank"] == 1
    assert told["phase"] == "forward"
    assert told["seconds"] > 0.5 > told["usual_seconds"]
    assert told["lost_share"] > 0.5
    assert f"rank 1 is slow: forward takes it {told['seconds'] * 1e3:.1f} ms a step" in run.log.read_text()
    ranks = json.loads((run.directory / "ranks.json").read_text())
    assert ranks["slow"] == [1]
    assert ranks["seconds_per_step"][0]["agreement"] + ranks["seconds_per_step"][0]["reduction"] > 0.5, "it waited"


def sign(rank: int, beats: int = 10, waits: bool = False, silent: float = 30, answers: bool = True) -> Sign:
    return Sign(rank, beats, "forward", silent, "loop.py:1 accumulate", waits, answers)


@pytest.mark.parametrize(
    ("signs", "named"),
    [
        ([sign(0, waits=True), sign(1, waits=True), sign(2, answers=False)], "rank 2"),
        ([sign(0, beats=11, waits=True), sign(1, beats=10, waits=True), sign(2, beats=11)], "rank 1"),
        ([sign(0, waits=True), sign(1), sign(2, waits=True)], "rank 1"),
        ([sign(0, silent=30), sign(1, silent=31), sign(2, silent=30)], "rank 1"),
    ],
)
def test_who_holds_the_others_up(signs: list[Sign], named: str) -> None:
    said = verdict(signs)
    assert said.startswith(f"{named} has been silent for")
    assert "the other 2 of 3 ranks are in 'forward'" in said
