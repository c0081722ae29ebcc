"""Who administers a cluster: named roles, and few."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.preflight import NODE_GROUPS
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UNKNOWN, UnverifiedError, Value, shown

_ENTRIES = frozenset({"aws:eks/accessEntry:AccessEntry"})
GRANTS = frozenset({"aws:eks/accessPolicyAssociation:AccessPolicyAssociation"})
_CONFIG_MAPS = frozenset({"kubernetes:core/v1:ConfigMap", "kubernetes:core/v1:ConfigMapPatch"})
_ROLES = frozenset({"aws:iam/role:Role"})
_ADMIN_POLICIES = ("AmazonEKSClusterAdminPolicy", "AmazonEKSAdminPolicy")
_MASTERS = "system:masters"
_MOST_ADMINISTRATORS = 4
"""A team's role, the one that deploys, one for emergencies, and one to spare."""

_ACCESS = {"NIST 800-53": ("AC-2", "AC-6"), "ISO 27001": ("A.5.15", "A.8.2")}


def administers(grant: Resource) -> bool:
    """Whether a policy association makes an administrator of the whole cluster."""
    name = (grant["policyArn"].text() or "").rpartition("/")[2]
    return name in _ADMIN_POLICIES and grant["accessScope"]["type"].text() != "namespace"


@stack_rule(
    "eks-admins-are-roles",
    title="Only IAM roles that people or deployments assume administer a cluster",
    severity=Severity.HIGH,
    applies=GRANTS,
    controls={"CIS EKS": ("4.1.1",), **_ACCESS},
    why=(
        "A role's session ends, and says who has it. A user's key stays, the account's root passes every limit, "
        "and a node's role belongs to each pod that gets at it."
    ),
    remedy="""
aws.eks.AccessPolicyAssociation(name, cluster_name=cluster.name, principal_arn=administrators.arn,   # an IAM role
    policy_arn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy", access_scope={"type": "cluster"})
""",
)
def admins_are_roles(grant: Resource, graph: Graph) -> Iterator[Finding]:
    if administers(grant):
        yield from _role(grant["principalArn"], grant, graph)


def _role(principal: Value, grant: Resource, graph: Graph) -> Iterator[Finding]:
    roles = [one for one in graph.origins(grant, "principalArn") if one.type in _ROLES]
    if principal.raw is not UNKNOWN:
        text = principal.text() or ""
        if ":role/" not in text:
            yield violation(f"{shown(text)} is no IAM role", principal)
            return
    elif len(roles) != 1:
        yield unverified("who becomes administrator is not known yet, and comes from no one role here", principal)
        return
    for group in graph.of(NODE_GROUPS):
        held = group.props.get("nodeRoleArn")
        shared = (
            principal.raw == held
            if isinstance(held, str)
            else any(one.urn in group.property_dependencies.get("nodeRoleArn", ()) for one in roles)
        )
        if shared:
            yield violation(f"this is the role of {group.name}'s nodes: each of its pods could administer", principal)


@stack_rule(
    "eks-entries-are-roles",
    title="Whoever has access to a cluster has it as an IAM role",
    severity=Severity.MEDIUM,
    applies=_ENTRIES | GRANTS,
    controls={"CIS EKS": ("4.1.1", "4.1.7"), **_ACCESS},
    why=(
        "A user's key stays until somebody remembers it, and the account's root stands for everybody whose policies "
        "let him in. A role's session ends, and CloudTrail says who took it."
    ),
    remedy="""
aws.eks.AccessEntry(name, cluster_name=cluster.name, principal_arn=engineers.arn)      # an IAM role
""",
)
def entries_are_roles(entry: Resource, graph: Graph) -> Iterator[Finding]:
    principal = entry["principalArn"]
    if principal.raw is UNKNOWN:
        if [one.type for one in graph.origins(entry, "principalArn")] != list(_ROLES):
            yield unverified("who has access is not known yet, and comes from no one role here", principal)
    elif ":role/" not in (principal.text() or ""):
        yield violation(f"{shown(principal.raw)} is no IAM role", principal)


@resource_rule(
    "eks-no-masters",
    title="Nobody is in system:masters",
    severity=Severity.HIGH,
    applies=_ENTRIES | _CONFIG_MAPS,
    controls={"CIS EKS": ("4.1.1",), **_ACCESS},
    why="The API server lets this group pass every rule of RBAC, so no rule can take anything back from its members.",
    remedy="""
aws.eks.AccessPolicyAssociation(name, principal_arn=role.arn, ...)     # a cluster access policy, and no such group
""",
)
def no_masters(resource: Resource) -> Iterator[Finding]:
    if resource.type in _ENTRIES:
        yield from each(resource["kubernetesGroups"].items(), _no_masters)
        return
    data = resource["data"]
    metadata = resource["metadata"]
    if metadata.known and isinstance(name := metadata["name"].raw, str | None) and name != "aws-auth":
        return
    for name in ("mapRoles", "mapUsers", "mapAccounts"):
        if data[name].present:
            metadata["name"].text()  # the cluster reads this map under one name alone
            yield from _old_map(data[name])


def _no_masters(group: Value) -> Iterator[Finding]:
    if group.text() == _MASTERS:
        yield violation("system:masters passes every rule of RBAC; use a cluster access policy", group)


def _old_map(text: Value) -> Iterator[Finding]:
    """One of the lists in the aws-auth ConfigMap, which a cluster with authentication mode API does not read."""
    try:
        listed: Any = yaml.safe_load(text.text() or "")
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UnverifiedError(text, "this is not a list in YAML") from None
    for row in listed if isinstance(listed, list) else ():
        if not isinstance(row, dict):
            yield violation(f"every user of account {shown(row)} is let in", text)
        elif _MASTERS in _texts(row.get("groups")):
            who = row.get("rolearn") or row.get("userarn")
            yield violation(f"{shown(who)} is in system:masters, which passes every rule of RBAC", text)


def _texts(raw: Any) -> list[str]:
    return [str(one) for one in raw] if isinstance(raw, list) else []


@stack_rule(
    "eks-admins-few",
    title=f"At most {_MOST_ADMINISTRATORS} principals administer a cluster",
    severity=Severity.MEDIUM,
    applies={"aws:eks/cluster:Cluster"},
    controls={"CIS EKS": ("4.1.1",), **_ACCESS},
    why="Whoever administers the cluster reads each secret in it and can run as any workload.",
    remedy="""
aws.eks.AccessPolicyAssociation(name, ..., access_scope={"type": "namespace", "namespaces": ["training"]},
    policy_arn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSEditPolicy")
""",
    # How many a team needs is its own to say.
    advice=True,
)
def admins_few(cluster: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(cluster, GRANTS, "clusterName")
    admins = [grant.name for grant in found.certain if administers(grant)]
    doubtful = [grant.name for grant in found.possible if administers(grant)]
    if len(admins) > _MOST_ADMINISTRATORS:
        yield violation(f"{len(admins)} principals administer it: {', '.join(sorted(admins))}")
    elif len(admins) + len(doubtful) > _MOST_ADMINISTRATORS:
        yield unverified(f"whether {', '.join(sorted(doubtful)[:3])} is about this cluster is not known yet")
