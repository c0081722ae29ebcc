"""S3: buckets and the settings of buckets that are resources of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.calls import Call, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import AwsError, RefusedError
from trainyard.local.aws.fields import ID, Choice, Const, Each, Field, Json, Object, Prop, Scope, Whole, pascal
from trainyard.local.aws.resource_policy import is_public
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.rows import s3_objects
from trainyard.local.aws.tags import Tagging, TagsField
from trainyard.local.aws.values import OMIT

_BUCKET = {"Bucket": "bucket"}
_NO_BUCKET = ("NoSuchBucket", "404")
_OWN_RESOURCE = "deprecated by the SDK; use the resource of its own"
_OWNER = {"expectedBucketOwner": "the emulator has one account and does not check owners"}


@dataclass(frozen=True)
class LocationConstraint(Field):
    """The region, which S3 wants told everywhere but in us-east-1."""

    def write(self, scope: Scope) -> Any:
        return OMIT if scope.facts["region"] == "us-east-1" else scope.facts["region"]


@dataclass(frozen=True)
class Presence(Prop):
    """A boolean that AWS expresses by an empty object being there."""

    def write(self, scope: Scope) -> Any:
        return {} if scope.values.get(self.name) else OMIT

    def read(self, value: Any, into: dict[str, Any]) -> None:
        into[self.name] = value is not None


def _empty(context: Context) -> None:
    """Delete every object and version of a bucket that the program allows to be emptied."""
    if not context.wanted.get("forceDestroy"):
        return
    # As AWS's provider does: what GOVERNANCE locks goes, what COMPLIANCE locks stays, and the bucket with it.
    locked = bool(context.wanted.get("objectLockEnabled"))
    while True:
        answer = context.call("list_object_versions", Bucket=context.id)
        found = [*answer.get("Versions", ()), *answer.get("DeleteMarkers", ())]
        if not found:
            break
        keys = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in found]
        request = {
            "Bucket": context.id,
            "Delete": {"Objects": keys, "Quiet": True},
            "BypassGovernanceRetention": locked,
        }
        answer = context.call("delete_objects", "", **request)
        for failure in answer.get("Errors", ()):
            raise AwsError("s3:DeleteObjects", failure["Code"], f"{failure['Key']}: {failure['Message']}")
    for upload in context.call("list_multipart_uploads", Bucket=context.id).get("Uploads", ()):
        context.call("abort_multipart_upload", Bucket=context.id, Key=upload["Key"], UploadId=upload["UploadId"])


def _encrypts_with_kms(context: Context, bucket: str) -> bool:
    try:
        answer = context.call("get_bucket_encryption", Bucket=bucket)
    except AwsError:
        return False
    rules = answer["ServerSideEncryptionConfiguration"]["Rules"]
    defaults = (rule.get("ApplyServerSideEncryptionByDefault", {}) for rule in rules)
    return any(default.get("SSEAlgorithm", "").startswith("aws:kms") for default in defaults)


def _log_target_takes_logs(context: Context) -> None:
    target = context.wanted["targetBucket"]
    if _encrypts_with_kms(context, target):
        raise RefusedError(
            f"access logs cannot go to {target}: its default encryption is SSE-KMS, and S3 delivers access logs only "
            "to buckets whose default encryption is SSE-S3 (AES256)"
        )


def _no_logs_come_here(context: Context) -> None:
    rules = context.wanted["rules"]
    defaults = [rule.get("applyServerSideEncryptionByDefault") or {} for rule in rules]
    if not any(default.get("sseAlgorithm", "").startswith("aws:kms") for default in defaults):
        return
    here = context.wanted["bucket"]
    for bucket in context.call("list_buckets")["Buckets"]:
        logging = context.call("get_bucket_logging", Bucket=bucket["Name"]).get("LoggingEnabled", {})
        if logging.get("TargetBucket") == here:
            raise RefusedError(
                f"{here} takes the access logs of {bucket['Name']}, and S3 delivers access logs only to buckets whose "
                "default encryption is SSE-S3 (AES256), not SSE-KMS"
            )


def _not_blocked(context: Context) -> None:
    """S3 refuses a public policy where public policies are blocked; the emulator does not look."""
    bucket = context.wanted["bucket"]
    if not is_public(context.wanted["policy"]):
        return
    try:
        block = context.call("get_public_access_block", Bucket=bucket)["PublicAccessBlockConfiguration"]
    except AwsError:
        return
    if block.get("BlockPublicPolicy"):
        raise RefusedError(
            f"s3:PutBucketPolicy: AccessDenied: the policy of {bucket} is public, and its public access block has "
            "blockPublicPolicy"
        )


def _key_with_kms_only(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    rules = inputs.get("rules")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        default = rule.get("applyServerSideEncryptionByDefault") if isinstance(rule, Mapping) else None
        if isinstance(default, Mapping) and default.get("kmsMasterKeyId") and default.get("sseAlgorithm") == "AES256":
            path = f"rules[{index}].applyServerSideEncryptionByDefault.kmsMasterKeyId"
            yield path, "goes with sseAlgorithm aws:kms or aws:kms:dsse only"


def _setting(
    name: str,
    put: str,
    get: str,
    body: Mapping[str, Any],
    result: Mapping[str, Any],
    gone: str,
    remove: Call,
    path: str = "",
    **more: Any,
) -> Row:
    """A setting of a bucket: one operation puts it, one gets it, one removes it; the bucket's name is its ID."""
    call = Call(put, {**_BUCKET, **body})
    return Row(
        f"aws:s3/{name[0].lower()}{name[1:]}:{name}",
        service="s3",
        cloudformation="AWS::S3::Bucket",
        id="{bucket}",
        create=call,
        update=(call,),
        read=(Read(get, _BUCKET, result, path, gone=(*_NO_BUCKET, *gone.split())),),
        delete=(Call(remove.operation, {**_BUCKET, **remove.request}, ignore=_NO_BUCKET),),
        replace_on=("bucket",),
        **more,
    )


