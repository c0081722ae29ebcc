"""Which resources a backup plan keeps copies of: the way from what a selection names into the plan's vaults."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import BUCKETS, tags_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.residency.channels import Way
from trainyard.policies.residency.places import Landing, Reader, place_of
from trainyard.policies.values import Value

_SELECTION = "aws:backup/selection:Selection"
_PLAN = "aws:backup/plan:Plan"
# What AWS Backup takes copies of, as far as programs of this kind have it.
_KEPT = BUCKETS | {
    "aws:dynamodb/table:Table",
    "aws:ebs/volume:Volume",
    "aws:ec2/instance:Instance",
    "aws:efs/fileSystem:FileSystem",
    "aws:fsx/lustreFileSystem:LustreFileSystem",
    "aws:fsx/ontapFileSystem:OntapFileSystem",
    "aws:fsx/openZfsFileSystem:OpenZfsFileSystem",
    "aws:fsx/windowsFileSystem:WindowsFileSystem",
    "aws:rds/cluster:Cluster",
    "aws:rds/instance:Instance",
}


def backup_ways(selection: Resource, graph: Graph) -> Iterator[Way]:
    """The ways that a selection opens. What may be selected, as it can't be told yet, is taken as selected."""
    if selection.type != _SELECTION:
        return
    plan = Reader(selection, graph).resource(selection["planId"], lambda one: one.type == _PLAN)
    told = selection["planId"].known
    may_be = [one for one in graph.of({_PLAN}) if not told or not isinstance(one["id"].raw, str)]
    plans = may_be if plan is None else [plan]
    sources = tuple(one for one in graph.of(_KEPT) if _may_select(selection, one))
    if plans and sources:
        landings = tuple(Landing(place_of(one), one) for one in plans)
        yield Way("backup", selection, selection["planId"], sources, landings)


def _may_select(selection: Resource, resource: Resource) -> bool:
    named, tags = selection["resources"], selection["selectionTags"]
    if not named.known or not tags.known:
        return True
    if any(_may_cover(one, resource) for one in named.items()):
        return True
    return any(_may_match(one, resource) for one in tags.items())


def _may_cover(pattern: Value, resource: Resource) -> bool:
    """Whether an ARN or pattern is, or may be, that of a resource. One that is not known yet is, for each resource."""
    arn = resource.props.get("arn")
    if not isinstance(pattern.raw, str) or not isinstance(arn, str):
        return pattern.raw == "*" or not isinstance(arn, str) or not pattern.known
    return documents.covers(pattern.raw, arn)


def _may_match(condition: Value, resource: Resource) -> bool:
    tags = tags_of(resource)
    if not condition.known or not tags.known:
        return True
    key, wanted = condition["key"], condition["value"]
    if not key.known or not wanted.known:
        return True
    tag = tags[key.text() or ""]
    return not tag.known or tag.raw == wanted.raw
