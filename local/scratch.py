"""Temporary folders that name the process they belong to, so that a later run can clear what a killed one left.

Example: `with scratch.folder("gate") as place: …`; `scratch.left_behind("gate")` are the folders of runs that are dead.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from trainyard.local.process import is_running, started_at


class NoScratchError(Exception):
    """No temporary folder can be written to."""

    exit_status = 3


@contextmanager
def folder(purpose: str) -> Generator[Path]:
    """A temporary folder that goes with the block. Raises `NoScratchError`.

    Its name holds this process's id and start, and a lock is kept on it: the one tells of a process of this machine,
    the other also of one that counts its processes apart, as in a container that shares the temporary folder.
    """
    try:
        # Absolute: TMPDIR may be relative, and what is started here runs in other folders.
        place = Path(tempfile.mkdtemp(prefix=f"{_beginning(purpose)}{_mark(os.getpid())}-")).resolve()
    except OSError as failed:
        raise NoScratchError(
            f"no temporary folder can be made: {failed.strerror or failed}. TMPDIR names the place for it"
        ) from None
    handle = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)  # what a process that is just ending still writes, the next run clears
        os.close(handle)


def left_behind(purpose: str) -> list[Path]:
    """This user's folders whose processes have ended without removing them."""
    name = re.compile(re.escape(_beginning(purpose)) + r"(?P<mark>\d+\.\d+)-\w+")
    try:
        there = [entry for entry in os.scandir(tempfile.gettempdir()) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    found = []
    for entry in there:
        match = name.fullmatch(entry.name)
        if match and _is_mine(entry) and not _lives(match["mark"]) and not _is_locked(entry.path):
            found.append(Path(entry.path).resolve())
    return found


def _beginning(purpose: str) -> str:
    return f"trainyard-{purpose}-"


def _mark(pid: int) -> str:
    return f"{pid}.{round((started_at(pid) or 0) * 100)}"


def _lives(mark: str) -> bool:
    pid = int(mark.partition(".")[0])
    return is_running(pid) and _mark(pid) == mark


def _is_mine(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_uid == os.geteuid()
    except OSError:
        return False


def _is_locked(path: str) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return True  # it went in this moment, or may not be looked into
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
