"""Told to go, a gang saves within the step it is in, ends cleanly, and costs not one number."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from trainer.preemption import SECONDS_TO_END

CLOCK = Path(__file__).parent / "clock.py"

SPOT_WARNING = "EC2 Spot Instance Interruption Warning"


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_sigterm_on_any_rank_drops_the_step_begun_and_the_resumed_run_does_it_exactly(
    new_run: Callable, tensors_of: Callable, strategy: str
) -> None:
    settings = {"training__steps": 3, "checkpoint__interval_steps": 100, "parallel__strategy": strategy}
    uninterrupted = new_run(**settings).go(2)
    run = new_run(**settings)
    # A step is three micro-batches on each rank: this is before the third of the second step.
    gang = run.halted(2, "micro-batch", at=5)
    gang.signal(1, signal.SIGTERM)
    gang.go_on()
    assert gang.wait() == [75, 75]
    assert run.outcome["outcome"] == "preempted"
    assert run.outcome["step"] == 1
    assert run.outcome["reason"] == "SIGTERM (rank 1)"
    assert run.outcome["checkpoint"] == str(run.checkpoints / "step-00000001")
    assert [event["step"] for event in run.events("interrupted")] == [1]

    run.go(2)
    assert run.outcome["resumed_from_step"] == 1
    assert run.steps == uninterrupted.steps
    left, right = (tensors_of(one.checkpoints / "step-00000003") for one in (run, uninterrupted))
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


def test_a_scheduler_that_knows_another_number_is_given_it(new_run: Callable, monkeypatch) -> None:
    monkeypatch.setenv("TRAINER_PREEMPTED_EXIT_STATUS", "99")
    run = new_run(training__steps=1_000_000, checkpoint__interval_steps=1_000_000)
    gang = run.start(2)
    run.wait_for_step(1)
    gang.signal(0, signal.SIGTERM)
    assert gang.wait() == [99, 99]
    assert run.outcome["outcome"] == "preempted"

    monkeypatch.setenv("TRAINER_PREEMPTED_EXIT_STATUS", "often")
    assert new_run().start(1).wait() == [2]


PHASES = {
    # phase: how often it is passed through before the warning comes, the ranks it comes to, the step they are at
    "restore": (0, [0], 8),
    "settle": (0, [0, 1], 0),
    "data": (5, [0], 5),
    "train": (5, [1], 5),
    "evaluate": (0, [0], 8),
    "save": (0, [1], 8),
}


@pytest.fixture(scope="module")
def twelve_steps() -> dict[str, Any]:
    """The run that nobody disturbs, once it has been made: the same for each phase."""
    return {}


@pytest.mark.parametrize("phase", PHASES)
def test_a_warning_is_heard_in_every_phase_and_costs_no_number(
    new_run: Callable, tensors_of: Callable, twelve_steps: dict[str, Any], phase: str
) -> None:
    settings = {"training__steps": 12, "checkpoint__interval_steps": 8, "evaluation__interval_steps": 8}
    if not twelve_steps:
        twelve_steps["run"] = new_run(**settings).go(2)
    uninterrupted = twelve_steps["run"]
    passes, told, step = PHASES[phase]
    run = new_run(**settings)
    if phase == "restore":
        run.halted(2, at=9).kill()
    gang = run.halted(2, phase, passes)
    for rank in told:
        gang.signal(rank, signal.SIGTERM)
    gang.go_on()
    assert gang.wait() == [75, 75], run.log.read_text()
    assert run.outcome["outcome"] == "preempted"
    assert run.outcome["reason"] == ", ".join(f"SIGTERM (rank {rank})" for rank in told)
    assert run.outcome["step"] == step
    if not step:
        assert run.outcome["checkpoint"] is None, "what the seed gives again needs no saving"
        assert not list(run.checkpoints.glob("step-*"))

    run.go(2)
    assert run.steps == uninterrupted.steps
    assert [e["evaluation_loss"] for e in run.events("evaluation")] == [
        e["evaluation_loss"] for e in uninterrupted.events("evaluation")
    ]
    left, right = (tensors_of(one.checkpoints / "step-00000012") for one in (run, uninterrupted))
    assert left.keys() == right.keys()
    assert all(torch.equal(value, right[name]) for name, value in left.items())


def test_the_machines_end_is_left_before_in_time_to_save(new_run: Callable, tmp_path: Path) -> None:
    run = new_run(training__steps=1_000_000, checkpoint__interval_steps=1_000_000, preemption__seconds_for_saving=200)
    ends_at = datetime.now(UTC) + timedelta(hours=1)
    later = tmp_path / "later"
    run.program, run.environment = str(CLOCK), {"TRAINER_ENDS_AT": ends_at.isoformat(), "CLOCK": str(later)}
    gang = run.start(2)
    run.wait_for_step(2)
    later.write_text(str(3600 - 200 - SECONDS_TO_END - 600))
    step = max(run.steps)
    run.wait_for_step(step + 5)  # ten minutes are left to train on
    later.write_text(str(3600 - 200 - SECONDS_TO_END + 1))
    assert gang.wait() == [75, 75], run.log.read_text()
    assert run.outcome["step"] > 0
    assert run.outcome["checkpoint"] == str(run.checkpoints / f"step-{run.outcome['step']:08d}")
    assert run.outcome["reason"].startswith(f"the machines' end at {ends_at.isoformat()} (rank 0)")


@pytest.mark.parametrize(
    ("ends_at", "said"),
    [
        ("2020-01-01T00:00:00Z", "TRAINER_ENDS_AT 2020-01-01T00:00:00+00:00 was "),
        ("soon", "TRAINER_ENDS_AT is 'soon': expected a time with its zone, 2027-01-15T11:30:00Z"),
        ("2027-01-15T11:30:00", "expected a time with its zone"),
    ],
)
def test_machines_that_leave_no_time_to_train_are_told_and_not_started_for_ever(
    new_run: Callable, ends_at: str, said: str
) -> None:
    run = new_run()
    run.environment = {"TRAINER_ENDS_AT": ends_at}
    assert run.start(2).wait() == [2, 2]
    assert said in run.log.read_text()
    assert run.log.read_text().count("trainer: ") == 1


def test_evaluation_cut_short_is_done_by_the_resumed_run(new_run: Callable) -> None:
    settings = {"evaluation__interval_steps": 4, "evaluation__samples": 24}
    uninterrupted = new_run(**settings).go(2)
    run = new_run(**settings)
    # Four steps are twelve micro-batches on each rank, an evaluation is six.
    gang = run.halted(2, "micro-batch", at=14)
    gang.signal(0, signal.SIGTERM)
    gang.go_on()
    assert gang.wait() == [75, 75]
    assert run.outcome == {**run.outcome, "outcome": "preempted", "step": 4}
    assert not run.events("evaluation")

    run.go(2)
    assert run.steps == uninterrupted.steps
    told = [
        [(line["step"], line["evaluation_loss"]) for line in each.events("evaluation")] for each in (run, uninterrupted)
    ]
    assert told[0] == told[1]
    assert [step for step, _ in told[0]] == [4, 8, 12]


@pytest.fixture
def queue(s3: str) -> tuple[str, Callable[..., None], Callable[[], int]]:
    """An interruption queue: its URL, a way to send what EventBridge would, and how many messages it holds."""
    client = boto3.client("sqs")
    url = client.create_queue(QueueName="interruptions")["QueueUrl"]

    def send(instance: str, detail_type: str = SPOT_WARNING) -> None:
        detail = {"instance-id": instance, "instance-action": "terminate"}
        event = {"version": "0", "detail-type": detail_type, "source": "aws.ec2", "detail": detail}
        client.send_message(QueueUrl=url, MessageBody=json.dumps(event))

    def held() -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return sum(map(int, client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))

    return url, send, held


def of_instance(rank: int) -> dict[str, str]:
    return {"TRAINER_INSTANCE_ID": f"i-{rank:017x}"}


def test_queue_message_about_one_rank_stops_the_gang_and_others_messages_stay(
    new_run: Callable, queue: tuple[str, Callable[..., None], Callable[[], int]]
) -> None:
    url, send, held = queue
    settings = {"training__steps": 1_000_000, "checkpoint__interval_steps": 1_000_000, "metrics__interval_steps": 1}
    run = new_run(**settings, preemption__queue_url=url, preemption__wait_seconds=1)
    gang = run.start(2, each=of_instance)
    run.wait_for_step(3)
    send("i-0123456789abcdef0")
    send(of_instance(1)["TRAINER_INSTANCE_ID"], "EC2 Instance Launch Successful")
    at = max(run.steps)
    run.wait_for_step(at + 60)
    assert held() == 2, "a message about another instance, and another kind of event, are not this gang's"
    assert not run.events("checkpoint")

    send(of_instance(1)["TRAINER_INSTANCE_ID"], "EC2 Instance Rebalance Recommendation")
    run.wait_for(lambda: run.events("checkpoint"))
    assert run.events("warned")[0]["reason"] == f"rebalance recommendation of {of_instance(1)['TRAINER_INSTANCE_ID']}"
    run.wait_for_step(run.events("checkpoint")[0]["step"] + 60)
    assert held() == 2

    send(of_instance(1)["TRAINER_INSTANCE_ID"])
    assert gang.wait() == [75, 75]
    assert run.outcome["outcome"] == "preempted"
    assert run.outcome["reason"] == f"spot interruption of {of_instance(1)['TRAINER_INSTANCE_ID']} (rank 0)"
    assert run.outcome["step"] == max(run.steps)
    assert held() == 2

    # Told once: the message is gone, and the next start trains on from the very step.
    stopped_at = run.outcome["step"]
    again = run.start(2, each=of_instance)
    run.wait_for_step(stopped_at + 60)
    again.kill()
    assert [event["step"] for event in run.events("resumed")] == [stopped_at]


@pytest.mark.parametrize(
    ("url", "each", "said"),
    [
        ("http://127.0.0.1:1/123456789012/nowhere", of_instance, "can't be read"),
        ("{url}-misspelt", of_instance, "can't be read"),
        ("{url}", lambda _rank: {}, "set TRAINER_INSTANCE_ID"),
    ],
)
def test_queue_that_can_not_warn_anyone_is_refused_at_the_start(
    new_run: Callable, queue: tuple, url: str, each: Callable, said: str
) -> None:
    run = new_run(preemption__queue_url=url.format(url=queue[0]))
    assert run.start(2, each=each).wait() == [2, 2]
    told = run.log.read_text()
    assert said in told
    assert told.count("trainer: ") == 1
    assert "Traceback" not in told
