"""The policy documents of what `trainyard bootstrap` makes."""

from __future__ import annotations

from typing import Any

OIDC_HOST = "token.actions.githubusercontent.com"
"""GitHub's issuer of identities for workflow runs."""

OIDC_AUDIENCE = "sts.amazonaws.com"

# These have no region; a condition on aws:RequestedRegion would refuse them everywhere but in us-east-1.
GLOBAL_SERVICES = ("iam:*", "sts:*", "budgets:*", "organizations:Describe*", "support:*")

Document = dict[str, Any]


def _document(*statements: dict[str, Any]) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def key_policy(partition: str, account_id: str) -> Document:
    """The account's IAM policies decide."""
    return _document(
        {
            "Sid": "AccountAdministers",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:{partition}:iam::{account_id}:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
    )


def bucket_policy(partition: str, bucket: str) -> Document:
    """TLS only."""
    return _document(
        {
            "Sid": "DenyPlainTransport",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [f"arn:{partition}:s3:::{bucket}", f"arn:{partition}:s3:::{bucket}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )


def trust(provider_arn: str, subject: str) -> Document:
    """Runs of one repository whose token says `subject`, and nobody else."""
    return _document(
        {
            "Sid": "WorkflowRuns",
            "Effect": "Allow",
            "Principal": {"Federated": provider_arn},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {f"{OIDC_HOST}:aud": OIDC_AUDIENCE, f"{OIDC_HOST}:sub": subject},
            },
        }
    )


def state_statements(partition: str, bucket: str, key_arn: str, *, write: bool) -> list[dict[str, Any]]:
    """Reading the state, which takes writing too: every run takes a lock in it, previews included."""
    objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"] if write else ["s3:GetObject"]
    statements: list[dict[str, Any]] = [
        {"Sid": "State", "Effect": "Allow", "Action": objects, "Resource": f"arn:{partition}:s3:::{bucket}/*"},
        {
            "Sid": "StateList",
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
            "Resource": f"arn:{partition}:s3:::{bucket}",
        },
        {
            "Sid": "StateKey",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:DescribeKey", *(["kms:Encrypt", "kms:GenerateDataKey"] if write else [])],
            "Resource": key_arn,
        },
    ]
    if not write:
        statements.append(
            {
                "Sid": "StateLocks",
                "Effect": "Allow",
                "Action": ["s3:PutObject", "s3:DeleteObject"],
                "Resource": f"arn:{partition}:s3:::{bucket}/.pulumi/locks/*",
            }
        )
        statements.append(
            {"Sid": "StateLockKey", "Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": key_arn}
        )
    return statements


def preview_policy(partition: str, bucket: str, key_arn: str) -> Document:
    """What a pull request's preview needs beside ReadOnlyAccess. Data stays out of its reach."""
    return _document(
        *state_statements(partition, bucket, key_arn, write=False),
        {
            "Sid": "NoData",
            "Effect": "Deny",
            "Action": ["s3:GetObject*"],
            "NotResource": f"arn:{partition}:s3:::{bucket}/*",
        },
        {"Sid": "NoMessages", "Effect": "Deny", "Action": ["sqs:ReceiveMessage", "logs:GetLogEvents"], "Resource": "*"},
    )


def deploy_policy(partition: str, account_id: str, region: str, bucket: str, key_arn: str, name: str) -> Document:
    """What an update needs beside PowerUserAccess: the platform's own roles, in the environment's own region.

    Role names begin with the platform's; a role that the pipeline itself runs as is out of its reach, and so are the
    state bucket's deletion and its key's.
    """
    roles = f"arn:{partition}:iam::{account_id}:role/{name}-*"
    own = [f"arn:{partition}:iam::{account_id}:role/{name}-ci-*"]
    return _document(
        *state_statements(partition, bucket, key_arn, write=True),
        {
            "Sid": "PlatformRoles",
            "Effect": "Allow",
            "Action": [
                "iam:AttachRolePolicy",
                "iam:CreateRole",
                "iam:DeleteRole",
                "iam:DeleteRolePolicy",
                "iam:DetachRolePolicy",
                "iam:GetRole",
                "iam:GetRolePolicy",
                "iam:ListAttachedRolePolicies",
                "iam:ListInstanceProfilesForRole",
                "iam:ListRolePolicies",
                "iam:ListRoleTags",
                "iam:PutRolePolicy",
                "iam:TagRole",
                "iam:UntagRole",
                "iam:UpdateAssumeRolePolicy",
                "iam:UpdateRole",
                "iam:UpdateRoleDescription",
            ],
            "Resource": roles,
        },
        {
            # FSx writes its access to a linked bucket into its own role, in the name of who makes the link; without
            # this it falls back to changing the bucket's policy. Source: FSx for Lustre user guide, "Using
            # service-linked roles", AWSServiceRoleForFSxS3Access_fs-*.
            "Sid": "LustreLinks",
            "Effect": "Allow",
            "Action": ["iam:AttachRolePolicy", "iam:CreateServiceLinkedRole", "iam:PutRolePolicy"],
            "Resource": (
                f"arn:{partition}:iam::{account_id}:role/aws-service-role/s3.data-source.lustre.fsx.amazonaws.com/*"
            ),
        },
        {
            "Sid": "PassPlatformRoles",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": roles,
            "Condition": {
                "StringEquals": {
                    "iam:PassedToService": [
                        "eks.amazonaws.com",
                        "ec2.amazonaws.com",
                        "pods.eks.amazonaws.com",
                        "codebuild.amazonaws.com",
                        "backup.amazonaws.com",
                        "vpc-flow-logs.amazonaws.com",
                    ]
                }
            },
        },
        {
            "Sid": "NotItself",
            "Effect": "Deny",
            "NotAction": ["iam:Get*", "iam:List*", "sts:*"],
            "Resource": own,
        },
        {
            "Sid": "KeepTheState",
            "Effect": "Deny",
            "Action": ["s3:DeleteBucket", "s3:PutBucketPolicy", "s3:PutBucketVersioning", "s3:DeleteObjectVersion"],
            "Resource": [f"arn:{partition}:s3:::{bucket}", f"arn:{partition}:s3:::{bucket}/*"],
        },
        {
            "Sid": "KeepTheStateKey",
            "Effect": "Deny",
            "Action": ["kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:PutKeyPolicy"],
            "Resource": key_arn,
        },
        {
            "Sid": "OwnRegionOnly",
            "Effect": "Deny",
            "NotAction": list(GLOBAL_SERVICES),
            "Resource": "*",
            "Condition": {"StringNotEquals": {"aws:RequestedRegion": region}},
        },
    )
