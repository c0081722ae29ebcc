"""What may pass a VPC endpoint: this account's principals, and where a service can tell, only to this account's things.

An endpoint without a policy lets anybody in the VPC carry data into any other account with credentials of that account,
which no IAM policy of ours can stop.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from trainyard.modules.account import Account
from trainyard.modules.policy_document import Statement

WITH_POLICIES = frozenset(
    {
        "autoscaling",
        "codebuild",
        "ec2",
        "ec2messages",
        "ecr.api",
        "ecr.dkr",
        "eks",
        "eks-auth",
        "events",
        "fsx",
        "kms",
        "logs",
        "monitoring",
        "secretsmanager",
        "sns",
        "sqs",
        "ssm",
        "ssmmessages",
        "sts",
    }
)
"""Services whose endpoints take a policy. From memory of the AWS PrivateLink guide, "AWS services that
integrate"; unverified (a search in 2026-11 found no copy of its table)."""

_OWN_RESOURCES_ONLY = frozenset({"kms", "secretsmanager", "sns", "sqs"})
"""Services through which our own credentials could carry data to another account's queue, topic, secret or key."""

_IMAGE_READING = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
)


def interface_endpoint_statements(service: str, account: Account) -> list[Statement] | None:
    """The policy of the endpoint of `service`, such as `ecr.api`; None where the service takes no policy."""
    if service not in WITH_POLICIES:
        return None
    own_principal = {"aws:PrincipalAccount": account.id}
    own_resource = {**own_principal, "aws:ResourceAccount": account.id}
    if service in ("ecr.api", "ecr.dkr"):
        return [
            _allow("OwnImages", "ecr:*", own_resource),
            # The add-ons of EKS come from registries of AWS's own accounts.
            _allow("ReadImages", list(_IMAGE_READING), own_principal),
        ]
    if service in _OWN_RESOURCES_ONLY:
        return [_allow("OwnResources", "*", own_resource)]
    return [_allow("OwnPrincipals", "*", own_principal)]


def s3_endpoint_statements(account: Account, readable_bucket_arns: Sequence[pulumi.Input[str]]) -> list[Statement]:
    """What may pass the S3 endpoint: this account to its own buckets, image layers from ECR, and the buckets named.

    Nobody carries data out through it: not into another account's bucket, nor with another account's credentials.
    """
    statements: list[Statement] = [
        {
            "Sid": "OwnBuckets",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:PrincipalAccount": account.id, "aws:ResourceAccount": account.id}},
        },
        {
            # ECR hands out signed addresses in a bucket of its own, so the principal is AWS's.
            "Sid": "ImageLayers",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": pulumi.Output.concat(
                "arn:", account.partition, ":s3:::prod-", account.region, "-starport-layer-bucket/*"
            ),
        },
    ]
    if readable_bucket_arns:
        statements.append(
            {
                "Sid": "NamedBuckets",
                "Effect": "Allow",
                "Principal": "*",
                "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": [
                    *readable_bucket_arns,
                    *(pulumi.Output.concat(arn, "/*") for arn in readable_bucket_arns),
                ],
                "Condition": {"StringEquals": {"aws:PrincipalAccount": account.id}},
            }
        )
    return statements


def _allow(sid: str, actions: str | list[str], condition: dict[str, pulumi.Output[str]]) -> Statement:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": "*",
        "Action": actions,
        "Resource": "*",
        "Condition": {"StringEquals": condition},
    }
