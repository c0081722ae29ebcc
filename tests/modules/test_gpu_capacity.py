"""When a Capacity Block's group grows and shrinks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from trainyard.modules.gpu_capacity import CapacityBlock, Reservation, scheduled_sizes

START = datetime(2026, 12, 1, 11, 30, tzinfo=UTC)
BLOCK = CapacityBlock("cr-0123456789abcdef0", START, START + timedelta(days=2), nodes=4)


def test_it_grows_when_the_block_starts_and_is_empty_before_instances_are_taken() -> None:
    start, drain = scheduled_sizes(BLOCK, START - timedelta(days=10))
    assert (start.at, start.nodes) == (START, 4)
    assert drain.nodes == 0
    assert drain.at == datetime(2026, 12, 3, 10, 45, tzinfo=UTC)
    assert drain.at <= BLOCK.ends_at - timedelta(minutes=30), "instances are reclaimed from then on"


def test_what_lies_behind_is_not_scheduled_again() -> None:
    assert [size.nodes for size in scheduled_sizes(BLOCK, START + timedelta(minutes=1))] == [0]
    assert scheduled_sizes(BLOCK, BLOCK.ends_at) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reservation_id": "my-block"}, "begins with cr-"),
        ({"starts_at": datetime(2026, 12, 1, 11, 30)}, "no time zone"),
        ({"ends_at": datetime(2026, 12, 3, 11, 30)}, "no time zone"),
        ({"ends_at": START}, "last a day or more"),
        ({"ends_at": START - timedelta(days=1)}, "last a day or more"),
        ({"nodes": 0}, "1 to 64"),
        ({"nodes": 65}, "1 to 64"),
    ],
)
def test_wrong_blocks_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(BLOCK, **changes)


def test_a_reservation_is_named_by_its_id() -> None:
    with pytest.raises(ValueError, match="begins with cr-"):
        Reservation("p5-reservation")
