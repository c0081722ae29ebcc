"""Named byte objects under one place: a directory, or a prefix in an S3 bucket.

Everything the trainer reads or leaves behind (token shards, checkpoints) goes through a `Storage`, so that a laptop's
folder and a bucket behave alike: a write appears whole or not at all, listing is sorted, deleting what is not there is
no error. A storage may be pickled, used by several threads and after `fork()`.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import UserError

if TYPE_CHECKING:
    from trainer.storage_s3 import Patience

TEMPORARY_SUFFIX = ".writing"

Keys = list[str]  # by its own name, because Storage has a method `list`


class StorageError(UserError):
    """A place could not be read or written. The message names the URI, the cause and what to do about it."""

    may_pass = False
    """Whether trying again later is of use: a busy or silent server, credentials that may be renewed."""


class UnlikeError(StorageError):
    """What a place gives back is not what was written there."""

    may_pass = True


class RefusedError(StorageError):
    """The place answers, but this object may not be read or written with these rights, or is archived."""


def open_storage(uri: str | os.PathLike[str], patience: Patience | None = None) -> Storage:
    """The storage at `uri`: a path, `file:///path` or `s3://bucket/prefix`. Touches nothing yet.

    S3 is reached as the AWS environment says (credentials chain, AWS_REGION, AWS_ENDPOINT_URL, AWS_MAX_ATTEMPTS), with
    `patience` in place of the usual one.
    Raises StorageError for a URI of another kind or an impossible bucket name.
    """
    from trainer.storage_local import LocalStorage

    text = os.fspath(uri)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if scheme is None:
        if not text.strip():
            raise StorageError("an empty storage URI: expected a path or s3://bucket/prefix")
        return LocalStorage(Path(text))
    parts = urllib.parse.urlsplit(text)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise StorageError(f"{text}: a file URI has no host: file:///absolute/path")
        return LocalStorage(Path(urllib.parse.unquote(parts.path)))
    if parts.scheme == "s3":
        from trainer.storage_s3 import S3Storage  # boto3 takes a while to import; a folder does not need it

        bucket, _, prefix = text[len("s3://") :].partition("/")
        return S3Storage(bucket, prefix, *([patience] if patience else []))
    raise StorageError(
        f"{text}: storage of kind {scheme[1]!r} is not known: expected a path, file:// or s3://bucket/prefix"
    )


def checked_key(key: str) -> str:
    """`key` if it stays inside its storage, else ValueError: a program's mistake, not a person's."""
    parts = key.split("/")
    if not key or "\0" in key or any(part in ("", ".", "..") for part in parts) or key.endswith(TEMPORARY_SUFFIX):
        raise ValueError(f"storage key {key!r}: expected a relative path such as 'step-10/model.bin'")
    return key


class Storage(ABC):
    """Objects by key. Keys are relative, '/'-separated paths. `uri` names the place without a trailing slash.

    Every method raises StorageError where the place itself cannot be used; reading methods raise FileNotFoundError,
    naming the full URI, for an object that is not there.
    """

    uri: str

    def uri_of(self, key: str) -> str:
        """The full URI of one object."""
        return f"{self.uri}/{key}"

    @abstractmethod
    def read_bytes(self, key: str) -> bytes: ...

    @abstractmethod
    def write_bytes(self, key: str, data: bytes) -> None:
        """Creates or replaces the object; readers see the old or the new bytes, never part of them."""

    @abstractmethod
    def exchange(self, key: str, data: bytes) -> bytes | None:
        """`write_bytes` that returns what was there before, None for nothing. Where the place knows conditional writes,
        of two at the same moment one comes after the other, and sees it."""

    @abstractmethod
    def write_checked(self, key: str, data: memoryview, sha256: str) -> None:
        """`write_bytes` without a copy. `sha256` (hex) is that of `data`; a place that can compares it on arrival."""

    @abstractmethod
    def check(self, key: str, data: memoryview, sha256: str) -> None:
        """Raises UnlikeError unless the object is there and is `data`, by its hash or byte for byte."""

    @abstractmethod
    def sha256(self, key: str) -> str:
        """Of the object's bytes, every one read; hex."""

    @abstractmethod
    def upload(self, local: str | os.PathLike[str], key: str) -> None:
        """`write_bytes` from a file of any size, without holding it in memory."""

    @abstractmethod
    def download(self, key: str, local: str | os.PathLike[str]) -> None:
        """Writes the object to the file `local`, atomically and in bounded memory; makes missing folders."""

    @abstractmethod
    def fetch(self, key: str, local: Path) -> str:
        """`download` that returns the SHA-256 (hex) of what came, for files of which nobody needs part. Not synced."""

    @abstractmethod
    def list(self, prefix: str = "") -> Keys:
        """All keys that begin with the string `prefix`, sorted. A place that does not exist yet is empty."""

    @abstractmethod
    def sizes(self, prefix: str = "") -> dict[str, int]:
        """The keys of `list`, with their bytes."""

    @abstractmethod
    def exists(self, key: str) -> bool: ...

    @abstractmethod
    def size(self, key: str) -> int:
        """Bytes."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Removes the objects; those already gone are no error."""

    @abstractmethod
    def local_path(self, key: str) -> Path | None:
        """The object's own file where there is one, so that a reader can map it instead of copying it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"
