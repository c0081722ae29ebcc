"""How wide a statement of an identity policy is."""

from __future__ import annotations

import json

import pytest

from trainyard.policies.iam import grants
from trainyard.policies.iam.paths import can_be_restricted
from trainyard.policies.values import Value


def _statement(resource: object, **more: object) -> grants.Statement:
    statement = {"Effect": "Allow", "Action": "x:Y", "Resource": resource, **more}
    return grants.read(Value(json.dumps({"Statement": statement}))).allowed[0]


@pytest.mark.parametrize(
    "resource",
    [
        "*",
        "arn:aws:*",
        "arn:aws:s3:::*",
        "arn:aws-cn:s3:::*/*",
        "arn:aws:kms:*:111122223333:key/*",
        "arn:aws:kms:us-east-1:111122223333:*",
        "arn:aws:iam::*:role/*",
        "arn:aws:ssm:us-east-1:111122223333:parameter*",
        "arn:aws:logs:us-east-1:111122223333:log-group:*",
        "arn:aws:eks:us-east-1:111122223333:nodegroup/*/*/*",
        "arn:aws:autoscaling:*:111122223333:autoScalingGroup:*:autoScalingGroupName/*",
        ["arn:aws:s3:::one/*", "arn:aws:sqs:us-east-1:111122223333:*"],
    ],
)
def test_patterns_for_all_of_a_kind_are_seen(resource: object) -> None:
    assert grants.everywhere(_statement(resource))


@pytest.mark.parametrize(
    "resource",
    [
        "arn:aws:s3:::one/*",
        "arn:aws:s3:::one*",
        "arn:aws:iam::111122223333:role/team-*",
        "arn:aws:iam::111122223333:role/team/*",
        "arn:aws:sqs:us-east-1:111122223333:jobs*",
        "arn:aws:logs:us-east-1:111122223333:log-group:build:*",
        "arn:aws:secretsmanager:*:111122223333:secret:app/*",
        "arn:aws:autoscaling:*:111122223333:autoScalingGroup:*:autoScalingGroupName/gpu-*",
    ],
)
def test_patterns_for_some_of_a_kind_are_not(resource: str) -> None:
    assert not grants.everywhere(_statement(resource))


@pytest.mark.parametrize(
    ("condition", "everywhere"),
    [
        ({"StringEquals": {"aws:ResourceTag/team": "vision"}}, False),
        ({"StringLike": {"aws:ResourceTag/team": "*"}}, True),
        ({"StringEqualsIfExists": {"aws:ResourceTag/team": "vision"}}, True),
        ({"StringNotEquals": {"aws:ResourceTag/team": "vision"}}, True),
        ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, True),
    ],
)
def test_only_a_condition_that_chooses_the_resource_narrows(condition: object, everywhere: bool) -> None:
    assert grants.everywhere(_statement("*", Condition=condition)) is everywhere


@pytest.mark.parametrize(
    ("action", "restrictable"),
    [
        ("s3:PutObject", True),
        ("LOGS:putlogevents", True),
        ("cloudwatch:PutMetricData", False),
        ("ecr:BatchCheckLayerAvailability", False),
        ("ec2:DescribeInstances", False),
        ("unheard-of:DeleteEverything", False),
    ],
)
def test_actions_that_name_what_they_change(action: str, restrictable: bool) -> None:
    assert can_be_restricted(action) is restrictable
