"""Buckets keep what they hold, say who asked for it, and throw away what nobody wants."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import BUCKETS, split, tags_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.parts import any_of, given, missing
from trainyard.policies.preflight import number
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import Value, shown

_VERSIONING = split("aws:s3/bucketVersioning:BucketVersioning")
_LOGGING = split("aws:s3/bucketLogging:BucketLogging")
_LIFECYCLE = split("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
_OBJECT_LOCK = split("aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration")
_ACCESS_POINTS = frozenset({"aws:s3/accessPoint:AccessPoint"})
_MULTI_REGION_POINTS = frozenset({"aws:s3control/multiRegionAccessPoint:MultiRegionAccessPoint"})
_ACCOUNT_BLOCK = frozenset({"aws:s3/accountPublicAccessBlock:AccountPublicAccessBlock"})

_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
_LONGEST_UPLOAD_DAYS = 7
# Records that law or a supervisor may ask for again, as they were.
_LOCKED_CLASSES = ("health", "financial", "government")

_ACCESS = {"NIST 800-53": ("AC-3", "AC-6", "SC-7"), "ISO 27001": ("A.5.15", "A.8.3")}


@stack_rule(
    "s3-versioning",
    title="A bucket keeps the versions of its objects",
    severity=Severity.MEDIUM,
    applies=BUCKETS,
    controls={
        "FSBP": ("S3.14",),
        "Checkov": ("CKV_AWS_21",),
        "Trivy": ("AWS-0090",),
        "NIST 800-53": ("CP-9", "SI-12"),
        "ISO 27001": ("A.8.13",),
    },
    why=(
        "One wrong sync or one stolen credential overwrites a data set; only an older version brings it back. "
        "Where versions cost too much, a lifecycle rule ends them after days."
    ),
    remedy="""
aws.s3.BucketVersioning(f"{name}-versioning", bucket=bucket.id, versioning_configuration={"status": "Enabled"})
""",
)
def versioning(bucket: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(bucket, _VERSIONING, "bucket")

    def check(status: Value) -> Iterator[Finding]:
        if (text := status.text()) != "Enabled":
            yield violation(f"versioning is {shown(text or 'not set')}; it must be Enabled", status)

    yield from each([part["versioningConfiguration"]["status"] for part in found.certain], check)
    if found.certain:
        return
    inline = _inline(bucket, "versioning")
    if not inline:
        yield missing("versioning", found.possible, "bucket")
    for part in inline:
        if not part["enabled"].flag():
            yield violation("versioning is off", part)


def _inline(bucket: Resource, name: str) -> list[Value]:
    """A setting inside the bucket: an object, or in the deprecated kind of bucket a list of one under a plural name."""
    one, several = given(bucket, name), given(bucket, f"{name}s")
    return [one] if one else several.items() if several else []


@stack_rule(
    "s3-access-logs",
    title="A bucket's requests are logged in another bucket",
    severity=Severity.MEDIUM,
    applies=BUCKETS,
    controls={
        "FSBP": ("S3.9",),
        "Checkov": ("CKV_AWS_18",),
        "Trivy": ("AWS-0089",),
        "NIST 800-53": ("AU-2", "AU-3", "AU-12"),
        "ISO 27001": ("A.8.15",),
    },
    why=(
        "After a leak the first question is who read what. The bucket that receives the logs is exempt: "
        "logging its own deliveries would never end."
    ),
    remedy="""
aws.s3.BucketLogging(f"{name}-logging", bucket=bucket.id, target_bucket=logs.id, target_prefix=f"s3/{name}/")
""",
)
def access_logs(bucket: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(bucket, _LOGGING, "bucket")
    for part in (*found.certain, *found.possible):
        into_itself = graph.refers(part, "targetBucket", bucket)
        if into_itself and part in found.certain:
            yield violation("the bucket logs into itself: each delivery is one more request", part["targetBucket"])
        elif into_itself or (into_itself is None and part in found.certain):
            yield unverified(f"whether {part.name} makes the bucket log into itself is not known yet")
    if found.certain or any(part["targetBucket"].present for part in _inline(bucket, "logging")):
        return
    receives = graph.attached(bucket, _LOGGING, "targetBucket")
    if receives.certain:
        return
    if receives.possible and not found.possible:
        yield unverified("it may be without access logs only if it receives them, which is not known yet")
    else:
        yield missing("access logging", found.possible, "bucket")


@stack_rule(
    "s3-lifecycle",
    title="A bucket has lifecycle rules, and one of them ends uploads that nobody finished",
    severity=Severity.LOW,
    applies=BUCKETS,
    controls={
        "FSBP": ("S3.13",),
        "Checkov": ("CKV2_AWS_61", "CKV_AWS_300"),
        "NIST 800-53": ("SI-12", "MP-6"),
        "ISO 27001": ("A.8.10",),
    },
    why=(
        "A checkpoint is uploaded in parts. Those of an upload that broke off are in no listing, cost like objects, "
        "hold the same data, and stay until a rule removes them."
    ),
    remedy="""
aws.s3.BucketLifecycleConfiguration(f"{name}-lifecycle", bucket=bucket.id, rules=[{
    "id": "remove-leftovers", "status": "Enabled", "filter": {"prefix": ""},
    "abort_incomplete_multipart_upload": {"days_after_initiation": 7}}])
