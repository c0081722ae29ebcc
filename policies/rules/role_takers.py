"""Who takes a role is told apart as far as AWS can: pods by their service account, people by a second factor."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.iam.documents import Statement
from trainyard.policies.rule import Finding, Severity, resource_rule, stack_rule, unverified, violation
from trainyard.policies.rules.cluster_access import GRANTS, administers

_ROLES = frozenset({"aws:iam/role:Role"})
_POD_SERVICE = "pods.eks.amazonaws.com"
_POD_TAGS = ("aws:requesttag/kubernetes-namespace", "aws:requesttag/kubernetes-service-account")
_LONGEST_SECONDS = 3600
"""For how long a second factor stands. A day's work on one would be a day's work for whoever finds the laptop open."""

_PODS = {"NIST 800-53": ("AC-3", "AC-6", "IA-9"), "ISO 27001": ("A.5.15", "A.5.16")}
_PEOPLE = {"NIST 800-53": ("AC-3", "AC-6", "IA-2(1)"), "ISO 27001": ("A.5.15", "A.5.16", "A.8.5")}


@resource_rule(
    "pod-identity-names-pods",
    title="A role for pods says of which namespace and which service account",
    severity=Severity.HIGH,
    applies=_ROLES,
    controls={"CIS EKS": ("5.2.1",), "EKS best practices": ("Identity and access management",), **_PODS},
    why=(
        "EKS gives a role to whichever service account an association names. Whoever may write associations hands it "
        "to a pod of his own, unless the role itself says whose it is."
    ),
    remedy="""
"Condition": {"StringEquals": {"aws:SourceAccount": account_id,
    "aws:RequestTag/kubernetes-namespace": "vision", "aws:RequestTag/kubernetes-service-account": "trainer"}}
""",
)
def names_pods(role: Resource) -> Iterator[Finding]:
    trust = role["assumeRolePolicy"]
    for statement in documents.statements(trust):
        if statement.effect != "Allow" or _POD_SERVICE not in statement.principals_by_kind.get("service", ()):
            continue
        for key in _POD_TAGS:
            if not documents.pinned(statement, key):
                yield violation(f"{statement.label} is for every {key.rpartition('/')[2].partition('-')[2]}", trust)


@stack_rule(
    "iam-admin-second-factor",
    title="A person who becomes administrator of a cluster has just shown a second factor",
    severity=Severity.HIGH,
    applies=_ROLES,
    controls={"CIS EKS": ("4.1.1",), **_PEOPLE},
    why="A key that was stolen, or a session from this morning, would be the cluster with every secret in it.",
    remedy=f"""
"Condition": {{"Bool": {{"aws:MultiFactorAuthPresent": "true"}},
              "NumericLessThan": {{"aws:MultiFactorAuthAge": "{_LONGEST_SECONDS}"}}}}      # seconds, or less
""",
)
def second_factor(role: Resource, graph: Graph) -> Iterator[Finding]:
    grants = [(sure, one) for sure, one in graph.referring(role, GRANTS, "principalArn") if administers(one)]
    if not grants:
        return
    trust = role["assumeRolePolicy"]
    for statement in documents.statements(trust):
        people = statement.principals_by_kind.get("aws", ())
        if statement.effect != "Allow" or not people:
            continue
        if reason := _lacks(statement):
            name = grants[0][1].name
            if any(sure for sure, _ in grants):
                yield violation(f"{statement.label} {reason}, and the role administers a cluster ({name})", trust)
            else:
                yield unverified(f"{statement.label} {reason}; whether {name} makes it administrator is not known yet")


def _lacks(statement: Statement) -> str | None:
    if statement.conditions.get("bool", {}).get("aws:multifactorauthpresent") != ("true",):
        return "asks for no second factor"
    for operator in ("numericlessthan", "numericlessthanequals"):
        for age in statement.conditions.get(operator, {}).get("aws:multifactorauthage", ()):
            if age.isdigit() and int(age) <= _LONGEST_SECONDS:
                return None
    return f"takes a second factor of more than {_LONGEST_SECONDS // 60} minutes ago"
