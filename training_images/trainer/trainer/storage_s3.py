"""A prefix in an S3 bucket as a storage, reached as the AWS environment says."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore import exceptions as aws
from botocore.config import Config

from trainer.storage import Keys, RefusedError, Storage, StorageError, UnlikeError, checked_key
from trainer.storage_local import local_errors, written_whole

MULTIPART_BYTES = 32 << 20
LARGEST_PUT_BYTES = 5 << 30  # S3 takes more in parts only
DELETE_BATCH = 1000  # what one DeleteObjects call takes
CHUNK_BYTES = 1 << 20
_EXCHANGE_ATTEMPTS = 8


class ChangedError(StorageError):
    """The object is no longer what a conditional write wanted it to be."""


@dataclass(frozen=True)
class Patience:
    """With a server that does not answer, or says to come again."""

    connect_seconds: float = 10.0
    read_seconds: float = 60.0
    """Of silence."""
    attempts: int = 6
    """At each request, before it counts as failed. AWS_MAX_ATTEMPTS in the environment wins."""


class S3Storage(Storage):
    def __init__(self, bucket: str, prefix: str, patience: Patience = Patience()) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]|arn:[\w:./-]+", bucket):
            raise StorageError(f"s3://{bucket}/{prefix}: {bucket!r} is no bucket name: 3-63 of a-z, 0-9, '-' and '.'")
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.uri = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self.patience = patience
        self._client_made: tuple[int, Any] | None = None

    def __getstate__(self) -> tuple[str, str, Patience]:
        return self.bucket, self.prefix, self.patience

    def __setstate__(self, state: tuple[str, str, Patience]) -> None:
        self.__init__(*state)

    @property
    def _client(self) -> Any:
        made = self._client_made
        if made is not None and made[0] == os.getpid():
            return made[1]
        # A forked child must not share its parent's sockets. Two threads may both get here: each makes a client from a
        # session of its own, which is safe, and one is kept; a lock could have been held at the fork.
        client = _make_client(self.patience)
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

    def exchange(self, key: str, data: bytes) -> bytes | None:
        before: bytes | None = None
        for _ in range(_EXCHANGE_ATTEMPTS):
            try:
                found, condition = self._read_tagged(key)
            except FileNotFoundError:
                found, condition = None, {"IfNoneMatch": "*"}
            if found == data:
                return before  # it was written, and the answer lost
            before = found
            try:
                self._put_if(key, data, condition)
            except (ChangedError, FileNotFoundError):
                continue
            return before
        raise ChangedError(f"{self.uri_of(key)}: others write it all the time")

    def _put_if(self, key: str, data: bytes, condition: dict[str, str]) -> None:
        with self._errors("write", "s3:PutObject", key):
            try:
                self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data, **condition)
            except aws.ClientError as error:
                if error.response["Error"].get("Code") != "NotImplemented":
                    raise
                self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data)

    def _read_tagged(self, key: str) -> tuple[bytes, dict[str, str]]:
        """With the condition under which it may be replaced."""
        with self._errors("read", "s3:GetObject", key):
            found = self._client.get_object(Bucket=self.bucket, Key=self._key(key))
            return found["Body"].read(), {"IfMatch": found["ETag"]}

    def write_checked(self, key: str, data: memoryview, sha256: str) -> None:
        checksum = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode()}
        with self._errors("write", "s3:PutObject", key):
            if data.nbytes > LARGEST_PUT_BYTES:
                self._client.upload_fileobj(_Body(data), self.bucket, self._key(key), Config=_TRANSFER)
            else:
                self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=_Body(data), **checksum)

    def check(self, key: str, data: memoryview, sha256: str) -> None:
        where = self.uri_of(key)
        try:
            with self._errors("read", "s3:GetObject", key):
                head = self._client.head_object(Bucket=self.bucket, Key=self._key(key), ChecksumMode="ENABLED")
            if head["ContentLength"] != len(data):
                raise UnlikeError(f"{where}: has {head['ContentLength']} bytes instead of {len(data)}")
            # Not every endpoint tells it, and of an object in parts it is a hash of hashes.
            told = head.get("ChecksumSHA256", "-")
            found = self.sha256(key) if "-" in told else base64.b64decode(told).hex()
        except FileNotFoundError:
            raise UnlikeError(f"{where}: was acknowledged, but is not there") from None
        if found != sha256:
            raise UnlikeError(f"{where}: has another SHA-256 than what was written")

    def sha256(self, key: str) -> str:
        digest = hashlib.sha256()
        with self._errors("read", "s3:GetObject", key):
            body = self._client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"]
            for chunk in body.iter_chunks(CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def upload(self, local: str | os.PathLike[str], key: str) -> None:
        with local_errors(Path(local), "read"), self._errors("write", "s3:PutObject", key):
            self._client.upload_file(os.fspath(local), self.bucket, self._key(key), Config=_TRANSFER)

    def download(self, key: str, local: str | os.PathLike[str]) -> None:
        with written_whole(Path(local)) as target, self._errors("read", "s3:GetObject", key):
            self._client.download_fileobj(self.bucket, self._key(key), target, Config=_TRANSFER)

    def fetch(self, key: str, local: Path) -> str:
        digest = hashlib.sha256()
        with self._errors("read", "s3:GetObject", key):
            body = self._client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"]
            with written_whole(local, synced=False) as target:
                for chunk in body.iter_chunks(CHUNK_BYTES):
                    digest.update(chunk)
                    target.write(chunk)
        return digest.hexdigest()

    def list(self, prefix: str = "") -> Keys:
        return sorted(self.sizes(prefix))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        found: dict[str, int] = {}
        with self._errors("list", "s3:ListBucket", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                found |= {entry["Key"][len(self.prefix) :]: entry["Size"] for entry in page.get("Contents", [])}
        # Consoles mark a "folder" with an empty object whose key ends in a slash.
        return {key: size for key, size in found.items() if key and not key.endswith("/")}

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
        return self.prefix + checked_key(key)

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
                failed = StorageError(f"{where}: {action} failed: {error}{_connection_hint(error)}")
                failed.may_pass = not isinstance(error, _LASTING)
                raise failed from raised
            code, said = error.response["Error"].get("Code", "?"), error.response["Error"].get("Message", "")
            if code in ("404", "NotFound"):  # an answer to HEAD has no body that could tell which of the two is missing
                code = "NoSuchKey" if self._bucket_exists() else "NoSuchBucket"
            if code == "NoSuchKey":
                raise FileNotFoundError(f"{where}: no such object") from raised
            kind = RefusedError if code in _REFUSALS else ChangedError if code in _CHANGED else StorageError
            failed = kind(f"{where}: {action} failed: {code}: {said}{_hint(code, permission)}")
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            failed.may_pass = status >= 500 or status == 429 or code in _PASSING
            if code in _EXPIRED | _WRONG_CREDENTIALS:
                self._client_made = None  # the next one asks anew where credentials come from
            raise failed from raised

    def _bucket_exists(self) -> bool:
        try:
            self._client.head_bucket(Bucket=self.bucket)
        except aws.ClientError as error:
            return error.response["Error"].get("Code") not in ("404", "NotFound", "NoSuchBucket")
        return True


class _Body(io.RawIOBase):
    """Memory as the body of a request. Parts come a mebibyte at a time however little is asked for: HTTP clients ask
    for 16 KiB, and would spend more on asking than on sending."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._position = data, 0

    def __len__(self) -> int:
        return len(self._data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}[whence]
        return self._position

    def read(self, size: int | None = -1) -> memoryview:
        end = len(self._data) if size is None or size < 0 else self._position + max(size, CHUNK_BYTES)
        part = self._data[self._position : end]
        self._position += len(part)
        return part


