"""Every resource says who answers for it and what class of data it holds."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import DATA_CLASSES, tags_of
from trainyard.policies.graph import Resource
from trainyard.policies.rule import Finding, Severity, resource_rule, violation
from trainyard.policies.taggable import taggable
from trainyard.policies.values import shown

_REMEDY = """
aws.Provider("aws", region=region,
    default_tags={"tags": {"owner": settings.owner, "data-class": "internal"}})   # for all, or on the resource:
tags={"data-class": "personal"}
"""


@resource_rule(
    "tags-owner",
    title="A resource names its owner",
    severity=Severity.LOW,
    applies=taggable,
    controls={"NIST 800-53": ("CM-8",), "ISO 27001": ("A.5.9",)},
    why="Somebody has to be asked when it costs money, breaks or leaks.",
    remedy=_REMEDY,
)
def owner_tag(resource: Resource) -> Iterator[Finding]:
    owner = tags_of(resource)["owner"]
    if not (owner.text() or "").strip():
        yield violation("the tag owner is missing or empty", owner)


@resource_rule(
    "tags-data-class",
    title="A resource names its data class",
    severity=Severity.MEDIUM,
    applies=taggable,
    controls={"NIST 800-53": ("RA-2", "CM-8"), "ISO 27001": ("A.5.12", "A.5.13")},
    why="Which keys, regions and readers are right depends on the class; the other rules go by this tag.",
    remedy=_REMEDY,
)
def data_class_tag(resource: Resource) -> Iterator[Finding]:
    tag = tags_of(resource)["data-class"]
    name = tag.text()
    if not name:
        yield violation(f"the tag data-class is missing; it may be {', '.join(DATA_CLASSES)}", tag)
    elif name not in DATA_CLASSES:
        yield violation(f"data-class {shown(name)!r} does not exist; it may be {', '.join(DATA_CLASSES)}", tag)
