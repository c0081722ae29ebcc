"""Whose a place of checkpoints is. Two runs at once in one would mix their files and delete each other's.

Two things see to it, because neither reaches everywhere:

- `run.lock` in a folder is held with flock by a process of the run. The kernel lets go of it however that process ends.
  A second run does not start.
- `owner.json` in the durable place is a fencing token. Whoever starts writes one of its own, so that a node that was
  lost never keeps out its successor; whoever is about to publish or delete anything looks whether it is still its own.
  Between that look and the write lie milliseconds in which a successor may come: what would be mixed then has other
  hashes than the manifest says, and is passed over.

Nothing here imports torch: the saving process and the command line look here too.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.storage import Storage, StorageError

if TYPE_CHECKING:
    from trainer.gang import Gang
    from trainer.storage_local import LocalStorage

log = logging.getLogger("trainer")

OWNER = "owner.json"
LOCK = "run.lock"

TAKEN_OVER = "was taken over by another run"
"""Stands in what TakenOverError says, and so in what a saving process hands on of it."""

_ENDING_SECONDS = 5.0
"""How long a process that was killed may take to let go: it has its memory to give back first."""
_LOST_SECONDS = 240.0
"""How long the servers of a shared file system may take to give up a machine that is lost, and let go of its locks.
Whoever takes the place of a lost node meets them, and must not end for it as for a wrong setting."""
_POLL_SECONDS = 0.05
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_LARGEST_BYTES = 4096


class HeldError(StorageError):
    """Another run that is alive uses the place."""


class TakenOverError(StorageError):
    """A later start has made the place its own."""


class Owner(BaseModel):
    model_config = ConfigDict(frozen=True)

    token: str
    """Drawn at each start, the same on all ranks."""
    run: str
    """Its run.directory: what a person knows it by."""
    host: str
    process: int
    since: str
    machine: str = ""
    """That it runs on, as its kernel names itself since its start; containers of one machine have the same."""

    @classmethod
    def here(cls, run: Path) -> Owner:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(
            token=secrets.token_hex(16),
            run=str(run),
            host=socket.gethostname(),
            process=os.getpid(),
            since=now,
            machine=_machine(),
        )

    def to_json(self) -> bytes:
        return (self.model_dump_json(indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> Owner | None:
        """None for what `to_json` has not written."""
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            return None

    @property
    def is_elsewhere(self) -> bool:
        """On another machine, as far as it has said on which."""
        return self.machine not in ("", _machine())

    @property
    def is_gone(self) -> bool:
        """Its process has ended, as far as can be seen from this host."""
        return self.host == socket.gethostname() and not Path(f"/proc/{self.process}").exists()

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, started {self.since} with run.directory {self.run}"


class Claim:
    """A gang's, to the places its checkpoints lie in. Made by all ranks."""

    def __init__(self, gang: Gang, durable: Storage, local: LocalStorage | None, run: Path) -> None:
        """Before anything there is looked at. Raises UserError, on every rank, if another run is alive there.

        `run` is this run's directory. A node's disk that can't be written is no more than a warning.
        """
        owner = gang.from_leader(lambda: Owner.here(run))
        self.token = owner.token
        self._folders: list[Path] = []

        def hold_folders() -> None:
            if local is not None and gang.local_rank == 0:
                try:
                    self._hold(local.root, owner)
                except HeldError:
                    raise
                except StorageError as error:
                    log.warning("no checkpoints on this node's own disk: %s", error)
            if gang.leads and (file := durable.local_path(LOCK)) is not None:
                try:
                    self._hold(file.parent, owner)
                except HeldError:
                    raise
                except StorageError as error:
                    raise StorageError(f"checkpoint.uri {error}; name one that can be written") from error

        gang.together(hold_folders)
        before = gang.from_leader(lambda: claim(durable, owner))
        if before is not None and gang.leads and not before.is_gone:
            log.info("%s was last used by %s; if that still runs, it ends at its next checkpoint", durable.uri, before)

    def _hold(self, folder: Path, owner: Owner) -> None:
        hold(folder, owner)
        self._folders.append(folder)

    def release(self) -> None:
        """Lets other runs of this machine in. Needs no other rank."""
        while self._folders:
            release(self._folders.pop())


