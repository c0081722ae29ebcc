"""Whoever assumes a role, or is let in by a resource's policy, is the one that was meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from trainyard.policies.accounts import account_of, not_known_to_be_own, own_accounts
from trainyard.policies.aws import BUCKETS
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.iam.documents import ANYONE, Statement
from trainyard.policies.rule import Finding, Severity, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import Value, shown

_ROLES = frozenset({"aws:iam/role:Role"})
_HOLDERS = frozenset(
    {
        "aws:backup/vaultPolicy:VaultPolicy",
        "aws:ecr/repositoryPolicy:RepositoryPolicy",
        "aws:kms/key:Key",
        "aws:kms/keyPolicy:KeyPolicy",
        "aws:s3/bucketPolicy:BucketPolicy",
        "aws:secretsmanager/secretPolicy:SecretPolicy",
        "aws:sns/topic:Topic",
        "aws:sns/topicPolicy:TopicPolicy",
        "aws:sqs/queue:Queue",
        "aws:sqs/queuePolicy:QueuePolicy",
        *BUCKETS,
    }
)

# What tells one caller in another account from the rest of it.
_CALLER = ("sts:externalid", "aws:principalarn", "aws:principalorgid", "aws:principalorgpaths", "aws:principaltag/")
# What tells for whom an AWS service acts.
_ON_BEHALF = ("aws:sourceaccount", "aws:sourcearn", "aws:sourceorgid", "aws:sourceorgpaths", "aws:sourceowner")
# A key policy sees as well what is encrypted, and by whose request.
_ON_BEHALF_KEY = (*_ON_BEHALF, "kms:encryptioncontext:", "kms:calleraccount")

# Services that act for many accounts and say for which, by their own guides ("confused deputy prevention"). A service
# that is not here may say nothing (ec2 starts instances with roles of their own account alone), so nothing is asked.
# fmt: off
_ROLE_DEPUTIES = frozenset({
    "backup", "bedrock", "cloudtrail", "codebuild", "codepipeline", "config", "databrew", "delivery.logs",
    "ecs-tasks", "eks", "events", "firehose", "glue", "imagebuilder", "iot", "logs", "personalize",
    "pods.eks", "rekognition", "sagemaker", "scheduler", "sns", "ssm", "states", "transfer", "vpc-flow-logs",
})
_RESOURCE_DEPUTIES = _ROLE_DEPUTIES | {
    "budgets", "cloudfront", "cloudwatch", "ecr", "elasticloadbalancing", "lambda",
    "logdelivery.elasticloadbalancing", "logging.s3", "s3", "ses", "sqs",
}
# fmt: on
_SERVICE = re.compile(r"(?P<name>[a-z0-9.-]+?)(?:\.[a-z]{2}(?:-[a-z]+)+-\d+)?\.(?:amazonaws\.com(?:\.cn)?|amazon\.com)")

_IDENTITY = {"NIST 800-53": ("AC-3", "AC-6", "IA-9"), "ISO 27001": ("A.5.15", "A.5.16")}


def _allowed(document: Value) -> list[Statement]:
    return [one for one in documents.statements(document) if one.effect == "Allow"]


@stack_rule(
    "iam-trust-bounded",
    title="A role trusts somebody by name, and another account only for one purpose",
    severity=Severity.CRITICAL,
    applies=_ROLES,
    controls={"Checkov": ("CKV_AWS_60", "CKV_AWS_61"), **_IDENTITY},
    why=(
        "Who trusts everybody gives the role to everybody with an AWS account. A supplier's account that acts for many "
        "customers can be talked into using your role for one of them, unless it must say an agreed external id."
    ),
    remedy="""
{"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{supplier}:role/scanner"}, "Action": "sts:AssumeRole",
 "Condition": {"StringEquals": {"sts:ExternalId": external_id}}}
""",
)
def trust_bounded(role: Resource, graph: Graph) -> Iterator[Finding]:
    trust = role["assumeRolePolicy"]
    own = own_accounts(graph)
    for statement in _allowed(trust):
        if statement.for_anyone:
            if not statement.narrowed:
                who = "everyone but a few" if statement.not_principals else "everyone"
                yield violation(f"{statement.label} lets {who} assume the role", trust)
            continue
        if documents.pinned(statement, *_CALLER):
            continue
        for account in _whole_accounts(statement):
            if not own:
                yield unverified(not_known_to_be_own(account), trust)
            elif account not in own:
                yield violation(f"{statement.label} trusts all of account {account}, without an external id", trust)


def _whole_accounts(statement: Statement) -> Iterator[str]:
    for name in statement.principals_by_kind.get("aws", ()):
        if name.isdigit() or name.endswith(":root"):
            yield account_of(name) or name


@resource_rule(
    "iam-oidc-pinned",
    title="A role for an identity provider's tokens says which subject and which audience",
    severity=Severity.CRITICAL,
    applies=_ROLES,
    controls={"Checkov": ("CKV_AWS_358", "CKV_AWS_393"), **_IDENTITY},
    why=(
        "GitHub signs tokens for everybody's workflows, a cluster for every pod. A trust without `sub` takes all of "
        "them; one with a pattern that is open too early takes a repository or a namespace that a stranger names."
    ),
    remedy="""
