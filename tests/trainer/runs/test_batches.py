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
        moved.halted(ranks, at=until).kill()
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


@pytest.mark.parametrize(
    "content",
    [b'{"some": "thing"}\n', b"my notes\n", b"no newline", b"\xff\xfe\x00\n", b'{"step": 1, "loss": 2.0, "time": 3}\n'],
)
def test_a_file_that_is_no_dump_is_refused_and_kept(new_run: Callable, tmp_path: Path, content: bytes) -> None:
    run = new_run()
    notes = tmp_path / "notes.txt"
    notes.write_bytes(content)
    run.flags = ["--dump-batches", str(notes)]
    assert run.start(1).wait() == [2]
    assert notes.read_bytes() == content
    assert "holds something else; name a new file" in run.log.read_text()
    assert "Traceback" not in run.log.read_text()
