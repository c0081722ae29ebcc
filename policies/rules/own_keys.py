"""Secrets and messages lie under keys of the team's own."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import own_key
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.parts import given
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, violation

_TOPICS = frozenset({"aws:sns/topic:Topic"})
_SECRETS = frozenset({"aws:secretsmanager/secret:Secret"})
_PARAMETERS = frozenset({"aws:ssm/parameter:Parameter"})

_AT_REST = {"NIST 800-53": ("SC-28", "SC-13"), "ISO 27001": ("A.8.24",)}


@stack_rule(
    "sns-own-key",
    title="A topic is encrypted with a key of the team's own",
    severity=Severity.MEDIUM,
    applies=_TOPICS,
    controls={"Checkov": ("CKV_AWS_26",), "Trivy": ("AWS-0095", "AWS-0136"), **_AT_REST},
    why=(
        "Alarms tell what runs where, and who used the emergency role. With AWS's key for SNS neither an alarm nor a "
        "budget may publish, and both fail without a word."
    ),
    remedy="""
aws.sns.Topic(name, kms_master_key_id=key_arn)      # the key's policy lets the publishing services use it
""",
)
def topic_key(topic: Resource, graph: Graph) -> Iterator[Finding]:
    yield from _judge(topic, "kmsMasterKeyId", graph)


@stack_rule(
    "secrets-own-key",
    title="A secret is encrypted with a key of the team's own",
    severity=Severity.MEDIUM,
    applies=_SECRETS | _PARAMETERS,
    controls={"Checkov": ("CKV_AWS_149", "CKV_AWS_337"), "Trivy": ("AWS-0098",), **_AT_REST},
    why=(
        "AWS's key decrypts for everyone in the account who may read the secret. "
        "A key of the team's own is a second lock, with a list of its own of who may open it and who did."
    ),
    remedy="""
aws.secretsmanager.Secret(name, kms_key_id=key_arn)
aws.ssm.Parameter(name, type="SecureString", key_id=key_arn, value=secret)
""",
)
def secret_key(secret: Resource, graph: Graph) -> Iterator[Finding]:
    if secret.type in _PARAMETERS:
        if secret["type"].text() == "SecureString":
            yield from _judge(secret, "keyId", graph)
    else:
        yield from _judge(secret, "kmsKeyId", graph)


@resource_rule(
    "secrets-replica-own-key",
    title="A secret's replicas are encrypted with keys of the team's own, each of its region",
    severity=Severity.MEDIUM,
    applies=_SECRETS,
    controls={"Checkov": ("CKV_AWS_149",), **_AT_REST},
    why=(
        "A replica does not inherit the secret's key: where none is named AWS's key of that region is used, "
        "and the same secret lies behind a weaker lock."
    ),
    remedy="""
aws.secretsmanager.Secret(name, kms_key_id=key_arn,
    replicas=[{"region": "us-west-2", "kms_key_id": key_arn_in_us_west_2}])
""",
)
def replica_key(secret: Resource) -> Iterator[Finding]:
    keys = [replica["kmsKeyId"] for replica in secret["replicas"].items()]
    # Judged by the inputs alone: what the provider reports later says nothing of what was asked for.
    yield from each(keys, lambda key: own_key(key, secret, Graph([secret])))


def _judge(resource: Resource, name: str, graph: Graph) -> Iterator[Finding]:
    key = given(resource, name)
    if key is None:
        yield violation("no key of the team's own is named here, so AWS chooses and controls it", resource[name])
    else:
        yield from own_key(key, resource, graph)
