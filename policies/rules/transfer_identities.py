"""Identities that can make stores of data, or copies of them, can do so in the regions of their data only."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents, grants
from trainyard.policies.iam.documents import Statement
from trainyard.policies.parts import given, is_providers_choice
from trainyard.policies.residency.judging import may_stand, rule_on, strictest_first
from trainyard.policies.residency.jurisdictions import jurisdictions
from trainyard.policies.residency.places import REGION, atlas_of, region_place
from trainyard.policies.rule import Finding, Severity, Verdict, each, stack_rule, unverified, violation
from trainyard.policies.rules.transfers import CONTROLS
from trainyard.policies.values import Value, shown

_ROLE = "aws:iam/role:Role"
_POLICY = "aws:iam/policy:Policy"
_CONTROL_POLICY = "aws:organizations/policy:Policy"
_ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"

_REQUESTED = ("aws:requestedregion", "ec2:region")
# What makes a store of data or a copy of one, and the condition keys that say in which region it may be. The request
# for a copy goes to the region where it will be, or what it is copied into must have been made there first; some
# services have a key of their own that names the destination.
_MOVES: dict[str, tuple[str, ...]] = {
    "backup:CreateBackupVault": _REQUESTED,
    "backup:StartCopyJob": (*_REQUESTED, "backup:copytargets"),
    "dynamodb:CreateTable": _REQUESTED,
    "dynamodb:CreateTableReplica": _REQUESTED,
    "ec2:CopyImage": _REQUESTED,
    "ec2:CopySnapshot": _REQUESTED,
    "ec2:CreateVolume": _REQUESTED,
    "ec2:RunInstances": _REQUESTED,
    "ecr:CreateRepository": _REQUESTED,
    "fsx:CopyBackup": _REQUESTED,
    "fsx:CreateFileSystem": _REQUESTED,
    "kms:ReplicateKey": (*_REQUESTED, "kms:replicaregion"),
    "rds:CopyDBSnapshot": _REQUESTED,
    "rds:CreateDBInstance": _REQUESTED,
    "s3:CreateBucket": (*_REQUESTED, "s3:locationconstraint"),
    "s3:PutObject": _REQUESTED,
    "sqs:CreateQueue": _REQUESTED,
}
# The region that these are asked for in is not the one that they send data to; a key that names that, if there is one.
_SENDS: dict[str, tuple[str, ...]] = {
    "ecr:PutReplicationConfiguration": (),
    "s3:PutReplicationConfiguration": (),
    "secretsmanager:ReplicateSecretToRegions": ("secretsmanager:addreplicaregions",),
}
_EQUAL = ("stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike")
_NOT_EQUAL = ("stringnotequals", "stringnotequalsifexists", "stringnotequalsignorecase", "stringnotlike")

# AWS's own policies that make stores of data in every region.
_BROAD = re.compile(
    r"arn:aws[a-z-]*:iam::aws:policy/(?:[\w-]+/)*"
    r"(?:AdministratorAccess|PowerUserAccess|SystemAdministrator|DatabaseAdministrator"
    r"|Amazon(?:S3|EC2|FSx|RDS|SQS|DynamoDB|EC2ContainerRegistry)FullAccess|AWSBackupFullAccess)(?:_?[vV]\d+)?"
)


@stack_rule(
    "transfer-identity-regions",
    title="An identity that can make stores or copies of data is held to the regions of the data",
    severity=Severity.HIGH,
    applies=grants.CARRIERS | {_ATTACHMENT},
    controls={**CONTROLS, "NIST 800-53": ("SA-9(5)", "AC-4", "AC-6")},
    why="A policy without a region is good for all regions: one call to CopySnapshot or CreateBucket takes data to any "
    "of them, outside every program and every review.",
    remedy="""
{"Effect": "Allow", "Action": ["ec2:CopyImage"], "Resource": "*",
 "Condition": {"StringEquals": {"aws:RequestedRegion": settings.region}}}
