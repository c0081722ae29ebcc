"""Where the policies of buckets and access points let data be read: the accounts, networks and regions they name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from trainyard.policies.accounts import account_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.iam.documents import Statement
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.residency.places import Place, account_landing, atlas_of, is_aws, place_of, region_place
from trainyard.policies.values import UnverifiedError, Value, shown

POLICY_HOLDERS = frozenset(
    {
        "aws:s3/accessPoint:AccessPoint",
        "aws:s3/bucketPolicy:BucketPolicy",
        "aws:s3control/accessPointPolicy:AccessPointPolicy",
        "aws:s3control/multiRegionAccessPointPolicy:MultiRegionAccessPointPolicy",
    }
)
_REGIONS = ("aws:requestedregion",)
_NETWORKS = ("aws:sourcevpc", "aws:sourcevpce")
_ACCOUNTS = ("aws:principalaccount", "s3:dataaccesspointaccount")


def opened_to(holder: Resource, graph: Graph) -> Iterator[tuple[Value, Place]]:
    """The places that a policy names where it allows something. Raises `UnverifiedError` where it can't be read."""
    documents_held = (
        [holder["details"]["policy"], holder["policy"]] if "multiRegion" in holder.type else [holder["policy"]]
    )
    for document in documents_held:
        if holder.type.endswith(":AccessPoint") and is_providers_choice(holder, str(document.path[0])):
            continue  # an access point without a policy of its own
        for statement in documents.statements(document):
            if statement.effect == "Allow":
                yield from ((document, place) for place in _named(statement, document, graph))


def _named(statement: Statement, document: Value, graph: Graph) -> Iterator[Place]:
    for region in documents.pinned(statement, *_REGIONS):
        yield region_place(region, document)
    for network in documents.pinned(statement, *_NETWORKS):
        yield _network(network, document, graph)
    principals = [name for name in statement.principals_by_kind.get("aws", ()) if account_of(name)]
    for name in dict.fromkeys((*principals, *documents.pinned(statement, *_ACCOUNTS))):
        landing = account_landing(replace(document, raw=name), graph)
        if landing is not None:
            yield landing.place


def _network(name: str, document: Value, graph: Graph) -> Place:
    found = atlas_of(graph).find(name, is_aws)
    if found is not None:
        return place_of(found)
    reason = f"no network or endpoint {shown(name)!r} is in this stack, so in which region it is can't be told"
    return Place(name, unread=UnverifiedError(document, reason))
