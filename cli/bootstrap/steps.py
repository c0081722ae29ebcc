"""What `trainyard bootstrap` makes, step by step. Every step looks first and may be run again: it repairs its own
settings, leaves what is right, and never deletes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from trainyard.cli.aws_session import Account
from trainyard.cli.bootstrap import documents

STATE_VERSIONS_KEPT_DAYS = 90


@dataclass(frozen=True)
class Plan:
    """Names of what an environment's pipeline stands on."""

    account: Account
    environment: str
    tags: dict[str, str]
    repository: str | None

    @property
    def name(self) -> str:
        return f"trainyard-{self.environment}"

    @property
    def bucket(self) -> str:
        """Names of buckets are shared by all accounts, so the account's number stands in it."""
        return f"{self.name}-state-{self.account.id}"

    @property
    def key_alias(self) -> str:
        return f"alias/{self.name}-state"

    @property
    def provider_arn(self) -> str:
        return f"arn:{self.account.partition}:iam::{self.account.id}:oidc-provider/{documents.OIDC_HOST}"


@dataclass(frozen=True)
class Done:
    """One thing that stands now."""

    what: str
    id: str
    made: bool
    """False where it stood before; its settings were made right all the same."""


Tell = Callable[[Done], None]


def run(plan: Plan, tell: Tell) -> list[Done]:
    """Make everything, telling each thing as it stands."""
    done: list[Done] = []

    def keep(one: Done) -> Done:
        done.append(one)
        tell(one)
        return one

    key = keep(state_key(plan))
    keep(state_bucket(plan, key.id))
    if plan.repository is not None:
        keep(identity_provider(plan))
        for role in ci_roles(plan, key.id):
            keep(role)
    return done


def state_key(plan: Plan) -> Done:
    """The key of the state and of the secrets in it."""
    kms = plan.account.client("kms")
    found = _or_none(lambda: kms.describe_key(KeyId=plan.key_alias)["KeyMetadata"], "NotFoundException")
    if found is not None:
        kms.enable_key_rotation(KeyId=found["KeyId"])
        return Done("key of the state", found["Arn"], made=False)
    made = kms.create_key(
        Description=f"Pulumi state of {plan.name}, and the secrets in it",
        Policy=json.dumps(documents.key_policy(plan.account.partition, plan.account.id)),
        Tags=[{"TagKey": key, "TagValue": value} for key, value in plan.tags.items()],
    )["KeyMetadata"]
    kms.enable_key_rotation(KeyId=made["KeyId"])
    kms.create_alias(AliasName=plan.key_alias, TargetKeyId=made["KeyId"])
    return Done("key of the state", made["Arn"], made=True)


def state_bucket(plan: Plan, key_arn: str) -> Done:
    """The bucket of the state, in the environment's own region: a state holds what the data is called and where."""
    s3, bucket = plan.account.client("s3"), plan.bucket
    owner = {"ExpectedBucketOwner": plan.account.id}
    made = _or_none(lambda: s3.head_bucket(Bucket=bucket, **owner), "404", "NoSuchBucket") is None
    if made:
        where: dict[str, Any] = {"CreateBucketConfiguration": {"LocationConstraint": plan.account.region}}
        s3.create_bucket(Bucket=bucket, **({} if plan.account.region == "us-east-1" else where))
    s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration=dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
        ),
        **owner,
    )
    s3.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}, **owner
    )
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}, **owner)
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key_arn},
        "BucketKeyEnabled": True,
    }
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]}, **owner)
    policy = documents.bucket_policy(plan.account.partition, bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy), **owner)
    s3.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "old-states",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "NoncurrentVersionExpiration": {"NoncurrentDays": STATE_VERSIONS_KEPT_DAYS},
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                }
            ]
        },
        **owner,
    )
    tags = [{"Key": key, "Value": value} for key, value in plan.tags.items()]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags}, **owner)
    return Done("bucket of the state", bucket, made)


def identity_provider(plan: Plan) -> Done:
    """GitHub as an identity provider: one per account, shared by its environments."""
    iam = plan.account.client("iam")
    arn = plan.provider_arn
    found = _or_none(lambda: iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn), "NoSuchEntity")
    if found is None:
        iam.create_open_id_connect_provider(
            Url=f"https://{documents.OIDC_HOST}", ClientIDList=[documents.OIDC_AUDIENCE]
        )
    elif documents.OIDC_AUDIENCE not in found["ClientIDList"]:
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID=documents.OIDC_AUDIENCE)
    return Done("identity provider", arn, made=found is None)


def ci_roles(plan: Plan, key_arn: str) -> list[Done]:
    """Two roles: pull requests may look, runs in the GitHub environment of the same name may deploy."""
    account = plan.account
    managed = f"arn:{account.partition}:iam::aws:policy"
    return [
        _role(
            plan,
            f"{plan.name}-ci-preview",
            f"repo:{plan.repository}:pull_request",
            f"{managed}/ReadOnlyAccess",
            documents.preview_policy(account.partition, plan.bucket, key_arn),
        ),
        _role(
            plan,
            f"{plan.name}-ci-deploy",
            f"repo:{plan.repository}:environment:{plan.environment}",
            f"{managed}/PowerUserAccess",
            documents.deploy_policy(account.partition, account.id, account.region, plan.bucket, key_arn, plan.name),
        ),
    ]


def _role(plan: Plan, name: str, subject: str, managed_policy: str, policy: documents.Document) -> Done:
    iam = plan.account.client("iam")
    trust = json.dumps(documents.trust(plan.provider_arn, subject))
    found = _or_none(lambda: iam.get_role(RoleName=name)["Role"], "NoSuchEntity")
    if found is None:
        found = iam.create_role(
            RoleName=name,
            Description=f"Pipeline of {plan.name}: {subject}",
            AssumeRolePolicyDocument=trust,
            MaxSessionDuration=2 * 3600,  # an update that makes a cluster and a file system takes most of an hour
            Tags=[{"Key": key, "Value": value} for key, value in plan.tags.items()],
        )["Role"]
        made = True
    else:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)
        made = False
    iam.attach_role_policy(RoleName=name, PolicyArn=managed_policy)
    iam.put_role_policy(RoleName=name, PolicyName="trainyard", PolicyDocument=json.dumps(policy))
    return Done("role of the pipeline", found["Arn"], made)


def _or_none(ask: Callable[[], Any], *absent: str) -> Any:
    try:
        return ask()
    except ClientError as refused:
        if refused.response["Error"]["Code"] in absent:
            return None
        raise
