"""What identities reach, all their policies and those of the data taken together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from trainyard.policies.aws import BUCKETS, OWN_KEY_CLASSES, tags_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.iam.conditions import Truth
from trainyard.policies.reach.patterns import instance, meeting
from trainyard.policies.reach.principals import IDENTITIES, ROLES, Principal, Taker
from trainyard.policies.reach.rows import WITHOUT_KEY, Certainty, Reach, Row, reach
from trainyard.policies.reach.table import table
from trainyard.policies.reach.targets import Target
from trainyard.policies.rule import Finding, Severity, stack_rule, unverified, violation
from trainyard.policies.values import UNKNOWN, shown

_SECRETS = frozenset({"aws:secretsmanager/secret:Secret"})
_HOLDS_DATA = ("bucket", "secret")
_GIVES_AWAY = ("kms:PutKeyPolicy", "kms:CreateGrant")
_LEAST = {"NIST 800-53": ("AC-3", "AC-6"), "ISO 27001": ("A.5.15", "A.8.3")}


@stack_rule(
    "iam-reach-data",
    title="Data about people are read by workloads and the services that keep them, and by nobody else",
    severity=Severity.HIGH,
    applies=IDENTITIES | BUCKETS | _SECRETS,
    controls={"UAE PDPL": ("art. 20",), **_LEAST},
    why=(
        "Who reads is decided by many policies together: the identity's, the bucket's, the key's. Each was reviewed "
        "alone; only all of them say that a build, a person's role or another account gets at the data."
    ),
    remedy="""
tags={"duty": "break-glass"}        # on the role, where it is meant to; policies/reach.yaml has the words
{"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{bucket_arn}/builds/checkout.zip"}      # or what it needs
""",
)
def reach_data(resource: Resource, graph: Graph) -> Iterator[Finding]:
    found = reach(graph)
    principal = found.principal(resource.urn)
    if principal is None:
        rows = [row for row in found.to(resource.urn) if not row.principal_urn]
        if _class_of(resource) is UNKNOWN or _class_of(resource) in OWN_KEY_CLASSES:
            yield from _unread_policies(found.target(resource.urn))
    elif _excepted(resource):
        return
    else:
        yield from _unread(principal, found, [one for one in _takers(principal) if not _may_read(one)])
        rows = found.of(resource.urn)
    for row in rows:
        if row.access != "read" or row.kind not in _HOLDS_DATA or not _reads_data(row):
            continue
        who = [one.label for one in row.takers or (_itself(row.principal),) if not _may_read(one)]
        data_class = _class_of(graph.by_urn[row.resource_urn])
        if not who or (data_class is not UNKNOWN and data_class not in OWN_KEY_CLASSES):
            continue
        told = f"{_listed(who)} can read {_what(row)}{_on_condition(row)}"
        if data_class is UNKNOWN:
            yield unverified(f"{told}; which class of data that is, is not known yet")
        elif all(one.kind == "unknown" for one in row.takers if not _may_read(one)) and row.takers:
            yield unverified(f"{told}; it holds {data_class} data")
        else:
            yield _judged(row, f"{told}; it holds {data_class} data")


def _takers(principal: Principal) -> list[Taker]:
    user = principal.resource is not None and principal.resource.type not in ROLES
    return [_itself(principal.name)] if user else principal.takers


def _itself(name: str) -> Taker:
    return Taker("principal", name)


def _may_read(taker: Taker) -> bool:
    """Nodes are another rule's. Whoever makes pods in a namespace is an administrator of the cluster, or its team."""
    if taker.kind == "service":
        return "service" in table().may_read_data and taker.service_account in table().services
    return taker.kind in ("maker", "node") or taker.kind in table().may_read_data


def _reads_data(row: Row) -> bool:
    """Whether it reads more than one thing by name, and what it reads can be decrypted."""
    by_name = row.kind == "bucket" and row.where and not any("*" in one or "$" in one for one in row.where)
    sealed = row.certainty is Certainty.CONDITIONAL and all(WITHOUT_KEY in one for one in row.conditions)
    return not by_name and not sealed


