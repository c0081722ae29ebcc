"""A directory as a storage, and files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO

from trainer.direct_io import holds, write_whole
from trainer.storage import TEMPORARY_SUFFIX, Keys, Storage, StorageError, UnlikeError, checked_key

CHUNK_BYTES = 1 << 20


class LocalStorage(Storage):
    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self.uri = str(self.root)

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)

    def read_bytes(self, key: str) -> bytes:
        path = self._path(key)
        with local_errors(path, "read"):
            return path.read_bytes()

    def write_bytes(self, key: str, data: bytes) -> None:
        with written_whole(self._path(key)) as target:
            target.write(data)

    def exchange(self, key: str, data: bytes) -> bytes | None:
        before = self.read_bytes(key) if self.exists(key) else None
        self.write_bytes(key, data)
        return before

    def write_checked(self, key: str, data: memoryview, sha256: str) -> None:  # noqa: ARG002
        with written_whole(self._path(key)) as target:
            write_whole(target.fileno(), data)

    def check(self, key: str, data: memoryview, sha256: str) -> None:  # noqa: ARG002
        path = self._path(key)
        try:
            if (found := self.size(key)) != len(data):
                raise UnlikeError(f"{path}: has {found} bytes instead of {len(data)}")
            # Cheaper than a second SHA-256, and no less sure.
            with local_errors(path, "read"), path.open("rb", buffering=0) as file:
                same = holds(file.fileno(), data)
            if not same:
                raise UnlikeError(f"{path}: reads back with other bytes")
        except FileNotFoundError:
            raise UnlikeError(f"{path}: was written, but is not there") from None

    def sha256(self, key: str) -> str:
        path = self._path(key)
        with local_errors(path, "read"), path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def upload(self, local: str | os.PathLike[str], key: str) -> None:
        with (
            local_errors(Path(local), "read"),
            Path(local).open("rb") as source,
            written_whole(self._path(key)) as target,
        ):
            shutil.copyfileobj(source, target, CHUNK_BYTES)

    def download(self, key: str, local: str | os.PathLike[str]) -> None:
        path = self._path(key)
        with local_errors(path, "read"), path.open("rb") as source, written_whole(Path(local)) as target:
            shutil.copyfileobj(source, target, CHUNK_BYTES)

    def fetch(self, key: str, local: Path) -> str:
        self.download(key, local)
        return LocalStorage(local.parent).sha256(local.name)

    def list(self, prefix: str = "") -> Keys:
        return sorted(self.sizes(prefix))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        # Only the folder that every such key lies in is walked, not the whole storage.
        top = self.root / PurePosixPath(f"{prefix}*").parent
        if ".." in top.parts:
            raise ValueError(f"storage prefix {prefix!r} leaves the storage")
        if self.root.exists() and not self.root.is_dir():
            raise StorageError(f"{self.uri}: is a file, not a folder")
        found: dict[str, int] = {}
        with local_errors(top, "list"):
            for folder, _, names in os.walk(top, onerror=_raise_unless_missing):
                relative = Path(folder).relative_to(self.root)
                for name in names:
                    key = (relative / name).as_posix()
                    if key.startswith(prefix) and not name.endswith(TEMPORARY_SUFFIX):
                        with suppress(FileNotFoundError):  # deleted meanwhile
                            found[key] = (Path(folder) / name).stat().st_size
        return found

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def size(self, key: str) -> int:
        path = self._path(key)
        with local_errors(path, "read"):
            return path.stat().st_size

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            path = self._path(key)
            with local_errors(path, "delete"):
                path.unlink(missing_ok=True)
            # S3 has no empty folders, so neither has a path.
            for folder in path.parents:
                if folder == self.root or not _removed_if_empty(folder):
                    break

    def local_path(self, key: str) -> Path | None:
        return self._path(key)


@contextmanager
def local_errors(path: Path, action: str) -> Generator[None]:
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise StorageError(f"{error.filename or path}: {action} failed: {error.strerror or error}") from error


@contextmanager
def written_whole(path: Path, synced: bool = True) -> Generator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends well, and is gone when it does not."""
    temporary: Path | None = None
    try:
        temporary, target = _temporary_beside(path)
        with target:
            yield target
            if synced:
                target.flush()
                os.fsync(target.fileno())
        temporary.replace(path)
        temporary = None
        if synced:
            _sync_folder(path.parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: write failed: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _temporary_beside(path: Path) -> tuple[Path, IO[bytes]]:
    name = path.with_name(f".{path.name}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")
    return name, opened_in_its_folder(name, "xb")


def opened_in_its_folder(path: Path, mode: str) -> IO[bytes]:
    """Makes missing folders, again if another process's `delete` has just taken away the empty one."""
    for attempts_left in (2, 1, 0):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return path.open(mode)
        except FileNotFoundError:
            if not attempts_left:
                raise
    raise AssertionError("unreachable")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _removed_if_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
