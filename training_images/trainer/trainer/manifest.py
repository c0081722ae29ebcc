"""What makes files a checkpoint: `manifest.json`, written last, names each with size and hash, and carries its own.

Nothing here imports torch: the saving process and the command line read manifests too.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from trainer.storage import TEMPORARY_SUFFIX

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
_LONGEST_NAME = 255
"""Bytes, as file systems have it."""

Ending = Literal["interval", "preempted", "final"]
"""Why a checkpoint was saved. A run that goes on from one saved at its interval was ended without a warning."""


class UnsoundCheckpointError(Exception):
    """Why a checkpoint can't be used."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRecord(_Record):
    name: str
    bytes: int = Field(ge=0, lt=2**63)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("name")
    @classmethod
    def _lies_in_the_checkpoints_folder(cls, name: str) -> str:
        elsewhere = name in ("", ".", "..", MANIFEST) or set("/\0") & set(name)
        if elsewhere or name.endswith(TEMPORARY_SUFFIX) or len(name.encode()) > _LONGEST_NAME:
            raise ValueError(f"{name[:80]!r} is no name for a file of a checkpoint")
        return name


class Costs(_Record):
    """Seconds, as medians of the last saves and restores. None: not measured yet."""

    stall_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """How long a save stops training."""
    upload_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """From the snapshot until the checkpoint is durable."""
    restore_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """To find, verify and load one."""


class History(_Record):
    """What a run has been through until it was saved, over all its processes."""

    seconds_trained: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """From the start of each process to its last checkpoint."""
    failures: int = Field(default=0, ge=0)
    """Times it had to go on from a checkpoint saved at the interval: nothing had warned it."""
    costs: Costs = Costs()
    """What a resumed run reckons with until it has measured for itself."""


class CheckpointManifest(_Record):
    format_version: Literal[2] = FORMAT_VERSION
    run_id: str
    """The same through all restarts of a run."""
    ending: Ending
    history: History
    code_revision: str | None
    """Of the trainer that saved: `git:<commit>`, with a + for changes not committed, or `sources:<hash>`."""
    progress: dict[str, Any]
    scaler: dict[str, Any] | None
    """Loss-scaling state of an fp16 run."""
    world_size: int = Field(ge=1)
    strategy: str
    """none, ddp or fsdp: how the ranks that saved shared the model."""
    device: str
    data_sha256: str
    """Of the token data set's content."""
    essentials: dict[str, Any]
    """The settings that decide which numbers come out."""
    config: dict[str, Any]
    """All settings."""
    config_sha256: str
    versions: dict[str, str]
    saved_at: str
    files: tuple[FileRecord, ...]

    @field_validator("progress")
    @classmethod
    def _has_a_step(cls, progress: dict[str, Any]) -> dict[str, Any]:
        step = progress.get("step")
        if type(step) is not int or not 0 <= step < 2**63:
            raise ValueError(f"a step of {step!r:.80}")
        return progress

    @field_validator("files")
    @classmethod
    def _each_once(cls, files: tuple[FileRecord, ...]) -> tuple[FileRecord, ...]:
        names = Counter(file.name for file in files)
        if twice := [name for name, times in names.items() if times > 1]:
            raise ValueError(f"{twice[0]} is named twice")
        return files

    @property
    def step(self) -> int:
        return self.progress["step"]

    @property
    def total_bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def to_json(self) -> bytes:
        content = self.model_dump(mode="json")
        return (json.dumps({**content, "manifest_sha256": hash_of(content)}, indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> CheckpointManifest:
        """Raises UnsoundCheckpointError, saying why, for anything but what `to_json` wrote."""
        try:
            content = json.loads(data)
            recorded = content.pop("manifest_sha256")
            actual = hash_of(content)
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            raise UnsoundCheckpointError(f"{MANIFEST} is no whole manifest") from None
        version = content.get("format_version")
        if version not in (1, FORMAT_VERSION):
            raise UnsoundCheckpointError(
                f"{MANIFEST} is of format version {version}, this trainer reads 1 to {FORMAT_VERSION}"
            )
        if recorded != actual:
            raise UnsoundCheckpointError(f"{MANIFEST} does not have the SHA-256 it says it has")
        if version == 1:
            # What it could not say yet. An unknown ending is not held against the machines.
            content |= {"format_version": 2, "ending": "final", "history": {}, "code_revision": None}
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise UnsoundCheckpointError(f"{MANIFEST} is not as expected: {where!a}: {first['msg']}") from None


def hash_of(value: Any) -> str:
    """SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def record_of(file: Path) -> FileRecord:
    with file.open("rb") as content:
        return FileRecord(
            name=file.name, bytes=file.stat().st_size, sha256=hashlib.file_digest(content, "sha256").hexdigest()
        )


def check_file(file: Path, record: FileRecord) -> None:
    """Raises UnsoundCheckpointError unless `file` is what the record says."""
    if not file.is_file():
        raise UnsoundCheckpointError(f"{record.name} is missing")
    if (size := file.stat().st_size) != record.bytes:
        raise UnsoundCheckpointError(f"{record.name} has {size} bytes instead of {record.bytes}")
    if record_of(file).sha256 != record.sha256:
        raise UnsoundCheckpointError(f"the SHA-256 of {record.name} differs")


def differences(saved: dict[str, Any], present: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings that differ: name to (saved, present)."""
    return {
        name: (saved.get(name), present.get(name))
        for name in sorted(saved.keys() | present.keys())
        if saved.get(name) != present.get(name)
    }
