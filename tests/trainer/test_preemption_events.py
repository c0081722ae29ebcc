"""What the queue's events mean, and how long a process that was told to go has left."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from trainer.config_sections import PreemptionConfig
from trainer.errors import UserError
from trainer.interruption_events import read_event
from trainer.preemption import SECONDS_TO_END, Notice, machines_end

INSTANCE = "i-1234567890abcdef0"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def event(kind: str, detail: Any, time: str = "2026-11-21T11:59:50Z", source: str = "aws.ec2") -> str:
    return json.dumps({"version": "0", "detail-type": kind, "source": source, "time": time, "detail": detail})


def test_spot_warning_gives_two_minutes_from_when_it_was_written() -> None:
    detail = {"instance-id": INSTANCE, "instance-action": "terminate"}
    told = read_event(event("EC2 Spot Instance Interruption Warning", detail), NOW)
    assert told is not None
    assert told.concerns([INSTANCE]) == INSTANCE
    assert told.concerns(["i-0"]) is None
    assert told.ends_at == NOW + timedelta(seconds=110)
    assert told.what == "spot interruption"


def test_a_clock_ahead_of_ours_gives_no_time_that_is_not_there() -> None:
    detail = {"instance-id": INSTANCE, "instance-action": "stop"}
    told = read_event(event("EC2 Spot Instance Interruption Warning", detail, time="2026-11-21T15:00:00Z"), NOW)
    assert told is not None
    assert told.ends_at == NOW + timedelta(minutes=2)


def test_reclaimed_capacity_says_itself_when_it_goes() -> None:
    kind = "EC2 Interruptible Capacity Reservation Instance Interruption Warning"
    detail = {"instance-id": INSTANCE, "instance-termination-time": "2026-11-21T12:01:30Z"}
    told = read_event(event(kind, detail), NOW)
    assert told is not None
    assert told.ends_at == NOW + timedelta(seconds=90)


@pytest.mark.parametrize("end_date", ["2026-11-21T12:40:00Z", "2026-11-21T12:40:00.000Z", "not a date", None])
def test_capacity_block_warning_names_its_reservation_and_is_for_all_who_share_it(end_date: str | None) -> None:
    detail = {"capacity-reservation-id": "cr-1", "end-date": end_date}
    told = read_event(event("Capacity Block Reservation Expiration Warning", detail, time="2026-11-21T12:00:00Z"), NOW)
    assert told is not None
    assert told.concerns(["cr-1"]) == "cr-1"
    assert told.ends_at == NOW + timedelta(minutes=10)
    assert told.shared


def test_rebalance_recommendation_has_no_end() -> None:
    told = read_event(event("EC2 Instance Rebalance Recommendation", {"instance-id": INSTANCE}), NOW)
    assert told is not None
    assert told.ends_at is None


def test_scheduled_change_is_days_ahead_and_may_be_about_several() -> None:
    detail = {
        "service": "EC2",
        "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
        "eventTypeCategory": "scheduledChange",
        "startTime": "Tue, 24 Nov 2026 12:00:00 GMT",
        "affectedEntities": [{"entityValue": "i-0"}, {"entityValue": INSTANCE}],
    }
    told = read_event(event("AWS Health Event", detail, source="aws.health"), NOW)
    assert told is not None
    assert told.ends_at == NOW + timedelta(days=3)
    assert told.concerns([INSTANCE]) == INSTANCE
    assert told.shared


def test_an_instance_that_stops_has_seconds_and_old_news_of_one_none() -> None:
    def told(state: str, when: str):
        return read_event(
            event("EC2 Instance State-change Notification", {"instance-id": INSTANCE, "state": state}, when), NOW
        )

    stopping = told("shutting-down", "2026-11-21T11:59:58Z")
    assert stopping is not None
    assert stopping.ends_at is not None
    assert stopping.ends_at < NOW + timedelta(minutes=1)
    assert told("running", "2026-11-21T11:59:58Z") is None
    assert told("stopping", "2026-11-21T11:00:00Z") is None, "about an earlier start on the same instance"


@pytest.mark.parametrize(
    "body",
    [
        "no JSON",
        "[]",
        "3",
        "null",
        event("EC2 Instance Launch Successful", {"instance-id": INSTANCE}),
        event("EC2 Spot Instance Interruption Warning", None),
        event("EC2 Spot Instance Interruption Warning", {}),
        event("AWS Health Event", {"eventTypeCategory": "accountNotification"}),
        event("AWS Health Event", {"eventTypeCategory": "scheduledChange", "affectedEntities": [3]}),
        json.dumps({"detail-type": "EC2 Spot Instance Interruption Warning"}),
    ],
)
def test_anything_else_announces_nothing(body: str) -> None:
    assert read_event(body, NOW) is None


def notice(seconds_for_saving: float = 60, **settings: Any) -> Notice:
    made = Notice()
    made.configure(PreemptionConfig(seconds_for_saving=seconds_for_saving, **settings))
    return made


def test_a_signal_leaves_the_time_that_was_asked_for() -> None:
    told = notice(60)
    assert not told.received
    told.give("SIGTERM")
    assert told.received
    assert 30 < told.seconds_left() <= 60


def test_the_most_pressing_of_several_warnings_counts_and_the_first_is_the_reason() -> None:
    told = notice(60)
    told.plan("spot interruption", datetime.now(UTC) + timedelta(seconds=120))
    assert told.received, "nobody waits for the last moment of two minutes"
    assert 60 < told.seconds_left() <= 120 - SECONDS_TO_END
    told.give("SIGTERM")
    assert 20 < told.seconds_left() <= 60
    told.plan("instance shutting-down", datetime.now(UTC) + timedelta(seconds=20))
    assert told.seconds_left() <= 20 - SECONDS_TO_END
    assert told.reason == "spot interruption"


def test_an_end_far_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told = notice(60)
    ends_at = datetime.now(UTC) + timedelta(hours=1)
    told.plan("scheduled change", ends_at)
    told.plan("a later one", ends_at + timedelta(hours=1))
    assert not told.received
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600 - 60 - SECONDS_TO_END - 200)
    assert not told.received
    monkeypatch.setattr(time, "time", lambda: now() + 3600 - 60 - SECONDS_TO_END + 1)
    assert told.received
    assert told.reason == "scheduled change"
    assert 20 < told.seconds_left() <= 60


def test_a_warning_without_an_end_is_no_reason_to_leave_and_is_taken_once() -> None:
    told = notice()
    told.warn("rebalance recommendation")
    assert told.warned
    assert not told.received
    assert told.take_warning() == "rebalance recommendation"
    assert not told.warned


def test_the_earlier_of_two_ends_counts() -> None:
    early, late = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, 2))
    settings = PreemptionConfig(ends_at=late)
    assert machines_end(settings, {"TRAINER_ENDS_AT": early.isoformat()}) == early
    assert machines_end(settings, {}) == late
    assert machines_end(PreemptionConfig(), {}) is None


def test_an_end_that_leaves_no_time_to_save_is_refused() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=80)
    with pytest.raises(UserError, match=r"preemption.ends_at .* is in [5-8]\d s; saving and ending takes 105 s"):
        machines_end(PreemptionConfig(ends_at=soon), {})
