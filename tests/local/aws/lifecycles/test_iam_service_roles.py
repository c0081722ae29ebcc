"""Service-linked roles and OpenID Connect providers."""

from __future__ import annotations

import pytest
from aws_lifecycle import Lifecycle, Step
from aws_program import Program

from trainyard.local.aws.errors import AwsError

ROLE = "aws:iam/serviceLinkedRole:ServiceLinkedRole"
PROVIDER = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"
ISSUER = "https://token.actions.githubusercontent.com"
THUMBPRINT = "1c58a3a8518e8759bf075b76b750d4f2df264fcd"


class TestLife(Lifecycle):
    steps = {  # noqa: RUF012
        "autoscaling": Step(
            ROLE,
            lambda _: {"awsServiceName": "autoscaling.amazonaws.com", "customSuffix": "trainyard", "description": "d"},
            lambda _: {
                "awsServiceName": "autoscaling.amazonaws.com",
                "customSuffix": "trainyard",
                "description": "e",
                "tags": {"a": "b"},
            },
        ),
        "provider": Step(
            PROVIDER,
            lambda _: {"url": ISSUER, "clientIdLists": ["sts.amazonaws.com"], "thumbprintLists": [THUMBPRINT]},
            lambda _: {
                "url": ISSUER,
                "clientIdLists": ["sts.amazonaws.com", "other"],
                "thumbprintLists": [THUMBPRINT[::-1]],
                "tags": {"a": "b"},
            },
        ),
    }


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("spot.amazonaws.com", "AWSServiceRoleForEC2Spot"),
        ("eks-nodegroup.amazonaws.com", "AWSServiceRoleForAmazonEKSNodegroup"),
    ],
)
def test_a_service_has_one_role_with_the_name_that_aws_gives(program: Program, service: str, name: str):
    assert program.up(ROLE, "role", awsServiceName=service)["name"] == name
    with pytest.raises(AwsError, match="has been taken"):
        program.up(ROLE, "again", awsServiceName=service)
    program.destroy("role")
