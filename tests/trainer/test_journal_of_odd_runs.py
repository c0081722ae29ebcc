"""What the journal, MLflow's follower and early stopping make of numbers that are none, and of a run that goes back."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from trainer import tracking
from trainer.config_sections import EvaluationConfig
from trainer.evaluation import note, patience_ended
from trainer.metrics import Journal
from trainer.state import Progress


@pytest.fixture
def closes(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A pipe as the follower's standard input: its other end, which says when to finish."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(tracking, "_POLL_SECONDS", 0.0)
        yield writing


def test_a_journal_written_anew_is_followed_from_its_first_line(tmp_path: Path, closes: int) -> None:
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path, 0)
    journal.write(step=1, loss=2.0)
    journal.write(step=2, loss=9.0)
    batches = tracking._appended(path)
    assert [(line["step"], line["loss"]) for line in next(batches)] == [(1, 2.0), (2, 9.0)]
    journal.write(step=3, loss=99.0)  # nobody has read it when it is taken back
    journal.close()
    journal = Journal(path, 1)
    journal.write(step=2, loss=1.5)
    assert [(line["step"], line["loss"]) for line in next(batches)] == [(1, 2.0), (2, 1.5)]
    journal.write(step=3, loss=1.0)
    os.close(closes)
    assert [line["step"] for lines in batches for line in lines] == [3]


def test_a_number_that_is_none_leaves_the_journal_json(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "metrics.jsonl", 0)
    journal.write(event="evaluation", step=1, evaluation_loss=math.nan)
    journal.write(step=2, loss=-math.inf, grad_norm=1.0)
    journal.close()

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    first, second = (json.loads(line, parse_constant=refuse) for line in lines)
    assert first["evaluation_loss"] is None
    assert (second["loss"], second["grad_norm"]) == (None, 1.0)


def test_a_held_out_loss_that_is_no_number_is_never_the_best() -> None:
    settings, progress = EvaluationConfig(interval_steps=1, patience=2), Progress()
    for loss in (math.nan, 3.0, 2.0):
        note(progress, settings, loss)
    assert progress.best_evaluation_loss == 2.0
    assert not patience_ended(progress, settings)
    for loss in (math.nan, math.inf):
        note(progress, settings, loss)
    assert patience_ended(progress, settings)
