"""What the emulated account tells of itself: who asks, its quotas, its roles, where instance types are offered."""

from __future__ import annotations

import json

import pytest

from trainyard.local.aws.account import Account
from trainyard.local.aws.invokes import invoke

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def test_keys_that_iam_does_not_know_are_the_roots(aws):
    identity = aws("sts").get_caller_identity()
    assert identity["Arn"] == f"arn:aws:iam::{identity['Account']}:root"


@pytest.mark.parametrize(("service", "code", "value"), [("ec2", "L-417A185B", 0), ("eks", "L-1194D53C", 100)])
def test_quotas_are_those_of_a_new_account(aws, service: str, code: str, value: float):
    quotas = aws("service-quotas")
    assert quotas.get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]["Value"] == value
    listed = quotas.list_aws_default_service_quotas(ServiceCode=service)["Quotas"]
    assert value in [quota["Value"] for quota in listed if quota["QuotaCode"] == code]


@pytest.mark.parametrize(
    ("region", "offered", "missing"),
    [
        ("us-east-1", {"p4d.24xlarge", "p5.48xlarge", "g5.12xlarge"}, {"p5e.48xlarge"}),
        ("us-east-2", {"p5.48xlarge", "p5e.48xlarge", "p6-b200.48xlarge"}, {"p4de.24xlarge"}),
        ("us-west-2", {"p4d.24xlarge", "p5.48xlarge", "p6-b300.48xlarge"}, set()),
        ("me-central-1", {"p5en.48xlarge", "g6.12xlarge"}, {"p4d.24xlarge", "p5.48xlarge", "p5e.48xlarge"}),
    ],
)
def test_gpu_types_are_offered_where_aws_has_them(aws, region: str, offered: set[str], missing: set[str]):
    names = sorted(offered | missing)
    answer = aws("ec2", region).describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": names}]
    )
    assert {it["InstanceType"] for it in answer["InstanceTypeOfferings"]} == offered


def test_roles_are_found_by_path_and_pattern(aws, account: Account):
    for name in ("AWSReservedSSO_Admin_0123", "AWSReservedSSO_View_0123"):
        aws("iam").create_role(
            RoleName=name, Path="/aws-reserved/sso.amazonaws.com/", AssumeRolePolicyDocument=json.dumps(TRUST)
        )
    found = invoke(
        account,
        "us-east-1",
        "aws:iam/getRoles:getRoles",
        {"nameRegex": "^AWSReservedSSO_Admin_", "pathPrefix": "/aws-reserved/sso.amazonaws.com/"},
    )
    assert found["names"] == ["AWSReservedSSO_Admin_0123"]
    assert found["arns"][0].endswith(":role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_0123")