_held: dict[Path, int] = {}
"""File descriptors of the locks that this process holds. It may take one again: a process is one run."""


def hold(folder: Path, owner: Owner) -> None:
    """Keeps other runs of this machine, and of all that share the file system's locks, out of `folder`.

    Held until `release`, or until the process ends. The ranks of a gang that share a folder may each call it.
    Raises HeldError, naming who holds it, and StorageError for a folder that can't be written.
    """
    release(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if not _locked(handle, owner):
                raise HeldError(_said(folder, _read(handle)))
            if (there := _read(handle)) is None or there.token != owner.token:
                _write(handle, owner)
        except BaseException:
            os.close(handle)
            raise
    except OSError as error:
        why = "it is a file" if isinstance(error, FileExistsError) else error.strerror or str(error)
        raise StorageError(f"{folder} can't be a folder of checkpoints: {why}") from error
    _held[folder] = handle


def release(folder: Path) -> None:
    handle = _held.pop(folder, None)
    if handle is not None:
        os.close(handle)


def holder(folder: Path) -> Owner | str | None:
    """Who holds `folder` now, if a process that is alive does; "another run" where it has not said yet who it is."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(handle) or "another run"
    except OSError:
        return None
    finally:
        os.close(handle)
    return None


def claim(storage: Storage, owner: Owner) -> Owner | None:
    """Makes the durable place that of `owner`. Returns whose it was. Raises StorageError where it can't be written."""
    before = storage.exchange(OWNER, owner.to_json())
    return Owner.from_json(before) if before is not None else None


def confirm(storage: Storage, token: str) -> None:
    """Raises TakenOverError unless the durable place still belongs to whoever claimed it with `token`.

    One without an owner, since somebody has deleted the file, has not been taken over by anybody.
    """
    try:
        data = storage.read_bytes(OWNER)
    except FileNotFoundError:
        return
    owner = Owner.from_json(data)
    if owner is None or owner.token != token:
        raise TakenOverError(
            f"{storage.uri} {TAKEN_OVER}: {owner or f'{OWNER} there is none of ours'}. This one ends, and publishes "
            "and deletes nothing there any more. To have both, give one of them a checkpoint.uri of its own"
        )


def _locked(handle: int, owner: Owner) -> bool:
    """True as well where the file system knows no locks: then the fencing token has to do."""
    begun, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            there = _read(handle)
            if there is not None and there.token == owner.token:
                return True  # another rank of this gang, on a node's disk that is the same one
            elsewhere = there is not None and there.is_elsewhere
            if time.monotonic() - begun > (_LOST_SECONDS if elsewhere else _ENDING_SECONDS):
                return False
            if elsewhere and not told:
                log.warning("waiting up to %g s for %s: it may be lost, and its lock with it", _LOST_SECONDS, there)
                told = True
            time.sleep(_POLL_SECONDS)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return True
        else:
            return True


def _machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""  # not on this system


def _read(handle: int) -> Owner | None:
    return Owner.from_json(os.pread(handle, _LARGEST_BYTES, 0))


def _write(handle: int, owner: Owner) -> None:
    data = owner.to_json()
    os.ftruncate(handle, 0)
    os.pwrite(handle, data, 0)


def _said(folder: Path, there: Owner | None) -> str:
    return (
        f"{folder}: another run is using it: {there or 'it has not said which'}. Their checkpoints would mix: wait for "
        "its end or end it, or give this one a checkpoint.uri of its own"
    )


def _forget_in_child() -> None:
    """A lock belongs to whoever inherits it, too: a child would go on holding it after this process."""
    for handle in _held.values():
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
