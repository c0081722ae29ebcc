"""Facts about AWS resource types that several subjects share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.rule import Finding, unverified, violation
from trainyard.policies.taggable import takes_default_tags
from trainyard.policies.values import UNKNOWN, Value, shown

BUCKETS = frozenset({"aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2"})
QUEUES = frozenset({"aws:sqs/queue:Queue"})
KEYS = frozenset({"aws:kms/key:Key", "aws:kms/externalKey:ExternalKey", "aws:kms/replicaKey:ReplicaKey"})
KEY_REFERENCES = KEYS | {"aws:kms/alias:Alias", "aws:kms/replicaExternalKey:ReplicaExternalKey"}

DATA_CLASSES = ("public", "internal", "personal", "health", "financial", "government")
# Classes whose keys must be the team's own, so that access can be refused and proven key by key.
OWN_KEY_CLASSES = frozenset(DATA_CLASSES[2:])


def split(resource_type: str) -> frozenset[str]:
    """The tokens of a part of a bucket that is a resource of its own, in its present and its deprecated spelling."""
    module, _, name = resource_type.partition("/")
    lower, _, upper = name.partition(":")
    return frozenset({resource_type, f"{module}/{lower}V2:{upper}V2"})


def own_key(key: Value, resource: Resource, graph: Graph) -> Iterator[Finding]:
    """Findings unless `key` names a KMS key that is not AWS's own. An unknown one is judged by what it comes from."""
    if key.raw is UNKNOWN:
        origins = graph.origins(resource, str(key.path[0]))
        if not any(origin.type in KEY_REFERENCES for origin in origins):
            yield unverified("which key this will be is not known yet, and it comes from no key of this stack", key)
        return
    name = key.text()
    if not name:
        yield violation("no key of the team's own is named here, so AWS chooses and controls it", key)
    elif "alias/aws/" in name:
        yield violation(f"{shown(name)} is AWS's key: access to it cannot be limited or withdrawn", key)


def tags_of(resource: Resource) -> Value:
    """The tags that the resource will have: its own over those that its provider adds to each.

    A tag with an unknown value is an `UNKNOWN` in the object; where even the names are unknown the whole is. Tags that
    are neither an object nor a list are given as they are: whoever reads one of them is told.
    """
    merged = resource["tagsAll"]
    if merged.known and _tag_object(merged.raw):
        return replace(merged, raw=_tag_object(merged.raw))
    own = resource["tags"]
    defaults = _default_tags(resource.provider) if takes_default_tags(resource.type) else {}
    if not own.known or defaults is UNKNOWN:
        return replace(own, raw=UNKNOWN)
    if own.present and not isinstance(own.raw, dict | list):
        return own
    return replace(own, raw={**defaults, **_tag_object(own.raw)})


def _tag_object(raw: Any) -> dict[str, Any]:
    """Tags as an object; Auto Scaling gives them as a list of `{key, value}`."""
    if isinstance(raw, list):
        pairs = [item for item in raw if isinstance(item, dict) and isinstance(item.get("key"), str)]
        return {item["key"]: item.get("value") for item in pairs}
    return dict(raw) if isinstance(raw, dict) else {}


def _default_tags(provider: Resource | None) -> Any:
    """The provider's default tags. They reach a policy as an object or, from the engine, as its JSON text."""
    raw = provider.props.get("defaultTags") if provider else None
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except ValueError:
            raw = None
    if isinstance(raw, Mapping):
        raw = raw.get("tags")
    return raw if raw is UNKNOWN else _tag_object(raw)
