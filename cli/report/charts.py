"""Line charts as SVG, inline in a page: its style sheet gives the colours, so they follow light and dark."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 440, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 26
BUCKETS = 360
"""Points drawn of a curve at most: each the mean of its bucket, with a band from the least to the most."""

_NOT_IN_XML = re.compile("[^\\t\\n\\r -\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    name: str
    points: Sequence[Point]
    style: str
    """Class in the style sheet: `a`, `b`; ends in `dots` for points without a line."""


@dataclass(frozen=True)
class Mark:
    """Something that happened at `x`."""

    x: float
    style: str
    said: str


@dataclass(frozen=True)
class Span:
    start: float
    end: float
    style: str
    said: str


@dataclass(frozen=True)
class Scale:
    """From values to places in the picture."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log10(one) for one in (self.low, self.high, value)) if self.log else (
            self.low, self.high, value)  # fmt: skip
        return round(self.begin + (at - low) / (high - low) * (self.end - self.begin), 1)

    def ticks(self, count: int, whole: bool = False) -> list[float]:
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            return [10.0**power for power in powers if self.low <= 10.0**power <= self.high * (1 + 1e-9)]
        ticks = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10], integer=whole).tick_values(self.low, self.high)
        slack = 1e-9 * (self.high - self.low)
        return [float(tick) for tick in ticks if self.low - slack <= tick <= self.high + slack]


def chart(
    curves: Sequence[Curve],
    label: str,
    *,
    x_range: tuple[float, float],
    say_x: Callable[[float], str],
    say_y: Callable[[float], str],
    marks: Sequence[Mark] = (),
    spans: Sequence[Span] = (),
    from_zero: bool = False,
    by_decades: bool = False,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Markup:
    """`label` is for those who can't see it. `by_decades`: a logarithmic scale where values lie far apart."""
    width, height = size
    values = [y for curve in curves for _, y in curve.points]
    across = Scale(*_apart(*x_range), LEFT, width - RIGHT)
    up = _vertical(values, from_zero, by_decades, height)
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{_text(label)}" xmlns="http://www.w3.org/2000/svg">'
    ]
    for span in spans:
        start, end = across(span.start), across(span.end)
        parts.append(
            f'<rect class="span {span.style}" x="{start}" y="{TOP}" width="{max(1.0, round(end - start, 1))}" '
            f'height="{height - TOP - BOTTOM}"><title>{_text(span.said)}</title></rect>'
        )
    for tick in up.ticks(5):
        y = up(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{width - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5}" text-anchor="end">{escape(say_y(tick))}</text>')
    for tick in across.ticks(max(3, width // 110), whole=True):
        anchor = "end" if across(tick) > width - RIGHT - 12 else "middle"
        parts.append(f'<text x="{across(tick)}" y="{height - 8}" text-anchor="{anchor}">{escape(say_x(tick))}</text>')
    for (x, style), said in _gathered(marks, across).items():
        more = f", and {len(said) - 1} more" if len(said) > 1 else ""
        parts.append(
            f'<g class="mark {style}"><title>{_text(said[0])}{more}</title>'
            f'<path d="M{x} {TOP}V{height - BOTTOM}"/><circle cx="{x}" cy="{TOP}" r="3"/></g>'
        )
    for curve in curves:
        parts.append(_drawn(curve, across, up))
    parts.append(f'<path class="axis" d="M{LEFT} {height - BOTTOM}H{width - RIGHT}"/></svg>')
    return Markup("".join(parts))  # noqa: S704 - every text in it is escaped


def _text(said: str) -> str:
    """Escaped; what no XML may hold, as control characters, is shown by a sign for it."""
    return escape(_NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", said))


def _gathered(marks: Sequence[Mark], across: Scale) -> dict[tuple[int, str], list[str]]:
    """By place and style: what lies on one another is drawn once."""
    gathered: dict[tuple[int, str], list[str]] = {}
    for mark in marks:
        gathered.setdefault((round(across(mark.x)), mark.style), []).append(mark.said)
    return gathered


def _drawn(curve: Curve, across: Scale, up: Scale) -> str:
    if curve.style.endswith("dots"):
        return "".join(
            f'<circle class="curve {curve.style}" cx="{across(x)}" cy="{up(y)}" r="2.6"/>' for x, y in curve.points
        )
    buckets = thinned(curve.points)
    line = " ".join(f"{across(x)},{up(mean)}" for x, _, mean, _ in buckets)
    drawn = f'<polyline class="curve {curve.style}" points="{line}"/>'
    if len(buckets) == 1:
        x, _, mean, _ = buckets[0]
        drawn = f'<circle class="curve {curve.style} dots" cx="{across(x)}" cy="{up(mean)}" r="2.6"/>'
    if len(buckets) < len(curve.points):
        edge = [f"{across(x)},{up(most)}" for x, _, _, most in buckets]
        edge += [f"{across(x)},{up(least)}" for x, least, _, _ in reversed(buckets)]
        drawn = f'<polygon class="band {curve.style}" points="{" ".join(edge)}"/>{drawn}'
    return drawn


def thinned(points: Sequence[Point], most: int = BUCKETS) -> list[tuple[float, float, float, float]]:
    """(x, least, mean, most) of at most so many stretches of equally many points."""
    count = min(most, len(points))
    edges = [index * len(points) // count for index in range(count + 1)] if count else []
    buckets = []
    for start, end in pairwise(edges):
        some = points[start:end]
        values = [y for _, y in some]
        buckets.append((some[len(some) // 2][0], min(values), math.fsum(values) / len(values), max(values)))
    return buckets


def _vertical(values: Sequence[float], from_zero: bool, by_decades: bool, height: int) -> Scale:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    place = height - BOTTOM, TOP
    if by_decades and low > 0 and high / low > 100:
        return Scale(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)), *place, log=True)
    if from_zero:
        low = min(0.0, low)
    low, high = _apart(low, high)
    return Scale(low if low == 0 else low - 0.04 * (high - low), high + 0.06 * (high - low), *place)


def _apart(low: float, high: float) -> tuple[float, float]:
    if high > low:
        return low, high
    width = max(1.0, abs(low))  # beside a large number 1 is nothing
    return (low, low + width) if low >= 0 else (low - width, low)
