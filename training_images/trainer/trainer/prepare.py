"""Text to token shards: `python -m trainer.prepare [SOURCE] --to URI`.

The same source and settings give the same bytes, on any machine and with any number of cores. The manifest is written
last, so a preparation that was cut short leaves no data set, only files that the next one writes over.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from tokenizers import Tokenizer

from trainer.corpus import Corpus, Holdout
from trainer.encode import END_OF_TEXT, SMALLEST_VOCABULARY, SplitWriter, encode, learn_tokenizer
from trainer.errors import UserError
from trainer.shards import (
    FORMAT_VERSION,
    MANIFEST,
    TOKENIZER,
    CreatedBy,
    DataError,
    Manifest,
    Preparation,
    Source,
    Split,
    TokenizerRecord,
)
from trainer.storage import Storage, open_storage

SHARD_NAME = re.compile(r"(train|val)-\d{5,}\.bin")

Stage = Literal["read the source", "learn the tokenizer", "encode and upload", "already there", "done"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a preparation is: `done` of `total` `unit`s of its present stage."""

    stage: Stage
    done: int
    total: int
    unit: Literal["files", "bytes", "tokens"]


def prepare(
    source: str | None,
    to: str,
    *,
    vocab_size: int = 4096,
    shard_tokens: int = 1 << 25,
    val_fraction: float = 0.05,
    seed: int = 0,
    include: Iterable[str] = (),
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Manifest:
    """Makes the data set `to` (a path or s3:// prefix) from `source`: a folder, file or s3:// prefix, or None for the
    standard library of the running Python.

    About `val_fraction` of the pieces of text (whole files, where shorter than 256 KiB) are held out, chosen by the
    hash of their content and `seed`: adding files moves none that was there, and equal files stay together. The
    tokenizer learns from the others. A data set of the same content and settings at `to` is left as it is, and its
    manifest returned.

    Raises UserError (DataError, StorageError): nothing usable in the source, another data set in the way, a place out
    of reach.
    """
    wanted = _settings(vocab_size, shard_tokens, val_fraction, seed, tuple(include))
    destination = open_storage(to)
    present = None if overwrite else _present(destination, wanted)
    try:
        with tempfile.TemporaryDirectory(prefix="trainer-prepare-") as work:
            corpus = Corpus.open(source, wanted.include, destination, Path(work))
            holdout = Holdout(wanted.val_fraction, wanted.seed)
            corpus.survey(
                lambda done, total: progress(Progress("read the source", done, total, "files")), holdout.consider
            )
            if not corpus.files:
                raise DataError(corpus.describe_empty())
            holdout.settle(corpus.uri)
            if present is not None:
                _must_be_same(present, corpus, destination)
                progress(Progress("already there", *2 * [_all_tokens(present)], "tokens"))
                return present
            tokenizer = learn_tokenizer(
                corpus,
                holdout,
                wanted.vocab_size,
                lambda done: progress(Progress("learn the tokenizer", done, corpus.total_bytes, "bytes")),
            )
            manifest = _write(corpus, holdout, tokenizer, wanted, destination, Path(work), progress)
    except OSError as error:
        raise DataError(
            f"{error.filename or tempfile.gettempdir()}: {error.strerror or error}. Working files lie under TMPDIR"
        ) from error
    progress(Progress("done", *2 * [_all_tokens(manifest)], "tokens"))
    return manifest


def _settings(
    vocab_size: int, shard_tokens: int, val_fraction: float, seed: int, include: tuple[str, ...]
) -> Preparation:
    for name, value, good, expected in (
        ("vocab-size", vocab_size, SMALLEST_VOCABULARY <= vocab_size <= 1 << 24, f"{SMALLEST_VOCABULARY} … {1 << 24}"),
        ("shard-tokens", shard_tokens, shard_tokens >= 1, "1 or more"),
        ("val-fraction", val_fraction, 0 <= val_fraction <= 0.5, "0 … 0.5"),
    ):
        if not good:
            raise DataError(f"--{name} {value}: expected {expected}")
    return Preparation(
        vocab_size=vocab_size, shard_tokens=shard_tokens, val_fraction=val_fraction, seed=seed, include=include
    )


def _present(destination: Storage, wanted: Preparation) -> Manifest | None:
    """The data set that may be the wanted one already. Raises DataError where something else is in the way."""
    if destination.exists(MANIFEST):
        present = Manifest.load(destination)
        if present.preparation != wanted:
            raise _in_the_way(destination, present, "prepared with other settings")
        return present
    foreign = [key for key in destination.list() if not SHARD_NAME.fullmatch(key) and key != TOKENIZER]
    if foreign:
        raise DataError(
            f"{destination.uri}: holds other files ({', '.join(foreign[:3])}{', …' if len(foreign) > 3 else ''}): "
            "choose an empty place, or --overwrite to put the data set among them"
        )
    return None


def _must_be_same(present: Manifest, corpus: Corpus, destination: Storage) -> None:
    if (present.source.kind, present.source.sha256) != (corpus.kind, corpus.sha256):
        raise _in_the_way(destination, present, "made from other text")
    sizes = {shard.name: shard.bytes for shard in present.shards}
    for name in (TOKENIZER, *sizes):
        if not destination.exists(name) or destination.size(name) != sizes.get(name, destination.size(name)):
            raise DataError(f"{destination.uri_of(name)}: missing or cut: repair the data set with --overwrite")


def _in_the_way(destination: Storage, present: Manifest, why: str) -> DataError:
    return DataError(
        f"{destination.uri}: holds a data set already, {why} "
        f"({_all_tokens(present):,} tokens from {present.source.uri}). "
        "Choose another --to, or --overwrite to replace it"
    )


def _all_tokens(manifest: Manifest) -> int:
    return sum(totals.tokens for totals in manifest.totals.values())


def _write(
    corpus: Corpus,
    holdout: Holdout,
    tokenizer: Tokenizer,
    wanted: Preparation,
    destination: Storage,
    work_dir: Path,
    progress: Callable[[Progress], None],
) -> Manifest:
    if destination.exists(MANIFEST):
        destination.delete([MANIFEST])  # from here on there is no data set until the new one is complete
    described = (tokenizer.to_str(pretty=True) + "\n").encode()
    destination.write_bytes(TOKENIZER, described)
    sha256 = hashlib.sha256(described).hexdigest()
    vocab_size = tokenizer.get_vocab_size()
    end_of_text = tokenizer.get_vocab()[END_OF_TEXT]
    dtype: Literal["uint16", "uint32"] = "uint16" if vocab_size <= 1 << 16 else "uint32"
    writers: dict[Split, SplitWriter] = {
        split: SplitWriter(split, dtype, wanted.shard_tokens, destination, work_dir) for split in ("train", "val")
    }
    total = corpus.total_bytes
    encode(
        corpus, holdout, tokenizer, writers, lambda done: progress(Progress("encode and upload", done, total, "bytes"))
    )
    shards = tuple(shard for writer in writers.values() for shard in writer.finish())

    manifest = Manifest(
        format_version=FORMAT_VERSION,
        dtype=dtype,
        vocab_size=vocab_size,
        end_of_text=end_of_text,
        shards=shards,
        totals={split: writer.totals() for split, writer in writers.items() if writer.shards},
        tokenizer=TokenizerRecord(kind="byte-level-bpe", vocab_size=vocab_size, sha256=sha256),
        source=Source(
            kind=corpus.kind,
            uri=corpus.uri,
            files=len(corpus.files),
            bytes=corpus.total_bytes,
            sha256=corpus.sha256,
            skipped=dict(sorted(corpus.skipped.items())),
        ),
        preparation=wanted,
        created_by=CreatedBy(program="trainer.prepare", version=version("trainer"), tokenizers=version("tokenizers")),
    )
    ours = {shard.name for shard in shards}
    destination.delete(key for key in destination.list() if SHARD_NAME.fullmatch(key) and key not in ours)
    destination.write_bytes(MANIFEST, manifest.to_json())
    return manifest


def summary(manifest: Manifest, uri: str) -> Table:
    """What a person wants to know of a data set."""
    table = Table(title=f"data set {uri}", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    source = manifest.source
    table.add_row("source", f"{source.uri}: {source.files:,} files, {source.bytes / 1e6:.1f} MB")
    if source.skipped:
        table.add_row("skipped", ", ".join(f"{count:,} {reason}" for reason, count in source.skipped.items()))
    for split, totals in manifest.totals.items():
        shards = len(manifest.shards_of(split))
        table.add_row(
            split, f"{totals.tokens:,} tokens in {shards} shard{'s' * (shards != 1)}, {totals.documents:,} documents"
        )
    bytes_per_token = source.bytes / max(1, _all_tokens(manifest))
    table.add_row(
        "vocabulary", f"{manifest.vocab_size:,} tokens ({manifest.dtype}), {bytes_per_token:.2f} bytes of text a token"
    )
    table.add_row("hash", manifest.hash)
    return table


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code: 2 for what the caller can put right."""
    parser = argparse.ArgumentParser(prog="python -m trainer.prepare", description=__doc__)
    parser.add_argument("source", nargs="?", help="folder, file or s3://bucket/prefix (default: Python's own library)")
    parser.add_argument("--to", required=True, metavar="URI", help="destination: a path or s3://bucket/prefix")
    parser.add_argument("--vocab-size", type=int, default=4096, help="tokens (default %(default)s)")
    parser.add_argument("--shard-tokens", type=int, default=1 << 25, help="tokens in a shard (default %(default)s)")
    parser.add_argument("--val-fraction", type=float, default=0.05, help="part held out (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="decides which part (default %(default)s)")
    parser.add_argument("--include", action="append", default=[], metavar="GLOB", help="only such files; repeatable")
    parser.add_argument("--overwrite", action="store_true", help="replace what is at URI")
    parser.add_argument("--json", action="store_true", help="print the manifest instead of a table")
    given = parser.parse_args(arguments)

    console = Console(stderr=True)
    handler = RichHandler(console=console, show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that working files are removed
    try:
        with progress_bars(console) as progress:
            manifest = prepare(
                given.source,
                given.to,
                vocab_size=given.vocab_size,
                shard_tokens=given.shard_tokens,
                val_fraction=given.val_fraction,
                seed=given.seed,
                include=given.include,
                overwrite=given.overwrite,
                progress=progress,
            )
    except UserError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        return 2
    except KeyboardInterrupt:
        console.print("stopped; run it again")
        return 130
    if given.json:
        sys.stdout.write(manifest.to_json().decode())
    else:
        Console().print(summary(manifest, given.to))
    return 0


@contextmanager
def progress_bars(console: Console) -> Generator[Callable[[Progress], None]]:
    """Shows a bar for each stage; what it yields goes to `prepare(progress=…)`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(progress: Progress) -> None:
            scale, unit = (1e6, "MB") if progress.unit == "bytes" else (1, progress.unit)
            amount = f"{progress.done / scale:,.0f} {unit}"
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, total=progress.total, amount=amount)
            bars.update(tasks[progress.stage], completed=progress.done, total=progress.total, amount=amount)

        yield show


if __name__ == "__main__":
    sys.exit(main())
