"""Data stay for as long as somebody may need them back."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import BUCKETS, split, tags_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.preflight import number
from trainyard.policies.retention import retention_of
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, violation
from trainyard.policies.values import Value

_EMPTIED = {**dict.fromkeys(BUCKETS, "forceDestroy"), "aws:ecr/repository:Repository": "forceDelete"}
_LIFECYCLES = split("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
_LOGGING = split("aws:s3/bucketLogging:BucketLogging")
_LEAST_DAYS = 3
"""An object that was overwritten on Friday evening can be had back on Monday morning."""

_KEPT = {"NIST 800-53": ("CP-9", "SI-12"), "ISO 27001": ("A.8.13", "A.5.33")}


@resource_rule(
    "store-not-emptied",
    title="A bucket or registry with data in it is not deleted with all that is in it",
    severity=Severity.HIGH,
    applies=frozenset(_EMPTIED),
    controls=_KEPT,
    why=(
        "AWS refuses to delete what is not empty, and that is the last guard of a dataset when a stack is destroyed or "
        "a name is changed. Environments that are thrown away say so in policies/retention.yaml."
    ),
    remedy="""
aws.s3.Bucket(name, force_destroy=False)                # public data, which can be had again, may go
""",
)
def store_not_emptied(store: Resource) -> Iterator[Finding]:
    switch = store[_EMPTIED[store.type]]
    if retention_of(store.environment).thrown_away or not switch.flag():
        return
    if tags_of(store)["data-class"].text() != "public":
        yield violation("all that is in it goes with it", switch)


@stack_rule(
    "s3-kept-long-enough",
    title=f"Old versions stay for {_LEAST_DAYS} days at least, and access logs as long as other logs",
    severity=Severity.MEDIUM,
    applies=BUCKETS,
    controls={**_KEPT, "FSBP": ("S3.10",)},
    why=(
        "Versioning is what brings back what a wrong script has overwritten, and a lifecycle of one day takes it away "
        "before anybody has looked. Access logs that are gone tell nothing of a leak."
    ),
    remedy="""
{"id": "old", "status": "Enabled", "noncurrent_version_expiration": {"noncurrent_days": 30}}
{"id": "logs", "status": "Enabled", "expiration": {"days": 365}}           # policies/retention.yaml
""",
)
def kept_long_enough(bucket: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(bucket, _LIFECYCLES, "bucket")
    logs = graph.attached(bucket, _LOGGING, "targetBucket")
    receives = bool(logs.certain or logs.possible)

    def check(one: Value) -> Iterator[Finding]:
        if one["status"].text() != "Enabled":
            return
        old = one["noncurrentVersionExpiration"]["noncurrentDays"]
        days = number(old)
        if days is not None and days < _LEAST_DAYS:
            yield violation(f"old versions are gone after {days:g} days; {_LEAST_DAYS} at least", old)
        least = retention_of(bucket.environment).logs
        whole = one["expiration"]["days"]
        ends = number(whole) if receives else None
        if ends is not None and ends < least:
            where = f"environment {bucket.environment!r} keeps logs for {least} (policies/retention.yaml)"
            yield violation(f"access logs are gone after {ends:g} days; {where}", whole)

    for configuration in (*found.certain, *found.possible):
        yield from each([configuration["rules"]], lambda rules: each(rules.items(), check))
