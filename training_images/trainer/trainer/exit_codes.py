"""What the trainer's and its launcher's exit status says; docs/exit-codes.md is about acting on it. No torch here.

A scheduler starts a run again for REQUEUE and HUNG, tells a person for BAD_CONFIGURATION, and does as it is set up to
for FAILED.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from trainer.errors import UserError

FINISHED = 0
"""All steps are done, or the held-out loss has stopped to fall."""
FAILED = 1
"""The training went wrong, or a rank crashed or was killed."""
BAD_CONFIGURATION = 2
"""A setting or a place has to be put right by a person: the same start ends the same way. A run whose place another one
has taken over ends with it too: started again, it would take the place back."""
REQUEUE = 75
"""Asked to go, and gone: the same command continues the run. EX_TEMPFAIL of sysexits.h."""
HUNG = 76
"""The watchdog ended a gang that stood still: the same command continues the run from its newest checkpoint."""

PREEMPTED_VARIABLE = "TRAINER_PREEMPTED_EXIT_STATUS"
"""Takes the place of REQUEUE, for a scheduler that knows another number."""


def of_preempted(environment: Mapping[str, str] = os.environ) -> int:
    """What a run that was asked to go ends with. Raises UserError for a variable that can't be a status."""
    said = environment.get(PREEMPTED_VARIABLE, str(REQUEUE))
    if not said.isdecimal() or int(said) > 125:
        raise UserError(f"{PREEMPTED_VARIABLE} is {said!r}: it may be 0 to 125")
    return int(said)


def of_gang(
    codes: Collection[int], outcome: str | None, preempted: int = REQUEUE, told_to_go: bool = False, hung: bool = False
) -> int:
    """The one status for all ranks of a node.

    Args:
        codes: of the ranks; -N for one that signal N ended.
        outcome: that of outcome.json, where this start has written one. It counts more than how the processes ended:
            a rank that crashes while it takes down its process group has lost nothing.
        preempted: what stands for a run that was asked to go.
        told_to_go: the ranks were asked to, so one that is killed or was not listening yet is to be started again.
        hung: a rank has left its stacks without being able to end by itself.
    """
    if outcome == "finished":
        return FINISHED
    if outcome == "preempted":
        return preempted
    if hung or HUNG in codes:
        return HUNG
    if BAD_CONFIGURATION in codes:
        return BAD_CONFIGURATION
    if all(code == FINISHED for code in codes):
        return FINISHED  # a node without outcome.json: the first one has it
    went = (FINISHED, preempted)
    if all(code in went or (told_to_go and code < 0) for code in codes):
        return preempted
    return FAILED
