"""metrics.jsonl stays one truthful record across kills and restarts."""

from __future__ import annotations

import resource
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from trainer.metrics import Journal, read_json, read_lines, record


def test_resumed_journal_drops_what_will_be_done_again_and_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    journal = Journal(path, resumed_step=0)
    for step in range(1, 6):
        journal.write(step=step, loss=1.0 / step)
    journal.write(event="evaluation", step=3, evaluation_loss=0.5)
    journal.write(event="evaluation", step=5, evaluation_loss=0.4)
    journal.write(event="interrupted", step=5, reason="SIGTERM")
    journal.close()
    with path.open("a") as file:
        file.write('{"step": 6, "lo')

    Journal(path, resumed_step=3).close()
    lines = list(read_lines(path))
    assert [line["step"] for line in lines if "event" not in line] == [1, 2, 3]
    assert [(line["event"], line["step"]) for line in lines if "event" in line] == [
        ("evaluation", 3),
        ("interrupted", 5),
    ]
    assert path.read_text().endswith("}\n")


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'\x00\xff\n[]\n"a"\n' + b"[" * 100_000 + b'\n{"step": "x"}\n{"step": 1, "loss": 2.0}\n{"st')
    Journal(path, resumed_step=3).close()
    assert list(read_lines(path)) == [{"step": 1, "loss": 2.0}]


@contextmanager
def full_disk(size: int) -> Generator[None]:
    """No file may grow beyond `size` bytes: the kernel refuses the write as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_costs_lines_and_not_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path / "metrics.jsonl", resumed_step=0)
    with full_disk(1000):
        for step in range(1, 500):
            journal.write(step=step, loss=1.0)
        record(tmp_path / "outcome.json", {"reason": 2000 * "x"})
    told = [message for message in caplog.messages if "can't be written" in message]
    assert len(told) == 2, "once for each file"
    assert read_json(tmp_path / "outcome.json") is None
    for step in range(500, 600):
        journal.write(step=step, loss=1.0)
    journal.close()
    kept = [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")]
    assert kept == sorted(set(kept)), "none twice"
    assert kept[:10] == list(range(1, 11))
    assert kept[-90:] == list(range(510, 600)), "with room again, at most the line that was cut is lost"
