"""Data at rest is encrypted, under keys of the team's own where the data class asks for it."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import BUCKETS, OWN_KEY_CLASSES, QUEUES, own_key, split, tags_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UnverifiedError, Value, shown

_SSE = split("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration")
_LOGGING = split("aws:s3/bucketLogging:BucketLogging")
_KMS_ALGORITHMS = ("aws:kms", "aws:kms:dsse")


@stack_rule(
    "s3-encryption-at-rest",
    title="A bucket encrypts with a KMS key of the team's own; one that receives access logs with S3's keys",
    severity=Severity.HIGH,
    applies=BUCKETS,
    controls={
        "FSBP": ("S3.17",),
        "Checkov": ("CKV_AWS_19", "CKV_AWS_145"),
        "Trivy": ("AWS-0132",),
        "NIST 800-53": ("SC-28", "SC-13"),
        "ISO 27001": ("A.8.24",),
    },
    why=(
        "Whoever may use the key may read the data: a key of the team's own can be refused, logged and withdrawn. "
        "S3 delivers access logs only to a bucket that uses its own keys (SSE-S3)."
    ),
    remedy="""
aws.s3.BucketServerSideEncryptionConfiguration(
    f"{name}-encryption", bucket=bucket.id,
    rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms", "kms_master_key_id": key_arn},
            "bucket_key_enabled": True}])
""",
)
def bucket_encryption(bucket: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(bucket, _SSE, "bucket")
    configurations = [(part, list(part["rules"].items())) for part in found.certain]
    inline = bucket["serverSideEncryptionConfiguration"]
    # The provider reports the separate resource's settings as the bucket's own output once they exist.
    if not configurations and inline.present and not is_providers_choice(bucket, str(inline.path[0])):
        configurations.append((bucket, [inline["rule"]]))
    if not configurations:
        yield _missing("encryption configuration", found.possible)
        return
    logs = _receives_logs(bucket, graph)
    for source, rules in configurations:
        if not rules:
            yield violation("the encryption configuration has no rules", source["rules"])
        yield from each(rules, lambda one, source=source: _bucket_rule(one, source, graph, logs))


def _bucket_rule(rule_value: Value, source: Resource, graph: Graph, logs: bool | None) -> Iterator[Finding]:
    default = rule_value["applyServerSideEncryptionByDefault"]
    algorithm = default["sseAlgorithm"].text()
    if algorithm == "AES256":
        if logs is None:
            yield unverified("S3's own keys are right only if access logs arrive here, which is not known yet", default)
        elif not logs:
            yield violation("S3's own keys (AES256) are used, which only a bucket for access logs may do", default)
    elif algorithm not in _KMS_ALGORITHMS:
        yield violation(f"the algorithm is {shown(algorithm)}; it must be one of {', '.join(_KMS_ALGORITHMS)}", default)
    elif logs:
        yield violation("S3 cannot deliver access logs into a bucket under a KMS key; use AES256 here", default)
    elif logs is None:
        yield unverified("a KMS key is right only if no access logs arrive here, which is not known yet", default)
    else:
        yield from own_key(default["kmsMasterKeyId"], source, graph)


def _receives_logs(bucket: Resource, graph: Graph) -> bool | None:
    """Whether another bucket of the stack sends its access logs here; None where that is not known."""
    found = graph.attached(bucket, _LOGGING, "targetBucket")
    if found.certain:
        return True
    return None if found.possible else False


def _missing(part: str, possible: list[Resource]) -> Finding:
    if possible:
        names = " or ".join(resource.name for resource in possible[:3])
        return unverified(f"whether {names} is this bucket's {part} is not known yet")
    return violation(f"the bucket has no {part}")


@stack_rule(
    "sqs-encryption-at-rest",
    title="A queue encrypts its messages; with a key of the team's own where they are personal data or more",
    severity=Severity.HIGH,
    applies=QUEUES,
    controls={
        "FSBP": ("SQS.1",),
        "Checkov": ("CKV_AWS_27",),
        "Trivy": ("AWS-0096",),
        "NIST 800-53": ("SC-28", "SC-13"),
        "ISO 27001": ("A.8.24",),
    },
    why="Messages wait on disk. SQS's own keys keep strangers out; only a key of the team's own shows who read them.",
    remedy="""
aws.sqs.Queue(name, kms_master_key_id=key_arn)          # any data class
aws.sqs.Queue(name, sqs_managed_sse_enabled=True)       # data-class public or internal
""",
)
def queue_encryption(queue: Resource, graph: Graph) -> Iterator[Finding]:
    key = queue["kmsMasterKeyId"]
    # An output that the program did not set is unknown before the queue exists, and computed from nothing.
    computed = is_providers_choice(queue, "kmsMasterKeyId")
    if key.present and key.raw != "" and not computed:
        yield from own_key(key, queue, graph)
        return
    managed = queue["sqsManagedSseEnabled"]
    if not managed.present:
        yield violation("neither a KMS key nor SQS's own encryption is set", key)
    elif managed.known and not managed.flag():
        yield violation("messages are not encrypted", managed)
    elif (data_class := tags_of(queue)["data-class"].text()) in OWN_KEY_CLASSES:
        yield violation(f"SQS's own keys are used, but {data_class} data needs a key of the team's own", managed)
    elif not managed.known:
        yield unverified("whether SQS encrypts is its own choice until the program says so", managed)


@stack_rule(
    "logs-own-key",
    title="A log group is encrypted with a key of the team's own",
    severity=Severity.MEDIUM,
    applies={"aws:cloudwatch/logGroup:LogGroup"},
    controls={
        "Checkov": ("CKV_AWS_158",),
        "Trivy": ("AWS-0017",),
        "NIST 800-53": ("SC-28", "AU-9"),
        "ISO 27001": ("A.8.15", "A.8.24"),
    },
    why="Logs repeat what passes through a system: addresses, paths, sometimes the data itself.",
    remedy="""
aws.cloudwatch.LogGroup(name, kms_key_id=key_arn, retention_in_days=90)
""",
)
def log_group_key(group: Resource, graph: Graph) -> Iterator[Finding]:
    key = group["kmsKeyId"]
    if is_providers_choice(group, "kmsKeyId"):
        raise UnverifiedError(key, "which key this will be is not known yet")
    yield from own_key(key, group, graph)


@resource_rule(
    "kms-rotation",
    title="A symmetric KMS key is rotated every year",
    severity=Severity.MEDIUM,
    applies={"aws:kms/key:Key"},
    controls={
        "FSBP": ("KMS.4",),
        "Checkov": ("CKV_AWS_7",),
        "Trivy": ("AWS-0065",),
        "NIST 800-53": ("SC-12",),
        "ISO 27001": ("A.8.24",),
    },
    why="Rotation bounds how much data one key's material protects. Only symmetric keys made by KMS can rotate.",
    remedy="""
aws.kms.Key(name, enable_key_rotation=True)
""",
)
def key_rotation(key: Resource) -> Iterator[Finding]:
    symmetric = (key["customerMasterKeySpec"].text() or "SYMMETRIC_DEFAULT") == "SYMMETRIC_DEFAULT"
    if not symmetric or key["customKeyStoreId"].text():
        return
    rotation = key["enableKeyRotation"]
    if not rotation.flag():
        yield violation("automatic rotation is off", rotation)
