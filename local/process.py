"""Child processes that do not outlive their parent, whatever ends it."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

ENGINE_PID_VARIABLE = "TRAINYARD_ENGINE_PID"
NOTING_VARIABLE = "TRAINYARD_NOTE_WHAT_IS_NOT_EMULATED"
"""Tells the engine's plugins to keep what is not emulated as the program writes it; see `local/aws/noted.py`."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(signal_number: int = signal.SIGKILL, parent: int | None = None) -> None:
    """Ask the kernel to send this process `signal_number` when the thread that started it ends (Linux only).

    For `preexec_fn`, and for the first line of a process that is started by somebody else's code. It survives `exec`,
    is not inherited by children, and covers `kill -9` of the parent, where no handler runs. Start such children from
    the main thread: the kernel watches the starting thread, not the whole process. `parent` is who should be alive,
    where that is known better than by asking now.
    """
    parent = parent or os.getppid()
    if _libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it ended before the kernel was told
        os.kill(os.getpid(), signal_number)


def started_at(pid: int) -> float | None:
    """When process `pid` started, in seconds after the machine did; None where there is none, or only a zombie.

    Linux keeps this number as it is when somebody sets the clock (proc_pid_stat(5), field 22), so with the pid it names
    a process beyond doubt.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat[stat.rindex(b")") + 2 :].split()  # a command's name, in brackets, may hold anything
    return None if state in (b"Z", b"X") else int(fields[18]) / os.sysconf("SC_CLK_TCK")


def is_running(pid: int, started: float | None = None) -> bool:
    """Whether process `pid` runs; with `started`, as `started_at` told it, whether it is still that one."""
    found = started_at(pid)
    return found is not None and (started is None or found == started)


def die_with_engine() -> None:
    """`die_with_parent` for a plugin of the engine; its shim notes the engine before Python starts."""
    engine = os.environ.pop(ENGINE_PID_VARIABLE, "")
    die_with_parent(parent=int(engine) if engine.isdigit() else None)
