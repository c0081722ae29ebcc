"""metrics.jsonl stays one truthful record across kills and restarts."""

from __future__ import annotations

from pathlib import Path

from trainer.metrics import Journal, read_lines


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
