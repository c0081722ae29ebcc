"""Nothing travels in the clear: resource policies refuse every request that does not come over TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import yaml

from trainyard.policies.aws import BUCKETS, QUEUES
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.iam.documents import Statement
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.preflight import yes
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UnverifiedError, Value

BUCKET_POLICIES = frozenset({"aws:s3/bucketPolicy:BucketPolicy"})
QUEUE_POLICIES = frozenset({"aws:sqs/queuePolicy:QueuePolicy"})
TOPICS = frozenset({"aws:sns/topic:Topic"})
TOPIC_POLICIES = frozenset({"aws:sns/topicPolicy:TopicPolicy"})

_WHY = "Without it, a client that speaks plain HTTP is served, and everyone on the way can read and change what passes."


def _policies(subject: Resource, graph: Graph, types: Iterable[str], reference: str) -> tuple[list[Value], list[str]]:
    """The policy documents on a resource, separate and inline, and the names of resources that may hold another."""
    found = graph.attached(subject, types, reference)
    policies = [policy["policy"] for policy in found.certain]
    inline = subject["policy"]
    # The provider also reports a separate policy as the subject's output; unset, it is unknown until then.
    if not policies and inline.raw and not is_providers_choice(subject, "policy"):
        policies.append(inline)
    return policies, [policy.name for policy in found.possible]


def _judge(
    policies: list[Value], possible: list[str], what: str, refuses: Callable[[list[Statement]], str | None]
) -> Iterator[Finding]:
    if not policies and possible:
        yield unverified(f"whether {' or '.join(possible[:3])} is this {what}'s policy is not known yet")
    elif not policies:
        yield violation(f"the {what} has no policy, so it accepts requests without TLS")

    def check(policy: Value) -> Iterator[Finding]:
        if reason := refuses(documents.statements(policy)):
            yield violation(reason, policy)

    yield from each(policies, check)


@stack_rule(
    "s3-tls-only",
    title="A bucket's policy refuses requests without TLS, for the bucket and its objects",
    severity=Severity.HIGH,
    applies=BUCKETS,
    controls={
        "FSBP": ("S3.5",),
        "Checkov": ("CKV_AWS_379",),
        "cdk-nag": ("AwsSolutions-S10",),
        "NIST 800-53": ("SC-8", "SC-13"),
        "ISO 27001": ("A.8.24", "A.5.14"),
    },
    why=_WHY,
    remedy="""
{"Sid": "RefuseWithoutTls", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
 "Resource": [bucket_arn, f"{bucket_arn}/*"],
 "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
""",
)
def bucket_transport(bucket: Resource, graph: Graph) -> Iterator[Finding]:
    policies, possible = _policies(bucket, graph, BUCKET_POLICIES, "bucket")
    arn = _known(bucket, "arn")
    if arn is None and (name := _known(bucket, "bucket")):
        arn = f"arn:aws:s3:::{name}"

    def refuses(statements: list[Statement]) -> str | None:
        denials = [one for one in statements if documents.denies_plain_transport(one, "s3")]
        patterns = [pattern for one in denials for pattern in one.resources]
        if not denials:
            return "no statement denies s3:* to everyone (and on no other condition) when aws:SecureTransport is false"
        if arn is None:
            if "*" in patterns:
                return None
            raise UnverifiedError(bucket["arn"], "what the policy covers cannot be told before this is known")
        if not any(documents.covers(pattern, arn) for pattern in patterns):
            return f"the denial does not cover the bucket itself ({arn})"
        # A name that no real object has: only a pattern for all objects covers it.
        if not any(documents.covers(pattern, f"{arn}/\x00/\x00") for pattern in patterns):
            return f"the denial does not cover all objects ({arn}/*)"
        return None

    yield from _judge(policies, possible, "bucket", refuses)


@stack_rule(
    "sqs-tls-only",
    title="A queue's policy refuses requests without TLS",
    severity=Severity.HIGH,
    applies=QUEUES,
    controls={
        "cdk-nag": ("AwsSolutions-SQS4",),
        "NIST 800-53": ("SC-8", "SC-13"),
        "ISO 27001": ("A.8.24", "A.5.14"),
    },
    why=_WHY,
    remedy="""
{"Sid": "RefuseWithoutTls", "Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": queue_arn,
 "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
""",
)
def queue_transport(queue: Resource, graph: Graph) -> Iterator[Finding]:
    policies, possible = _policies(queue, graph, QUEUE_POLICIES, "queueUrl")
    arn, name = _known(queue, "arn"), _known(queue, "name")

    def refuses(statements: list[Statement]) -> str | None:
        denials = [one for one in statements if documents.denies_plain_transport(one, "sqs")]
        patterns = [pattern for one in denials for pattern in one.resources]
        if not denials:
            return "no statement denies sqs:* to everyone (and on no other condition) when aws:SecureTransport is false"
        if "*" in patterns:
            return None
        if arn is not None:
            covered = any(documents.covers(pattern, arn) for pattern in patterns)
        elif name is not None:
            covered = any(documents.covers(pattern.rpartition(":")[2], name) for pattern in patterns)
        else:
            raise UnverifiedError(queue["arn"], "what the policy covers cannot be told before this is known")
        return None if covered else f"the denial does not cover the queue ({arn or name})"

    yield from _judge(policies, possible, "queue", refuses)


def _known(resource: Resource, name: str) -> str | None:
    raw = resource.props.get(name)
    return raw if isinstance(raw, str) and raw else None


@stack_rule(
    "sns-tls-only",
    title="A topic's policy refuses to take messages without TLS",
    severity=Severity.HIGH,
    applies=TOPICS,
    controls={
        "cdk-nag": ("AwsSolutions-SNS3",),
        "NIST 800-53": ("SC-8", "SC-13"),
        "ISO 27001": ("A.8.24", "A.5.14"),
    },
    why=_WHY,
    remedy="""
{"Sid": "RefuseWithoutTls", "Effect": "Deny", "Principal": "*", "Action": "sns:Publish", "Resource": topic_arn,
 "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
""",
)
def topic_transport(topic: Resource, graph: Graph) -> Iterator[Finding]:
    policies, possible = _policies(topic, graph, TOPIC_POLICIES, "arn")
    arn = _known(topic, "arn")

    def refuses(statements: list[Statement]) -> str | None:
        denials = [one for one in statements if documents.denies_plain_transport(one, "sns", "sns:publish")]
        patterns = [pattern for one in denials for pattern in one.resources]
        if not denials:
            return "no statement denies sns:Publish to everyone when aws:SecureTransport is false"
        if "*" in patterns:
            return None
        if arn is None:
            raise UnverifiedError(topic["arn"], "what the policy covers cannot be told before this is known")
        covered = any(documents.covers(pattern, arn) for pattern in patterns)
        return None if covered else f"the denial does not cover the topic ({arn})"

    yield from _judge(policies, possible, "topic", refuses)


@resource_rule(
    "provider-verifies-tls",
    title="A provider checks whom it speaks to",
    severity=Severity.CRITICAL,
    applies={"pulumi:providers:aws", "pulumi:providers:kubernetes"},
    controls={"NIST 800-53": ("SC-8", "SC-23"), "ISO 27001": ("A.8.24", "A.5.14")},
    why="Whoever answers in the place of AWS or of the cluster is sent the credentials of the deployment.",
    remedy="""
pulumi_aws.Provider(name, region=region)                 # no insecure=True
{"cluster": {"server": endpoint, "certificate-authority-data": authority}}     # no insecure-skip-tls-verify
""",
)
def provider_verifies(provider: Resource) -> Iterator[Finding]:
    if yes(provider["insecure"]):
        yield violation("certificates are not checked", provider["insecure"])
    kubeconfig = provider["kubeconfig"]
    text = kubeconfig.text() or ""
    if "insecure-skip-tls-verify" not in text:
        return
    try:
        clusters = (yaml.safe_load(text) or {}).get("clusters")
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError):
        raise UnverifiedError(kubeconfig, "this is no kubeconfig, or a path to one") from None
    for one in clusters if isinstance(clusters, list) else ():
        if one.get("cluster", {}).get("insecure-skip-tls-verify"):
            yield violation(f"the certificate of cluster {one.get('name')} is not checked", kubeconfig)
