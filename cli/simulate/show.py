"""The comparison as tables for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from trainyard.cli.progress import console
from trainyard.cli.simulate.comparison import Comparison, Prices
from trainyard.cli.simulate.replay import Account, Job
from trainyard.cli.simulate.traces import MICROSECONDS

_NEIGHBOURS = 3
"""Fixed intervals shown to either side of the best, apart by a factor of about two."""


def tables(comparisons: Sequence[Comparison], job: Job, prices: Prices) -> None:
    if len(comparisons) > 1:
        console.print(_overview(comparisons, job))
        console.print("Name one for all its figures; --json has those of all.", style="dim")
        return
    console.print(_table(comparisons[0], job, prices))
    said = f"The gang costs ${prices.on_demand:,.2f} an hour on demand"
    if prices.spot is None:
        said += "; 'pays below' is the spot price up to which it costs less there"
    else:
        said += f", ${prices.spot:,.2f} on spot; '$/h' is what an hour of useful work costs there"
    console.print(f"{said}.", style="dim")


def _overview(comparisons: Sequence[Comparison], job: Job) -> Table:
    shown = Table(title="goodput", title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0)
    shown.add_column("trace", no_wrap=True)
    for name in ("losses", "clairvoyant", "adaptive", "best fixed", "of", "short by"):
        shown.add_column(name, justify="right", no_wrap=True)
    for one in comparisons:
        shown.add_row(
            one.trace.name,
            str(one.clairvoyant.losses),
            f"{one.clairvoyant.goodput:.2%}",
            f"{one.adaptive.goodput:.2%}",
            f"{one.fixed[one.best_steps].goodput:.2%}",
            _seconds(one.best_steps * job.step / MICROSECONDS),
            f"{100 * one.short_by:.2f} %",
        )
    return shown


def _table(comparison: Comparison, job: Job, prices: Prices) -> Table:
    trace, losses = comparison.trace, comparison.clairvoyant.losses
    there = comparison.clairvoyant.available / MICROSECONDS / trace.seconds
    title = f"{trace.name}: {trace.description}" if trace.description else trace.name
    shown = Table(
        title=f"{title}\n{trace.seconds / 86_400:.3g} days, machines there {there:.0%} of them, {losses} losses",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=0,
        caption=f"adaptive: {abs(100 * comparison.short_by):.2f} points "
        f"{'below' if comparison.short_by > 0 else 'above'} the best fixed one, which only hindsight knows",
        caption_justify="left",
    )
    shown.add_column("steps between saves", no_wrap=True)
    names = ["goodput", "lost", "stall", "start", *(["leave"] if job.notice else []), "saves"]
    for name in (*names, "$/h" if prices.spot is not None else "pays below"):
        shown.add_column(name, justify="right", no_wrap=True)

    def row(name: str, account: Account, style: str = "") -> None:
        parts = [account.lost, account.stalled, account.restoring, *([account.leaving] if job.notice else [])]
        money = prices.to_json(account)
        usd = money["usd_per_useful_hour" if prices.spot is not None else "break_even_spot_usd_per_hour"]
        shown.add_row(
            name,
            f"{account.goodput:.2%}",
            *(f"{part / max(1, account.available):.2%}" for part in parts),
            f"{account.saves:,}",
            "–" if usd is None else f"${usd:,.2f}",
            style=style,
        )

    row("clairvoyant", comparison.clairvoyant, "dim")
    row(f"adaptive, {interval(comparison.adaptive_steps, job)}", comparison.adaptive, "bold green")
    for steps in _worth_showing(comparison):
        best = steps == comparison.best_steps
        row(f"{interval(steps, job)}{', best' * best}", comparison.fixed[steps], "bold" * best)
    return shown


def _worth_showing(comparison: Comparison) -> list[int]:
    """All of few; of many the best, and some to either side of it."""
    if len(comparison.fixed) <= 2 * _NEIGHBOURS + 1:
        return list(comparison.fixed)
    best, kept = comparison.best_steps, []
    for power in range(-_NEIGHBOURS, _NEIGHBOURS + 1):
        nearest = min(comparison.fixed, key=lambda steps: abs(math.log(steps / (best * 2**power))))
        if nearest not in kept:
            kept.append(nearest)
    return kept


def interval(steps: int, job: Job) -> str:
    return f"{steps:,} ({_seconds(steps * job.step / MICROSECONDS)})"


def _seconds(seconds: float) -> str:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.3g} s"
