"""Each step's samples are a pure function of seed and position, whatever the number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainer.data import SampleOrder, Samples, permuted, positions_of_rank
from trainer.model import IGNORED


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_each_epoch_reads_each_sample_exactly_once(size: int, seed: int, epoch: int) -> None:
    order = SampleOrder(size, seed).at(epoch * size + np.arange(size))
    assert sorted(order.tolist()) == list(range(size))


@given(size=st.integers(1, 2**40), position=st.integers(0, 2**40), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_sample_does_not_depend_on_those_asked_for_with_it(size: int, position: int, seed: int) -> None:
    order = SampleOrder(size, seed)
    several = order.at(position + np.arange(5))
    alone = [order.at(np.array([position + offset]))[0] for offset in range(5)]
    assert several.tolist() == alone
    assert all(0 <= sample < size for sample in alone)


def test_order_is_the_same_for_ever() -> None:
    """A checkpoint of today must be resumed in the same order by the trainer of tomorrow."""
    assert permuted(np.arange(12), 12, seed=1337, epoch=0).tolist() == [3, 0, 8, 2, 7, 9, 10, 4, 1, 6, 5, 11]


def test_epochs_and_seeds_differ_and_neighbours_part() -> None:
    orders = {
        (seed, epoch): tuple(permuted(np.arange(1000), 1000, seed, epoch).tolist())
        for seed in (1, 2)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4
    for order in orders.values():
        positions = np.array(order)
        assert abs(np.corrcoef(positions, np.arange(1000))[0, 1]) < 0.1
        assert np.mean(np.diff(positions) == 1) < 0.02


@given(micro_batch=st.integers(1, 5), accumulation=st.integers(1, 4), position=st.integers(0, 10**12))
@settings(max_examples=40, deadline=None)
def test_any_number_of_ranks_shares_a_step_without_loss_or_overlap(
    micro_batch: int, accumulation: int, position: int
) -> None:
    global_batch = 12 * micro_batch * accumulation
    for world_size in (1, 2, 3, 4):
        parts = [positions_of_rank(position, global_batch, micro_batch, rank, world_size) for rank in range(world_size)]
        assert all(part.shape == (global_batch // world_size // micro_batch, micro_batch) for part in parts)
        together = sorted(np.concatenate([part.ravel() for part in parts]).tolist())
        assert together == list(range(position, position + global_batch))


class _Stream:
    """Token i is i."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def read(self, start: int, length: int) -> np.ndarray:
        assert start + length <= self.length
        return np.arange(start, start + length, dtype=np.uint16)


@pytest.mark.parametrize("length", [2, 8, 9, 10, 16, 17, 18, 40])
def test_every_token_is_a_target_once_and_follows_its_input(length: int) -> None:
    samples = Samples(_Stream(length), context=8)  # ty: ignore[invalid-argument-type]
    inputs, targets = samples.read(np.arange(len(samples)))
    valid = targets != IGNORED
    assert sorted(targets[valid].tolist()) == list(range(1, length))
    assert (targets[valid] == inputs[valid] + 1).all()


def test_sample_past_the_end_teaches_nothing() -> None:
    samples = Samples(_Stream(40), context=8)  # ty: ignore[invalid-argument-type]
    _, targets = samples.read(np.array([len(samples), len(samples) + 3]))
    assert (targets == IGNORED).all()
