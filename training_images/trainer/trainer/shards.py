"""A data set of tokens: what it consists of (`Manifest`), and one split of it as one long stream (`TokenShards`).

On disk or in a bucket, under one prefix: `manifest.json`, written last, so that a data set without one does not exist;
`tokenizer.json`; `train-00000.bin` … and `val-00000.bin` …, little-endian token ids without a header, each document
ended by the end-of-text token.
"""

from __future__ import annotations

import bisect
import fcntl
import hashlib
import json
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainer.errors import UserError
from trainer.storage import Storage, open_storage

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"

Split = Literal["train", "val"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class DataError(UserError):
    """A data set is missing, damaged or of another kind. The message names it and says what would help."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(_Record):
    name: Annotated[str, Field(pattern=r"^[a-z]+-\d{5,}\.bin$")]
    split: Split
    tokens: Annotated[int, Field(gt=0)]
    bytes: Annotated[int, Field(gt=0)]
    sha256: Sha256


class Totals(_Record):
    tokens: Count
    documents: Count
    text_bytes: Count


class TokenizerRecord(_Record):
    kind: Literal["byte-level-bpe"]
    vocab_size: Annotated[int, Field(gt=0)]
    sha256: Sha256


class Source(_Record):
    """Where the text came from. `sha256` is that of the list of files and their hashes, so it names the content."""

    kind: Literal["python-stdlib", "files", "s3"]
    uri: str
    files: Count
    bytes: Count
    sha256: Sha256
    skipped: dict[str, Count]  # reason -> files


class Preparation(_Record):
    """The settings that, with the source, decide every byte of the data set."""

    vocab_size: int
    shard_tokens: int
    val_fraction: float
    seed: int
    include: tuple[str, ...]


class CreatedBy(_Record):
    program: str
    version: str
    tokenizers: str


class Manifest(_Record):
    format_version: Literal[1]
    dtype: Literal["uint16", "uint32"]
    vocab_size: Annotated[int, Field(gt=0)]
    end_of_text: Count
    shards: tuple[Shard, ...]
    totals: dict[Split, Totals]
    tokenizer: TokenizerRecord
    source: Source
    preparation: Preparation
    created_by: CreatedBy

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.end_of_text >= self.vocab_size:
            raise ValueError(f"end_of_text {self.end_of_text} is no token of a vocabulary of {self.vocab_size}")
        if self.vocab_size - 1 > np.iinfo(self.dtype).max:
            raise ValueError(f"{self.dtype} can't hold a vocabulary of {self.vocab_size}")
        for shard in self.shards:
            if shard.bytes != shard.tokens * self.itemsize:
                raise ValueError(f"{shard.name}: {shard.tokens} tokens of {self.dtype} are not {shard.bytes} bytes")
        for split, totals in self.totals.items():
            if totals.tokens != sum(shard.tokens for shard in self.shards_of(split)):
                raise ValueError(f"the {split} shards do not add up to {totals.tokens} tokens")
        if {shard.split for shard in self.shards} != set(self.totals):
            raise ValueError("totals and shards name different splits")
        return self

    @property
    def itemsize(self) -> int:
        """Bytes of one token."""
        return np.dtype(self.dtype).itemsize

    @property
    def hash(self) -> str:
        """SHA-256 of what a training run sees (tokens and vocabulary), the same wherever the data set lies."""
        seen = self.model_dump(mode="json", include={"dtype", "vocab_size", "end_of_text", "shards", "tokenizer"})
        return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()

    def shards_of(self, split: Split) -> tuple[Shard, ...]:
        return tuple(shard for shard in self.shards if shard.split == split)

    def to_json(self) -> bytes:
        return (self.model_dump_json(indent=1) + "\n").encode()

    @classmethod
    def load(cls, storage: Storage) -> Manifest:
        """The data set in `storage`. Raises DataError (missing, damaged, newer format) or StorageError."""
        where = storage.uri_of(MANIFEST)
        try:
            content = storage.read_bytes(MANIFEST)
        except FileNotFoundError:
            raise DataError(
                f"{storage.uri}: no data set here ({MANIFEST} is missing). "
                f"Make one with `python -m trainer.prepare SOURCE --to {storage.uri}`; one cut short must be made again"
            ) from None
        try:
            fields = json.loads(content)
            version = fields.get("format_version") if isinstance(fields, dict) else None
            if isinstance(version, int) and version != FORMAT_VERSION:
                raise DataError(f"{where}: format version {version}; this trainer reads version {FORMAT_VERSION}")
            return cls.model_validate_json(content)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'manifest'}: {fault['msg']}" for fault in error.errors()[:3]
            )
            raise DataError(f"{where}: not a usable manifest: {faults}. Prepare the data set again") from None
        except ValueError as error:
            raise DataError(f"{where}: not a manifest: {error}. Prepare the data set again") from None


class TokenShards:
    """One split of a data set as one memory-mapped stream of `len(self)` tokens, for threads and forked workers too."""

    def __init__(self, manifest: Manifest, split: Split, files: list[Path]) -> None:
        self.manifest = manifest
        self.split = split
        self._maps = [np.memmap(file, dtype=f"<u{manifest.itemsize}", mode="r") for file in files]
        self._ends = list(accumulate(len(tokens) for tokens in self._maps))

    @classmethod
    def open(cls, uri: str | os.PathLike[str], split: Split, cache_dir: str | os.PathLike[str]) -> TokenShards:
        """Opens the split at `uri`, fetching what `cache_dir` does not hold yet.

        The cache is keyed by content hash; ranks of one machine that share it fetch and check each shard once between
        them. A shard that lies on a disk already is mapped where it is. A damaged cached copy is fetched again, once.
        Raises DataError (no such data set or split, damaged shard) or StorageError (place can't be read).
        """
        storage = open_storage(uri)
        manifest = Manifest.load(storage)
        shards = manifest.shards_of(split)
        if not shards:
            held = ", ".join(manifest.totals) or "none"
            without = ""
            if split == "val":
                without = ". Set evaluation.interval_steps=null, or prepare it with --val-fraction above 0"
            raise DataError(f"{storage.uri}: the data set has no split {split!r}; it has: {held}{without}")
        cache = _Cache(Path(cache_dir).expanduser().absolute())
        return cls(manifest, split, [cache.file_of(storage, shard) for shard in shards])

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, start: int, length: int) -> np.ndarray:
        """A copy of tokens `start` … `start + length - 1`: shape (length,), the manifest's dtype, or IndexError."""
        if start < 0 or length < 0 or start + length > len(self):
            raise IndexError(f"tokens {start}…{start + length} of a {self.split} stream of {len(self)}")
        tokens = np.empty(length, dtype=self.manifest.dtype)
        filled = 0
        index = bisect.bisect_right(self._ends, start)
        while filled < length:
            shard = self._maps[index]
            offset = start + filled - (self._ends[index] - len(shard))
            piece = shard[offset : offset + length - filled]
            tokens[filled : filled + len(piece)] = piece
            filled += len(piece)
            index += 1
        return tokens

    def __repr__(self) -> str:
        return f"TokenShards({self.split}, {len(self)} tokens in {len(self._maps)} shards)"


class _Cache:
    """Shards by content hash. A note beside each says which state of which file was hashed, to hash it once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file_of(self, storage: Storage, shard: Shard) -> Path:
        in_place = storage.local_path(shard.name)
        file = in_place or self.folder / f"{shard.sha256}.bin"
        note = self.folder / f"{shard.sha256}.checked"
        if _noted(note, file, shard):
            return file
        with _locked(self.folder / f"{shard.sha256}.lock"):
            if _noted(note, file, shard):  # another rank has done it meanwhile
                return file
            if in_place is None and not self._intact(file, shard):
                for left_by_a_killed_process in self.folder.glob(f".{file.name}.*"):
                    left_by_a_killed_process.unlink(missing_ok=True)
                try:
                    storage.download(shard.name, file)
                except FileNotFoundError:
                    raise _damaged(storage, shard, "it is missing") from None
            if not file.is_file():
                raise _damaged(storage, shard, "it is missing")
            if (size := file.stat().st_size) != shard.bytes:
                raise _damaged(storage, shard, f"it has {size} bytes instead of {shard.bytes}")
            state = _state(file)
            if _sha256_of(file) != shard.sha256:
                raise _damaged(storage, shard, "its SHA-256 differs")
            with suppress(OSError):  # without the note the next opening hashes again, no more
                temporary = note.with_suffix(f".{os.getpid()}.new")
                temporary.write_text(state)
                temporary.replace(note)
            return file

    @staticmethod
    def _intact(file: Path, shard: Shard) -> bool:
        return file.is_file() and file.stat().st_size == shard.bytes and _sha256_of(file) == shard.sha256


def _damaged(storage: Storage, shard: Shard, how: str) -> DataError:
    return DataError(
        f"{storage.uri_of(shard.name)}: damaged: {how} (against {storage.uri_of(MANIFEST)}). "
        "Prepare the data set again, or restore the object's earlier version"
    )


def _state(file: Path) -> str:
    found = file.stat()
    return f"{file} {found.st_ino} {found.st_size} {found.st_mtime_ns}\n"


def _noted(note: Path, file: Path, shard: Shard) -> bool:
    try:
        return note.read_text() == _state(file) and file.stat().st_size == shard.bytes
    except OSError:
        return False


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """One process of this machine at a time; the kernel lets go of the lock of a process that dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DataError(f"{path.parent}: can't be used as a cache: {error.strerror}. Name a writable folder") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _sha256_of(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
