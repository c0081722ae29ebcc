"""A bucket that nobody reaches but its own account, over TLS, with everything in it encrypted and versioned.

bucket = PrivateBucket(
    "platform-datasets",
    PrivateBucketArgs(key_arn=keys.data.arn, lifecycle=Lifecycle(noncurrent_days=90)),
    pulumi.ResourceOptions(provider=provider),
)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import pulumi
import pulumi_aws as aws

from trainyard.modules.account import Account
from trainyard.modules.policy_document import Statement, deny_plain_transport, policy_document

OLDEST_TLS = "1.2"

LockMode: TypeAlias = Literal["governance", "compliance"]
"""Who passes a lock before its time: whoever has `s3:BypassGovernanceRetention`, or nobody at all, AWS included."""

LONGEST_LOCK_DAYS = 36_500
"""Source: S3 user guide, "Managing Object Lock": at most 100 years."""

_ALGORITHM = "s3:x-amz-server-side-encryption"
_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
_CUSTOMER_ALGORITHM = "s3:x-amz-server-side-encryption-customer-algorithm"


@dataclass(frozen=True)
class Lifecycle:
    """How long a bucket keeps what is no longer current, in days.

    Attributes:
        noncurrent_days: overwritten and deleted versions.
        unfinished_upload_days: parts of uploads never completed; they cost like objects and show in no listing.
        current_days: objects themselves. None: for ever.
    """

    noncurrent_days: int
    unfinished_upload_days: int = 7
    current_days: int | None = None

    def __post_init__(self) -> None:
        for name in ("noncurrent_days", "unfinished_upload_days", "current_days"):
            days = getattr(self, name)
            if days is not None and days < 1:
                raise ValueError(f"{name} is {days}; S3 counts in whole days, at least 1")

    def rules(self) -> list[aws.s3.BucketLifecycleConfigurationRuleArgs]:
        everything = aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix="")
        rules = [
            aws.s3.BucketLifecycleConfigurationRuleArgs(
                id="remove-leftovers",
                status="Enabled",
                filter=everything,
                abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                    days_after_initiation=self.unfinished_upload_days
                ),
                noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                    noncurrent_days=self.noncurrent_days
                ),
                # A deletion leaves a marker that outlives the versions it hides and slows every listing.
                expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(expired_object_delete_marker=True),
            )
        ]
        if self.current_days is not None:
            rules.append(
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="expire",
                    status="Enabled",
                    filter=everything,
                    expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=self.current_days),
                )
            )
        return rules


@dataclass(frozen=True)
class ObjectLock:
    """Versions can be kept from being deleted or overwritten (S3 Object Lock).

    Attributes:
        mode: what `days` means to an administrator. COMPLIANCE CANNOT BE UNDONE, by AWS neither.
        days: every new version is kept so long. None: only versions of which whoever writes them asks it.
    """

    mode: LockMode = "governance"
    days: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(LockMode):
            raise ValueError(f"mode is {self.mode!r}; it may be {' or '.join(get_args(LockMode))}")
        if self.days is not None and not 1 <= self.days <= LONGEST_LOCK_DAYS:
            raise ValueError(f"days is {self.days}; it may be 1 to {LONGEST_LOCK_DAYS}, or None")


@dataclass(frozen=True)
class PrivateBucketArgs:
    """How a bucket is encrypted, kept and guarded.

    Attributes:
        lifecycle: when what is no longer current goes.
        key_arn: KMS key for every object. None: SSE-S3, the only encryption that access-log targets take.
        access_logs_of: ARNs of the buckets whose access logs S3 may deliver here.
        object_lock: let versions be locked. Not for a target of access logs with `days`: S3 refuses to deliver there.
        protected: refuse to delete the bucket or anything in it, and keep it when it leaves the program.
        tags: added to the provider's default tags.
    """

    lifecycle: Lifecycle
    key_arn: pulumi.Input[str] | None = None
    access_logs_of: Sequence[pulumi.Input[str]] = ()
    object_lock: ObjectLock | None = None
    protected: bool = True
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.access_logs_of and self.object_lock is not None and self.object_lock.days is not None:
            raise ValueError("object_lock has days; S3 delivers no access logs to a bucket that locks all it is given")


class PrivateBucket(pulumi.ComponentResource):
    """A bucket and the settings that AWS keeps as resources of their own."""

    bucket_name: pulumi.Output[str]
    arn: pulumi.Output[str]

    def __init__(self, name: str, args: PrivateBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:private_bucket:PrivateBucket", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        bucket = aws.s3.Bucket(
            name,
            force_destroy=not args.protected,
            # Said here as well, a bucket has it from its first moment, and the provider knows how to empty it.
            object_lock_enabled=True if args.object_lock is not None else None,
            tags=args.tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=args.protected,
                retain_on_delete=args.protected,
                # The provider would make a standing bucket anew. It gets its lock by the configuration below.
                ignore_changes=["objectLockEnabled"],
            ),
        )
        access_block = aws.s3.BucketPublicAccessBlock(
            f"{name}-access-block",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketOwnershipControls(
            f"{name}-ownership",
            bucket=bucket.id,
            rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            # S3 refuses two changes of a bucket's access at once.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[access_block]),
        )
        versioning = aws.s3.BucketVersioning(
            f"{name}-versioning",
            bucket=bucket.id,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=child,
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption", bucket=bucket.id, rules=[_encryption(args.key_arn)], opts=child
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.id,
            rules=args.lifecycle.rules(),
            # Rules about versions mean nothing before there are versions.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioning]),
        )
        if args.object_lock is not None:
            aws.s3.BucketObjectLockConfiguration(
                f"{name}-object-lock",
                bucket=bucket.id,
                rule=_default_retention(args.object_lock),
                # S3 locks versions, and takes the lock of a standing bucket only once it has them.
                opts=pulumi.ResourceOptions(parent=self, depends_on=[versioning]),
            )
        aws.s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.id,
            policy=policy_document(bucket_statements(Account.of(self), bucket.arn, args.key_arn, args.access_logs_of)),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[access_block]),
        )
        self.bucket_name = bucket.id
        self.arn = bucket.arn
        self.register_outputs({"bucket_name": self.bucket_name, "arn": self.arn})


def bucket_statements(
    account: Account,
    bucket_arn: pulumi.Input[str],
    key_arn: pulumi.Input[str] | None,
    access_logs_of: Sequence[pulumi.Input[str]],
) -> list[Statement]:
    """What the bucket's own policy refuses, and whose access logs it takes in."""
    objects = pulumi.Output.concat(bucket_arn, "/*")
    statements: list[Statement] = [
        deny_plain_transport("s3:*", [bucket_arn, objects]),
        {
            "Sid": "DenyOldTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket_arn, objects],
            "Condition": {"NumericLessThan": {"s3:TlsVersion": OLDEST_TLS}},
        },
    ]

    def refuse_put(sid: str, condition: Mapping[str, Mapping[str, pulumi.Input[str]]]) -> Statement:
        return {
            "Sid": sid,
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": objects,
            "Condition": condition,
        }

    if key_arn is not None:
        # A request that says nothing gets the bucket's key, so only what a request does say is looked at: "not equal"
        # also holds where the header is missing, hence the Null beside it.
        statements += [
            refuse_put(
                "DenyOtherAlgorithm",
                {"Null": {_ALGORITHM: "false"}, "StringNotEquals": {_ALGORITHM: "aws:kms"}},
            ),
            refuse_put("DenyOtherKey", {"Null": {_KEY: "false"}, "StringNotEquals": {_KEY: key_arn}}),
            # aws:kms without a key means the key that AWS manages, not the bucket's.
            refuse_put("DenyManagedKey", {"Null": {_KEY: "true"}, "StringEquals": {_ALGORITHM: "aws:kms"}}),
            refuse_put("DenyCustomerKey", {"Null": {_CUSTOMER_ALGORITHM: "false"}}),
        ]
    if access_logs_of:
        statements.append(
            {
                "Sid": "TakeAccessLogs",
                "Effect": "Allow",
                "Principal": {"Service": "logging.s3.amazonaws.com"},
                "Action": "s3:PutObject",
                "Resource": objects,
                "Condition": {
                    "ArnEquals": {"aws:SourceArn": list(access_logs_of)},
                    "StringEquals": {"aws:SourceAccount": account.id},
                },
            }
        )
    return statements


def _default_retention(lock: ObjectLock) -> aws.s3.BucketObjectLockConfigurationRuleArgs | None:
    if lock.days is None:
        return None
    return aws.s3.BucketObjectLockConfigurationRuleArgs(
        default_retention=aws.s3.BucketObjectLockConfigurationRuleDefaultRetentionArgs(
            mode=lock.mode.upper(), days=lock.days
        )
    )


def _encryption(key_arn: pulumi.Input[str] | None) -> aws.s3.BucketServerSideEncryptionConfigurationRuleArgs:
    by_default = aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs
    if key_arn is None:
        return aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
            apply_server_side_encryption_by_default=by_default(sse_algorithm="AES256")
        )
    # The bucket key spares a call to KMS for each of a data set's many objects.
    return aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
        apply_server_side_encryption_by_default=by_default(sse_algorithm="aws:kms", kms_master_key_id=key_arn),
        bucket_key_enabled=True,
    )