@stack_rule(
    "iam-reach-nodes",
    title="The nodes' role reads no data",
    severity=Severity.HIGH,
    applies=ROLES,
    controls={"EKS best practices": ("Identity and access management",), **_LEAST},
    why=(
        "Every pod on a node, of every team, is one flaw away from the node's role: a host path, a host network, a "
        "breakout. What that role reads everybody reads."
    ),
    remedy="""
aws.eks.PodIdentityAssociation(name, cluster_name=cluster.name, namespace="vision", service_account="trainer",
    role_arn=training_role.arn)     # the role of the pods that need it, not the nodes'
""",
)
def reach_nodes(role: Resource, graph: Graph) -> Iterator[Finding]:
    found = reach(graph)
    principal = found.principal(role.urn)
    nodes = [one for one in principal.takers if one.kind == "node"] if principal else []
    if not principal or not nodes:
        return
    yield from _unread(principal, found, nodes)
    for row in found.of(role.urn):
        public = row.resource_urn in graph.by_urn and _class_of(graph.by_urn[row.resource_urn]) == "public"
        if row.access == "read" and row.kind in _HOLDS_DATA and not public:
            yield _judged(row, f"{nodes[0].label} can read {_what(row)}{_on_condition(row)}")


@stack_rule(
    "iam-reach-teams",
    title="A team's pods reach no other team's part of a bucket",
    severity=Severity.HIGH,
    applies=ROLES,
    controls={"EKS best practices": ("Multi-tenancy",), **_LEAST},
    why=(
        "Teams share a bucket and are kept apart by prefixes alone. A prefix without its slash, a wildcard in front, "
        "or a role that two namespaces take, and one team reads or overwrites what the other trains."
    ),
    remedy="""
{"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"{bucket_arn}/vision/*"}    # not /vision*
{... "Resource": f"{bucket_arn}/${{aws:PrincipalTag/kubernetes-namespace}}/*"}     # or one policy for all teams
""",
)
def reach_teams(role: Resource, graph: Graph) -> Iterator[Finding]:
    found = reach(graph)
    principal = found.principal(role.urn)
    own = _namespaces(principal)
    if principal is None or not own or _excepted(role):
        return
    yield from _unread(principal, found, [one for one in principal.takers if one.kind == "pod"])
    mine = [row for row in found.of(role.urn) if row.kind == "bucket" and row.access in ("read", "write")]
    if len(own) > 1 and (shared := [row for row in mine if row.access == "write"]):
        yield _judged(
            shared[0], f"pods of the namespaces {_listed(sorted(own))} have one role, and write {_what(shared[0])}"
        )
        return
    for row in mine:
        if theirs := _written_by_others(row, principal, own, found):
            other, where = theirs
            did = "read" if row.access == "read" else "write"
            yield _judged(
                row, f"it can {did} {where} in {row.resource}, where pods of {other} write{_on_condition(row)}"
            )


def _namespaces(principal: Principal | None) -> set[str]:
    return {one.namespace for one in principal.takers if one.kind == "pod"} if principal else set()


def _written_by_others(row: Row, principal: Principal, own: set[str], found: Reach) -> tuple[str, str] | None:
    """Another namespace, and where it writes what the row reaches as well."""
    target = found.target(row.resource_urn)
    if target is None:
        return None
    for other in found.to(row.resource_urn):
        spaces = {one.namespace for one in other.takers if one.kind == "pod"}
        if other.access != "write" or not spaces or spaces & own:
            continue
        for mine in map(_pattern, row.where):
            for theirs in map(_pattern, other.where):
                met = _met(mine, theirs)
                if met and found.asking.may_at(principal, target, row.access, met) is not Truth.NO:
                    return ", ".join(sorted(spaces)), theirs
    return None


def _pattern(where: str) -> str:
    return where.partition(" except ")[0]


