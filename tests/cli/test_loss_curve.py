"""The loss picture: what it reads out of a run's record, and that the picture is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from trainyard.cli import loss_curve
from trainyard.cli.loss_curve import NoLossError, draw, read


def record(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def steps(first: int, last: int) -> list[dict[str, Any]]:
    return [{"step": step, "loss": 8.0 / step, "grad_norm": 1.0} for step in range(first, last + 1)]


INTERRUPTED = [
    *steps(1, 4),
    {"event": "evaluation", "step": 4, "evaluation_loss": 2.5},
    {"event": "checkpoint", "step": 5, "uri": "s3://checkpoints/5"},
    *steps(5, 5),
    {"event": "interrupted", "step": 5, "reason": "spot"},
    {"event": "resumed", "step": 5},
    *steps(6, 9),
    {"event": "evaluation", "step": 8, "evaluation_loss": 1.5},
    {"event": "finished", "step": 9},
]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn."""
    made: list[Figure] = []

    class Kept(Figure):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(loss_curve, "Figure", Kept)
    return made


def test_both_starts_of_an_interrupted_run_are_read(tmp_path: Path) -> None:
    first, second = read(record(tmp_path / "metrics.jsonl", *INTERRUPTED))

    assert [step for step, _ in first.training] == [1, 2, 3, 4, 5]
    assert (first.interrupted_at, first.evaluation) == (5, [(4, 2.5)])
    assert [step for step, _ in second.training] == [6, 7, 8, 9]
    assert (second.resumed_from, second.interrupted_at, second.evaluation) == (5, None, [(8, 1.5)])


def test_picture_shows_starts_evaluation_and_the_interruption(tmp_path: Path, figures: list[Figure]) -> None:
    draw(record(tmp_path / "metrics.jsonl", *INTERRUPTED), tmp_path / "loss.png")

    (axes,) = figures[0].axes
    curves = {str(line.get_label()): list(np.asarray(line.get_xdata())) for line in axes.lines}
    written = " ".join(text.get_text() for text in axes.texts)
    assert curves["training, start 1"] == [1, 2, 3, 4, 5]
    assert curves["training, start 2"] == [5, 6, 7, 8, 9]
    assert curves["evaluation, held-out text"] == [4, 8]
    assert [5, 5] in curves.values()
    assert "interrupted and resumed\nat step 5" in written
    assert "8.00 → 0.89 in 9 steps" in written
    assert axes.get_xlabel()
    assert axes.get_ylabel()


def test_png_has_the_size_and_colours_it_should(tmp_path: Path) -> None:
    draw(record(tmp_path / "metrics.jsonl", *INTERRUPTED), tmp_path / "loss.png")

    pixels = imread(tmp_path / "loss.png")
    assert pixels.shape[:2] == (750, 1440)
    for colour in ("6d5bd0", "1f8a5b", "c0392b"):
        rgb = np.array([int(colour[index : index + 2], 16) / 255 for index in (0, 2, 4)])
        assert (np.abs(pixels[..., :3] - rgb).max(axis=-1) < 0.02).sum() > 50, colour


def test_run_that_died_without_a_word_says_from_where_it_went_on(tmp_path: Path, figures: list[Figure]) -> None:
    lines = [*steps(1, 4), '{"step": 5, "lo', {"event": "resumed", "step": 3}, *steps(4, 6)]

    draw(record(tmp_path / "metrics.jsonl", *lines), tmp_path / "loss.png")

    assert "died at step 4,\nresumed from step 3" in [text.get_text() for text in figures[0].axes[0].texts]


def test_uninterrupted_run_has_one_curve_and_no_mark(tmp_path: Path, figures: list[Figure]) -> None:
    draw(record(tmp_path / "metrics.jsonl", *steps(1, 3)), tmp_path / "loss.png")

    assert [line.get_label() for line in figures[0].axes[0].lines] == ["training"]


def test_losses_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    lines = [*steps(1, 2), {"step": 3, "loss": float("nan")}, {"step": 4, "loss": None}, [], {"step": "x", "loss": 1}]

    (start,) = read(record(tmp_path / "metrics.jsonl", *lines))

    assert [step for step, _ in start.training] == [1, 2]


def test_record_without_a_loss_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoLossError, match="holds no step with a loss"):
        draw(record(tmp_path / "metrics.jsonl", {"event": "failed", "step": 0}), tmp_path / "loss.png")
    with pytest.raises(FileNotFoundError):
        draw(tmp_path / "absent.jsonl", tmp_path / "loss.png")


def test_run_that_has_not_been_resumed_yet_says_where_it_stopped(tmp_path: Path, figures: list[Figure]) -> None:
    lines = [*steps(1, 4), {"event": "interrupted", "step": 4}]

    draw(record(tmp_path / "metrics.jsonl", *lines), tmp_path / "loss.png")

    assert "interrupted\nat step 4" in [text.get_text() for text in figures[0].axes[0].texts]
