"""The two ways a run ends before its time, told apart because people act on them differently."""

from __future__ import annotations


class UserError(Exception):
    """Something only the person who started the run can put right: a setting, a place, a permission.

    The message says what is wrong, where, and what may stand there instead. Printed without a traceback; exit code 2.
    """


class TrainingError(Exception):
    """The training itself went wrong (a loss that is not finite, state that can't be saved). Exit code 1."""
