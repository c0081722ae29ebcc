"""The interval is the textbook's, follows what is seen, and says why."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainer.interval import FailureRate, Measured, choose, prior_mean_seconds, waste


def test_the_worked_example() -> None:
    choice = choose(Measured(15, 10, 40, 600), FailureRate(prior_mean_seconds=6000))
    assert choice.steps == 24
    assert choice.seconds == 360


def test_the_reason_has_the_numbers() -> None:
    rate = FailureRate(6000, prior_weight=1, observed_failures=1, observed_seconds=4000)
    assert choose(Measured(15, 10, 40, 600), rate).reason == (
        "every 22 steps (5.5 min): a save stops training for 10 s, a restart takes 10.0 min, a failure is expected "
        "every 83.3 min (1 failure without warning in 66.7 min)"
    )


def test_an_upload_that_takes_longer_bounds_it() -> None:
    choice = choose(Measured(15, 10, 1000, 600), FailureRate(6000))
    assert choice.steps == math.ceil(1000 / 15)
    assert "raised to the upload's 16.7 min" in choice.reason


def test_a_step_is_the_least() -> None:
    assert choose(Measured(500, 0.001, 1, 1), FailureRate(10)).steps == 1


def test_what_is_seen_outweighs_what_was_believed() -> None:
    assert FailureRate(1e6).mean_seconds_between == 1e6
    assert FailureRate(1e6, 1, 99, 1e5).mean_seconds_between == pytest.approx(11_000)
    assert prior_mean_seconds(16) * 16 == prior_mean_seconds(1)


def test_ten_failures_correct_a_guess_that_is_three_hundred_times_too_hopeful() -> None:
    believed = FailureRate(40 * 86_400, observed_failures=10, observed_seconds=10 * 3 * 3600).mean_seconds_between
    # The interval goes with the root: it is off by less than two.
    assert 3 * 3600 < believed < 4 * 3 * 3600 + 1800


def test_time_without_a_failure_is_believed_and_not_more_than_that() -> None:
    assert FailureRate(1e3, observed_seconds=1e6).mean_seconds_between == 1e6
    assert FailureRate(1e6, observed_seconds=1e3).mean_seconds_between == 1e6


@given(
    prior=st.floats(1, 1e8),
    weight=st.floats(0.01, 10),
    failures=st.integers(0, 1000),
    seconds=st.floats(1, 1e9),
)
def test_it_lies_between_the_guess_and_what_was_seen(
    prior: float, weight: float, failures: int, seconds: float
) -> None:
    believed = FailureRate(prior, weight, failures, seconds).mean_seconds_between
    seen = seconds / max(1, failures)
    assert min(prior, seen) * (1 - 1e-9) <= believed <= max(prior, seen) * (1 + 1e-9)
    assert FailureRate(prior, weight, failures + 1, seconds).mean_seconds_between <= believed * (1 + 1e-9)


@given(
    stall=st.floats(0.001, 100),
    restore=st.floats(0, 1e4),
    between=st.floats(1e3, 1e7),
    other=st.floats(0.05, 20),
)
def test_no_other_interval_wastes_less(stall: float, restore: float, between: float, other: float) -> None:
    measured = Measured(1e-4, stall, 0, restore)
    choice = choose(measured, FailureRate(between))
    young = math.sqrt(2 * stall * between)
    # Daly's term for the restart moves the interval a little from where the first-order waste is least.
    slack = 1 + restore / between
    assert waste(choice.seconds, measured, between) <= waste(young * other, measured, between) * slack + 1e-6
