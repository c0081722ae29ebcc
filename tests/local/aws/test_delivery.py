"""What EventBridge puts into a queue, and when it does not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from trainyard.local.aws.delivery import Key, Queue, Sender, event_as_sent, message_body, why_not_let_in

ACCOUNT = "123456789012"
ARN = f"arn:aws:sqs:us-east-1:{ACCOUNT}:jobs"
SENDER = Sender(f"arn:aws:events:us-east-1:{ACCOUNT}:rule/spot", ACCOUNT, "us-east-1")


def policy(actions, resource="*", **more) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": actions,
        "Resource": resource,
        **more,
    }
    return json.dumps({"Statement": [statement]})


OPEN = Queue(ARN, policy("sqs:SendMessage", ARN), None, None)
KEY = Key(f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k", "Enabled", policy(["kms:GenerateDataKey*", "kms:Decrypt"]), True)
ENCRYPTED = replace(OPEN, key_id="k", key=KEY)


@pytest.mark.parametrize("queue", [OPEN, ENCRYPTED])
def test_a_queue_whose_policies_let_it_in(queue):
    assert why_not_let_in(SENDER, queue, ARN) == ""


@pytest.mark.parametrize(
    ("queue", "words"),
    [
        (None, "there is no queue"),
        (replace(OPEN, policy=None), "there is no policy"),
        (replace(OPEN, policy=policy("sqs:ReceiveMessage")), "no statement allows"),
        (
            replace(
                OPEN, policy=policy("sqs:*", Condition={"ArnEquals": {"aws:SourceArn": "arn:aws:events:::rule/x"}})
            ),
            "no statement allows",
        ),
        (replace(OPEN, policy=policy("sqs:*", Condition={"DateLessThan": {"aws:CurrentTime": "x"}})), "DateLessThan"),
        (replace(ENCRYPTED, key=None), "which is no key"),
        (replace(ENCRYPTED, key=replace(KEY, customer_managed=False)), "use a key of your own"),
        (replace(ENCRYPTED, key=replace(KEY, state="Disabled")), "is Disabled"),
        (replace(ENCRYPTED, key=replace(KEY, state="PendingDeletion")), "is PendingDeletion"),
        (replace(ENCRYPTED, key=replace(KEY, policy=policy("kms:Decrypt"))), "kms:GenerateDataKey"),
        (replace(ENCRYPTED, key=replace(KEY, policy=policy("kms:GenerateDataKey"))), "kms:Decrypt"),
        (replace(OPEN, fifo=True), "no message group"),
    ],
)
def test_why_an_event_is_dropped(queue, words):
    assert words in why_not_let_in(SENDER, queue, ARN)


def test_conditions_on_the_rule_and_on_the_account_hold_for_queue_and_key():
    condition = {
        "ArnLike": {"aws:SourceArn": f"arn:aws:events:*:{ACCOUNT}:rule/*"},
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
    }
    queue = replace(
        ENCRYPTED,
        policy=policy("sqs:SendMessage", Condition=condition),
        key=replace(KEY, policy=policy("kms:*", Condition={"StringEquals": {"aws:SourceAccount": ACCOUNT}})),
    )
    assert why_not_let_in(SENDER, queue, ARN) == ""
    assert "no statement allows" in why_not_let_in(replace(SENDER, account="210987654321"), queue, ARN)


def test_a_queue_in_another_region_is_out_of_reach():
    assert "another region" in why_not_let_in(SENDER, OPEN, ARN.replace("us-east-1", "eu-west-1"))


def test_a_fifo_queue_needs_a_group_and_deduplication():
    fifo = replace(OPEN, fifo=True, deduplicates_by_content=True)
    assert why_not_let_in(SENDER, fifo, ARN, "group") == ""
    assert "deduplicate" in why_not_let_in(SENDER, replace(fifo, deduplicates_by_content=False), ARN, "group")


EVENT = {
    "detail": {"instance-id": "i-1"},
    "version": "0",
    "id": "x",
    "detail-type": "EC2 Spot Instance Interruption Warning",
    "source": "aws.ec2",
    "account": ACCOUNT,
    "time": 1767225600.5,
    "region": "us-east-1",
    "resources": [],
    "ingestion-time": 1.0,
}


def test_the_message_is_the_event_as_aws_sends_it():
    sent = event_as_sent(EVENT)
    assert list(sent) == ["version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"]
    assert sent["time"] == "2026-01-01T00:00:00Z"
    assert json.loads(message_body(sent, {})) == sent


def test_a_target_may_choose_a_part_or_a_constant():
    assert message_body(event_as_sent(EVENT), {"InputPath": "$.detail.instance-id"}) == '"i-1"'
    assert message_body(event_as_sent(EVENT), {"InputPath": "$.detail.none"}) == "null"
    assert message_body(event_as_sent(EVENT), {"Input": '{"a":1}'}) == '{"a":1}'
