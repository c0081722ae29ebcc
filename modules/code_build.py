"""What the CodeBuild projects have in common: the image they run in, their log group, and a role of least rights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from trainyard.modules.account import Account
from trainyard.modules.policy_document import Statement, policy_document

BUILD_IMAGE = "aws/codebuild/amazonlinux-x86_64-standard:5.0"
"""Amazon Linux 2023 with Docker and the AWS client. Source: aws/aws-codebuild-docker-images, al/x86_64/standard/5.0,
and the CDK's LinuxBuildImage, read 2026-11; 6.0 is out as well."""


def build_log_group(
    name: str,
    key_arn: pulumi.Input[str],
    retention_days: int,
    tags: Mapping[str, pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
) -> aws.cloudwatch.LogGroup:
    """An encrypted log group for a project; CodeBuild's own would have neither key nor end."""
    return aws.cloudwatch.LogGroup(
        name,
        kms_key_id=key_arn,
        retention_in_days=retention_days,
        # Commands and their output, never training data.
        tags={**tags, "data-class": "internal"},
        opts=opts,
    )


def write_logs(group: aws.cloudwatch.LogGroup) -> Statement:
    """Let a build write into its own group."""
    return {
        "Sid": "WriteLogs",
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": [group.arn, pulumi.Output.concat(group.arn, ":*")],
    }


def build_role(
    name: str,
    account: Account,
    statements: Sequence[Statement],
    tags: Mapping[str, pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
    """A role that projects of this name take, with exactly `statements`."""
    role = aws.iam.Role(
        name,
        description=f"CodeBuild project {name}",
        assume_role_policy=policy_document(
            [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "codebuild.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                    "Condition": {
                        "StringEquals": {"aws:SourceAccount": account.id},
                        # The project's name is this with a few characters that Pulumi adds.
                        "ArnLike": {"aws:SourceArn": account.arn("codebuild", f"project/{name}-*")},
                    },
                }
            ]
        ),
        tags=tags,
        opts=opts,
    )
    return role, aws.iam.RolePolicy(name, role=role.name, policy=policy_document(statements), opts=opts)
