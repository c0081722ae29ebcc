"""Which tokens each step trains on, as a pure function of seed, epoch and global sample index.

It depends neither on the number of ranks nor on what ran before: after an interruption, or on another number of ranks,
each step sees the very samples it would have seen.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.config import Config
from trainer.gang import Gang
from trainer.model import IGNORED
from trainer.shards import TokenShards

STEPS_AHEAD = 2
STEPS_ORDERED_AT_ONCE = 16
_FEISTEL_ROUNDS = 6


@dataclass(frozen=True)
class Samples:
    """A token stream cut into samples of `context` tokens, each with the token that follows.

    The last one is padded, so that every token of the stream is learned once per epoch.
    """

    tokens: TokenShards
    context: int

    def __len__(self) -> int:
        return -(-(len(self.tokens) - 1) // self.context)

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets, int64, (samples, context). An index past the end gives a sample without any target."""
        inputs = np.zeros((len(indices), self.context), dtype=np.int64)
        targets = np.full((len(indices), self.context), IGNORED, dtype=np.int64)
        for row, index in enumerate(indices.tolist()):
            start = index * self.context
            length = min(self.context, len(self.tokens) - 1 - start)
            if length > 0:
                piece = self.tokens.read(start, length + 1)
                inputs[row, :length] = piece[:-1]
                targets[row, :length] = piece[1:]
        return inputs, targets


@dataclass(frozen=True)
class SampleOrder:
    """Samples in the order they are trained on, epoch after epoch, each epoch in an order of its own."""

    samples: int
    seed: int

    def at(self, positions: np.ndarray) -> np.ndarray:
        """The samples at these global positions (int64, counted from the start of the run)."""
        epochs, inside = np.divmod(positions, self.samples)
        chosen = np.empty_like(inside)
        for epoch in np.unique(epochs).tolist():
            these = epochs == epoch
            chosen[these] = permuted(inside[these], self.samples, self.seed, epoch)
        return chosen


def permuted(indices: np.ndarray, size: int, seed: int, epoch: int) -> np.ndarray:
    """Where a pseudo-random permutation of range(size) takes `indices`.

    A keyed Feistel network computes it for any index alone: no permutation is held in memory or replayed on resuming,
    and no library's random stream can change it. What falls outside range(size) goes through again until it does not.
    """
    half_bits = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half_bits)) - 1)
    digest = hashlib.blake2b(f"{seed}/{epoch}".encode(), digest_size=8 * _FEISTEL_ROUNDS).digest()
    keys = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
    values = indices.astype(np.uint64)
    outside = np.ones(len(values), dtype=bool)
    while outside.any():
        left, right = values[outside] >> half_bits, values[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right + key) & mask)
        values[outside] = (left << half_bits) | right
        outside = values >= size
    return values.astype(np.int64)


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True)
class StepBatch:
    """One rank's part of one optimiser step."""

    micro_batches: list[tuple[Tensor, Tensor]]
    """Inputs and targets, (micro-batch, context) each, on the device."""
    valid_tokens: int
    """Targets that carry loss, over these micro-batches."""
    samples: np.ndarray
    """Which samples these are: (micro-batches, micro-batch)."""


class BatchStream:
    """Training batches from a position on, read ahead by a thread."""

    def __init__(self, samples: Samples, config: Config, position: int, gang: Gang) -> None:
        self._samples = samples
        self._order = SampleOrder(len(samples), config.run.seed)
        self._global_batch_size = config.training.global_batch_size
        self._micro_batch_size = config.training.micro_batch_size
        self._gang = gang
        self._ready: queue.Queue[StepBatch | BaseException] = queue.Queue(STEPS_AHEAD)
        self._closed = threading.Event()
        self.wait_seconds = 0.0
        """How long `next` has waited for data so far."""
        self._thread = threading.Thread(target=self._read_ahead, args=(position,), name="batches", daemon=True)
        self._thread.start()

    def next(self) -> StepBatch:
        started = time.perf_counter()
        batch = self._ready.get()
        self.wait_seconds += time.perf_counter() - started
        if isinstance(batch, BaseException):
            raise batch
        device = self._gang.device
        if device.type == "cpu":
            return batch
        moved = [(x.to(device, non_blocking=True), y.to(device, non_blocking=True)) for x, y in batch.micro_batches]
        return StepBatch(moved, batch.valid_tokens, batch.samples)

    def close(self) -> None:
        self._closed.set()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue

    def _read_ahead(self, position: int) -> None:
        try:
            while True:
                for indices in self._indices(position):
                    if self._closed.is_set():
                        return
                    self._ready.put(self._read(indices))
                position += STEPS_ORDERED_AT_ONCE * self._global_batch_size
        except BaseException as error:  # noqa: BLE001 - next() raises it where it is seen
            self._ready.put(error)

    def _indices(self, position: int) -> np.ndarray:
        """This rank's samples in the steps from `position` on: (steps, accumulation, micro-batch)."""
        mine = positions_of_rank(
            position,
            STEPS_ORDERED_AT_ONCE * self._global_batch_size,
            self._micro_batch_size,
            self._gang.rank,
            self._gang.world_size,
        )
        return self._order.at(mine.reshape(-1)).reshape(STEPS_ORDERED_AT_ONCE, -1, self._micro_batch_size)

    def _read(self, indices: np.ndarray) -> StepBatch:
        inputs, targets = self._samples.read(indices.reshape(-1))
        shape = (*indices.shape, self._samples.context)
        pair = torch.from_numpy(inputs).view(shape), torch.from_numpy(targets).view(shape)
        if self._gang.device.type == "cuda":
            pair = pair[0].pin_memory(), pair[1].pin_memory()
        return StepBatch(list(zip(*pair, strict=True)), int((targets != IGNORED).sum()), indices)


def samples_of_step(samples: int, config: Config, position: int) -> list[int]:
    """The samples that a step of all ranks takes from `position` on, in the data order."""
    positions = position + np.arange(config.training.global_batch_size, dtype=np.int64)
    return SampleOrder(samples, config.run.seed).at(positions).tolist()


def positions_of_rank(position: int, count: int, micro_batch: int, rank: int, world_size: int) -> np.ndarray:
    """Which of the `count` global positions from `position` on a rank trains on: (micro-batches, micro-batch)."""
    return (position + np.arange(count, dtype=np.int64)).reshape(-1, world_size, micro_batch)[:, rank]


def held_out_batches(
    samples: Samples, count: int, micro_batch_size: int, gang: Gang
) -> Iterator[tuple[Tensor, Tensor]]:
    """The first `count` held-out samples, shared out over the ranks.

    Every rank gets the same number of micro-batches, as collective operations need; what is missing is padded.
    """
    count = min(count, len(samples))
    at_once = micro_batch_size * gang.world_size
    for start in range(0, count, at_once):
        mine = start + gang.rank * micro_batch_size + np.arange(micro_batch_size)
        mine[mine >= count] = len(samples)
        inputs, targets = samples.read(mine)
        yield torch.from_numpy(inputs).to(gang.device), torch.from_numpy(targets).to(gang.device)
