"""Pieces of text to shards of tokens: the tokenizer, the encoding, the cutting into shards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from trainer.corpus import Corpus, Holdout, Piece
from trainer.shards import Shard, Split, Totals
from trainer.storage import Storage

END_OF_TEXT = "<|endoftext|>"
SMALLEST_VOCABULARY = 257  # every byte, and end of text
TOKENIZER_SAMPLE_BYTES = 512 << 20  # learning from more costs time and changes next to nothing
ENCODE_BATCH_BYTES = 1 << 20


def learn_tokenizer(corpus: Corpus, holdout: Holdout, vocab_size: int, progress: Callable[[int], None]) -> Tokenizer:
    """A byte-level BPE that can write any text, of at most `vocab_size` tokens; a small corpus may not yield as many.

    It learns from the training split, where that is huge from a sample chosen by hash. `progress(bytes looked at)`.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sampled = min(1.0, TOKENIZER_SAMPLE_BYTES / corpus.total_bytes)

    def texts() -> Generator[str]:
        done = 0
        for pieces in corpus.pieces():
            for piece in pieces:
                if holdout.split_of(piece) == "train" and int.from_bytes(piece.sha256[:4]) <= sampled * 2**32:
                    yield piece.text
                done += piece.bytes
                progress(done)

    tokenizer.train_from_iterator(texts(), trainer)
    # A document that spells out END_OF_TEXT does not end there.
    tokenizer.encode_special_tokens = True
    return tokenizer


class SplitWriter:
    """Cuts one split's stream into shards, and sends each away as soon as it is full: the disk holds one at a time."""

    def __init__(self, split: Split, dtype: str, shard_tokens: int, destination: Storage, work_dir: Path) -> None:
        self.shards: list[Shard] = []
        self._split: Split = split
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._shard_tokens = shard_tokens
        self._destination = destination
        self._file: IO[bytes] = (work_dir / f"{split}.bin").open("w+b")
        self._hash = hashlib.sha256()
        self._held = 0
        self._documents = self._text_bytes = 0

    def write(self, tokens: np.ndarray, text_bytes: int, *, ends_document: bool) -> None:
        self._text_bytes += text_bytes
        self._documents += ends_document
        while len(tokens):
            piece, tokens = np.split(tokens, [self._shard_tokens - self._held])
            content = piece.astype(self._dtype).tobytes()
            self._file.write(content)
            self._hash.update(content)
            self._held += len(piece)
            if self._held == self._shard_tokens:
                self._send()

    def finish(self) -> list[Shard]:
        if self._held:
            self._send()
        self._file.close()
        return self.shards

    def totals(self) -> Totals:
        tokens = sum(shard.tokens for shard in self.shards)
        return Totals(tokens=tokens, documents=self._documents, text_bytes=self._text_bytes)

    def _send(self) -> None:
        self._file.flush()
        name = f"{self._split}-{len(self.shards):05}.bin"
        self._destination.upload(self._file.name, name)
        size, sha256 = self._held * self._dtype.itemsize, self._hash.hexdigest()
        self.shards.append(Shard(name=name, split=self._split, tokens=self._held, bytes=size, sha256=sha256))
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self._held = 0


def encode(
    corpus: Corpus,
    holdout: Holdout,
    tokenizer: Tokenizer,
    writers: dict[Split, SplitWriter],
    progress: Callable[[int], None],
) -> None:
    """Writes every piece as tokens to its split's writer, in the corpus' order. `progress(bytes of text written)`."""
    end_of_text = tokenizer.token_to_id(END_OF_TEXT)
    done = 0
    for batch in _batched(_marked(corpus, holdout)):
        encodings = tokenizer.encode_batch_fast([piece.text for piece, _, _ in batch])
        for encoding, (piece, split, ends_document) in zip(encodings, batch, strict=True):
            tokens = np.array([*encoding.ids, end_of_text] if ends_document else encoding.ids, dtype=np.uint32)
            writers[split].write(tokens, piece.bytes, ends_document=ends_document)
            done += piece.bytes
        progress(done)


Marked = tuple[Piece, Split, bool]


def _marked(corpus: Corpus, holdout: Holdout) -> Generator[Marked]:
    """Each piece with its split and whether a document ends there: its file does, or the next piece's split differs."""
    for pieces in corpus.pieces():
        held: tuple[Piece, Split] | None = None
        for piece in pieces:
            split = holdout.split_of(piece)
            if held is not None:
                yield *held, held[1] != split
            held = piece, split
        if held is not None:
            yield *held, True


def _batched(marked: Generator[Marked]) -> Generator[list[Marked]]:
    batch: list[Marked] = []
    size = 0
    for entry in marked:
        batch.append(entry)
        size += entry[0].bytes
        if size >= ENCODE_BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