def _met(mine: str, theirs: str) -> str | None:
    """A key in both patterns. Where theirs is the wider one it is they who reach what is not theirs."""
    return None if mine != theirs and documents.covers(theirs, instance(mine)) else meeting(mine, theirs)


@stack_rule(
    "iam-reach-key-duties",
    title="Who decrypts with a key cannot give the key away",
    severity=Severity.HIGH,
    applies=IDENTITIES,
    controls={"NIST 800-53": ("AC-5", "AC-6", "SC-12"), "ISO 27001": ("A.5.3", "A.8.24")},
    why=(
        "One policy lets a role decrypt, another lets it write the key's policy or make grants: together it can let "
        "anyone read what the key protects, and nobody else has to agree."
    ),
    remedy="""
{"Effect": "Allow", "Action": "kms:CreateGrant", "Resource": key_arn,       # for AWS services alone, or not at all
 "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}}
tags={"duty": "administrator"}      # on the role that is meant to have both
""",
)
def reach_key_duties(identity: Resource, graph: Graph) -> Iterator[Finding]:
    found = reach(graph)
    principal = found.principal(identity.urn)
    if principal is None or _excepted(identity):
        return
    keys = [one for one in found.asking.targets if one.kind == "key"]
    if keys:
        yield from _unread(principal, found, [_itself(principal.name)])
    rows = {(row.resource_urn, row.access): row for row in found.of(identity.urn) if not row.via}
    for key in keys:
        if (given := _gives_away(principal, key, rows, found)) is None:
            continue
        row = rows.get((key.resource.urn, "decrypt"))
        if row is not None:
            yield _judged(row, f"it can decrypt with {row.resource} and has {given} on it{_on_condition(row)}")
        elif key.arn is None:
            yield unverified(f"it has {given}; whether it can decrypt with {key.resource.name} its ARN will tell")
        else:
            yield from _unread_policies(key)


def _gives_away(principal: Principal, key: Target, rows: Mapping[tuple[str, str], Row], found: Reach) -> str | None:
    """The action by which an identity can let others have a key."""
    if (key.resource.urn, "administer") not in rows:
        return None
    for action in _GIVES_AWAY:
        if key.arn is None or found.asking.may(principal, key, "administer", (action,), key.arn).truth is not Truth.NO:
            return action
    return None


def _excepted(resource: Resource) -> bool:
    tags = tags_of(resource).raw
    given = tags if isinstance(tags, dict) else {}
    return any(isinstance(word := given.get(tag), str) and word in words for tag, words in table().excepted.items())


def _class_of(resource: Resource) -> object:
    """`UNKNOWN` also for what is no text: that names no class."""
    tags = tags_of(resource).raw
    found = tags.get("data-class") if isinstance(tags, dict) else UNKNOWN
    return found if found is None or isinstance(found, str) else UNKNOWN


def _unread_policies(target: Target | None) -> Iterator[Finding]:
    for one in target.unread if target else ():
        yield unverified(f"whom its policy lets in cannot be told: {one.reason}", one.value)


def _unread(principal: Principal, found: Reach, who: Iterable[Taker]) -> Iterator[Finding]:
    """What an identity's policies say that cannot be read, where it matters who takes it."""
    if any(True for _ in who):
        for one in found.unread(principal):
            yield unverified(f"what it reaches cannot be told: {one.reason}", one.value)


def _judged(row: Row, message: str) -> Finding:
    return unverified(message) if row.certainty is Certainty.UNVERIFIED else violation(message)


def _what(row: Row) -> str:
    inside = f"{shown(', '.join(row.where))} in " if row.where and row.where != ("*",) else ""
    through = f" as {row.via}" if row.via else ""
    return f"{inside}{row.kind} {row.resource}{through}"


def _on_condition(row: Row) -> str:
    return f", if {shown(row.conditions[0])}" if row.conditions else ""


def _listed(names: Iterable[str]) -> str:
    return shown(", ".join(dict.fromkeys(names)))
