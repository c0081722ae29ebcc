"""The replay keeps its books, agrees with a plodding one, and nobody beats who knows what will come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainer.errors import UserError
from trainer.interval import UNMEASURED_STEPS, FailureRate, choose, prior_mean_seconds
from trainer.preemption import SECONDS_TO_END

from trainyard.cli.simulate.policies import Adaptive, Fixed, clairvoyant, sweep
from trainyard.cli.simulate.replay import Account, Job, replay
from trainyard.cli.simulate.traces import MICROSECONDS, Trace

traces = st.builds(
    lambda gap, data: Trace("drawn", gap, tuple(data)),
    st.sampled_from([1, 7, 60, 97]),
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 60)), min_size=1, max_size=12).map(
        lambda runs: [there for there, length in runs for _ in range(length)]
    ),
)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    stall = draw(st.integers(0, 40))
    return Job.of_seconds(
        step=draw(st.sampled_from([1, 3, 10, 45])),
        stall=stall,
        upload=stall + draw(st.integers(1, 200)),
        restore=draw(st.integers(0, 300)),
        notice=draw(st.sampled_from([0, 0, 30, 120])),
    )


@given(traces, jobs(), st.integers(1, 200), st.floats(60, 1e7))
def test_all_time_is_accounted_for_and_nobody_beats_the_clairvoyant(
    trace: Trace, job: Job, steps: int, prior: float
) -> None:
    most = clairvoyant(trace, job)
    for account in (replay(trace, job, Fixed(steps)), replay(trace, job, Adaptive(job, prior)), most):
        spent = account.useful + account.lost + account.stalled + account.restoring + account.leaving
        assert spent == account.available == sum(trace.data) * trace.gap_seconds * MICROSECONDS
        assert min(account.useful, account.lost, account.stalled, account.restoring, account.leaving) >= 0
        assert account.useful % job.step == 0
        assert 0 <= account.goodput <= 1
        assert account.useful <= most.useful
        assert account.losses == most.losses


@given(jobs(), st.integers(1, 5000), st.integers(1, 100))
def test_without_a_loss_only_starting_and_saving_cost_anything(job: Job, minutes: int, steps: int) -> None:
    account = replay(Trace("calm", 60, (1,) * minutes), job, Fixed(steps))
    assert account.losses == account.unwarned == account.leaving == 0
    assert account.lost < job.step  # the step at whose middle the trace ends
    assert account.stalled <= account.saves * job.stall


@given(traces, jobs())
def test_a_warning_that_leaves_time_to_save_costs_at_most_a_step(trace: Trace, job: Job) -> None:
    if not job.saves_on_notice:
        return
    account = replay(trace, job, Fixed(10**6))
    assert account.unwarned == 0
    assert account.lost <= (account.losses + 1) * job.step


@dataclass
class Plodding:
    """The same rules, a second at a time."""

    job: Job
    steps: int

    def replay(self, trace: Trace) -> tuple[int, int, int]:
        """Useful and stalled seconds, and saves begun; times of the job are whole seconds."""
        useful = stalled = saves = 0
        for window in trace.windows():
            seconds = range(window.start // MICROSECONDS, window.end // MICROSECONDS)
            got = self._window(len(seconds), window.lost)
            useful, stalled, saves = useful + got[0], stalled + got[1], saves + got[2]
        return useful, stalled, saves

    def _window(self, length: int, lost: bool) -> tuple[int, int, int]:
        step, stall, upload, restore = (
            part // MICROSECONDS for part in (self.job.step, self.job.stall, self.job.upload, self.job.restore)
        )
        done = kept = under_way = stalled = saves = 0
        trained, stall_left, counts_at, since = 0, 0, None, 0
        for now in range(length + 1):
            if counts_at is not None and now >= counts_at:
                kept, counts_at = under_way, None
            if now == length:
                break
            if now < restore:
                continue
            if stall_left == 0 and trained == 0 and since >= self.steps and counts_at is None:
                saves, since, under_way, stall_left, counts_at = saves + 1, 0, done, stall, now + upload
                if upload == 0:
                    kept, counts_at = under_way, None
            if stall_left:
                stall_left, stalled = stall_left - 1, stalled + 1
                continue
            trained += 1
            if trained == step:
                trained, done, since = 0, done + 1, since + 1
        return step * (kept if lost else done), stalled, saves


@settings(max_examples=200)
@given(traces, jobs(), st.integers(1, 60))
def test_it_agrees_with_one_that_goes_second_by_second(trace: Trace, job: Job, steps: int) -> None:
    job = Job(job.step, job.stall, job.upload, job.restore)
    account = replay(trace, job, Fixed(steps))
    seconds = account.useful // MICROSECONDS, account.stalled // MICROSECONDS, account.saves
    assert seconds == Plodding(job, steps).replay(trace)


def test_an_example_by_hand() -> None:
    """100 s: 10 to start, then steps of 5; a save after each four stalls for 2 and counts 8 after its beginning."""
    trace = Trace("by hand", 1, (1,) * 100 + (0,) * 5)
    account = replay(trace, Job.of_seconds(5, 2, 8, 10), Fixed(4))
    # Saves at 30, 52, 74 and 96: the last one would count at 104.
    assert account == Account(
        available=100 * MICROSECONDS,
        useful=60 * MICROSECONDS,
        lost=(20 + 2) * MICROSECONDS,
        stalled=8 * MICROSECONDS,
        restoring=10 * MICROSECONDS,
        saves=4,
        losses=1,
        unwarned=1,
    )


def test_the_clairvoyant_saves_as_late_as_counts() -> None:
    account = clairvoyant(Trace("by hand", 1, (1,) * 100 + (0,) * 5), Job.of_seconds(5, 2, 8, 10))
    assert account.useful == 80 * MICROSECONDS  # from 10 to 90, and the checkpoint counts at 98
    assert account.saves == 1


def test_two_minutes_are_enough_for_an_upload_that_leaves_time_to_end() -> None:
    trace = Trace("warned", 60, (1,) * 60 + (0,))
    fits = Job.of_seconds(10, 1, 120 - SECONDS_TO_END, 60, notice=120)
    assert replay(trace, fits, Fixed(10**6)).useful == (3600 - 60 - 120) * MICROSECONDS
    late = Job.of_seconds(10, 1, 121 - SECONDS_TO_END, 60, notice=120)
    assert replay(trace, late, Fixed(10**6)).useful == 0


def test_the_adaptive_one_knows_what_the_trainer_knows() -> None:
    """It is the trainer's choice, from failures that checkpoints tell of, after a first save at the trainer's guess."""
    job = Job.of_seconds(5, 2, 60, 180)
    policy = Adaptive(job, 1e6)
    assert policy.steps == UNMEASURED_STEPS
    policy.saved(1000 * MICROSECONDS, 1060 * MICROSECONDS, "interval")
    assert policy.steps == choose(job.measured, FailureRate(1e6, observed_seconds=1060)).steps
    policy.start()
    assert policy.steps == UNMEASURED_STEPS, "the first checkpoint was begun before anything had been measured"
    assert policy.rate() == FailureRate(1e6, observed_failures=1, observed_seconds=1000)
    policy.start()  # again from the same checkpoint: it still tells of one
    assert policy.rate().observed_failures == 1
    policy.saved(400 * MICROSECONDS, 460 * MICROSECONDS, "interval")
    policy.saved(500 * MICROSECONDS, 560 * MICROSECONDS, "preempted")
    policy.start()
    assert policy.steps == UNMEASURED_STEPS < choose(job.measured, policy.rate()).steps, "none leaves word later"
    cheap = Adaptive(Job.of_seconds(5, 0.001, 60, 180), 1e6)
    for second in (1000, 2000):
        cheap.saved(second * MICROSECONDS, (second + 60) * MICROSECONDS, "interval")
    cheap.start()
    assert cheap.steps == choose(cheap._job.measured, cheap.rate()).steps < UNMEASURED_STEPS
    assert policy.rate() == FailureRate(1e6, observed_failures=1, observed_seconds=1500)


@given(jobs(), st.floats(1, 1e6), st.integers(1, 50))
def test_a_sweep_goes_from_the_shortest_interval_that_can_be(job: Job, most: float, count: int) -> None:
    steps = sweep(job, most, count)
    assert steps == sorted(set(steps))
    assert 1 <= len(steps) <= count
    assert steps[0] * job.step >= job.upload - job.stall
    assert steps[-1] == max(steps[0], math.ceil(most * MICROSECONDS / job.step)) or count == 1


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ((0, 0, 0, 0), "--step-seconds 0"),
        ((1, 5, 4, 0), "--upload-seconds 4"),
        ((1, 0, 0, -1), "--restore-seconds -1"),
        ((1, 0, math.nan, 0), "--upload-seconds nan"),
    ],
)
def test_times_that_cannot_be_are_refused(times: tuple[float, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Job.of_seconds(*times)


@pytest.mark.parametrize("stall", [2.0, 0.001])
def test_the_adaptive_one_chooses_as_the_trainer_does(stall: float) -> None:
    """Side by side with the trainer's own SaveInterval, through saves and two failures without warning."""
    from types import SimpleNamespace

    from trainer.config_sections import CheckpointConfig
    from trainer.flight import Medians, Saved
    from trainer.manifest import History
    from trainer.save_interval import SaveInterval

    job, nodes = Job.of_seconds(5, stall, 60, 180), 4
    policy = Adaptive(job, prior_mean_seconds(nodes))
    settings_of_run = CheckpointConfig(uri="saved", interval_steps="auto")
    gang: Any = SimpleNamespace(world_size=8 * nodes, local_world_size=8, from_leader=lambda choice: choice())
    history = History()
    for failures in range(3):
        trainers, medians = SaveInterval(settings_of_run, gang), Medians()
        medians.remember(history.costs)
        medians.restored(180.0)
        if failures:
            policy.start()
            trainers.choose(medians, history.model_copy(update={"failures": failures}), step_seconds=5.0)
        assert policy.steps == trainers.steps
        for save in range(1, 4):
            begun = save * 3000
            medians.saved(Saved("uri", 0, 0, seconds=60.0, stall_seconds=stall))
            now = History(seconds_trained=history.seconds_trained + begun + 60, failures=failures)
            trainers.choose(medians, now, step_seconds=5.0)
            policy.saved(begun * MICROSECONDS, (begun + 60) * MICROSECONDS, "interval")
            assert policy.steps == trainers.steps
        seconds = history.seconds_trained + begun
        history = History(seconds_trained=seconds, failures=failures, costs=medians.costs)
