"""SNS topics with policies and subscriptions, and the alarms that publish to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_lifecycle import Lifecycle, Step
from aws_program import DEFAULT_TAGS, CheckFailedError, Program

from trainyard.local.aws.account import Account
from trainyard.local.aws.provider import Configuration, Provider

TOPIC, ALARM = "aws:sns/topic:Topic", "aws:cloudwatch/metricAlarm:MetricAlarm"
SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"
IDLE = {
    "comparisonOperator": "LessThanThreshold",
    "evaluationPeriods": 12,
    "datapointsToAlarm": 12,
    "threshold": 5,
}


def publish(arn: str, *services: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": list(services)}, "Action": "SNS:Publish", "Resource": arn}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def query(identity: str, metric: str, stat: str = "Average") -> dict[str, Any]:
    dimensions = {"AutoScalingGroupName": "gpus"}
    namespace = "AWS/AutoScaling"
    return {
        "id": identity,
        "metric": {
            "metricName": metric,
            "namespace": namespace,
            "period": 300,
            "stat": stat,
            "dimensions": dimensions,
        },
    }


class TestLife(Lifecycle):
    region = "me-central-1"
    steps = {  # noqa: RUF012
        "key": Step("aws:kms/key:Key", lambda _: {"deletionWindowInDays": 7}),
        "topic": Step(
            TOPIC,
            lambda r: {"displayName": "Alarms", "kmsMasterKeyId": r["key"]["arn"], "signatureVersion": 2},
            lambda _: {"displayName": "Costs", "tracingConfig": "Active", "tags": {"a": "b"}, "signatureVersion": 1},
            by_others=frozenset({"policy"}),
        ),
        "fifo": Step(TOPIC, lambda _: {"fifoTopic": True, "contentBasedDeduplication": True}),
        "policy": Step(
            "aws:sns/topicPolicy:TopicPolicy",
            lambda r: {"arn": r["topic"].id, "policy": publish(r["topic"].id, "cloudwatch.amazonaws.com")},
            lambda r: {"arn": r["topic"].id, "policy": publish(r["topic"].id, "budgets.amazonaws.com")},
        ),
        "mail": Step(
            SUBSCRIPTION,
            lambda r: {"topic": r["topic"].id, "protocol": "email", "endpoint": "operators@example.org"},
            lambda r: {
                "topic": r["topic"].id,
                "protocol": "email",
                "endpoint": "operators@example.org",
                "filterPolicy": json.dumps({"severity": ["high"]}),
                "filterPolicyScope": "MessageAttributes",
            },
        ),
        "queue": Step("aws:sqs/queue:Queue", lambda _: {}),
        "to-queue": Step(
            SUBSCRIPTION,
            lambda r: {"topic": r["topic"].id, "protocol": "sqs", "endpoint": r["queue"]["arn"]},
            lambda r: {
                "topic": r["topic"].id,
                "protocol": "sqs",
                "endpoint": r["queue"]["arn"],
                "rawMessageDelivery": True,
            },
        ),
        "alarm": Step(
            ALARM,
            lambda r: {
                **IDLE,
                "metricName": "GPUUtilization",
                "namespace": "Trainyard",
                "period": 300,
                "statistic": "Maximum",
                "dimensions": {"AutoScalingGroupName": "gpus"},
                "alarmDescription": "GPUs without work",
                "alarmActions": [r["topic"].id],
                "okActions": [r["topic"].id],
                "treatMissingData": "breaching",
            },
            lambda r: {
                **IDLE,
                "threshold": 2.5,
                "metricName": "GPUUtilization",
                "namespace": "Trainyard",
                "period": 60,
                "extendedStatistic": "p99",
                "dimensions": {"AutoScalingGroupName": "gpus", "Zone": "a"},
                "actionsEnabled": False,
                "insufficientDataActions": [r["topic"].id],
                "unit": "Percent",
                "tags": {"a": "b"},
            },
        ),
        "expression": Step(
            ALARM,
            lambda r: {
                **IDLE,
                "alarmActions": [r["topic"].id],
                "metricQueries": [
                    query("used", "GPUUtilization"),
                    query("nodes", "GroupInServiceInstances", "Sum"),
                    {"id": "idle", "expression": "IF(nodes > 0, used, 100)", "label": "idle", "returnData": True},
                ],
            },
            lambda r: {
                **IDLE,
                "alarmActions": [r["topic"].id],
                "metricQueries": [
                    query("used", "GPUUtilization"),
                    {"id": "idle", "expression": "FILL(used, 0)", "returnData": True},
                ],
            },
        ),
    }

    def test_a_subscription_by_mail_waits_for_its_reader(self, stack: Program):
        assert stack.resources["mail"]["pendingConfirmation"] is True
        assert stack.resources["to-queue"]["pendingConfirmation"] is False

    def test_the_owner_keeps_a_topic_whose_policy_goes(self, stack: Program, aws: Any):
        topic = stack.up(TOPIC, "plain")
        stack.up("aws:sns/topicPolicy:TopicPolicy", "gone", arn=topic.id, policy=publish(topic.id, "a.amazonaws.com"))
        stack.destroy("gone")
        told = aws("sns", "me-central-1").get_topic_attributes(TopicArn=topic.id)["Attributes"]["Policy"]
        assert "a.amazonaws.com" not in told
        assert "arn:aws:iam::123456789012:root" in told
        stack.destroy("plain")

    def test_events_reach_a_topic_that_lets_eventbridge_in(self, stack: Program, aws: Any):
        topic, queue = stack.up(TOPIC, "events"), stack.resources["queue"]
        stack.up(SUBSCRIPTION, "told", topic=topic.id, protocol="sqs", endpoint=queue["arn"], rawMessageDelivery=True)
        rule = stack.up("aws:cloudwatch/eventRule:EventRule", "rule", eventPattern=json.dumps({"source": ["tests"]}))
        stack.up("aws:cloudwatch/eventTarget:EventTarget", "target", rule=rule["name"], arn=topic.id)
        event = {"Source": "tests", "DetailType": "d", "Detail": "{}"}
        aws("events", "me-central-1").put_events(Entries=[event])
        sqs = aws("sqs", "me-central-1")
        assert "Messages" not in sqs.receive_message(QueueUrl=queue["url"])
        policy = publish(topic.id, "events.amazonaws.com")
        stack.up("aws:sns/topicPolicy:TopicPolicy", "let-in", arn=topic.id, policy=policy)
        aws("events", "me-central-1").put_events(Entries=[event])
        (message,) = sqs.receive_message(QueueUrl=queue["url"])["Messages"]
        assert json.loads(message["Body"])["source"] == "tests"
        for name in ("target", "rule", "let-in", "told", "events"):
            stack.destroy(name)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"metricName": "m", "namespace": "n", "period": 60}, "exactly one goes with metricName"),
        ({"metricName": "m", "statistic": "Sum"}, "it goes with metricName"),
        ({"metricQueries": [query("a", "b")]}, "an alarm watches exactly one"),
        (
            {"metricQueries": [{**query("a", "b"), "returnData": True}], "period": 60},
            "cannot stand beside metricQueries",
        ),
        (
            {"metricName": "m", "namespace": "n", "period": 60, "statistic": "Sum", "datapointsToAlarm": 13},
            "more than evaluationPeriods",
        ),
    ],
)
def test_alarms_that_cloudwatch_refuses(account: Account, inputs: dict[str, Any], words: str):
    program = Program(Provider(Configuration("us-east-1", DEFAULT_TAGS), account))
    with pytest.raises(CheckFailedError, match=words):
        program.up(ALARM, "refused", **{**IDLE, **inputs})
