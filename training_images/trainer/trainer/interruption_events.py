"""What the platform's interruption queue carries: EventBridge events of EC2 and AWS Health, read for what they mean.

Pure. Shapes: EC2 user guide, "Spot Instance interruption notices", "Monitor interruptible Capacity Reservations",
"Monitor Capacity Blocks using EventBridge", "EC2 instance rebalance recommendations"; AWS Health user guide, "Event
schema"; read 2026-11.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

SPOT_NOTICE = timedelta(minutes=2)
"""Between the warning and the end, also of capacity that its owner takes back."""

BLOCK_NOTICE = timedelta(minutes=40)
BLOCK_TAKEN_BEFORE_END = timedelta(minutes=30)
"""A Capacity Block's warning comes 40 minutes before its end; EC2 ends its instances from 30 minutes before."""

STOPPED_NOTICE = timedelta(seconds=20)
"""What an instance that is being stopped may still have."""

STALE = timedelta(minutes=5)
"""News of a stop that is older was about an earlier start on the same instance."""

_SPOT = "EC2 Spot Instance Interruption Warning"
_RECLAIMED = (
    "EC2 Capacity Reservation Instance Interruption Warning",
    "EC2 Interruptible Capacity Reservation Instance Interruption Warning",
)
_BLOCK = "Capacity Block Reservation Expiration Warning"
_REBALANCE = "EC2 Instance Rebalance Recommendation"
_STATE = "EC2 Instance State-change Notification"
_HEALTH = "AWS Health Event"


@dataclass(frozen=True)
class Interruption:
    """Something is going to happen to machines."""

    what: str
    """In words, without naming them."""
    names: tuple[str, ...]
    """Instances, or the Capacity Block's reservation."""
    ends_at: datetime | None
    """When they go; None for a mere likelihood, which is a reason to save and not to leave."""
    shared: bool = False
    """Other jobs wait for the very same message."""

    def concerns(self, names: Collection[str]) -> str | None:
        """The first of our `names` it is about."""
        return next((name for name in self.names if name in names), None)


def read_event(body: str, now: datetime | None = None) -> Interruption | None:
    """What a message from the queue announces; None for what announces nothing, however it is made."""
    try:
        return _read(json.loads(body), now or datetime.now(UTC))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _read(event: dict[str, Any], now: datetime) -> Interruption | None:
    kind, detail = event["detail-type"], event["detail"]
    told_at = _time(event.get("time")) or now
    told_at = min(told_at, now)  # a clock that goes wrong must not give time that is not there
    if kind == _SPOT:
        action = detail.get("instance-action", "terminate")
        what = "spot interruption" if action == "terminate" else f"spot interruption ({action})"
        return Interruption(what, (detail["instance-id"],), told_at + SPOT_NOTICE)
    if kind in _RECLAIMED:
        ends_at = _time(detail.get("instance-termination-time")) or told_at + SPOT_NOTICE
        return Interruption("reclaimed capacity", (detail["instance-id"],), ends_at)
    if kind == _BLOCK:
        block_ends = _time(detail.get("end-date")) or told_at + BLOCK_NOTICE
        reservation = (detail["capacity-reservation-id"],)
        return Interruption("Capacity Block's end", reservation, block_ends - BLOCK_TAKEN_BEFORE_END, shared=True)
    if kind == _REBALANCE:
        return Interruption("rebalance recommendation", (detail["instance-id"],), None)
    if kind == _STATE:
        if detail["state"] not in ("stopping", "shutting-down") or now - told_at > STALE:
            return None
        return Interruption(f"instance {detail['state']}", (detail["instance-id"],), now + STOPPED_NOTICE)
    if kind == _HEALTH and detail.get("eventTypeCategory") == "scheduledChange":
        entities = tuple(entity["entityValue"] for entity in detail.get("affectedEntities", []))
        what = f"scheduled change {detail.get('eventTypeCode', '')}".rstrip()
        return Interruption(what, entities, _time(detail.get("startTime")), shared=len(entities) > 1)
    return None


def _time(said: Any) -> datetime | None:
    """ISO 8601, or the form of e-mail headers, which AWS Health uses; None where it is neither."""
    if not isinstance(said, str):
        return None
    try:
        when = datetime.fromisoformat(said.replace("Z", "+00:00"))
    except ValueError:
        try:
            when = parsedate_to_datetime(said)
        except ValueError:
            return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
