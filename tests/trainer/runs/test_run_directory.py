"""A run's record is one run's: a second one in its folder is told who is there, and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable

from trainer import ownership


def test_a_folder_in_which_a_run_is_alive_is_left_as_it_is(new_run: Callable) -> None:
    run = new_run(training__steps=4).go()
    before = {file.name: file.read_bytes() for file in run.directory.iterdir() if file.name != ownership.LOCK}
    ownership.hold(run.directory, ownership.Owner.here(run.directory))
    try:
        # Somewhere else with its checkpoints, so that no other lock keeps it out.
        elsewhere = run.checkpoints.with_name("elsewhere")
        assert run.start(2, checkpoint__uri=elsewhere, optimizer__learning_rate=0.5).wait() == [2, 2]
    finally:
        ownership.release(run.directory)
    told = run.log.read_text()
    assert f"run.directory {run.directory}: another run is using it: process {os.getpid()} on " in told
    assert "a run.directory of its own" in told
    assert "Traceback" not in told
    assert {file.name: file.read_bytes() for file in run.directory.iterdir() if file.name != ownership.LOCK} == before
    assert not elsewhere.exists()
    run.go(training__steps=4)


def test_checkpoints_may_lie_in_the_run_s_own_folder_however_it_is_called(new_run: Callable) -> None:
    run = new_run(training__steps=4)
    run.directory.mkdir()
    link = run.directory.with_name("link")
    link.symlink_to(run.directory)
    run.go(2, checkpoint__uri=link)
    assert (run.directory / "step-00000004/manifest.json").exists()
    run.go(checkpoint__uri=link)
    assert run.outcome["resumed_from_step"] == 4


def test_a_folder_whose_lock_can_not_be_written_is_told_as_that_of_the_run(new_run: Callable) -> None:
    run = new_run(training__steps=4)
    (run.directory / ownership.LOCK).mkdir(parents=True)
    assert run.start().wait() == [2]
    told = run.log.read_text()
    assert f"run.directory {run.directory}: can't be written: Is a directory ({run.directory / ownership.LOCK})" in told
    assert "checkpoints" not in told.rpartition("run.directory")[2]
