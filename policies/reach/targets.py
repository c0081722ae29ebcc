"""What identities may reach: buckets, keys, secrets, queues and topics with the policies that they carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainyard.policies.aws import BUCKETS, KEYS, QUEUES, split, tags_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.iam.conditions import Context
from trainyard.policies.iam.documents import Statement
from trainyard.policies.iam.evaluation import Statements
from trainyard.policies.values import UnverifiedError, Value

_KINDS = {
    "bucket": BUCKETS,
    "key": KEYS,
    "secret": frozenset({"aws:secretsmanager/secret:Secret"}),
    "queue": QUEUES,
    "topic": frozenset({"aws:sns/topic:Topic"}),
}
SERVICES = {"bucket": "s3", "key": "kms", "secret": "secretsmanager", "queue": "sqs", "topic": "sns"}
# Policies that are resources of their own, with the property that names what they belong to.
_SEPARATE: Mapping[str, tuple[frozenset[str], str]] = {
    "bucket": (split("aws:s3/bucketPolicy:BucketPolicy"), "bucket"),
    "key": (frozenset({"aws:kms/keyPolicy:KeyPolicy"}), "keyId"),
    "secret": (frozenset({"aws:secretsmanager/secretPolicy:SecretPolicy"}), "secretArn"),
    "queue": (frozenset({"aws:sqs/queuePolicy:QueuePolicy"}), "queueUrl"),
    "topic": (frozenset({"aws:sns/topicPolicy:TopicPolicy"}), "arn"),
}
# What SNS writes where the program says nothing: the owner's account may, as far as its own policies let.
_SNS_DEFAULT = "statement '__default_statement_ID'"
_GRANTS = frozenset({"aws:kms/grant:Grant"})
_ENCRYPTION = split("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration")


@dataclass
class Target:
    """One resource with its policy. `arn` is None while it is not known; `key` is a bucket's KMS key, by its ARN."""

    kind: str
    resource: Resource
    arn: str | None
    statements: tuple[Statement, ...] = ()
    unread: list[UnverifiedError] = field(default_factory=list)
    key: str | None = None
    context: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def service(self) -> str:
        return SERVICES[self.kind]

    def over(self, context: Context) -> Context:
        """What is known of a request to it, besides what is known of the caller."""
        return Context({**context.known, **self.context}, closed=context.closed, absent=context.absent)


def targets(graph: Graph) -> list[Target]:
    return [_target(kind, one, graph) for kind, types in _KINDS.items() for one in graph.of(types)]


def kind_of(resource: Resource) -> str | None:
    return next((kind for kind, types in _KINDS.items() if resource.type in types), None)


def _target(kind: str, resource: Resource, graph: Graph) -> Target:
    found = Target(kind, resource, _arn(kind, resource))
    statements: list[Statement] = []
    for policy, sure in _policies(kind, resource, graph):
        try:
            if not sure:
                raise UnverifiedError(policy, "whether this policy is about it is not known yet")
            statements += [one for one in documents.statements(policy) if one.label != _SNS_DEFAULT]
        except UnverifiedError as unread:
            found.unread.append(unread)
    if kind == "key":
        statements += _granted(found, graph)
    if kind == "bucket":
        found.key = _encrypted_with(resource, graph)
    found.statements = Statements(statements)
    region = resource.props.get("region") or (resource.provider.props.get("region") if resource.provider else None)
    if isinstance(region, str):
        found.context["aws:requestedregion"] = (region,)
    if kind != "bucket":
        tags = tags_of(resource).raw
        for name, value in (tags if isinstance(tags, dict) else {}).items():
            if isinstance(value, str):
                found.context[f"aws:resourcetag/{name.lower()}"] = (value,)
    return found


def _arn(kind: str, resource: Resource) -> str | None:
    arn = resource.props.get("arn")
    if isinstance(arn, str) and arn:
        return arn
    name = resource.props.get("bucket")
    return f"arn:aws:s3:::{name}" if kind == "bucket" and isinstance(name, str) and name else None


def _policies(kind: str, resource: Resource, graph: Graph) -> Iterator[tuple[Value, bool]]:
    types, name = _SEPARATE[kind]
    separate = list(graph.referring(resource, types, name))
    inline = resource["policy"]
    # There is one policy. Where a resource of its own writes it, the output here is the one that was there before.
    if inline.present and not any(sure for sure, _ in separate):
        yield inline, True
    for sure, part in separate:
        yield part["policy"], sure is True


def _granted(key: Target, graph: Graph) -> Iterator[Statement]:
    """A grant allows by itself, whatever the policies say, as long as none denies."""
    for _, grant in graph.referring(key.resource, _GRANTS, "keyId"):
        try:
            operations = [one.text() or "" for one in grant["operations"].items()]
            who = grant["granteePrincipal"].text() or ""
        except UnverifiedError as unread:
            key.unread.append(unread)
            continue
        yield Statement(
            label=f"grant {grant.name}",
            effect="Allow",
            principals=(who,),
            not_principals=(),
            actions=tuple(f"kms:{one}" for one in operations),
            resources=("*",),
            conditions=_constraints(grant.props.get("constraints")),
            principals_by_kind={"service" if who.endswith(".amazonaws.com") else "aws": (who,)},
        )


def _constraints(raw: Any) -> dict[str, dict[str, tuple[str, ...]]]:
    tests: dict[str, tuple[str, ...]] = {}
    for one in raw if isinstance(raw, list) else ():
        pairs = (
            (one.get("encryptionContextEquals") or one.get("encryptionContextSubset"))
            if isinstance(one, dict)
            else None
        )
        for name, value in (pairs if isinstance(pairs, dict) else {}).items():
            tests[f"kms:encryptioncontext:{name.lower()}"] = (str(value),)
    return {"stringequals": tests} if tests else {}


def _encrypted_with(bucket: Resource, graph: Graph) -> str | None:
    """The ARN of the key that a bucket encrypts with unless told otherwise, where it is known."""
    rules = [one["rules"] for one in graph.attached(bucket, _ENCRYPTION, "bucket").certain]
    for value in rules:
        for rule in value.raw if isinstance(value.raw, list) else ():
            default = rule.get("applyServerSideEncryptionByDefault") if isinstance(rule, dict) else None
            key = default.get("kmsMasterKeyId") if isinstance(default, dict) else None
            if isinstance(key, str) and key:
                return key
    return None
