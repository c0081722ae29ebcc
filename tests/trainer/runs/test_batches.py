"""What is trained on, and in which order, depends on seed and sample index alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_then_one_then_four_ranks_read_each_sample_once_in_the_same_order(
    new_run: Callable, tmp_path: Path, strategy: str
) -> None:
    settings = {"training__steps": 30, "training__micro_batch_size": 1, "parallel__strategy": strategy}
    expected = new_run(**settings)
    expected.flags = ["--dump-batches", str(tmp_path / "expected.jsonl")]
    expected.go()
    order = expected.dumped(tmp_path / "expected.jsonl")

    moved = new_run(**settings)
    moved.flags = ["--dump-batches", str(tmp_path / "moved.jsonl")]
    for ranks, until in ((2, 9), (1, 17), (4, 23)):
        gang = moved.start(ranks)
        moved.wait_for_step(until)
        gang.kill()
    moved.go(2)
    assert moved.dumped(tmp_path / "moved.jsonl") == order
    assert len(moved.events("resumed")) == 3

    samples = 165  # ceil(2636 / 16): epochs of the test data
    taken = [sample for step in sorted(order) for sample in order[step]]
    for start in range(0, len(taken) - samples, samples):
        assert sorted(taken[start : start + samples]) == list(range(samples))
    assert taken[:samples] != taken[samples : 2 * samples]
    for step, (loss, _) in expected.steps.items():
        assert moved.steps[step][0] == pytest.approx(loss, abs=0.3), "dropout differs, the data does not"


def test_a_file_that_is_no_dump_is_refused(new_run: Callable, tmp_path: Path) -> None:
    run = new_run()
    (tmp_path / "notes.txt").write_text('{"some": "thing"}\n')
    run.flags = ["--dump-batches", str(tmp_path / "notes.txt")]
    assert run.start(2).wait() == [2, 2]
    assert (tmp_path / "notes.txt").read_text() == '{"some": "thing"}\n'
    assert "--dump-batches" in run.log.read_text()
