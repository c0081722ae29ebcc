"""The comparison as a picture: for each trace when the machines were there, and goodput over the interval."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter
from trainer.errors import UserError

from trainyard.cli.simulate.comparison import Comparison
from trainyard.cli.simulate.replay import Job
from trainyard.cli.simulate.traces import MICROSECONDS

_INK, _FAINT, _GRID = "#0f172a", "#64748b", "#e2e8f0"
_THERE, _FIXED, _ADAPTIVE = "#6d5bd0", "#2b7bb9", "#1f8a5b"
_ROW_INCHES = 2.1
_SHOWN_POINTS = 0.12
"""Of goodput, below the clairvoyant's; what is worse runs out of the picture."""
_TICKS = ((10, "10 s"), (60, "1 min"), (300, "5 min"), (1800, "30 min"), (3 * 3600, "3 h"), (86_400, "1 d"))


def draw(comparisons: Sequence[Comparison], job: Job, target: Path) -> None:
    """Raises UserError where `target` can't be written."""
    # Text stays text; ids come out the same each time.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "trainyard", "font.family": "sans-serif"}):
        figure = Figure(figsize=(10, 0.9 + _ROW_INCHES * len(comparisons)))
        figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08)
        rows = figure.subplots(len(comparisons), 2, squeeze=False, width_ratios=(3, 2))
        for (when, goodput), comparison in zip(rows, comparisons, strict=True):
            _draw_availability(when, comparison)
            _draw_goodput(goodput, comparison, job)
        rows[-1][0].set_xlabel("days", color=_FAINT)
        rows[-1][1].set_xlabel("time between saves", color=_FAINT)
        handles, labels = rows[0][1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False, labelcolor=_INK, fontsize=9)
        try:
            figure.savefig(target, format="svg", metadata={"Date": None, "Creator": "trainyard simulate"})
        except OSError as error:
            raise UserError(f"--svg {target}: can't be written: {error.strerror}") from None


def _draw_availability(axes: Any, comparison: Comparison) -> None:
    """Share of each stretch of the trace in which machines were there: outages of minutes would not be seen else."""
    trace = comparison.trace
    stretches = min(280, len(trace.data))
    edges = [round(index * len(trace.data) / stretches) for index in range(stretches + 1)]
    shares = [sum(trace.data[a:b]) / (b - a) for a, b in pairwise(edges)]
    days = [edge * trace.gap_seconds / 86_400 for edge in edges]
    axes.stairs(shares, days, fill=True, color=_THERE, alpha=0.85, linewidth=0)
    axes.set_xlim(0, days[-1])
    axes.set_ylim(0, 1.02)
    losses = comparison.clairvoyant.losses
    axes.set_title(f"{trace.name} · {losses} losses", loc="left", fontsize=11, fontweight="bold", color=_INK)
    axes.set_yticks([0, 0.5, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel("machines there", color=_FAINT, fontsize=9)
    _dress(axes)


def _draw_goodput(axes: Any, comparison: Comparison, job: Job) -> None:
    seconds = [steps * job.step / MICROSECONDS for steps in comparison.fixed]
    axes.plot(
        seconds, [account.goodput for account in comparison.fixed.values()],
        color=_FIXED, linewidth=1.6, marker="o", markersize=3, label="fixed interval", zorder=3,
    )  # fmt: skip
    axes.axhline(
        comparison.clairvoyant.goodput, color=_FAINT, linewidth=1.2, linestyle=(0, (4, 3)), label="clairvoyant"
    )
    axes.axhline(comparison.adaptive.goodput, color=_ADAPTIVE, linewidth=1.8, label="adaptive interval", zorder=4)
    top = comparison.clairvoyant.goodput
    bottom = min(top - _SHOWN_POINTS, comparison.adaptive.goodput - 0.02)
    axes.set_ylim(max(0.0, bottom), top + 0.012)
    axes.set_xscale("log")
    ticks = [(at, label) for at, label in _TICKS if seconds[0] / 1.5 <= at <= seconds[-1] * 1.5]
    axes.set_xticks([at for at, _ in ticks])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: dict(_TICKS).get(round(at), "")))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_title("goodput", loc="left", fontsize=9, color=_FAINT)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    _dress(axes)


def _dress(axes: Any) -> None:
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT, length=0, labelsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#cbd5e1")
