"""Text to learn from: which files of a source are text, and their content in bounded pieces, in a fixed order."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
import os
import platform
import sysconfig
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.shards import DataError, Split
from trainer.storage import RefusedError, Storage, open_storage
from trainer.storage_s3 import S3Storage

PIECE_BYTES = 256 << 10
STDLIB_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}

logger = logging.getLogger(__name__)


class _UnusableError(Exception):
    """A file that is no text; the message is the reason it is counted under."""


@dataclass(frozen=True, slots=True)
class TextFile:
    name: str  # relative to the source, '/'-separated
    bytes: int
    sha256: str  # of its pieces' hashes


@dataclass(frozen=True, slots=True)
class Piece:
    """A whole file, or a part of at most PIECE_BYTES of a longer one, cut at a line end where it has any."""

    text: str
    bytes: int
    sha256: bytes


class Holdout:
    """Which pieces are held out: those whose hash, salted with the seed, lies below a threshold."""

    def __init__(self, fraction: float, seed: int) -> None:
        self._seed = seed
        self._threshold = int(fraction * 2**64)
        self._lowest, self._highest = 2**64, -1

    def _place(self, piece_hash: bytes) -> int:
        return int.from_bytes(hashlib.sha256(f"{self._seed}:".encode() + piece_hash).digest()[:8])

    def consider(self, piece_hash: bytes) -> None:
        place = self._place(piece_hash)
        self._lowest, self._highest = min(self._lowest, place), max(self._highest, place)

    def settle(self, where: str) -> None:
        """After all pieces: no split of a small source may be empty, so the piece nearest the threshold changes sides.

        Raises DataError, naming the source `where`, when there is one piece only.
        """
        if not self._threshold:
            return
        if self._lowest == self._highest:
            raise DataError(f"{where}: one piece of text only, so none can be held out: add files, or --val-fraction 0")
        self._threshold = min(max(self._threshold, self._lowest + 1), self._highest)

    def split_of(self, piece: Piece) -> Split:
        return "val" if self._place(piece.sha256) < self._threshold else "train"


PieceSeen = Callable[[bytes], None]


class Corpus:
    """The text files of a source. `survey()` reads them all once and must come before `pieces()`.

    Memory holds the list of files and a piece; an object of a bucket is fetched once, into `work_dir`, and stays there.
    """

    def __init__(
        self,
        kind: Literal["python-stdlib", "files", "s3"],
        uri: str,
        names: list[str],
        locate: Callable[[str], Path],
        bucket: Storage | None = None,
    ) -> None:
        self.kind: Literal["python-stdlib", "files", "s3"] = kind
        self.uri = uri
        self.files: list[TextFile] = []
        self.total_bytes = 0
        self.skipped: Counter[str] = Counter()
        self._names = names
        self._locate = locate
        self._bucket = bucket

    @classmethod
    def open(cls, source: str | None, include: Iterable[str], destination: Storage, work_dir: Path) -> Corpus:
        """The corpus at `source`: a folder, a file, an s3:// prefix, or with None the running Python's own library.

        `include` has patterns like '*.py' (any folder) or 'docs/*.md' (this one); none means all. Hidden files and
        what lies under `destination` are left out. Raises DataError or StorageError where the source can't be read.
        """
        patterns = tuple(include)
        if source is None:
            root = Path(sysconfig.get_path("stdlib"))
            names = _walk(root, lambda folder: folder not in STDLIB_LEFT_OUT)
            names = _chosen([name for name in names if name.endswith(".py")], patterns)
            return cls("python-stdlib", f"python {platform.python_version()}", names, lambda name: root / name)
        storage = open_storage(source)
        if isinstance(storage, S3Storage):
            names = [name for name in storage.list() if not any(part.startswith(".") for part in name.split("/"))]
            if not names and storage.prefix:
                above, _, name = storage.uri.rpartition("/")
                if open_storage(above).exists(name):  # an object instead of a prefix
                    storage, names = open_storage(above), [name]
            chosen = _chosen(_outside(names, storage.uri, destination.uri), patterns)
            spooled = {name: work_dir / f"{number:08}" for number, name in enumerate(chosen)}
            return cls("s3", storage.uri, chosen, lambda name: spooled[name], bucket=storage)
        path = Path(storage.uri)
        if path.is_file():
            return cls("files", storage.uri, [path.name], lambda _: path)
        if not path.is_dir():
            raise DataError(f"{path}: no such file or folder: expected one with text, or s3://bucket/prefix")
        names = _walk(path, lambda folder: not folder.startswith("."))
        names = [name for name in names if not name.rpartition("/")[2].startswith(".")]
        return cls(
            "files",
            storage.uri,
            _chosen(_outside(names, storage.uri, destination.uri), patterns),
            lambda name: path / name,
        )

    def survey(self, progress: Callable[[int, int], None], seen: PieceSeen) -> None:
        """Reads every file, to see which are text. `progress(files, of all)`; `seen(hash)` of each usable piece."""
        for done, name in enumerate(self._names):
            progress(done, len(self._names))
            try:
                if self._bucket is not None:
                    self._bucket.download(name, self._locate(name))
                if not self._locate(name).is_file():
                    raise _UnusableError("not an ordinary file")
                size, hashes = 0, []
                for piece in self._pieces_of(name):
                    size += piece.bytes
                    hashes.append(piece.sha256)
            except (RefusedError, OSError):
                self._skip(name, "unreadable")
            except _UnusableError as reason:
                self._skip(name, str(reason))
            else:
                self.total_bytes += size
                self.files.append(TextFile(name, size, hashlib.sha256(b"".join(hashes)).hexdigest()))
                for piece_hash in hashes:
                    seen(piece_hash)
        progress(len(self._names), len(self._names))

    def pieces(self) -> Generator[Generator[Piece]]:
        """The pieces of each text file. Raises DataError when a file is no longer what `survey()` read."""
        for file in self.files:
            yield self._unchanged(file)

    def _unchanged(self, file: TextFile) -> Generator[Piece]:
        seen, content = 0, hashlib.sha256()
        try:
            for piece in self._pieces_of(file.name):
                seen += piece.bytes
                content.update(piece.sha256)
                yield piece
        except (_UnusableError, OSError):
            seen = -1
        if (seen, content.hexdigest()) != (file.bytes, file.sha256):
            raise DataError(
                f"{self._locate(file.name)}: changed while it was read. Run again when nothing writes to the source"
            )

    def describe_empty(self) -> str:
        """Why there is nothing to learn from, for a person."""
        if not self._names:
            return f"{self.uri}: no files here (hidden ones don't count); check SOURCE and --include"
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.skipped.items()))
        return f"{self.uri}: no usable text in {len(self._names)} files: {reasons}. Expected UTF-8 text"

    @property
    def sha256(self) -> str:
        """Hash of the list of files, each with its size and content hash."""
        content = hashlib.sha256()
        for file in self.files:
            content.update(json.dumps([file.name, file.bytes, file.sha256]).encode() + b"\n")
        return content.hexdigest()

    def _skip(self, name: str, reason: str) -> None:
        if not self.skipped[reason] and reason != "empty":
            logger.warning("skipped %s: %s (more of these are only counted)", name, reason)
        self.skipped[reason] += 1
        if self._bucket is not None:
            self._locate(name).unlink(missing_ok=True)

    def _pieces_of(self, name: str) -> Generator[Piece]:
        """Raises _UnusableError or OSError, possibly after some pieces."""
        with self._locate(name).open("rb") as content:
            held = content.read(PIECE_BYTES).removeprefix(b"\xef\xbb\xbf")
            if not held.strip() and len(held) < PIECE_BYTES:
                raise _UnusableError("empty")
            while held := held + content.read(PIECE_BYTES - len(held)):
                cut = len(held) if len(held) < PIECE_BYTES else _cut(held)
                piece, held = held[:cut], held[cut:]
                if b"\0" in piece:
                    raise _UnusableError("not text")
                try:
                    text = piece.decode()
                except UnicodeDecodeError:
                    raise _UnusableError("not text") from None
                yield Piece(text, len(piece), hashlib.sha256(piece).digest())


def _cut(held: bytes) -> int:
    """Where to cut a full buffer: behind its last line end, else between two characters."""
    if line_end := held.rfind(b"\n") + 1:
        return line_end
    cut = len(held)
    while cut > len(held) - 4 and held[cut - 1] & 0xC0 == 0x80:
        cut -= 1
    return cut - 1 if held[cut - 1] & 0x80 else len(held)


def _walk(root: Path, enters: Callable[[str], bool]) -> list[str]:
    """Names of all files below, in one order everywhere. Folders behind symbolic links are not entered.

    A folder that can't be listed stands in the result as if it were a file: reading it will fail, and be counted.
    """
    found: list[str] = []

    def unlisted(error: OSError) -> None:
        found.append(os.path.relpath(error.filename, root))

    for folder, folders, names in os.walk(root, onerror=unlisted):
        folders[:] = [name for name in folders if enters(name)]
        relative = Path(folder).relative_to(root)
        found += [(relative / name).as_posix() for name in names]
    return sorted(found)


def _chosen(names: list[str], patterns: tuple[str, ...]) -> list[str]:
    if not patterns:
        return names

    def matches(name: str) -> bool:
        last = name.rpartition("/")[2]
        return any(fnmatch.fnmatchcase(name if "/" in pattern else last, pattern) for pattern in patterns)

    return [name for name in names if matches(name)]


def _outside(names: list[str], source: str, destination: str) -> list[str]:
    if destination == source:
        raise DataError(f"{destination}: is the source itself; write the data set elsewhere (--to)")
    if not destination.startswith(f"{source}/"):
        return names
    inner = destination[len(source) + 1 :] + "/"
    return [name for name in names if not name.startswith(inner)]
