"""What goes through a VPC endpoint: the account's own callers, to the account's own data, and not past it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.iam.documents import ANYONE, Statement
from trainyard.policies.iam.paths import READS
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import Value

_ENDPOINTS = frozenset({"aws:ec2/vpcEndpoint:VpcEndpoint"})
_POLICIES = frozenset({"aws:ec2/vpcEndpointPolicy:VpcEndpointPolicy"})

# What says whose a request is, and whose what it asks for.
_CALLER = ("aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:principalorgpaths", "aws:userid")
_OWNER = ("aws:resourceaccount", "aws:resourceorgid", "aws:resourceorgpaths")
_HOLD_DATA = ("dynamodb", "ecr.api", "ecr.dkr", "kms", "s3", "secretsmanager", "sns", "sqs", "ssm")
"""Services with which data can be handed to another account by naming what is theirs."""
_LOOKS = (*READS, "batchcheck")


@stack_rule(
    "network-endpoint-policy",
    title="An endpoint lets the own account's callers pass, and to no other account's data",
    severity=Severity.MEDIUM,
    applies=_ENDPOINTS,
    controls={"NIST 800-53": ("AC-4", "SC-7(5)"), "ISO 27001": ("A.8.12", "A.8.20")},
    why=(
        "An endpoint without a policy is a private way into everybody's buckets: data leaves with stolen keys unseen. "
        "A policy that says who asks, and not whose bucket, lets the own role fill a stranger's; the other way round "
        "it lets a stranger's keys work from within."
    ),
    remedy="""
policy={"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*",
    "Condition": {"StringEquals": {"aws:ResourceAccount": account_id, "aws:PrincipalAccount": account_id}}}]}
""",
)
def endpoint_policy(endpoint: Resource, graph: Graph) -> Iterator[Finding]:
    if (endpoint["vpcEndpointType"].text() or "Gateway") not in ("Gateway", "Interface"):
        return
    found = graph.attached(endpoint, _POLICIES, "vpcEndpointId")
    policies = [one["policy"] for one in found.certain]
    own = endpoint["policy"]
    if not is_providers_choice(endpoint, "policy"):
        # The provider reports a separate resource's policy as the endpoint's own output.
        policies = policies or [own]
    if not policies or all(policy.raw in (None, "") for policy in policies):
        if found.possible:
            yield unverified(f"whether {found.possible[0].name} is this endpoint's policy is not known yet")
        else:
            yield violation("there is no policy: whatever asks may pass", own)
        return
    yield from each(policies, lambda policy: _lets_through(policy, endpoint))


def _lets_through(policy: Value, endpoint: Resource) -> Iterator[Finding]:
    for statement in documents.statements(policy):
        if statement.effect != "Allow" or not _all(statement):
            continue
        if statement.for_anyone and not documents.pinned(statement, *_CALLER):
            yield violation(f"{statement.label} lets callers of every account pass, to everything", policy)
        elif _changes(statement) and _holds_data(endpoint) and not documents.pinned(statement, *_OWNER):
            yield violation(f"{statement.label} lets data be written to every account", policy)


def _all(statement: Statement) -> bool:
    return ANYONE in statement.resources or bool(statement.not_resources)


def _changes(statement: Statement) -> bool:
    verbs = (action.partition(":")[2].lower() for action in statement.actions)
    return bool(statement.not_actions) or any(not verb.startswith(_LOOKS) for verb in verbs)


def _holds_data(endpoint: Resource) -> bool:
    name = endpoint["serviceName"].text() or ""
    return not name or name.endswith(tuple(f".{service}" for service in _HOLD_DATA))


@resource_rule(
    "network-endpoint-private-dns",
    title="An interface endpoint answers by the service's own name",
    severity=Severity.MEDIUM,
    applies=_ENDPOINTS,
    controls={"NIST 800-53": ("AC-4", "SC-7"), "ISO 27001": ("A.8.20", "A.8.22")},
    why=(
        "Without private DNS every client goes past the endpoint and its policy, over a NAT gateway to the service's "
        "public address, and nothing fails that would show it."
    ),
    remedy="""
aws.ec2.VpcEndpoint(name, vpc_endpoint_type="Interface", private_dns_enabled=True, ...)
""",
)
def private_dns(endpoint: Resource) -> Iterator[Finding]:
    service = endpoint["serviceName"].text() or ""
    if endpoint["vpcEndpointType"].text() != "Interface" or not _AWS_SERVICE.fullmatch(service):
        return
    switch = endpoint["privateDnsEnabled"]
    if not switch.flag():
        yield violation("private DNS is off, so clients go past it", switch)


# Others' endpoint services have names of their own choice, and `s3` has private DNS only beside a gateway endpoint.
_AWS_SERVICE = re.compile(r"(?:com|cn|aws)\.(?:[a-z]+\.)*[a-z]{2}(?:-[a-z]+)+-\d+\.(?!s3$)(?!vpce)[a-z0-9.-]+")
