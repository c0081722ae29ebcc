"""One status for all ranks of a node, by what they say of their end and by how their processes ended."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from trainer import exit_codes
from trainer.errors import UserError
from trainer.exit_codes import BAD_CONFIGURATION, FAILED, FINISHED, HUNG, REQUEUE, of_gang, of_preempted

KILLED, ENDED, CRASHED = -signal.SIGKILL, -signal.SIGTERM, -signal.SIGSEGV


@pytest.mark.parametrize(
    ("codes", "outcome", "told", "hung", "status"),
    [
        ([0, 0], "finished", False, False, FINISHED),
        ([0, CRASHED], "finished", False, False, FINISHED),  # it crashed while it took its process group down
        ([0, 0], None, False, False, FINISHED),  # a node that is not the first
        ([75, 75], "preempted", True, False, REQUEUE),
        ([75, 75], None, False, False, REQUEUE),  # told through another node
        ([75, KILLED], "preempted", True, False, REQUEUE),
        ([KILLED, KILLED], None, True, False, REQUEUE),  # their time was up: an older checkpoint goes on
        ([ENDED, ENDED], None, True, False, REQUEUE),  # not listening yet
        ([1, KILLED], "failed", True, False, FAILED),
        ([1, KILLED], "failed", False, False, FAILED),
        ([KILLED, KILLED], None, False, False, FAILED),
        ([1, 1], "failed", False, False, FAILED),
        ([2, 2], "failed", False, False, BAD_CONFIGURATION),
        ([76, KILLED], "failed", False, False, HUNG),
        ([76, 1], "failed", False, False, HUNG),
        ([1], None, False, True, HUNG),  # it held the interpreter, and only its stacks tell
    ],
)
def test_status_of_a_gang(codes: list[int], outcome: str | None, told: bool, hung: bool, status: int) -> None:
    assert of_gang(codes, outcome, told_to_go=told, hung=hung) == status


def test_a_scheduler_has_its_own_number_for_a_run_that_is_to_start_again() -> None:
    assert of_preempted({}) == REQUEUE
    assert of_preempted({"TRAINER_PREEMPTED_EXIT_STATUS": "0"}) == 0
    assert of_gang([99, 99], "preempted", preempted=99) == 99
    assert of_gang([99, 99], None, preempted=99) == 99
    assert of_gang([0, 0], "preempted", preempted=0) == 0


@pytest.mark.parametrize("said", ["", "126", "-1", "soon", "1.5"])
def test_a_number_that_is_no_status_is_refused(said: str) -> None:
    with pytest.raises(UserError, match="it may be 0 to 125"):
        of_preempted({"TRAINER_PREEMPTED_EXIT_STATUS": said})


def test_every_status_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs" / "exit-codes.md").read_text()
    for name in ("FINISHED", "FAILED", "BAD_CONFIGURATION", "REQUEUE", "HUNG"):
        assert f"| {getattr(exit_codes, name)} |" in page, name
