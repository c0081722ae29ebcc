"""The bucket of the state: in the environment's own region, encrypted under its key, versioned, and closed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from trainyard.cli.aws_session import Account, AccountError
from trainyard.cli.bootstrap import documents
from trainyard.cli.bootstrap.settling import Setting, always, or_none, with_entries

STATE_VERSIONS_KEPT_DAYS = 90


def ensure(s3: Any, account: Account, bucket: str) -> bool:
    """Make the bucket unless it is there; whether it was made. Raises `AccountError` where it is not to be had."""
    there = _or_theirs(
        lambda: or_none(lambda: s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account.id), "404", "NoSuchBucket"),
        ("403", "AccessDenied"),
        account,
        bucket,
    )
    if there is None:
        where = {"CreateBucketConfiguration": {"LocationConstraint": account.region}}
        _or_theirs(
            lambda: s3.create_bucket(Bucket=bucket, **({} if account.region == "us-east-1" else where)),
            ("BucketAlreadyExists",),
            account,
            bucket,
        )
        return True
    told = s3.get_bucket_location(Bucket=bucket, ExpectedBucketOwner=account.id).get("LocationConstraint")
    region = {None: "us-east-1", "": "us-east-1", "EU": "eu-west-1"}.get(told, told)
    if region != account.region:
        raise AccountError(
            f"the bucket {bucket} stands in {region}, and the environment in {account.region}: "
            "move the state away and delete the bucket, or correct the region"
        )
    return False


def _or_theirs(ask: Callable[[], Any], codes: tuple[str, ...], account: Account, bucket: str) -> Any:
    """What `ask` returns; raises `AccountError` where AWS refuses with one of `codes`."""
    try:
        return ask()
    except ClientError as refused:
        if refused.response["Error"]["Code"] not in codes:
            raise
        raise AccountError(
            f"the bucket {bucket} is another account's, or these credentials may not look at it: "
            f"`aws s3api head-bucket --bucket {bucket} --expected-bucket-owner {account.id}` tells which"
        ) from None


def settings(s3: Any, account: Account, bucket: str, key_arn: str, tags: Mapping[str, str]) -> Iterator[Setting]:
    """All settings of the bucket."""
    mine = {"Bucket": bucket, "ExpectedBucketOwner": account.id}

    def read(call: str, field: str, *absent: str) -> Any:
        answer = or_none(lambda: getattr(s3, call)(**mine), *absent)
        return answer and answer.get(field)

    yield Setting(
        "public access",
        lambda: read(
            "get_public_access_block", "PublicAccessBlockConfiguration", "NoSuchPublicAccessBlockConfiguration"
        ),
        always(
            dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
        ),
        lambda wanted: s3.put_public_access_block(**mine, PublicAccessBlockConfiguration=wanted),
    )
    yield Setting(
        "ownership",
        lambda: read("get_bucket_ownership_controls", "OwnershipControls", "OwnershipControlsNotFoundError"),
        always({"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}),
        lambda wanted: s3.put_bucket_ownership_controls(**mine, OwnershipControls=wanted),
    )
    yield Setting(
        "versioning",
        lambda: read("get_bucket_versioning", "Status"),
        always("Enabled"),
        lambda wanted: s3.put_bucket_versioning(**mine, VersioningConfiguration={"Status": wanted}),
    )
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key_arn},
        "BucketKeyEnabled": True,
    }
    yield Setting(
        "encryption",
        lambda: read(
            "get_bucket_encryption",
            "ServerSideEncryptionConfiguration",
            "ServerSideEncryptionConfigurationNotFoundError",
        ),
        always({"Rules": [rule]}),
        lambda wanted: s3.put_bucket_encryption(**mine, ServerSideEncryptionConfiguration=wanted),
    )
    policy = documents.bucket_policy(account.partition, bucket)
    yield Setting(
        "policy",
        lambda: (text := read("get_bucket_policy", "Policy", "NoSuchBucketPolicy")) and json.loads(text)["Statement"],
        with_entries("Sid", policy["Statement"], exactly=True),
        lambda wanted: s3.put_bucket_policy(**mine, Policy=json.dumps({**policy, "Statement": wanted})),
    )
    old_states = {
        "ID": "old-states",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": STATE_VERSIONS_KEPT_DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    yield Setting(
        "lifecycle",
        lambda: read("get_bucket_lifecycle_configuration", "Rules", "NoSuchLifecycleConfiguration"),
        with_entries("ID", [old_states]),
        lambda wanted: s3.put_bucket_lifecycle_configuration(**mine, LifecycleConfiguration={"Rules": wanted}),
    )
    yield Setting(
        "tags",
        lambda: read("get_bucket_tagging", "TagSet", "NoSuchTagSet"),
        with_entries("Key", [{"Key": key, "Value": value} for key, value in tags.items()]),
        lambda wanted: s3.put_bucket_tagging(
            **mine, Tagging={"TagSet": [one for one in wanted if not one["Key"].startswith("aws:")]}
        ),
    )