_BUCKET_ROW = Row(
    "aws:s3/bucket:Bucket",
    service="s3",
    cloudformation="AWS::S3::Bucket",
    id="{bucket}",
    name=Name("bucket", "bucketPrefix", max_length=63, transform=str.lower),
    create=Call(
        "create_bucket",
        {
            **_BUCKET,
            "CreateBucketConfiguration": {"LocationConstraint": LocationConstraint()},
            "ObjectLockEnabledForBucket": "objectLockEnabled",
        },
    ),
    read=(
        Read("head_bucket", {"Bucket": ID}, {}, gone=_NO_BUCKET),
        Read(
            "get_object_lock_configuration",
            {"Bucket": ID},
            {"ObjectLockConfiguration": {"ObjectLockEnabled": Choice("objectLockEnabled", values={True: "Enabled"})}},
            gone=("ObjectLockConfigurationNotFoundError",),
        ),
    ),
    delete=(Do(_empty), Call("delete_bucket", {"Bucket": ID}, ignore=_NO_BUCKET)),
    tags=Tagging(
        reads=(
            Read(
                "get_bucket_tagging",
                {"Bucket": ID},
                {"TagSet": TagsField(key="Key", value="Value")},
                gone=("NoSuchTagSet",),
            ),
        ),
        calls=(
            Call("delete_bucket_tagging", {"Bucket": ID}, when_unset="tagsAll"),
            Call(
                "put_bucket_tagging",
                {"Bucket": ID, "Tagging": {"TagSet": TagsField(key="Key", value="Value")}},
                needs=("Tagging",),
            ),
        ),
    ),
    defaults={"forceDestroy": False},
    local=("forceDestroy",),
    computed=("objectLockEnabled",),
    replace_on=("objectLockEnabled",),
    outputs={
        "arn": "arn:{partition}:s3:::{id}",
        "bucket": "{id}",
        "bucketDomainName": "{id}.s3.amazonaws.com",
        "bucketRegionalDomainName": "{id}.s3.{region}.{dnsSuffix}",
        "bucketRegion": "{region}",
    },
    schema_names={"bucket": "BucketName"},
    not_emulated={
        **dict.fromkeys(
            [
                "accelerationStatus",
                "acl",
                "corsRules",
                "grants",
                "lifecycleRules",
                "logging",
                "objectLockConfiguration",
                "policy",
                "replicationConfiguration",
                "requestPayer",
                "serverSideEncryptionConfiguration",
                "versioning",
                "website",
            ],
            _OWN_RESOURCE,
        ),
        "bucketNamespace": "account-regional bucket names are unknown to the emulator",
        "hostedZoneId": "not looked up",
        "websiteDomain": "websites are not emulated",
        "websiteEndpoint": "websites are not emulated",
    },
    notes=("bucket names are unique in the emulated account only",),
)

