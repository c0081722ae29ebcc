"""Events, numbers and times in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from trainyard.cli.report.record import Event, Start

Fields = dict[str, Any]

STYLES = {
    "resumed": "good",
    "finished": "good",
    "rewound": "bad",
    "failed": "bad",
    "checkpoint-failed": "bad",
    "checkpoint-refused": "bad",
    "step-skipped": "bad",
    "interrupted": "warn",
    "warned": "warn",
    "straggler": "warn",
    "checkpoint-skipped": "warn",
    "checkpoint-local": "warn",
    "prune-failed": "warn",
}
"""Events that are marked in the charts, by colour; `checkpoint` and `interval` come too often."""

_SAID: dict[str, Callable[[Fields], str]] = {
    "interval": lambda one: f"{one['reason']}",
    "resumed": lambda one: f"from {one['uri']}, random numbers {one['random_numbers']}",
    "rewound": lambda one: f"from step {one['from_step']} to {one['uri']}",
    "checkpoint-refused": lambda one: f"{one['uri']} is not used: {one['reason']}",
    "checkpoint-local": lambda one: f"{one['uri']}, on the nodes' own disks only",
    "step-skipped": lambda one: f"gradient without a number; {len(one['samples'])} samples in the journal",
    "straggler": lambda one: (
        f"rank {one['rank']}: {one['phase']} takes {1e3 * one['seconds']:.1f} ms a step, the median is "
        f"{1e3 * one['usual_seconds']:.1f} ms; costs {one['lost_share']:.0%} of each step"
    ),
}


def said(event: Event) -> str:
    """What the event tells beside its name and step."""
    try:
        return _SAID[event.kind](event.fields)
    except (KeyError, TypeError, ValueError):  # one that is not known here, or of another version of the trainer
        if set(event.fields) == {"reason"}:
            return str(event.fields["reason"] or "")
        return ", ".join(f"{name} {value}" for name, value in event.fields.items() if value is not None)


def title(event: Event) -> str:
    at = "" if event.step is None else f" at step {event.step}"
    return f"{event.kind.replace('-', ' ')}{at}: {said(event)}"


def start(number: int, one: Start) -> str:
    begun = "from the beginning" if one.resumed_from is None else f"from step {one.resumed_from}"
    return f"start {number}, {begun}, trained for {duration(one.ended - one.began)}"


def duration(seconds: float) -> str:
    for unit, length in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.3g} s"


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def compact(value: float) -> str:
    """At most four digits: 12.5k, 3.1M, 2e-5."""
    if value == 0:
        return "0"
    for unit, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= factor:
            return f"{value / factor:.4g}{unit}"
    return f"{value:.3g}"


def size(count: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f} B"
