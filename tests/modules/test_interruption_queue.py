"""Which warnings reach the queue, and who else may send to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from iam_evaluation import Request, allows, decide
from mocked_pulumi import ACCOUNT, REGION, Deployment, Registered, run

from trainyard.modules.interruption_queue import InterruptionQueue, InterruptionQueueArgs

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/messages"


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    args = InterruptionQueueArgs(key_arn=KEY, message_retention_seconds=240, tags={"owner": "ml"})
    return run(lambda: InterruptionQueue("yard", args))


def _queue(deployment: Deployment, purpose: str) -> Registered:
    return deployment.one("aws:sqs/queue:Queue", f"yard-{purpose}")


def _matches(pattern: Any, event: Any) -> bool:
    """EventBridge's matching, as far as the patterns use it: nested keys, and lists of exact values."""
    if isinstance(pattern, Mapping):
        return isinstance(event, Mapping) and all(
            key in event and _matches(pattern[key], event[key]) for key in pattern
        )
    return event in pattern


def _event(source: str, detail_type: str, **detail: str) -> dict[str, Any]:
    return {"source": source, "detail-type": detail_type, "account": ACCOUNT, "region": REGION, "detail": detail}


def _rules_for(deployment: Deployment, event: Mapping[str, Any]) -> list[str]:
    return [
        rule.name
        for rule in deployment.of_type("aws:cloudwatch/eventRule:EventRule")
        if _matches(json.loads(rule.inputs["eventPattern"]), event)
    ]


STATE_CHANGE = "EC2 Instance State-change Notification"


@pytest.mark.parametrize(
    ("rule", "event"),
    [
        (
            "yard-spot-interruption",
            _event("aws.ec2", "EC2 Spot Instance Interruption Warning", **{"instance-action": "terminate"}),
        ),
        ("yard-rebalance", _event("aws.ec2", "EC2 Instance Rebalance Recommendation")),
        ("yard-instance-state", _event("aws.ec2", STATE_CHANGE, state="stopping")),
        ("yard-instance-state", _event("aws.ec2", STATE_CHANGE, state="shutting-down")),
        (
            "yard-scheduled-change",
            _event("aws.health", "AWS Health Event", service="EC2", eventTypeCategory="scheduledChange"),
        ),
        (
            "yard-capacity-reservation",
            _event("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"),
        ),
        ("yard-capacity-block", _event("aws.ec2", "Capacity Block Reservation Expiration Warning")),
    ],
)
def test_each_warning_is_taken_by_one_rule(deployment: Deployment, rule: str, event: dict[str, Any]) -> None:
    assert _rules_for(deployment, event) == [rule]


@pytest.mark.parametrize(
    "event",
    [
        _event("aws.ec2", STATE_CHANGE, state="running"),
        _event("aws.ec2", STATE_CHANGE, state="pending"),
        _event("aws.health", "AWS Health Event", service="RDS", eventTypeCategory="scheduledChange"),
        _event("aws.health", "AWS Health Event", service="EC2", eventTypeCategory="accountNotification"),
        _event("aws.ec2", "Capacity Block Reservation Delivered"),
        _event("my.app", "EC2 Spot Instance Interruption Warning"),
    ],
)
def test_what_interrupts_nobody_is_left_alone(deployment: Deployment, event: dict[str, Any]) -> None:
    assert _rules_for(deployment, event) == []


def test_every_rule_sends_to_the_queue_and_what_fails_to_the_other(deployment: Deployment) -> None:
    rules = {rule.outputs["name"] for rule in deployment.of_type("aws:cloudwatch/eventRule:EventRule")}
    targets = deployment.of_type("aws:cloudwatch/eventTarget:EventTarget")
    assert {target.inputs["rule"] for target in targets} == rules
    assert len(targets) == len(rules)
    policies = {policy.urn for policy in deployment.of_type("aws:sqs/queuePolicy:QueuePolicy")}
    for target in targets:
        assert target.inputs["arn"] == _queue(deployment, "interruptions").outputs["arn"]
        assert target.inputs["deadLetterConfig"] == {"arn": _queue(deployment, "undelivered").outputs["arn"]}
        assert target.inputs["retryPolicy"] == {"maximumEventAgeInSeconds": 240}
        assert policies <= target.dependencies, "a rule that fires before the policy stands loses its event"


def _policy(deployment: Deployment, purpose: str) -> str:
    url = _queue(deployment, purpose).outputs["url"]
    (policy,) = (
        policy.inputs["policy"]
        for policy in deployment.of_type("aws:sqs/queuePolicy:QueuePolicy")
        if policy.inputs["queueUrl"] == url
    )
    return policy


@pytest.mark.parametrize("purpose", ["interruptions", "undelivered"])
def test_exactly_these_rules_may_send(deployment: Deployment, purpose: str) -> None:
    queue = _queue(deployment, purpose).outputs["arn"]
    policy = _policy(deployment, purpose)

    def sending(source: str, principal: str = "events.amazonaws.com", action: str = "sqs:SendMessage") -> Request:
        context = {"aws:SourceArn": source, "aws:SecureTransport": "true"}
        return Request(action, queue, principal=principal, context=context)

    for rule in deployment.of_type("aws:cloudwatch/eventRule:EventRule"):
        assert allows(policy, sending(rule.outputs["arn"]))
        assert not allows(policy, sending(rule.outputs["arn"], principal="sns.amazonaws.com"))
        assert not allows(policy, sending(rule.outputs["arn"], action="sqs:ReceiveMessage"))
    assert not allows(policy, sending(f"arn:aws:events:{REGION}:{ACCOUNT}:rule/other"))
    assert not allows(policy, sending(f"arn:aws:events:{REGION}:999999999999:rule/yard-spot-interruption"))


@pytest.mark.parametrize("purpose", ["interruptions", "undelivered"])
def test_nobody_speaks_to_a_queue_in_clear_text(deployment: Deployment, purpose: str) -> None:
    request = Request(
        "sqs:ReceiveMessage",
        _queue(deployment, purpose).outputs["arn"],
        principal=f"arn:aws:iam::{ACCOUNT}:role/admin",
        context={"aws:SecureTransport": "false"},
    )
    assert decide(_policy(deployment, purpose), request) == "deny"


def test_both_queues_are_encrypted_and_polled_long(deployment: Deployment) -> None:
    for purpose in ("interruptions", "undelivered"):
        queue = _queue(deployment, purpose).inputs
        assert queue["kmsMasterKeyId"] == KEY
        assert queue["receiveWaitTimeSeconds"] == 20
        assert queue["tags"] == {"owner": "ml", "data-class": "internal"}


def test_a_warning_is_kept_while_it_is_of_use_and_never_moved_away_from_its_job(deployment: Deployment) -> None:
    queue = _queue(deployment, "interruptions").inputs
    assert queue["messageRetentionSeconds"] == 240
    assert queue["visibilityTimeoutSeconds"] < queue["messageRetentionSeconds"]
    assert "redrivePolicy" not in queue


@pytest.mark.parametrize("seconds", [59, 3601])
def test_a_retention_out_of_range_is_refused(seconds: int) -> None:
    with pytest.raises(ValueError, match="60 to 3600"):
        InterruptionQueueArgs(KEY, message_retention_seconds=seconds)
