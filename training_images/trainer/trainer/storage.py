"""Named byte objects under one place: a directory, or a prefix in an S3 bucket.

Everything the trainer reads or leaves behind (token shards, checkpoints) goes through a `Storage`, so that a laptop's
folder and a bucket behave alike: a write appears whole or not at all, listing is sorted, deleting what is not there is
no error. A storage may be pickled, used by several threads and after `fork()`.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore import exceptions as aws
from botocore.config import Config

from trainer.errors import UserError

CONNECT_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 60
ATTEMPTS = 6
MULTIPART_BYTES = 32 << 20
DELETE_BATCH = 1000  # what one DeleteObjects call takes
TEMPORARY_SUFFIX = ".writing"

Keys = list[str]  # by its own name, because Storage has a method `list`


class StorageError(UserError):
    """A place could not be read or written. The message names the URI, the cause and what to do about it."""


class RefusedError(StorageError):
    """The place answers, but this object may not be read or written with these rights, or is archived."""


def open_storage(uri: str | os.PathLike[str]) -> Storage:
    """The storage at `uri`: a path, `file:///path` or `s3://bucket/prefix`. Touches nothing yet.

    S3 is reached as the AWS environment says (credentials chain, AWS_REGION, AWS_ENDPOINT_URL, AWS_MAX_ATTEMPTS).
    Raises StorageError for a URI of another kind or an impossible bucket name.
    """
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
        bucket, _, prefix = text[len("s3://") :].partition("/")
        return S3Storage(bucket, prefix)
    raise StorageError(
        f"{text}: storage of kind {scheme[1]!r} is not known: expected a path, file:// or s3://bucket/prefix"
    )


def _checked(key: str) -> str:
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
    def upload(self, local: str | os.PathLike[str], key: str) -> None:
        """`write_bytes` from a file of any size, without holding it in memory."""

    @abstractmethod
    def download(self, key: str, local: str | os.PathLike[str]) -> None:
        """Writes the object to the file `local`, atomically and in bounded memory; makes missing folders."""

    @abstractmethod
    def list(self, prefix: str = "") -> Keys:
        """All keys that begin with the string `prefix`, sorted. A place that does not exist yet is empty."""

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


class LocalStorage(Storage):
    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self.uri = str(self.root)

    def _path(self, key: str) -> Path:
        return self.root / _checked(key)

    def read_bytes(self, key: str) -> bytes:
        path = self._path(key)
        with _local_errors(path, "read"):
            return path.read_bytes()

    def write_bytes(self, key: str, data: bytes) -> None:
        with _written_whole(self._path(key)) as target:
            target.write(data)

    def upload(self, local: str | os.PathLike[str], key: str) -> None:
        with (
            _local_errors(Path(local), "read"),
            Path(local).open("rb") as source,
            _written_whole(self._path(key)) as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)

    def download(self, key: str, local: str | os.PathLike[str]) -> None:
        path = self._path(key)
        with _local_errors(path, "read"), path.open("rb") as source, _written_whole(Path(local)) as target:
            shutil.copyfileobj(source, target, 1 << 20)

    def list(self, prefix: str = "") -> Keys:
        # Only the folder that every such key lies in is walked, not the whole storage.
        top = self.root / PurePosixPath(f"{prefix}*").parent
        if ".." in top.parts:
            raise ValueError(f"storage prefix {prefix!r} leaves the storage")
        if self.root.exists() and not self.root.is_dir():
            raise StorageError(f"{self.uri}: is a file, not a folder")
        found: list[str] = []
        with _local_errors(top, "list"):
            for folder, _, names in os.walk(top, onerror=_raise_unless_missing):
                relative = Path(folder).relative_to(self.root)
                found += [(relative / name).as_posix() for name in names if not name.endswith(TEMPORARY_SUFFIX)]
        return sorted(key for key in found if key.startswith(prefix))

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def size(self, key: str) -> int:
        path = self._path(key)
        with _local_errors(path, "read"):
            return path.stat().st_size

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            path = self._path(key)
            with _local_errors(path, "delete"):
                path.unlink(missing_ok=True)
            # S3 has no empty folders, so neither has a path.
            for folder in path.parents:
                if folder == self.root or not _removed_if_empty(folder):
                    break

    def local_path(self, key: str) -> Path | None:
        return self._path(key)


class S3Storage(Storage):
    def __init__(self, bucket: str, prefix: str) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]|arn:[\w:./-]+", bucket):
            raise StorageError(f"s3://{bucket}/{prefix}: {bucket!r} is no bucket name: 3-63 of a-z, 0-9, '-' and '.'")
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.uri = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self._client_made: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, str]:
        return {"bucket": self.bucket, "prefix": self.prefix}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__init__(state["bucket"], state["prefix"])

    @property
    def _client(self) -> Any:
        made = self._client_made
        if made is not None and made[0] == os.getpid():
            return made[1]
        # A forked child must not share its parent's sockets. Two threads may both get here: each makes a client from a
        # session of its own, which is safe, and one is kept; a lock could have been held at the fork.
        client = _make_client()
        self._client_made = (os.getpid(), client)
        return client

    def read_bytes(self, key: str) -> bytes:
        body = io.BytesIO()
        # Unlike get_object, a transfer starts again when the connection breaks in mid-body.
        with self._errors("read", "s3:GetObject", key):
            self._client.download_fileobj(self.bucket, self._key(key), body, Config=_TRANSFER)
        return body.getvalue()

    def write_bytes(self, key: str, data: bytes) -> None:
        with self._errors("write", "s3:PutObject", key):
            self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data)

    def upload(self, local: str | os.PathLike[str], key: str) -> None:
        with _local_errors(Path(local), "read"), self._errors("write", "s3:PutObject", key):
            self._client.upload_file(os.fspath(local), self.bucket, self._key(key), Config=_TRANSFER)

    def download(self, key: str, local: str | os.PathLike[str]) -> None:
        with _written_whole(Path(local)) as target, self._errors("read", "s3:GetObject", key):
            self._client.download_fileobj(self.bucket, self._key(key), target, Config=_TRANSFER)

    def list(self, prefix: str = "") -> Keys:
        found: list[str] = []
        with self._errors("list", "s3:ListBucket", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                found += [entry["Key"][len(self.prefix) :] for entry in page.get("Contents", [])]
        # Consoles mark a "folder" with an empty object whose key ends in a slash.
        return sorted(key for key in found if key and not key.endswith("/"))

    def exists(self, key: str) -> bool:
        try:
            self.size(key)
        except FileNotFoundError:
            return False
        return True

    def size(self, key: str) -> int:
        with self._errors("read", "s3:GetObject", key):
            return self._client.head_object(Bucket=self.bucket, Key=self._key(key))["ContentLength"]

    def delete(self, keys: Iterable[str]) -> None:
        names = [{"Key": self._key(key)} for key in keys]
        for first in range(0, len(names), DELETE_BATCH):
            batch = names[first : first + DELETE_BATCH]
            with self._errors("delete", "s3:DeleteObject", batch[0]["Key"][len(self.prefix) :]):
                answer = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})
            for error in answer.get("Errors", []):
                raise StorageError(
                    f"s3://{self.bucket}/{error.get('Key')}: delete failed: {error.get('Code')}: {error.get('Message')}"
                    f"{_hint(error.get('Code', ''), 's3:DeleteObject')}"
                )

    def _key(self, key: str) -> str:
        return self.prefix + _checked(key)

    def local_path(self, key: str) -> Path | None:  # noqa: ARG002
        return None

    @contextmanager
    def _errors(self, action: str, permission: str, key: str) -> Generator[None]:
        """AWS's exceptions as FileNotFoundError or StorageError, said in terms of the object's URI."""
        where = self.uri_of(key)
        try:
            yield
        except (aws.BotoCoreError, aws.ClientError, S3UploadFailedError) as raised:
            error: BaseException | None = raised
            if isinstance(raised, S3UploadFailedError):  # boto3 hides what S3 said
                error = raised.__cause__ or raised.__context__ or raised
            if not isinstance(error, aws.ClientError):
                raise StorageError(f"{where}: {action} failed: {error}{_connection_hint(error)}") from raised
            code, said = error.response["Error"].get("Code", "?"), error.response["Error"].get("Message", "")
            if code in ("404", "NotFound"):  # an answer to HEAD has no body that could tell which of the two is missing
                code = "NoSuchKey" if self._bucket_exists() else "NoSuchBucket"
            if code == "NoSuchKey":
                raise FileNotFoundError(f"{where}: no such object") from raised
            kind = RefusedError if code in _REFUSALS else StorageError
            raise kind(f"{where}: {action} failed: {code}: {said}{_hint(code, permission)}") from raised

    def _bucket_exists(self) -> bool:
        try:
            self._client.head_bucket(Bucket=self.bucket)
        except aws.ClientError as error:
            return error.response["Error"].get("Code") not in ("404", "NotFound", "NoSuchBucket")
        return True


_REFUSALS = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "InvalidObjectState"}
_TRANSFER = TransferConfig(
    multipart_threshold=MULTIPART_BYTES, multipart_chunksize=MULTIPART_BYTES // 2, max_concurrency=8
)


def _make_client() -> Any:
    retries: dict[str, Any] = {}
    if "AWS_RETRY_MODE" not in os.environ:
        retries["mode"] = "standard"
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = ATTEMPTS
    # An endpoint of one's own (an emulated account, MinIO) seldom has a DNS name for each bucket.
    own_endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = Config(
        retries=retries,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        max_pool_connections=16,
        tcp_keepalive=True,
        s3={"addressing_style": "path" if own_endpoint else "auto"},
    )
    return boto3.session.Session().client("s3", config=config)


def _hint(code: str, permission: str) -> str:
    if code in _REFUSALS - {"InvalidObjectState"}:
        needs = "kms:Decrypt" if permission == "s3:GetObject" else "kms:GenerateDataKey"
        key = (
            f" and, in a bucket with a key of its own, {needs}"
            if permission in ("s3:GetObject", "s3:PutObject")
            else ""
        )
        unlisted = ". An object that is not there looks the same to a role without s3:ListBucket"
        return f". The role needs {permission}{key}{unlisted if permission == 's3:GetObject' else ''}"
    return {
        "NoSuchBucket": ". There is no such bucket for this account and endpoint: check the name and AWS_ENDPOINT_URL",
        "PermanentRedirect": ". The bucket lies in another region: set AWS_REGION",
        "301": ". The bucket lies in another region: set AWS_REGION",
        "AuthorizationHeaderMalformed": ". The bucket lies in another region: set AWS_REGION",
        "InvalidObjectState": ". It is archived: restore it first",
        "ExpiredToken": ". The credentials have expired: sign in again",
        "InvalidAccessKeyId": ". The access key is unknown to this account: check AWS_PROFILE or AWS_ACCESS_KEY_ID",
        "SignatureDoesNotMatch": ". The secret key does not belong to the access key",
    }.get(code, "")


def _connection_hint(error: BaseException | None) -> str:
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError | aws.CredentialRetrievalError):
        return ". Sign in (`aws sso login`), set AWS_PROFILE, or run with the platform's training role"
    if isinstance(error, aws.ProfileNotFound):
        return ". Set AWS_PROFILE to one that `aws configure list-profiles` shows"
    if isinstance(error, aws.NoRegionError):
        return ". Set AWS_REGION"
    if isinstance(error, aws.HTTPClientError | aws.ConnectionError):
        return ". Nothing answers there: check the network, the VPC's S3 endpoint and AWS_ENDPOINT_URL"
    return ""


@contextmanager
def _local_errors(path: Path, action: str) -> Generator[None]:
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise StorageError(f"{error.filename or path}: {action} failed: {error.strerror or error}") from error


@contextmanager
def _written_whole(path: Path) -> Generator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends well, and is gone when it does not."""
    temporary: Path | None = None
    try:
        temporary, target = _temporary_beside(path)
        with target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        temporary.replace(path)
        temporary = None
        _sync_folder(path.parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: write failed: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _temporary_beside(path: Path) -> tuple[Path, IO[bytes]]:
    for attempts_left in (2, 1, 0):
        path.parent.mkdir(parents=True, exist_ok=True)
        name = path.with_name(f".{path.name}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")
        try:
            return name, name.open("xb")
        except FileNotFoundError:
            if not attempts_left:  # else another process's delete() has just removed the empty folder
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