_REFUSALS = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "InvalidObjectState"}
_CHANGED = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"}
_WRONG_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch"}
_PASSING = _EXPIRED | {
    "BadDigest",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "XAmzContentChecksumMismatch",
}
_LASTING = (aws.NoCredentialsError, aws.PartialCredentialsError, aws.ProfileNotFound, aws.NoRegionError)
_TRANSFER = TransferConfig(
    multipart_threshold=MULTIPART_BYTES, multipart_chunksize=MULTIPART_BYTES // 2, max_concurrency=8
)


def _make_client(patience: Patience) -> Any:
    retries: dict[str, Any] = {}
    if "AWS_RETRY_MODE" not in os.environ:
        retries["mode"] = "standard"
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = patience.attempts
    # An endpoint of one's own (an emulated account, MinIO) seldom has a DNS name for each bucket.
    own_endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = Config(
        retries=retries,
        response_checksum_validation="when_required",  # data sets and checkpoints have hashes of their own
        connect_timeout=patience.connect_seconds,
        read_timeout=patience.read_seconds,
        max_pool_connections=64,
        tcp_keepalive=True,
        s3={"addressing_style": "path" if own_endpoint else "auto"},
    )
    try:
        return boto3.session.Session().client("s3", config=config)
    except ValueError as error:
        if not own_endpoint:
            raise
        raise StorageError(f"AWS_ENDPOINT_URL is {own_endpoint!r}: {error}; expected http(s)://host[:port]") from error


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
        "RequestTimeTooSkewed": ". This machine's clock is off by minutes: set it (chrony, systemd-timesyncd)",
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
