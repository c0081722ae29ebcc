"""Who administers a cluster: named roles, and few."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.preflight import NODE_GROUPS
from trainyard.policies.rule import Finding, Severity, each, stack_rule, unverified, violation
from trainyard.policies.values import UNKNOWN, UnverifiedError, Value, shown

_ENTRIES = frozenset({"aws:eks/accessEntry:AccessEntry"})
_GRANTS = frozenset({"aws:eks/accessPolicyAssociation:AccessPolicyAssociation"})
_CONFIG_MAPS = frozenset({"kubernetes:core/v1:ConfigMap", "kubernetes:core/v1:ConfigMapPatch"})
_ROLES = frozenset({"aws:iam/role:Role"})
_ADMIN_POLICIES = ("AmazonEKSClusterAdminPolicy", "AmazonEKSAdminPolicy")
_MASTERS = "system:masters"
_MOST_ADMINISTRATORS = 4
"""A team's role, the one that deploys, one for emergencies, and one to spare."""

_ACCESS = {"NIST 800-53": ("AC-2", "AC-6"), "ISO 27001": ("A.5.15", "A.8.2")}


def _administers(grant: Resource) -> bool:
    """Whether a policy association makes an administrator of the whole cluster."""
    name = (grant["policyArn"].text() or "").rpartition("/")[2]
    return name in _ADMIN_POLICIES and grant["accessScope"]["type"].text() != "namespace"


@stack_rule(
    "eks-admins-are-roles",
    title="Only IAM roles that people or deployments assume administer a cluster",
    severity=Severity.HIGH,
    applies=_GRANTS | _ENTRIES | _CONFIG_MAPS,
    controls={"CIS EKS": ("4.1.1",), **_ACCESS},
    why=(
        "A role's session ends, and says who has it. A user's key stays, the account's root passes every limit, "
        "a node's role belongs to each pod that gets at it, and system:masters cannot be taken back by RBAC."
    ),
    remedy="""
aws.eks.AccessPolicyAssociation(name, cluster_name=cluster.name, principal_arn=administrators.arn,   # an IAM role
    policy_arn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy", access_scope={"type": "cluster"})
""",
)
def admins_are_roles(resource: Resource, graph: Graph) -> Iterator[Finding]:
    if resource.type in _CONFIG_MAPS:
        yield from _old_map(resource)
    elif resource.type in _ENTRIES:
        groups = resource["kubernetesGroups"]
        # EKS gives an entry without groups an empty list of its own.
        if groups.known or "kubernetesGroups" in resource.property_dependencies:
            yield from each(groups.items(), _no_masters)
    elif _administers(resource):
        yield from _role(resource["principalArn"], resource, graph)


def _no_masters(group: Value) -> Iterator[Finding]:
    if group.text() == _MASTERS:
        yield violation("system:masters passes every rule of RBAC; use a cluster access policy", group)


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


def _old_map(config: Resource) -> Iterator[Finding]:
    """The aws-auth ConfigMap, where the cluster still reads it."""
    if config["metadata"].raw is UNKNOWN or config["metadata"]["name"].raw != "aws-auth":
        return
    for name in ("mapRoles", "mapUsers", "mapAccounts"):
        text = config["data"][name]
        try:
            listed: Any = yaml.safe_load(text.text() or "")
        except yaml.YAMLError:
            raise UnverifiedError(text, "this is not a list in YAML") from None
        rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
        masters = [row for row in rows if _MASTERS in (row.get("groups") or ())]
        for row in masters:
            who = row.get("rolearn") or row.get("userarn")
            yield violation(f"{shown(who)} is in system:masters, which passes every rule of RBAC", text)
        if name == "mapAccounts" and listed:
            yield violation("every user of these accounts is let in", text)


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
    found = graph.attached(cluster, _GRANTS, "clusterName")
    admins = [grant.name for grant in found.certain if _administers(grant)]
    doubtful = [grant.name for grant in found.possible if _administers(grant)]
    if len(admins) > _MOST_ADMINISTRATORS:
        yield violation(f"{len(admins)} principals administer it: {', '.join(admins)}")
    elif len(admins) + len(doubtful) > _MOST_ADMINISTRATORS:
        yield unverified(f"whether {', '.join(doubtful[:3])} is about this cluster is not known yet")
