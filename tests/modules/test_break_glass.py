"""Who may take the emergency role, what it may do, and who hears of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from iam_evaluation import Request, allows, decide
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.modules.break_glass import BreakGlassRole, BreakGlassRoleArgs

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/messages"
TRUSTED = f"arn:aws:iam::{ACCOUNT}:user/break-glass-1"
ARGS = BreakGlassRoleArgs(
    trusted_principal_arns=[TRUSTED],
    topic_key_arn=KEY,
    email_addresses=["security@example.com", "lead@example.com"],
    cluster_name="yard",
    tags={"owner": "ml"},
)


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return run(lambda: BreakGlassRole("yard", ARGS))


def _taking(principal: str = TRUSTED, mfa: str | None = "true", age: str = "60", region: str = REGION) -> Request:
    context = {"aws:MultiFactorAuthAge": age, "aws:RequestedRegion": region}
    if mfa is not None:
        context["aws:MultiFactorAuthPresent"] = mfa
    return Request("sts:AssumeRole", principal=principal, context=context)


def test_only_the_named_take_it_with_a_fresh_mfa_and_in_the_region_that_is_watched(deployment: Deployment) -> None:
    trust = deployment.one("aws:iam/role:Role").inputs["assumeRolePolicy"]
    assert allows(trust, _taking())
    assert not allows(trust, _taking(principal=f"arn:aws:iam::{ACCOUNT}:user/other"))
    assert not allows(trust, _taking(mfa="false"))
    assert not allows(trust, _taking(mfa=None))
    assert not allows(trust, _taking(age="901"))
    assert not allows(trust, _taking(region="eu-west-1"))


def test_a_session_lasts_an_hour_at_most(deployment: Deployment) -> None:
    assert deployment.one("aws:iam/role:Role").inputs["maxSessionDuration"] == 3600


def test_in_aws_it_may_look_up_the_cluster_and_nothing_else(deployment: Deployment) -> None:
    policy = deployment.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"]
    cluster = f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/yard"
    assert allows(policy, Request("eks:DescribeCluster", cluster))
    assert not allows(policy, Request("eks:DescribeCluster", f"{cluster}-2"))
    assert not allows(policy, Request("eks:UpdateClusterConfig", cluster))
    assert not allows(policy, Request("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin"))


def test_taking_it_is_seen_though_it_counts_as_a_read(deployment: Deployment) -> None:
    rule = deployment.one("aws:cloudwatch/eventRule:EventRule")
    pattern = json.loads(rule.inputs["eventPattern"])
    role = deployment.one("aws:iam/role:Role").outputs["arn"]
    assert pattern["detail"]["eventName"] == ["AssumeRole"]
    assert pattern["detail"]["requestParameters"] == {"roleArn": [role]}
    assert pattern["detail-type"] == ["AWS API Call via CloudTrail"]
    assert rule.inputs["state"] == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"


def test_everybody_on_the_list_is_told_through_an_encrypted_topic(deployment: Deployment) -> None:
    topic = deployment.one("aws:sns/topic:Topic")
    assert topic.inputs["kmsMasterKeyId"] == KEY
    target = deployment.one("aws:cloudwatch/eventTarget:EventTarget")
    assert target.inputs["arn"] == topic.outputs["arn"]
    told = deployment.of_type("aws:sns/topicSubscription:TopicSubscription")
    assert {subscription.inputs["endpoint"] for subscription in told} == set(ARGS.email_addresses)
    assert {subscription.inputs["topic"] for subscription in told} == {topic.outputs["arn"]}
    assert deployment.one("aws:sns/topicPolicy:TopicPolicy").urn in target.dependencies


def test_events_alone_are_published_and_over_tls(deployment: Deployment) -> None:
    policy = deployment.one("aws:sns/topicPolicy:TopicPolicy").inputs["policy"]
    topic = deployment.one("aws:sns/topic:Topic").outputs["arn"]

    def publishing(service: str = "events", tls: str = "true") -> Request:
        # As EventBridge comes to SNS: without a word of the rule or the account.
        return Request("sns:Publish", topic, principal=f"{service}.amazonaws.com", context={"aws:SecureTransport": tls})

    assert allows(policy, publishing())
    assert not allows(policy, publishing("cloudwatch"))
    assert decide(policy, publishing(tls="false")) == "deny"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trusted_principal_arns": []}, "at least one principal"),
        ({"trusted_principal_arns": ["*"]}, "no wildcard"),
        ({"trusted_principal_arns": [f"arn:aws:iam::{ACCOUNT}:root"]}, "no account"),
        ({"trusted_principal_arns": [f"arn:aws:iam::{ACCOUNT}:role/on-call"]}, "second factor"),
        ({"email_addresses": []}, "must not go unnoticed"),
        ({"email_addresses": ["security"]}, "must not go unnoticed"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ARGS, **changes)
