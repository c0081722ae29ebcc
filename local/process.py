"""Child processes that do not outlive their parent, whatever ends it."""

from __future__ import annotations

import ctypes
import os
import signal

ENGINE_PID_VARIABLE = "TRAINYARD_ENGINE_PID"

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


def is_running(pid: int, started: float | None = None) -> bool:
    """Whether process `pid` runs; with `started` (seconds since the epoch), whether it is still that one."""
    import psutil  # here: every plugin of the engine loads this module, and none of them asks

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return started is None or abs(process.create_time() - started) < 1.0
    except psutil.NoSuchProcess:
        return False


def die_with_engine() -> None:
    """`die_with_parent` for a plugin of the engine; its shim notes the engine before Python starts."""
    engine = os.environ.pop(ENGINE_PID_VARIABLE, "")
    die_with_parent(parent=int(engine) if engine.isdigit() else None)