_ENCRYPTION_RULE = {
    "ApplyServerSideEncryptionByDefault": Object(
        "applyServerSideEncryptionByDefault", {"SSEAlgorithm": "sseAlgorithm", "KMSMasterKeyID": "kmsMasterKeyId"}
    ),
    "BucketKeyEnabled": "bucketKeyEnabled",
}
_ENCRYPTION = {"ServerSideEncryptionConfiguration": {"Rules": Each("rules", _ENCRYPTION_RULE, ordered=False)}}
_VERSIONING = Object("versioningConfiguration", {"Status": "status", "MFADelete": "mfaDelete"})
_PUBLIC_ACCESS = {
    "PublicAccessBlockConfiguration": pascal(
        "blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"
    )
}
_OWNERSHIP = {"OwnershipControls": {"Rules": Object("rule", pascal("objectOwnership"), single=True)}}
_OBJECT_LOCK = {
    "ObjectLockConfiguration": {
        "ObjectLockEnabled": "objectLockEnabled",
        "Rule": Object("rule", {"DefaultRetention": Object("defaultRetention", pascal("mode", "days", "years"))}),
    }
}
_SIZES = pascal("objectSizeGreaterThan", "objectSizeLessThan")
_LIFECYCLE_FILTER = {
    "Prefix": "prefix",
    **_SIZES,
    "Tag": Object("tag", pascal("key", "value")),
    "And": Object("and", {"Prefix": "prefix", **_SIZES, "Tags": TagsField("tags", key="Key", value="Value")}),
}
_LIFECYCLE_RULE = {
    "ID": "id",
    "Status": "status",
    "Prefix": "prefix",
    "Filter": Object("filter", _LIFECYCLE_FILTER, unset={}),
    "Expiration": Object("expiration", pascal("date", "days", "expiredObjectDeleteMarker")),
    "NoncurrentVersionExpiration": Object(
        "noncurrentVersionExpiration", pascal("noncurrentDays", "newerNoncurrentVersions")
    ),
    "Transitions": Each("transitions", pascal("date", "days", "storageClass"), ordered=False),
    "NoncurrentVersionTransitions": Each(
        "noncurrentVersionTransitions",
        pascal("noncurrentDays", "newerNoncurrentVersions", "storageClass"),
        ordered=False,
    ),
    "AbortIncompleteMultipartUpload": Object("abortIncompleteMultipartUpload", pascal("daysAfterInitiation")),
}
_LOG_FORMAT = {
    "SimplePrefix": Object("simplePrefix", {}),
    "PartitionedPrefix": Object("partitionedPrefix", pascal("partitionDateSource")),
}
_LOGGING = {
    "LoggingEnabled": {
        **pascal("targetBucket", "targetPrefix"),
        "TargetObjectKeyFormat": Object("targetObjectKeyFormat", _LOG_FORMAT),
    }
}

