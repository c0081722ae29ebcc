"""Budgets and whom they tell."""

from __future__ import annotations

from typing import Any

import pytest
from aws_lifecycle import Lifecycle, Step
from aws_program import DEFAULT_TAGS, CheckFailedError, Program

from trainyard.local.aws.account import Account
from trainyard.local.aws.errors import AwsError
from trainyard.local.aws.provider import Configuration, Provider

BUDGET = "aws:budgets/budget:Budget"
MONTHLY = {"budgetType": "COST", "timeUnit": "MONTHLY", "limitAmount": "1000", "limitUnit": "USD"}


def notification(percent: int, kind: str = "ACTUAL", **to: Any) -> dict[str, Any]:
    return {
        "comparisonOperator": "GREATER_THAN",
        "notificationType": kind,
        "threshold": percent,
        "thresholdType": "PERCENTAGE",
        **to,
    }


class TestLife(Lifecycle):
    region = "me-central-1"
    steps = {  # noqa: RUF012
        "topic": Step("aws:sns/topic:Topic", lambda _: {}),
        "budget": Step(
            BUDGET,
            lambda r: {
                **MONTHLY,
                "timePeriodStart": "2026-01-01_00:00",
                "costFilters": [{"name": "TagKeyValue", "values": ["user:environment$prod-uae"]}],
                "notifications": [
                    notification(80, subscriberSnsTopicArns=[r["topic"].id]),
                    notification(100, "FORECASTED", subscriberEmailAddresses=["a@example.org", "b@example.org"]),
                ],
            },
            lambda _: {
                **MONTHLY,
                "limitAmount": "1500.5",
                "timePeriodStart": "2026-01-01_00:00",
                "costFilters": [{"name": "TagKeyValue", "values": ["user:environment$prod-uae"]}],
                "notifications": [notification(90, subscriberEmailAddresses=["a@example.org"])],
                "tags": {"a": "b"},
            },
        ),
        "plain": Step(BUDGET, lambda _: {**MONTHLY, "costTypes": {"includeCredit": False, "useAmortized": True}}),
    }

    def test_a_topic_that_is_not_there_is_refused(self, stack: Program):
        topic = "arn:aws:sns:me-central-1:123456789012:none"
        with pytest.raises(AwsError, match="InvalidParameterException"):
            stack.up(BUDGET, "refused", **MONTHLY, notifications=[notification(80, subscriberSnsTopicArns=[topic])])


@pytest.mark.parametrize(
    ("notifications", "words"),
    [
        ([notification(80)], "tells nobody"),
        ([notification(80, subscriberSnsTopicArns=["a", "b"])], "one is the most"),
        ([notification(80, subscriberEmailAddresses=["a@example.org"] * 11)], "10 are the most"),
    ],
)
def test_quotas(account: Account, notifications: list[dict[str, Any]], words: str):
    program = Program(Provider(Configuration("us-east-1", DEFAULT_TAGS), account))
    with pytest.raises(CheckFailedError, match=words):
        program.up(BUDGET, "refused", **MONTHLY, notifications=notifications)
