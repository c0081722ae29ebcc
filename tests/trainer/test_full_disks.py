"""What a run writes for people costs lines where there is no room, never the run."""

from __future__ import annotations

import json
import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from trainer.batch_dump import BatchDump
from trainer.data import StepBatch
from trainer.errors import UserError
from trainer.gang import Gang
from trainer.metrics import Journal, read_lines
from trainer.watchdog import Watchdog


@contextmanager
def room_for(bytes_a_file: int) -> Generator[None]:
    """Files may not become longer: the rest of a write is refused, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_a_file, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_dump_lacks_whole_lines_and_goes_on_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "batches.jsonl"
    dump = BatchDump(path, 0, Gang.assemble())
    batch = StepBatch([], 0, np.arange(4).reshape(2, 2))
    dump.write(1, batch)
    with room_for(path.stat().st_size + 10):
        dump.write(2, batch)
        dump.write(3, batch)
    dump.write(4, batch)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 4]
    assert "step 2 is missing" in caplog.text
    BatchDump(path, 4, Gang.assemble())  # a resumed run takes it for what it is


def test_a_journal_that_can_not_be_written_anew_goes_on_after_what_it_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path, 0)
    for step in (1, 2, 3):
        journal.write(step=step, loss=float(step))
    with room_for(40):
        journal.go_back(1)
    journal.write(step=2, loss=0.5)
    assert [(line["step"], line["loss"]) for line in read_lines(path)] == [(1, 1.0), (2, 2.0), (3, 3.0), (2, 0.5)]
    assert "still has the steps after 1" in caplog.text
    journal.go_back(1)
    assert [line["step"] for line in read_lines(path)] == [1]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_directory_that_takes_no_stacks_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "hang-rank0.txt").mkdir()
    with pytest.raises(UserError, match=r"run\.directory .*: can't be written: Is a directory"):
        Watchdog(Gang.assemble(), 60.0, tmp_path)
