"""The loss of a run as a picture, with every interruption that it survived, from the trainer's `metrics.jsonl`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

WIDTH_INCHES, HEIGHT_INCHES, DOTS_PER_INCH = 9.6, 5.0, 150

_INK, _FAINT, _GRID, _RED = "#0f172a", "#64748b", "#e2e8f0", "#c0392b"
# One colour for each start of the trainer, in turn.
_STARTS = ("#6d5bd0", "#1f8a5b", "#d9702b", "#2b7bb9")


class NoLossError(ValueError):
    """The file holds no step with a loss."""


@dataclass
class Start:
    """What one start of the trainer added: (step, loss) of training and evaluation, and how it began and ended.

    `resumed_from` is the step whose checkpoint it continued, `interrupted_at` the step it saved when it was told to go.
    """

    resumed_from: int | None = None
    interrupted_at: int | None = None
    training: list[tuple[int, float]] = field(default_factory=list)
    evaluation: list[tuple[int, float]] = field(default_factory=list)


def read(metrics: Path) -> list[Start]:
    """The starts of the run that wrote `metrics`, in their order; those that did no step are left out.

    Raises NoLossError where there is no loss in it, FileNotFoundError where there is no such file.
    """
    starts = [Start()]
    for line in _lines(metrics):
        event, step = line.get("event"), line.get("step")
        if not isinstance(step, int):
            continue
        if event == "resumed":
            starts.append(Start(resumed_from=step))
        elif event == "interrupted":
            starts[-1].interrupted_at = step
        elif event == "evaluation":
            _add(starts[-1].evaluation, step, line.get("evaluation_loss"))
        elif event is None:
            _add(starts[-1].training, step, line.get("loss"))
    kept = [start for start in starts if start.training]
    if not kept:
        raise NoLossError(f"{metrics} holds no step with a loss; the trainer writes one a line")
    return kept


def draw(metrics: Path, target: Path) -> None:
    """Draws the loss in `metrics` as a PNG. Raises as `read` does."""
    starts = read(metrics)
    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), dpi=DOTS_PER_INCH)
    figure.set_layout_engine("constrained", w_pad=0.16, h_pad=0.14)
    axes = figure.add_subplot()
    for number, start in enumerate(starts):
        colour = _STARTS[number % len(_STARTS)]
        # From the step it continued, so that the line is whole where the run was.
        points = start.training
        if number and start.resumed_from is not None:
            points = [point for point in starts[number - 1].training if point[0] == start.resumed_from] + points
        label = "training" if len(starts) == 1 else f"training, start {number + 1}"
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.8, label=label, zorder=3)
    evaluated = [point for start in starts for point in start.evaluation]
    if evaluated:
        axes.plot(
            *zip(*evaluated, strict=True),
            color=_INK, linestyle="none", marker="D", markersize=5, label="evaluation, held-out text", zorder=4,
        )  # fmt: skip
    for earlier, later in pairwise(starts):
        _mark(axes, earlier, later)
    if starts[-1].interrupted_at is not None:
        _mark(axes, starts[-1], None)
    _dress(axes, starts, evaluated)
    FigureCanvasAgg(figure).print_png(target, metadata={"Software": None}, pil_kwargs={"optimize": True})


def _mark(axes: Any, earlier: Start, later: Start | None) -> None:
    """A line where the run was cut, and where it went on if it did."""
    cut = earlier.interrupted_at if earlier.interrupted_at is not None else earlier.training[-1][0]
    reason = "interrupted" if earlier.interrupted_at is not None else "died"
    if later is None:
        step, text = cut, f"{reason}\nat step {cut}"
    else:
        step = later.resumed_from if later.resumed_from is not None else later.training[0][0]
        text = f"{reason} and resumed\nat step {step}"
        if cut != step:
            text = f"{reason} at step {cut},\nresumed from step {step}"
    axes.axvline(step, color=_RED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=2)
    axes.annotate(
        text, (step, 1), xycoords=("data", "axes fraction"), xytext=(6 if later else -6, -8),
        textcoords="offset points", ha="left" if later else "right", va="top", fontsize=9.5, color=_RED,
    )  # fmt: skip


def _dress(axes: Any, starts: list[Start], evaluated: list[tuple[int, float]]) -> None:
    first, last = starts[0].training[0], starts[-1].training[-1]
    parts = [f"{first[1]:.2f} → {last[1]:.2f} in {last[0]} steps"]
    if evaluated:
        parts.append(f"{evaluated[-1][1]:.2f} on held-out text")
    if len(starts) > 1:
        parts.append(
            "interrupted and resumed" if len(starts) == 2 else f"{len(starts) - 1} times interrupted and resumed"
        )
    axes.set_title("Training loss", loc="left", fontsize=15, fontweight="bold", color=_INK, pad=30)
    axes.annotate(
        " · ".join(parts), (0, 1), xycoords="axes fraction", xytext=(0, 11), textcoords="offset points",
        fontsize=10.5, color=_FAINT,
    )  # fmt: skip
    axes.set_xlabel("optimiser step", color=_FAINT)
    axes.set_ylabel("cross-entropy, nats per token", color=_FAINT)
    axes.set_xlim(left=min(0, first[0]), right=max(last[0] * 1.01, first[0] + 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#cbd5e1")
    axes.legend(
        frameon=False,
        loc="lower left" if starts[-1].interrupted_at is not None else "upper right",
        fontsize=9.5,
        labelcolor=_INK,
    )


def _add(points: list[tuple[int, float]], step: int, loss: Any) -> None:
    if isinstance(loss, int | float) and math.isfinite(loss):
        points.append((step, float(loss)))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of the file: a process killed in the middle of one leaves half of it."""
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line
