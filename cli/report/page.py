"""A run's record as one page of HTML that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trainyard.cli.report import words
from trainyard.cli.report.charts import Curve, Mark, Span, chart
from trainyard.cli.report.record import Event, Record, Reported, number

MOST_EVENTS = 500
"""In the table: the newest. Those marked in the charts as well."""

MOST_RANKS = 64
"""Shown; the slow ones are among them."""

_PHASES = {
    "data": "c",
    "forward": "a",
    "backward": "b",
    "optimizer": "good",
    "agreement": "faint",
    "reduction": "d",
}
"""What a rank's step consists of, and its colour."""

_SILENT_SECONDS = 600.0
"""A run that was heard later than this goes on, as far as one can tell."""


_BY_DECADES = ("gradient norm", "loss scale")


@dataclass(frozen=True)
class Figure:
    name: str
    value: str
    about: str = ""


@dataclass(frozen=True)
class Drawing:
    name: str
    about: str
    svg: Markup


def render(record: Record, now: float) -> str:
    """`now`: seconds since 1970."""
    environment = Environment(
        loader=PackageLoader("trainyard.cli.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    events = [one for one in record.events if one.kind != "checkpoint"]
    status, status_style = _status(record, now)
    return environment.get_template("page.html.j2").render(
        name=record.config.get("tracking", {}).get("run_name") or record.directory.absolute().name,
        directory=str(record.directory),
        status=status,
        status_style=status_style,
        reason=(record.outcome or {}).get("reason"),
        made=words.moment(now),
        figures=_figures(record),
        timeline=_timeline(record),
        spent=_spent(record),
        drawings=_drawings(record),
        ranks=record.ranks,
        rank_bars=_rank_bars(record),
        phases=_PHASES,
        checkpoints=[_checkpoint(event) for event in record.of("checkpoint")[::-1][:MOST_EVENTS]],
        events=events[::-1][:MOST_EVENTS],
        left_out=max(0, len(events) - MOST_EVENTS),
        config=record.config,
        styles=words.STYLES,
        words=words,
    )


def _status(record: Record, now: float) -> tuple[str, str]:
    outcome = (record.outcome or {}).get("outcome")
    if outcome in ("finished", "preempted", "failed"):
        return outcome, {"finished": "good", "preempted": "warn", "failed": "bad"}[outcome]
    if record.last_heard is None:
        return "nothing reported yet", "warn"
    silent = now - record.last_heard
    if silent <= _SILENT_SECONDS:
        return "in progress", "good"
    return f"no sign of life for {words.duration(silent)}", "bad"


def _figures(record: Record) -> list[Figure]:
    wanted = record.steps_wanted
    figures = [Figure("step", f"{record.step:,}", f"of {wanted:,}" if wanted else "")]
    if not record.reported:
        return figures
    last = record.reported[-1].values
    if "loss" in last:
        figures.append(Figure("loss", f"{last['loss']:.4f}", "of the last reported step"))
    if record.held_out:
        step, _, loss = min(record.held_out, key=lambda one: one[2])
        figures.append(Figure("held-out loss", f"{loss:.4f}", f"the lowest, at step {step:,}"))
    if record.spent.goodput is not None:
        figures.append(Figure("goodput", f"{record.spent.goodput:.1%}", f"of {words.duration(record.spent.total)}"))
    for name, title, say in (
        ("tokens_per_second", "tokens/s", words.compact),
        ("mfu", "MFU", lambda value: f"{value:.1%}"),
    ):
        if values := sorted(one.values[name] for one in record.reported if name in one.values):
            figures.append(Figure(title, say(values[len(values) // 2]), "median"))
    if "tokens" in last:
        figures.append(Figure("tokens", words.compact(last["tokens"]), "trained on"))
    restarts = sum(start.resumed_from is not None for start in record.starts)
    killed = sum(not start.said_why for start in record.starts[:-1])
    figures.append(Figure("restarts", str(restarts), f"{killed} after an end without a word" if killed else ""))
    figures.append(Figure("checkpoints", str(len(record.of("checkpoint"))), "became durable"))
    return figures


def _spent(record: Record) -> list[tuple[str, str, float, str]]:
    """(name, style, share of the time, in words)"""
    spent = record.spent
    if spent.total <= 0:
        return []
    parts = [
        ("steps that count", "a", spent.training),
        ("checkpoint stalls", "warn", spent.stalled),
        ("restarts, rewinds and work done again", "bad", spent.restarts),
        ("evaluation and other", "faint", spent.other),
    ]
    whole = max(spent.total, sum(seconds for *_, seconds in parts))
    return [(name, style, seconds / whole, words.duration(seconds)) for name, style, seconds in parts]


def _checkpoint(event: Event) -> dict[str, Any]:
    """A row of the table, in words."""

    def said(name: str, say: Callable[[float], str]) -> str:
        value = event.fields.get(name)
        return say(value) if number(value) else "–"

    retried, not_local = event.fields.get("retried"), event.fields.get("not_local")
    return {
        "step": "–" if event.step is None else event.step,
        "time": words.moment(event.time),
        "size": said("bytes", words.size),
        "took": said("seconds", words.duration),
        "stall": said("stall_seconds", words.duration),
        "uri": event.fields.get("uri"),
        "remarks": [f"tried again: {why}" for why in (retried if isinstance(retried, list) else [])]
        + ([f"not on the nodes' disks: {not_local}"] if not_local else []),
    }


def _rank_bars(record: Record) -> list[tuple[int, bool, float, list[tuple[str, str, float, float]]]]:
    """(rank, whether it is slow, milliseconds a step, [(phase, style, share of the longest step, milliseconds)]), the
    slow ones first."""
    if record.ranks is None:
        return []
    longest = max(sum(rank.values()) for rank in record.ranks.seconds) or 1.0
    bars = []
    for index, rank in enumerate(record.ranks.seconds):
        parts = [
            (phase, style, rank[phase] / longest, 1e3 * rank[phase])
            for phase, style in _PHASES.items()
            if phase in rank
        ]
        bars.append((index, index in record.ranks.slow, 1e3 * sum(rank.values()), parts))
    return sorted(bars, key=lambda bar: not bar[1])[:MOST_RANKS]


def _timeline(record: Record) -> Markup | None:
    """Steps over time: what was trained when, and what came between."""
    if not record.reported or record.last_heard is None:
        return None
    first = record.reported[0]
    begun = min([first.time - first.seconds, *(start.began for start in record.starts)])
    lasted = record.last_heard - begun
    unit, length = ("h", 3600.0) if lasted > 3 * 3600 else ("min", 60.0) if lasted > 3 * 60 else ("s", 1.0)
    marks = [
        Mark((one.time - begun) / length, words.STYLES[one.kind], words.title(one))
        for one in record.events
        if one.kind in words.STYLES
    ]
    spans = [
        Span(
            (start.began - begun) / length,
            (start.ended - begun) / length,
            "ab"[number % 2],
            words.start(number + 1, start),
        )
        for number, start in enumerate(record.starts)
    ]
    saves = [((one.time - begun) / length, float(one.step)) for one in record.of("checkpoint") if one.step is not None]
    steps = [((one.time - begun) / length, float(one.step)) for one in record.reported]
    return chart(
        [Curve("step", steps, "a"), Curve("checkpoints", saves, "b dots")],
        f"steps over time, up to step {record.step}",
        x_range=(0.0, lasted / length),
        say_x=lambda value: f"{value:g} {unit}",
        say_y=words.compact,
        marks=marks,
        spans=spans,
        from_zero=True,
        size=(920, 250),
    )


def _drawings(record: Record) -> list[Drawing]:
    """Of what was measured, over the steps."""
    if not record.reported:
        return []
    x_range = (0.0, float(max(record.reported[-1].step, 1)))
    marks = [
        Mark(float(min(one.step, x_range[1])), words.STYLES[one.kind], words.title(one))
        for one in record.events
        if one.kind in words.STYLES and one.step is not None
    ]
    held_out = [(float(step), loss) for step, _, loss in record.held_out]

    def share_waited(one: Reported) -> float | None:
        waited, seconds = one.values.get("data_wait_seconds"), one.values.get("seconds_per_step")
        return None if waited is None or not seconds else waited / seconds

    def of(name: str) -> Callable[[Reported], float | None]:
        return lambda one: one.values.get(name)

    def percent(value: float) -> str:
        return f"{100 * value:.3g}%"

    measured: list[tuple[str, str, Callable[[Reported], float | None], Callable[[float], str], bool]] = [
        ("loss", "cross-entropy, nats per token; dots: held-out text", of("loss"), words.compact, False),
        ("learning rate", "", of("learning_rate"), words.compact, True),
        ("gradient norm", "before clipping", of("grad_norm"), words.compact, True),
        ("tokens per second", "stalls and evaluation left out", of("tokens_per_second"), words.compact, True),
        ("MFU", "model FLOPs utilisation", of("mfu"), percent, True),
        ("data wait", "share of a step spent waiting for data", share_waited, percent, True),
        ("checkpoint stall", "seconds that training stood still since the last line", of("checkpoint_stall_seconds"),
         words.compact, True),
        ("memory", "on the first rank", of("memory_bytes"), words.size, True),
        ("loss scale", "fp16", of("loss_scale"), words.compact, True),
    ]  # fmt: skip
    drawings = []
    for name, about, get, say, from_zero in measured:
        points = [(float(one.step), value) for one in record.reported if (value := get(one)) is not None]
        curves = [Curve(name, points, "a"), *([Curve("held-out", held_out, "b dots")] if name == "loss" else [])]
        if points:
            svg = chart(
                curves, _told(name, points, say), x_range=x_range, say_x=words.compact, say_y=say, marks=marks,
                from_zero=from_zero, by_decades=name in _BY_DECADES,
            )  # fmt: skip
            drawings.append(Drawing(name, about, svg))
    return drawings


def _told(name: str, points: list[tuple[float, float]], say: Callable[[float], Any]) -> str:
    return f"{name} over steps: from {say(points[0][1])} to {say(points[-1][1])}"
