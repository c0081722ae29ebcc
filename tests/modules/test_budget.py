"""Who is told of what costs, and when a node counts as idle."""

from __future__ import annotations

from typing import Any

import pytest
from iam_evaluation import Request, allows, decide
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.modules.budget import Budget, BudgetArgs, IdleGpuAlarm

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/messages"
ALARM = IdleGpuAlarm("p5", "eks-p5-1a2b", hourly_usd=55.04, idle_hours=2)


def _made(**changes: Any) -> Deployment:
    return run(lambda: Budget("yard", BudgetArgs(1500, KEY, **changes)))


@pytest.fixture(scope="module")
def budget() -> Deployment:
    return _made(
        email_addresses=["ml@example.com", "finance@example.com"],
        environment="research",
        actual_percents=[50, 100],
        forecast_percents=[110],
        idle_alarms=[ALARM],
        tags={"owner": "ml", "data-class": "health"},
    )


def _topic(budget: Deployment) -> str:
    return budget.one("aws:sns/topic:Topic").outputs["arn"]


def test_the_budget_counts_the_environments_costs_before_credits(budget: Deployment) -> None:
    made = budget.one("aws:budgets/budget:Budget").inputs
    assert (made["budgetType"], made["timeUnit"]) == ("COST", "MONTHLY")
    assert (float(made["limitAmount"]), made["limitUnit"]) == (1500, "USD")
    assert made["costFilters"] == [{"name": "TagKeyValue", "values": ["user:environment$research"]}]
    assert made["costTypes"] == {"includeCredit": False, "includeRefund": False}


def test_without_an_environment_the_whole_account_counts() -> None:
    assert "costFilters" not in _made().one("aws:budgets/budget:Budget").inputs


def test_each_percentage_is_told_to_the_topic(budget: Deployment) -> None:
    told = budget.one("aws:budgets/budget:Budget").inputs["notifications"]
    assert [(one["notificationType"], one["threshold"]) for one in told] == [
        ("ACTUAL", 50),
        ("ACTUAL", 100),
        ("FORECASTED", 110),
    ]
    for one in told:
        assert one["subscriberSnsTopicArns"] == [_topic(budget)]
        assert (one["comparisonOperator"], one["thresholdType"]) == ("GREATER_THAN", "PERCENTAGE")


def test_each_address_subscribes_to_the_encrypted_topic(budget: Deployment) -> None:
    assert budget.one("aws:sns/topic:Topic").inputs["kmsMasterKeyId"] == KEY
    mails = budget.of_type("aws:sns/topicSubscription:TopicSubscription")
    assert {one.inputs["endpoint"] for one in mails} == {"ml@example.com", "finance@example.com"}
    assert all((one.inputs["protocol"], one.inputs["topic"]) == ("email", _topic(budget)) for one in mails)


@pytest.mark.parametrize("service", ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"])
def test_this_accounts_budgets_and_alarms_may_publish_and_nobody_else(budget: Deployment, service: str) -> None:
    policy = budget.one("aws:sns/topicPolicy:TopicPolicy").inputs["policy"]

    def publishing(account: str = ACCOUNT, principal: str = service, secure: str = "true") -> Request:
        context = {"aws:SourceAccount": account, "aws:SecureTransport": secure}
        return Request("sns:Publish", _topic(budget), principal=principal, context=context)

    assert allows(policy, publishing())
    assert not allows(policy, publishing(account="999999999999"))
    assert not allows(policy, publishing(principal="events.amazonaws.com"))
    assert decide(policy, publishing(secure="false")) == "deny"


def test_nothing_publishes_before_it_may(budget: Deployment) -> None:
    permission = budget.one("aws:sns/topicPolicy:TopicPolicy").urn
    assert permission in budget.one("aws:budgets/budget:Budget").dependencies
    assert permission in budget.one("aws:cloudwatch/metricAlarm:MetricAlarm").dependencies


def _alarms(points: list[float | None], alarm: dict[str, Any]) -> bool:
    """What CloudWatch makes of the newest points, each the minimum over the group; None where no node is there."""
    assert alarm["comparisonOperator"] == "LessThanThreshold"
    assert alarm["treatMissingData"] == "notBreaching"
    assert alarm["statistic"] == "Minimum"
    newest = points[-int(alarm["evaluationPeriods"]) :]
    breaching = [point is not None and point < alarm["threshold"] for point in newest]
    return sum(breaching) >= alarm["datapointsToAlarm"]


@pytest.mark.parametrize(
    ("points", "rings"),
    [
        ([0.7] * 24, True),
        ([0.7] * 23, False),
        ([0.7] * 12 + [40.0] + [0.7] * 11, False),
        ([4.2] * 24, False),
        ([None] * 24, False),
        ([0.7] * 23 + [None], False),
    ],
    ids=["idle for two hours", "not yet", "worked in between", "eight of 192 CPUs busy", "no nodes", "scaled away"],
)
def test_two_hours_without_work_ring(budget: Deployment, points: list[float | None], rings: bool) -> None:
    alarm = dict(budget.one("aws:cloudwatch/metricAlarm:MetricAlarm").inputs)
    assert alarm["period"] == 300
    assert _alarms([None] * (24 - len(points)) + points, alarm) is rings


def test_the_alarm_watches_the_groups_nodes_and_says_what_they_cost(budget: Deployment) -> None:
    alarm = budget.one("aws:cloudwatch/metricAlarm:MetricAlarm").inputs
    assert (alarm["namespace"], alarm["metricName"]) == ("AWS/EC2", "CPUUtilization")
    assert alarm["dimensions"] == {"AutoScalingGroupName": "eks-p5-1a2b"}
    assert alarm["alarmActions"] == [_topic(budget)]
    assert "p5" in alarm["alarmDescription"]
    assert alarm["alarmDescription"].endswith("On demand it costs 55.04 USD an hour (list price).")


def test_a_price_that_nobody_knows_is_not_told_as_nothing() -> None:
    made = _made(idle_alarms=[IdleGpuAlarm("g6", "eks-g6-1a2b", hourly_usd=None)])

    assert "USD" not in made.one("aws:cloudwatch/metricAlarm:MetricAlarm").inputs["alarmDescription"]


def test_messages_are_of_a_lower_class_than_the_data(budget: Deployment) -> None:
    for token in ("aws:sns/topic:Topic", "aws:budgets/budget:Budget", "aws:cloudwatch/metricAlarm:MetricAlarm"):
        assert budget.one(token).inputs["tags"] == {"owner": "ml", "data-class": "internal"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"monthly_limit_usd": 0}, "more than 0"),
        ({"monthly_limit_usd": float("nan")}, "more than 0"),
        ({"email_addresses": ["ml"]}, "takes addresses"),
        ({"email_addresses": ["a@b.example", "a@b.example"]}, "twice"),
        ({"actual_percents": [], "forecast_percents": []}, "1 to 10"),
        ({"actual_percents": list(range(10, 120, 10))}, "1 to 10"),
        ({"actual_percents": [0]}, "more than 0"),
        ({"idle_alarms": [ALARM, ALARM]}, "group twice"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BudgetArgs(**{"monthly_limit_usd": 100, "topic_key_arn": KEY, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"idle_hours": 0}, "1 to 24"),
        ({"idle_hours": 25}, "1 to 24"),
        ({"idle_cpu_percent": 0}, "at most 100"),
        ({"hourly_usd": -1}, "0 or more"),
    ],
)
def test_a_wrong_alarm_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IdleGpuAlarm(**{"group": "p5", "auto_scaling_group_name": "asg", "hourly_usd": 1, **changes})