ROWS = (
    _BUCKET_ROW,
    _setting(
        "BucketVersioning",
        "put_bucket_versioning",
        "get_bucket_versioning",
        {"VersioningConfiguration": _VERSIONING},
        {"VersioningConfiguration": _VERSIONING},
        "",
        Call("put_bucket_versioning", {"VersioningConfiguration": {"Status": Const("Suspended")}}),
        path="[@][?Status].{VersioningConfiguration: {Status: Status, MFADelete: MFADelete}} | [0]",
        computed=("versioningConfiguration.mfaDelete",),
        not_emulated={**_OWNER, "mfa": "MFA delete is not emulated"},
    ),
    _setting(
        "BucketObjectLockConfiguration",
        "put_object_lock_configuration",
        "get_object_lock_configuration",
        _OBJECT_LOCK,
        _OBJECT_LOCK,
        "ObjectLockConfigurationNotFoundError",
        # The lock itself can't be taken away again, only what it does by default.
        Call("put_object_lock_configuration", {"ObjectLockConfiguration": {"ObjectLockEnabled": Const("Enabled")}}),
        defaults={"objectLockEnabled": "Enabled"},
        not_emulated={**_OWNER, "token": "S3 asks for none since 2023-11"},
    ),
    _setting(
        "BucketServerSideEncryptionConfiguration",
        "put_bucket_encryption",
        "get_bucket_encryption",
        _ENCRYPTION,
        _ENCRYPTION,
        "ServerSideEncryptionConfigurationNotFoundError",
        Call("delete_bucket_encryption"),
        schema_names={
            "rules": "BucketEncryption/ServerSideEncryptionConfiguration",
            "rules[].applyServerSideEncryptionByDefault": "ServerSideEncryptionByDefault",
        },
        computed=("rules[].bucketKeyEnabled",),
        constraints=(_key_with_kms_only,),
        before=(_no_logs_come_here,),
        not_emulated=_OWNER,
    ),
    _setting(
        "BucketPublicAccessBlock",
        "put_public_access_block",
        "get_public_access_block",
        _PUBLIC_ACCESS,
        _PUBLIC_ACCESS,
        "NoSuchPublicAccessBlockConfiguration",
        Call("delete_public_access_block"),
        defaults=dict.fromkeys(
            ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), False
        ),
        local=("skipDestroy",),
    ),
    _setting(
        "BucketOwnershipControls",
        "put_bucket_ownership_controls",
        "get_bucket_ownership_controls",
        _OWNERSHIP,
        _OWNERSHIP,
        "OwnershipControlsNotFoundError",
        Call("delete_bucket_ownership_controls"),
        schema_names={"rule": "OwnershipControls/Rules/[]"},
    ),
    _setting(
        "BucketPolicy",
        "put_bucket_policy",
        "get_bucket_policy",
        {"Policy": Json("policy")},
        {"Policy": Json("policy")},
        "NoSuchBucketPolicy",
        Call("delete_bucket_policy"),
        before=(_not_blocked,),
    ),
    _setting(
        "BucketLifecycleConfiguration",
        "put_bucket_lifecycle_configuration",
        "get_bucket_lifecycle_configuration",
        {
            "LifecycleConfiguration": {"Rules": Each("rules", _LIFECYCLE_RULE)},
            "TransitionDefaultMinimumObjectSize": "transitionDefaultMinimumObjectSize",
        },
        {
            "Rules": Each("rules", _LIFECYCLE_RULE),
            "TransitionDefaultMinimumObjectSize": "transitionDefaultMinimumObjectSize",
        },
        "NoSuchLifecycleConfiguration",
        Call("delete_bucket_lifecycle"),
        computed=("transitionDefaultMinimumObjectSize", "rules[].filter", "rules[].prefix"),
        schema_names={
            "rules": "LifecycleConfiguration/Rules",
            "transitionDefaultMinimumObjectSize": "LifecycleConfiguration/TransitionDefaultMinimumObjectSize",
        },
        local=("timeouts",),
        not_emulated=_OWNER,
    ),
    _setting(
        "BucketLogging",
        "put_bucket_logging",
        "get_bucket_logging",
        {"BucketLoggingStatus": _LOGGING},
        _LOGGING,
        "",
        Call("put_bucket_logging", {"BucketLoggingStatus": Const({})}),
        path="[@][?LoggingEnabled] | [0]",
        schema_names={
            "targetBucket": "LoggingConfiguration/DestinationBucketName",
            "targetPrefix": "LoggingConfiguration/LogFilePrefix",
            "targetObjectKeyFormat": "LoggingConfiguration/TargetObjectKeyFormat",
        },
        before=(_log_target_takes_logs,),
        not_emulated={**_OWNER, "targetGrants": "access control lists are not emulated"},
    ),
    _setting(
        "BucketNotification",
        "put_bucket_notification_configuration",
        "get_bucket_notification_configuration",
        {"NotificationConfiguration": Whole({"EventBridgeConfiguration": Presence("eventbridge")})},
        {"EventBridgeConfiguration": Presence("eventbridge")},
        "",
        Call("put_bucket_notification_configuration", {"NotificationConfiguration": Const({})}),
        defaults={"eventbridge": False},
        not_emulated=dict.fromkeys(
            ("lambdaFunctions", "queues", "topics"), "no row yet; send events to EventBridge and add a rule"
        ),
    ),
    *s3_objects.ROWS,
)
