"""Tags of everything in EKS that has an ARN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from trainyard.local.aws.moto_adapter.eks_state import Description, Eks, not_found

Request = Mapping[str, Any]

_ARNS = ("arn", "nodegroupArn", "addonArn", "accessEntryArn", "associationArn")


def _things(eks: Eks) -> Iterator[Description]:
    for cluster in eks.clusters.values():
        yield cluster.description
        for things in (cluster.nodegroups, cluster.addons, cluster.access_entries, cluster.pod_identities):
            yield from things.values()


def _tags(eks: Eks, request: Request) -> dict[str, str]:
    wanted = unquote(request["resourceArn"])
    for thing in _things(eks):
        if wanted in (thing.get(name) for name in _ARNS):
            return thing["tags"]
    raise not_found(f"Resource was not found: {wanted}")


def tag_resource(eks: Eks, request: Request) -> Description:
    """TagResource."""
    _tags(eks, request).update(request["tags"])
    return {}


def untag_resource(eks: Eks, request: Request) -> Description:
    """UntagResource."""
    tags = _tags(eks, request)
    for key in request["tagKeys"]:
        tags.pop(key, None)
    return {}


def list_tags_for_resource(eks: Eks, request: Request) -> Description:
    """ListTagsForResource."""
    return {"tags": _tags(eks, request)}


OPERATIONS = {
    "ListTagsForResource": list_tags_for_resource,
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
}
