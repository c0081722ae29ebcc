"""How GPU instances are bought, and when a Capacity Block's group grows and shrinks.

CapacityBlock("cr-0123456789abcdef0", starts_at=datetime(2026, 12, 1, 11, 30, tzinfo=UTC), ends_at=…, nodes=4)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

import pulumi

MOST_BLOCK_INSTANCES = 64
"""Of one Capacity Block. Source: EC2 API, DescribeCapacityBlockOfferings, InstanceCount."""

RECLAIMED_BEFORE_END = timedelta(minutes=30)
"""From then on EC2 ends the block's instances. Source: EKS user guide, "Create a managed node group with Capacity
Blocks for ML", read 2026-11."""

DRAINED_BEFORE_END = RECLAIMED_BEFORE_END + timedelta(minutes=15)
"""When the group is told to shrink: EKS drains a node that goes for as long as 15 minutes. By itself EKS would begin
five minutes later, by a scheduled action of its own 40 minutes before the end (same page), when EC2's warning comes."""

SHORTEST_BLOCK = timedelta(days=1)
"""Blocks last whole days, up to 14, or whole weeks, up to 26. Source: EC2 API, DescribeCapacityBlockOfferings."""


@dataclass(frozen=True)
class OnDemand:
    """By the hour, if the zone has one."""


@dataclass(frozen=True)
class Spot:
    """What is left over, taken back at two minutes' notice."""


@dataclass(frozen=True)
class Reservation:
    """An On-Demand Capacity Reservation: paid for whether it is used or not, and always there.

    Attributes:
        reservation_id: `cr-` and 17 hexadecimal digits. Its zone is that of the group's subnet.
    """

    reservation_id: pulumi.Input[str]

    def __post_init__(self) -> None:
        _check_reservation(self.reservation_id)


@dataclass(frozen=True)
class CapacityBlock:
    """Instances bought for days that are fixed beforehand.

    Attributes:
        reservation_id: of the block, `cr-` and 17 hexadecimal digits.
        starts_at: when the block begins, with a time zone.
        ends_at: when it ends, with a time zone; its instances go half an hour earlier.
        nodes: how many instances were bought, 1 to 64.
    """

    reservation_id: pulumi.Input[str]
    starts_at: datetime
    ends_at: datetime
    nodes: int

    def __post_init__(self) -> None:
        _check_reservation(self.reservation_id)
        for what, when in (("starts_at", self.starts_at), ("ends_at", self.ends_at)):
            if when.tzinfo is None:
                raise ValueError(f"{what} is {when}, which has no time zone; write 2026-12-01T11:30:00Z")
        if self.ends_at - self.starts_at < SHORTEST_BLOCK - timedelta(minutes=30):
            raise ValueError(
                f"the Capacity Block ends at {self.ends_at}; blocks last a day or more from {self.starts_at}"
            )
        if not 1 <= self.nodes <= MOST_BLOCK_INSTANCES:
            raise ValueError(f"nodes is {self.nodes}; a Capacity Block has 1 to {MOST_BLOCK_INSTANCES} instances")


Capacity: TypeAlias = OnDemand | Spot | Reservation | CapacityBlock


@dataclass(frozen=True)
class ScheduledSize:
    """The size that an Auto Scaling group gets at one time."""

    action: str
    at: datetime
    nodes: int


def scheduled_sizes(block: CapacityBlock, now: datetime) -> list[ScheduledSize]:
    """The block's sizes that lie ahead.

    One that lies behind is left out: Auto Scaling takes no time in the past and forgets an action when it has run, so
    that keeping it would make it anew at every `up` and fail. A group made while its block runs begins empty and grows
    when a job asks for a node.
    """
    sizes = [
        ScheduledSize("start", block.starts_at, block.nodes),
        ScheduledSize("drain", block.ends_at - DRAINED_BEFORE_END, 0),
    ]
    return [size for size in sizes if size.at > now]


def _check_reservation(reservation_id: pulumi.Input[str]) -> None:
    if isinstance(reservation_id, str) and not reservation_id.startswith("cr-"):
        raise ValueError(f"reservation_id is {reservation_id!r}; it begins with cr-")