# or a permissions boundary that denies with StringNotEquals on aws:RequestedRegion; or, for the whole account, a
# service control policy that does, named as region_guard in policies/jurisdictions.yaml
""",
)
def identity_regions(carrier: Resource, graph: Graph) -> Iterator[Finding]:
    if _guarded(carrier, graph):
        return
    if carrier.type == _ATTACHMENT:
        yield from each([carrier["policyArn"]], lambda arn: _broad(arn, carrier, graph))
        return
    if carrier.type == _ROLE and not is_providers_choice(carrier, "managedPolicyArns"):
        yield from each(carrier["managedPolicyArns"].items(), lambda arn: _broad(arn, carrier, graph))
    yield from each(grants.documents_of(carrier), lambda document: _document(document, carrier, graph))


def _broad(arn: Value, carrier: Resource, graph: Graph) -> Iterator[Finding]:
    if not arn.known and any(one.type == _POLICY for one in graph.origins(carrier, str(arn.path[0]))):
        return  # one of this program, which is judged where it is made
    text = arn.text() or ""
    if _BROAD.fullmatch(text):
        problem = f"{text.rpartition('/')[2]} makes stores of data in any region{may_stand(carrier.environment)}"
        yield from _unless_bounded(carrier, graph, arn, problem, tuple(_MOVES))


def _document(document: Value, carrier: Resource, graph: Graph) -> Iterator[Finding]:
    """One finding for each statement: its first action that is not held to a region."""
    statements = documents.statements(document)
    for statement in (one for one in statements if one.effect == "Allow"):
        for action in (*_MOVES, *_SENDS):
            problem = _problem(statement, action, carrier, graph)
            if problem and not _held(action, [one for one in statements if one.effect == "Deny"], carrier, graph):
                text = f"{statement.label} allows {action} {problem}{may_stand(carrier.environment)}"
                yield from _unless_bounded(carrier, graph, document, text, (action,))
                break


def _held(action: str, statements: list[Statement], carrier: Resource, graph: Graph) -> bool:
    """Whether statements hold an action to regions where the data may be: they deny it elsewhere or altogether."""
    return any(
        _denies(one, action, carrier, graph)
        or (one.effect == "Deny" and not one.conditions and "*" in one.resources and documents.grants(one, action))
        for one in statements
    )


def _problem(statement: Statement, action: str, carrier: Resource, graph: Graph) -> str | None:
    if not documents.grants(statement, action):
        return None
    if action in _MOVES:
        return _unbounded(statement, _MOVES[action], _regions_of_resources(statement, action), carrier, graph)
    return _unbounded(statement, _SENDS[action], [], carrier, graph)


def _unbounded(
    statement: Statement, keys: tuple[str, ...], regions: list[str], carrier: Resource, graph: Graph
) -> str | None:
    """In which regions, where the data may not be, a statement allows something; None where in none. `regions` are
    those of its resources; a condition on one of `keys` holds it to fewer."""
    conditioned = [
        region
        for operator, tests in statement.conditions.items()
        if operator.removeprefix("foranyvalue:").removeprefix("forallvalues:") in _EQUAL
        for key, values in tests.items()
        if key in keys
        for region in values
    ]
    wrong = [region for region in conditioned or regions or ["any region"] if not _allowed(region, carrier, graph)]
    return f"in {shown(', '.join(wrong))}" if wrong else None


def _regions_of_resources(statement: Statement, action: str) -> list[str]:
    """The regions that the statement's resources lie in; none where one of them is not in one. An object goes to the
    bucket that is named: where that is, is the bucket's own matter."""
    if not statement.resources:
        return []
    found = []
    for pattern in statement.resources:
        parts = pattern.split(":", 5)
        if len(parts) < 6:
            return []
        if parts[2] == "s3" and action == "s3:PutObject":
            if parts[5].partition("/")[0].strip("*?") == "":
                return []
            found.append("")
        else:
            found.append(parts[3] or "*")
    return found


def _allowed(region: str, carrier: Resource, graph: Graph) -> bool:
    """Whether data of every class of the stack may be in a region, or, with an ARN given, in the ARN's."""
    if region.startswith("arn:"):
        region = region.split(":")[3] if region.count(":") >= 5 else "*"
    if region == "":
        return True
    at = Value(region, (), carrier.urn)
    classes = strictest_first(atlas_of(graph).classes)
    verdicts = {rule_on(carrier.environment, name, region_place(region, at)).verdict for name in classes}
    return verdicts <= {Verdict.PASSED} and (REGION.fullmatch(region) is not None or classes == ["public"])


def _denies(statement: Statement, action: str, carrier: Resource, graph: Graph) -> bool:
    """Whether a statement denies an action everywhere but in regions where the data may be."""
    if statement.effect != "Deny" or "*" not in statement.resources or not documents.grants(statement, action):
        return False
    if len(statement.conditions) != 1:
        return False
    ((operator, tests),) = statement.conditions.items()
    if operator not in _NOT_EQUAL or len(tests) != 1:
        return False
    ((key, regions),) = tests.items()
    keys = (*_REQUESTED, *_MOVES.get(action, ()))
    return key in keys and bool(regions) and all(_allowed(region, carrier, graph) for region in regions)


def _guarded(carrier: Resource, graph: Graph) -> bool:
    """Whether a service control policy bounds the whole account: one of this stack, or one that the table names."""
    row = jurisdictions().environments.get(carrier.environment)
    if row is not None and row.region_guard:
        return True
    policies = [one for one in graph.of({_CONTROL_POLICY}) if one.props.get("type") in (None, "SERVICE_CONTROL_POLICY")]
    return any(_holds_all(one["content"], carrier, graph) for one in policies if one["content"].known)


def _holds_all(document: Value, carrier: Resource, graph: Graph) -> bool:
    statements = documents.statements(document)
    return all(_held(action, statements, carrier, graph) for action in _MOVES)


def _unless_bounded(
    carrier: Resource, graph: Graph, at: Value, problem: str, actions: tuple[str, ...]
) -> Iterator[Finding]:
    """The finding, unless a permissions boundary of the role holds it to the regions."""
    role = _role_of(carrier, graph)
    boundary = given(role, "permissionsBoundary") if role is not None else None
    if role is None or boundary is None:
        yield violation(problem, at)
        return
    policies = [one for one in graph.of({_POLICY}) if graph.refers(role, "permissionsBoundary", one)]
    if len(policies) != 1:
        yield unverified(f"{problem}; its permissions boundary may hold that, and is not of this stack", at)
        return
    statements = documents.statements(policies[0]["policy"])
    if not all(_bounded(action, statements, carrier, graph) for action in actions):
        yield violation(f"{problem}, and so does its permissions boundary", at)


def _bounded(action: str, statements: list[Statement], carrier: Resource, graph: Graph) -> bool:
    """Whether a permissions boundary leaves an action only where the data may be: it allows no more, or denies."""
    allowed = [one for one in statements if one.effect == "Allow"]
    return _held(action, statements, carrier, graph) or not any(
        _problem(one, action, carrier, graph) for one in allowed
    )


def _role_of(carrier: Resource, graph: Graph) -> Resource | None:
    if carrier.type == _ROLE:
        return carrier
    name = carrier.props.get("role")
    if isinstance(name, str):
        return atlas_of(graph).find(name, lambda one: one.type == _ROLE)
    roles = [one for one in graph.origins(carrier, "role") if one.type == _ROLE]
    return roles[0] if len(roles) == 1 else None
