"""Processes that do not outlive the one that started them, however that one ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

LAUNCHER_VARIABLE = "TRAINER_LAUNCHER"
"""Process id of the launcher, which its ranks die with."""

_PR_SET_PDEATHSIG = 1


def die_with(parent: int | None) -> None:
    """Lets the kernel kill this process when the thread that started it ends (Linux). `parent` is None for nobody."""
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was told
        os.kill(os.getpid(), signal.SIGKILL)


def launcher() -> int | None:
    """The launcher this rank was started by, if it was."""
    said = os.environ.get(LAUNCHER_VARIABLE, "")
    return int(said) if said.isdecimal() else None
