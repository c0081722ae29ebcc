"""How costs are said, the same in every format that people read: no figure without what was assumed for it."""

from __future__ import annotations

from trainyard.cli.review.cost import Amount, Cost, Row


def usd(amount: Amount | None) -> str:
    """`1,234 USD`, `31.54 to 39.40 USD`; `–` where there is none."""
    if amount is None:
        return "–"
    low, high = _figure(amount.low), _figure(amount.high)
    return f"{low} USD" if low == high else f"{low} to {high} USD"


def difference(row: Row) -> str:
    """`+12.00 USD`, or nothing where it costs as before."""
    low, high = (_figure(one, signed=True) for one in (row.difference.low, row.difference.high))
    if not changed(row):
        return ""
    return f"{low} USD" if low == high else f"{low} to {high} USD"


def changed(row: Row) -> bool:
    """Also where as many resources share another price, or others the same one."""
    return row.before != row.after or (row.counts[0] > 0) != (row.counts[1] > 0)


def line(row: Row) -> str:
    """`GpuGroup p5: 1 × p5.48xlarge, on demand: 55.12 USD per hour`."""
    name = f"{row.name}: {row.what}" if row.what else row.name
    if not changed(row):
        return f"{name}: {usd(row.after)} per {row.per}, as before"
    if row.before is None:
        return f"{name}: {usd(row.after)} per {row.per}, new"
    if row.after is None:
        return f"{name}: no more, was {usd(row.before)} per {row.per}"
    return f"{name}: {usd(row.before)} → {usd(row.after)} per {row.per} ({difference(row)})"


def use_line(row: Row) -> str:
    """A unit price: `Bucket (4): 23.00 USD per TB stored for a month`."""
    shown = row.after if row.after is not None else row.before
    count = row.counts[1] or row.counts[0]
    return f"{row.name} ({count}): {usd(shown)} per {row.per}"


def assumed(row: Row) -> str:
    return "; ".join(row.assumptions)


def total_line(cost: Cost) -> str:
    """The idle cost of a month. At least that, where something has no price."""
    least = "at least " if cost.unpriced else ""
    before, after = usd(cost.total.before), usd(cost.total.after)
    if not changed(cost.total):
        return f"{least}{after} per month while nothing trains, as before"
    return f"{least}{before} → {after} per month while nothing trains ({difference(cost.total)})"


def _figure(value: float, *, signed: bool = False) -> str:
    """Whole dollars from 1,000 on, cents below; four digits where cents would show nothing."""
    size = abs(value)
    digits = 0 if size >= 1000 else 4 if 0 < size < 0.1 else 2
    return f"{value:{'+' if signed else ''},.{digits}f}".replace("-", "−")
