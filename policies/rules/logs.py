"""What happened is recorded, kept long enough, and cannot be rewritten."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import own_key
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.parts import given
from trainyard.policies.preflight import number
from trainyard.policies.retention import retention_of
from trainyard.policies.rule import Finding, Severity, resource_rule, stack_rule, violation

_TRAILS = frozenset({"aws:cloudtrail/trail:Trail"})
_EVENT_STORES = frozenset({"aws:cloudtrail/eventDataStore:EventDataStore"})

_RECORD = {"NIST 800-53": ("AU-2", "AU-12"), "ISO 27001": ("A.8.15",)}


@resource_rule(
    "logs-retention",
    title="A log group keeps its events for as long as its environment demands, and not for ever",
    severity=Severity.MEDIUM,
    applies={"aws:cloudwatch/logGroup:LogGroup"},
    controls={
        "FSBP": ("CloudWatch.16",),
        "Checkov": ("CKV_AWS_66", "CKV_AWS_338"),
        "NIST 800-53": ("AU-11", "SI-12"),
        "ISO 27001": ("A.8.15", "A.8.10"),
    },
    why=(
        "Intrusions are found after months: logs that are gone by then answer nothing. Logs that nobody ends "
        "keep names and addresses longer than there is a reason to, and cost every month."
    ),
    remedy="""
aws.cloudwatch.LogGroup(name, retention_in_days=365, kms_key_id=key_arn)
""",
)
def retention(group: Resource) -> Iterator[Finding]:
    # Of this class CloudWatch Logs keeps everything for one day and takes no other wish.
    if group["logGroupClass"].text() == "DELIVERY":
        return
    days, least = number(group["retentionInDays"]), retention_of(group.environment).logs
    if not days:
        yield violation("the events are kept for ever, which nobody has decided", group["retentionInDays"])
    elif days < least:
        where = f"environment {group.environment!r} demands {least} (policies/retention.yaml)"
        yield violation(f"the events are gone after {days} days; {where}", group["retentionInDays"])


@resource_rule(
    "trail-every-region",
    title="A trail records every region, global services included, and is on",
    severity=Severity.HIGH,
    applies=_TRAILS,
    controls={"FSBP": ("CloudTrail.1",), "Checkov": ("CKV_AWS_67",), "Trivy": ("AWS-0014",), **_RECORD},
    why=(
        "Whoever gets in starts machines where nobody looks. A trail of one region does not see the others, "
        "nor IAM, whose events are global. The records go to the trail's home region: choose that one by the law."
    ),
    remedy="""
aws.cloudtrail.Trail(name, is_multi_region_trail=True, s3_bucket_name=bucket.id, kms_key_id=key_arn,
    enable_log_file_validation=True)
""",
)
def every_region(trail: Resource) -> Iterator[Finding]:
    if not trail["isMultiRegionTrail"].flag():
        yield violation("only the trail's own region is recorded", trail["isMultiRegionTrail"])
    for name, what in (("enableLogging", "recording"), ("includeGlobalServiceEvents", "the record of global services")):
        if trail[name].present and not trail[name].flag():
            yield violation(f"{what} is off", trail[name])


@resource_rule(
    "trail-validated",
    title="A trail's files can be proven unchanged",
    severity=Severity.MEDIUM,
    applies=_TRAILS,
    controls={
        "FSBP": ("CloudTrail.4",),
        "Checkov": ("CKV_AWS_36",),
        "Trivy": ("AWS-0016",),
        "NIST 800-53": ("AU-9", "SI-7"),
        "ISO 27001": ("A.8.15", "A.5.28"),
    },
    why="An intruder deletes his traces. Signed digests show that a file is missing or was changed.",
    remedy="""
aws.cloudtrail.Trail(name, enable_log_file_validation=True, ...)
""",
)
def validated(trail: Resource) -> Iterator[Finding]:
    if not trail["enableLogFileValidation"].flag():
        yield violation("the log files are not signed", trail["enableLogFileValidation"])


@stack_rule(
    "trail-own-key",
    title="A trail, or a store of its events, is encrypted with a key of the team's own",
    severity=Severity.MEDIUM,
    applies=_TRAILS | _EVENT_STORES,
    controls={
        "FSBP": ("CloudTrail.2",),
        "Checkov": ("CKV_AWS_35",),
        "Trivy": ("AWS-0015",),
        "NIST 800-53": ("AU-9", "SC-28"),
        "ISO 27001": ("A.8.15", "A.8.24"),
    },
    why="A trail names every person, role, bucket and key of the account: a map for whoever can read it.",
    remedy="""
aws.cloudtrail.Trail(name, kms_key_id=key_arn, ...)
""",
)
def trail_key(trail: Resource, graph: Graph) -> Iterator[Finding]:
    key = given(trail, "kmsKeyId")
    if key is None:
        yield violation("no key of the team's own is named here", trail["kmsKeyId"])
    else:
        yield from own_key(key, trail, graph)