""",
)
def lifecycle(bucket: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(bucket, _LIFECYCLE, "bucket")
    lists = [part["rules"] for part in found.certain]
    inline = given(bucket, "lifecycleRules")
    if not lists and inline and inline.raw:
        lists.append(inline)
    if not lists:
        yield missing("lifecycle configuration", found.possible, "bucket")
    for rules in lists:
        if not any_of(rules.items(), _ends_uploads):
            limit = _LONGEST_UPLOAD_DAYS
            yield violation(f"no enabled rule ends incomplete uploads of the whole bucket within {limit} days", rules)


def _ends_uploads(rule_value: Value) -> bool:
    inline = rule_value["abortIncompleteMultipartUploadDays"]
    days = inline if inline.present else rule_value["abortIncompleteMultipartUpload"]["daysAfterInitiation"]
    if not days.present or not _enabled(rule_value) or not _whole_bucket(rule_value):
        return False
    return 0 < (number(days) or 0) <= _LONGEST_UPLOAD_DAYS


def _enabled(rule_value: Value) -> bool:
    status = rule_value["status"]
    return status.text() == "Enabled" if status.present else bool(rule_value["enabled"].flag())


def _whole_bucket(rule_value: Value) -> bool:
    """Whether the rule's filter leaves no object out: an empty one, or an empty prefix and nothing else."""
    if rule_value["prefix"].text() or rule_value["tags"].fields():
        return False
    parts = {name: part for name, part in rule_value["filter"].fields().items() if part.raw not in (None, "", {})}
    for part in parts.values():
        if not part.known:
            part.text()
    return not parts


@stack_rule(
    "s3-object-lock",
    title="A bucket of health, financial or government data can lock its objects",
    severity=Severity.MEDIUM,
    applies=BUCKETS,
    controls={
        "FSBP": ("S3.15",),
        "Checkov": ("CKV_AWS_143",),
        "NIST 800-53": ("CP-9", "AU-9", "SI-12"),
        "ISO 27001": ("A.5.33",),
    },
    why=(
        "Who holds an administrator's credential can delete every version. A locked object outlasts him, "
        "and proves that a record was not changed."
    ),
    remedy="""
bucket = aws.s3.Bucket(name, object_lock_enabled=True)      # then, for objects that nobody may shorten:
aws.s3.BucketObjectLockConfiguration(f"{name}-lock", bucket=bucket.id,
    rule={"default_retention": {"mode": "COMPLIANCE", "days": 30}})
""",
)
def object_lock(bucket: Resource, graph: Graph) -> Iterator[Finding]:
    data_class = tags_of(bucket)["data-class"].text()
    if data_class not in _LOCKED_CLASSES:
        return
    found = graph.attached(bucket, _OBJECT_LOCK, "bucket")
    enabled, inline = given(bucket, "objectLockEnabled"), given(bucket, "objectLockConfiguration")
    if enabled and enabled.flag():
        return
    texts = [part["objectLockEnabled"] for part in found.certain]
    if inline:
        texts.append(inline["objectLockEnabled"])
    # The part resource has no other value than Enabled, which is what it means when it says nothing.
    if any_of(texts, lambda one: not one.present or one.text() == "Enabled"):
        return
    if found.possible:
        yield missing("object lock", found.possible, "bucket")
    else:
        yield violation(f"{data_class} data lie here and objects cannot be locked", bucket["objectLockEnabled"])


@resource_rule(
    "s3-access-point-block",
    title="An access point blocks public access in all four ways",
    severity=Severity.HIGH,
    applies=_ACCESS_POINTS | _MULTI_REGION_POINTS,
    controls={"FSBP": ("S3.19", "S3.24"), "Checkov": ("CKV_AWS_392",), **_ACCESS},
    why=(
        "An access point is a second door into a bucket, with a policy of its own. "
        "Its block is on unless someone turns it off, and can never be changed once it exists."
    ),
    remedy="""
aws.s3.AccessPoint(name, bucket=bucket.id)     # no public_access_block_configuration: all four are on
""",
)
def access_point_block(point: Resource) -> Iterator[Finding]:
    multi_region = point.type in _MULTI_REGION_POINTS
    block = point["details"]["publicAccessBlock"] if multi_region else point["publicAccessBlockConfiguration"]

    def check(switch: Value) -> Iterator[Finding]:
        if switch.present and not switch.flag():
            yield violation(f"{switch.path[-1]} is off", switch)

    yield from each([block[name] for name in _BLOCKS], check)


@resource_rule(
    "s3-account-block",
    title="An account's own public access block blocks in all four ways",
    severity=Severity.CRITICAL,
    applies=_ACCOUNT_BLOCK,
    controls={"FSBP": ("S3.1",), **_ACCESS},
    why=(
        "It holds for every bucket of the account, those of other teams too. "
        "What this resource does not mention it turns off, even where it was on before."
    ),
    remedy="""
aws.s3.AccountPublicAccessBlock("account", block_public_acls=True, block_public_policy=True,
    ignore_public_acls=True, restrict_public_buckets=True)
""",
)
def account_block(block: Resource) -> Iterator[Finding]:
    def check(switch: Value) -> Iterator[Finding]:
        if not switch.flag():
            yield violation(
                f"{switch.path[-1]} is {'off' if switch.present else 'not set, which turns it off'}", switch
            )

    yield from each([block[name] for name in _BLOCKS], check)