"Condition": {"StringEquals": {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
    "token.actions.githubusercontent.com:sub": "repo:our-team/our-repository:environment:prod-us"}}
""",
)
def oidc_pinned(role: Resource) -> Iterator[Finding]:
    trust = role["assumeRolePolicy"]
    for statement in _allowed(trust):
        for provider in statement.principals_by_kind.get("federated", ()):
            _, separator, host = provider.partition(":oidc-provider/")
            if separator:
                yield from _token_findings(statement, host.lower(), trust)


def _token_findings(statement: Statement, host: str, trust: Value) -> Iterator[Finding]:
    if not documents.pinned(statement, f"{host}:aud"):
        yield violation(f"{statement.label} takes tokens of {host} for any audience", trust)
    subjects = documents.pinned(statement, f"{host}:sub")
    if not subjects:
        yield violation(f"{statement.label} takes tokens of {host} for any subject", trust)
    for subject in subjects:
        if not _names_one(subject):
            yield violation(f"{statement.label}: the subject {shown(subject)!r} is open too early", trust)


def _names_one(subject: str) -> bool:
    """Whether a pattern fixes who it is about before its first wildcard: `repo:team/repository:`, or
    `system:serviceaccount:namespace:`, or a project by name."""
    fixed = re.split(r"[*?]", subject, maxsplit=1)[0]
    if fixed == subject:
        return True
    if subject.startswith("repo:"):
        return re.match(r"repo:[^/]+/[^:]+:", fixed) is not None
    return fixed.count(":") >= (3 if subject.startswith("system:") else 2)


_TOPICS = frozenset({"aws:sns/topic:Topic", "aws:sns/topicPolicy:TopicPolicy"})
_DEPUTY_WHY = (
    "An AWS service acts for every customer. Without a condition on whose resource it acts for, "
    "someone else's resource of that service reaches yours by naming its ARN."
)
_DEPUTY_REMEDY = """
"Condition": {"StringEquals": {"aws:SourceAccount": account_id},
              "ArnLike": {"aws:SourceArn": f"arn:aws:codebuild:{region}:{account_id}:project/{name}-*"}}
"""


@resource_rule(
    "iam-no-confused-deputy",
    title="A role for an AWS service is for the service's work in this account",
    severity=Severity.MEDIUM,
    applies=_ROLES,
    controls={"IAM user guide": ("The confused deputy problem",), **_IDENTITY},
    why=_DEPUTY_WHY,
    remedy=_DEPUTY_REMEDY,
)
def no_confused_deputy(role: Resource) -> Iterator[Finding]:
    yield from _deputy_findings(role["assumeRolePolicy"], _ROLE_DEPUTIES, _ON_BEHALF)


@resource_rule(
    "policy-no-confused-deputy",
    title="A policy that lets an AWS service in says for whose resources",
    severity=Severity.MEDIUM,
    applies=_HOLDERS,
    controls={"IAM user guide": ("The confused deputy problem",), **_IDENTITY},
    why=_DEPUTY_WHY,
    remedy=_DEPUTY_REMEDY,
)
def policy_no_confused_deputy(holder: Resource) -> Iterator[Finding]:
    # EventBridge carries no condition key to SNS, and a topic that asks for one hears nothing (EventBridge user guide,
    # "Using resource-based policies", Amazon SNS permissions).
    deputies = _RESOURCE_DEPUTIES - {"events"} if holder.type in _TOPICS else _RESOURCE_DEPUTIES
    yield from _deputy_findings(holder["policy"], deputies, _ON_BEHALF_KEY)


def _deputy_findings(document: Value, deputies: Iterable[str], keys: tuple[str, ...]) -> Iterator[Finding]:
    for statement in _allowed(document):
        if documents.pinned(statement, *keys):
            continue
        services = statement.principals_by_kind.get("service", ())
        named = [name for name in services if name != ANYONE and _short(name) in deputies]
        if named:
            wanted = "aws:SourceAccount or aws:SourceArn"
            yield violation(f"{statement.label} lets {shown(', '.join(named))} in without {wanted}", document)


def _short(service: str) -> str:
    found = _SERVICE.fullmatch(service.lower())
    return found["name"] if found else service
