"""Who reads a part of a bucket sees the names of that part alone."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.graph import Resource
from trainyard.policies.iam import documents, grants
from trainyard.policies.iam.documents import Statement
from trainyard.policies.iam.grants import CARRIERS
from trainyard.policies.rule import Finding, Severity, each, resource_rule, violation
from trainyard.policies.values import Value, shown

_OBJECTS = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")


@resource_rule(
    "iam-list-as-read",
    title="An identity that has one prefix of a bucket lists this prefix alone",
    severity=Severity.LOW,
    applies=CARRIERS,
    controls={"NIST 800-53": ("AC-6", "AC-3"), "ISO 27001": ("A.5.15", "A.8.3")},
    why="Names of runs and datasets tell what other teams work on, and customers' names are often in them.",
    remedy="""
{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket_arn,
 "Condition": {"StringLike": {"s3:prefix": ["runs/vision/*"]}}}
""",
)
def list_as_read(carrier: Resource) -> Iterator[Finding]:
    def check(document: Value) -> Iterator[Finding]:
        allowed = list(grants.allowed(document))
        for statement in allowed:
            if not documents.grants(statement, "s3:ListBucket") or documents.pinned(statement, "s3:prefix"):
                continue
            for bucket in statement.resources:
                if part := _only_part(bucket, allowed):
                    yield violation(f"{statement.label} lists all of a bucket of which {shown(part)} is open", document)

    yield from each(grants.documents_of(carrier), check)


def _only_part(bucket: str, allowed: list[Statement]) -> str | None:
    """The prefixes of a bucket whose objects are open; None where all are, or none."""
    parts = [
        pattern.removeprefix(f"{bucket}/")
        for one in allowed
        if any(documents.grants(one, action) for action in _OBJECTS)
        for pattern in one.resources
        if pattern.startswith(f"{bucket}/")
    ]
    everything = any(one.startswith("*") for one in parts)
    return None if everything or not parts else ", ".join(dict.fromkeys(parts))
