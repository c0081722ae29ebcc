"""The identities of a stack: what policies each has, as far as they can be read, and who takes each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeAlias

from trainyard.policies.accounts import account_of, own_accounts
from trainyard.policies.aws import tags_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.iam.conditions import Context, Truth
from trainyard.policies.iam.documents import Statement
from trainyard.policies.iam.evaluation import Request, Statements, spoken
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.reach.table import managed_policy
from trainyard.policies.values import UNKNOWN, UnverifiedError, Value, shown

ROLES = frozenset({"aws:iam/role:Role"})
USERS = frozenset({"aws:iam/user:User"})
IDENTITIES = ROLES | USERS
_GROUPS = frozenset({"aws:iam/group:Group"})
_OF_USER = frozenset({"aws:iam/userGroupMembership:UserGroupMembership"})
_OF_GROUP = frozenset({"aws:iam/groupMembership:GroupMembership"})
_POLICIES = frozenset({"aws:iam/policy:Policy"})
_ASSOCIATIONS = frozenset({"aws:eks/podIdentityAssociation:PodIdentityAssociation"})
_PROFILES = frozenset({"aws:iam/instanceProfile:InstanceProfile"})
_NODE_GROUPS = frozenset({"aws:eks/nodeGroup:NodeGroup"})
_ADDONS = frozenset({"aws:eks/addon:Addon"})
_ACCESS = frozenset({"aws:eks/accessPolicyAssociation:AccessPolicyAssociation"})
_MAKERS = ("AmazonEKSClusterAdminPolicy", "AmazonEKSAdminPolicy", "AmazonEKSEditPolicy")
_ENTRIES = frozenset({"aws:eks/accessEntry:AccessEntry"})
_NODE_ENTRIES = ("EC2", "EC2_LINUX", "EC2_WINDOWS", "HYBRID_LINUX")
_ACCOUNT_KEYS = ("aws:principalaccount", "kms:calleraccount", "aws:resourceaccount", "s3:resourceaccount")
_PODS = "pods.eks.amazonaws.com"

# What hangs policies on an identity: the property that names the identity, and the one that has or names the policy.
_INLINE = (
    ("aws:iam/rolePolicy:RolePolicy", "role", "policy"),
    ("aws:iam/userPolicy:UserPolicy", "user", "policy"),
    ("aws:iam/groupPolicy:GroupPolicy", "group", "policy"),
)
_ATTACHING = (
    ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "role", "policyArn"),
    ("aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive", "roleName", "policyArns"),
    ("aws:iam/userPolicyAttachment:UserPolicyAttachment", "user", "policyArn"),
    ("aws:iam/userPolicyAttachmentsExclusive:UserPolicyAttachmentsExclusive", "userName", "policyArns"),
    ("aws:iam/groupPolicyAttachment:GroupPolicyAttachment", "group", "policyArn"),
    ("aws:iam/groupPolicyAttachmentsExclusive:GroupPolicyAttachmentsExclusive", "groupName", "policyArns"),
)
_Policy: TypeAlias = Value | tuple[Statement, ...] | UnverifiedError
"""A document, one of AWS's own, or why it cannot be read."""
_ATTACHING_TO_MANY = "aws:iam/policyAttachment:PolicyAttachment"


@dataclass(frozen=True)
class Taker:
    """Who takes an identity. `kind`: pod, node, instance, service, token, principal, account, anyone or unknown;
    maker is whom EKS lets make pods in the namespace of a pod."""

    kind: str
    label: str
    namespace: str = ""
    service_account: str = ""


@dataclass
class Principal:
    """An identity of the stack, or one that a resource's policy names, with what is read of its policies.

    Attributes:
        name: the resource's, or the ARN where the stack does not make it.
        arn: None while it is not known.
        statements: of its own policies; None where those are not in the stack.
        unread: its policies that cannot be read, each with the reason.
        limits: what narrows it and is not seen, in words.
        named_by: ARN of the resource whose policy names an identity that the stack does not make. Of this resource that
            policy is asked alone; what the identity's own let it do elsewhere is not known.
    """

    name: str
    arn: str | None
    resource: Resource | None = None
    statements: tuple[Statement, ...] | None = ()
    boundary: tuple[Statement, ...] | None = None
    takers: list[Taker] = field(default_factory=list)
    unread: list[UnverifiedError] = field(default_factory=list)
    limits: tuple[str, ...] = ()
    named_by: str | None = None
    context: Context = field(default_factory=Context)


def principals(graph: Graph) -> list[Principal]:
    """The roles and users that the stack makes."""
    found = _Finder(graph)
    return [found.principal(one) for one in graph.of(IDENTITIES)]


class _Finder:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._accounts = own_accounts(graph)
        policies = graph.of(_POLICIES)
        self._policies = {arn: one for one in policies if isinstance(arn := one.props.get("arn"), str)}
        self._of_many: defaultdict[str, list[Resource]] = defaultdict(list)
        for one in graph.of({_ATTACHING_TO_MANY}):
            for name in ("roles", "users", "groups"):
                listed = one.props.get(name)
                for member in listed if isinstance(listed, list) else ():
                    self._of_many[member if isinstance(member, str) else ""].append(one)

    def principal(self, resource: Resource) -> Principal:
        arn = resource.props.get("arn")
        found = Principal(resource.name, arn if isinstance(arn, str) else None, resource)
        statements: list[Statement] = []
        for policy, sure in chain.from_iterable(map(self._documents, (resource, *self._groups(resource, found)))):
            try:
                read = _read(policy)
            except UnverifiedError as unread:
                found.unread.append(unread)
                continue
            if sure:
                statements += read
            elif read:
                reason = "whether a policy is this identity's is not known yet"
                found.unread.append(UnverifiedError(Value(UNKNOWN, (), resource.urn), reason))
        found.statements = Statements(statements)
        self._bound(found, resource)
        if resource.type in ROLES:
            found.takers = list(self._takers(resource))
            namespaces = {one.namespace for one in found.takers if one.kind == "pod"}
            found.takers += self._makers(namespaces)
        found.context = self._context(found, resource)
        return found

    def _documents(self, owner: Resource) -> Iterator[tuple[_Policy, bool]]:
        """Policies in the identity, written for it, and attached to it; each surely or perhaps."""
        if not is_providers_choice(owner, "inlinePolicies"):
            for one in _listed(owner["inlinePolicies"]):
                yield (one["policy"] if isinstance(one.raw, dict) else one), True
        if not is_providers_choice(owner, "managedPolicyArns"):
            for one in _listed(owner["managedPolicyArns"]):
                yield self._attached(owner, one), True
        for kind, name, document in _INLINE:
            for sure, part in self._graph.referring(owner, {kind}, name):
                yield part[document], sure is True
        for kind, name, policy in _ATTACHING:
            for sure, link in self._graph.referring(owner, {kind}, name):
                for one in _listed(link[policy]):
                    yield self._attached(link, one), sure is True
        name = owner.props.get("name")
        for link in self._of_many.get(name, ()) if isinstance(name, str) else ():
            yield self._attached(link, link["policyArn"]), True

    def _groups(self, user: Resource, found: Principal) -> Iterator[Resource]:
        """The groups that a user is in, whose policies are its own as well."""
        if user.type not in USERS:
            return
        groups = self._graph.of(_GROUPS)
        by_name = {one.props["name"]: one for one in groups if isinstance(one.props.get("name"), str)}
        for _, link in self._graph.referring(user, _OF_USER, "user"):
            for one in _listed(link["groups"]):
                if isinstance(one.raw, str) and one.raw in by_name:
                    yield by_name[one.raw]
                else:
                    found.unread.append(UnverifiedError(one, "what a group that it is in allows is not known"))
        for link in self._graph.of(_OF_GROUP):
            if user.props.get("name") in [one.raw for one in _listed(link["users"])]:
                yield from (one for one in groups if self._graph.refers(link, "group", one) is not False)

    def _attached(self, link: Resource, arn: Value) -> _Policy:
        """The policy that an ARN means, or why that cannot be read."""
        if isinstance(arn.raw, str):
            if (policy := self._policies.get(arn.raw)) is not None:
                return policy["policy"]
            known = managed_policy(arn.raw)
            name = arn.raw.rpartition("/")[2]
            return UnverifiedError(arn, f"what {shown(name)} allows is not in this stack") if known is None else known
        origins = [one for one in self._graph.origins(link, str(arn.path[0])) if one.type in _POLICIES]
        return origins[0]["policy"] if len(origins) == 1 and len(arn.path) == 1 else arn

    def _bound(self, found: Principal, resource: Resource) -> None:
        boundary = resource["permissionsBoundary"]
        if not boundary.raw:
            return
        policy = self._attached(resource, boundary)
        try:
            found.boundary = Statements(_read(policy))
        except UnverifiedError:
            # What is not read narrows nothing: the reach shown is the wider one.
            found.limits = ("its permissions boundary lets it, which is not in this stack",)

    def _takers(self, role: Resource) -> Iterator[Taker]:
        try:
            trust = documents.statements(role["assumeRolePolicy"])
        except UnverifiedError as unread:
            yield Taker("unknown", f"whom its trust names, where {unread.reason}")
            yield from self._pods(role, None)
            yield from self._machines(role)
            return
        for statement in trust:
            if statement.effect != "Allow":
                continue
            if statement.for_anyone:
                yield Taker("anyone", "anyone whom its trust's conditions let in" if statement.conditions else "anyone")
                continue
            for kind, names in statement.principals_by_kind.items():
                for name in names:
                    yield from self._named(role, trust, statement, kind, name)

    def _named(
        self, role: Resource, trust: list[Statement], statement: Statement, kind: str, name: str
    ) -> Iterator[Taker]:
        if kind == "service" and name == _PODS:
            yield from self._pods(role, trust)
        elif kind == "service" and name.startswith("ec2."):
            yield from self._machines(role)
        elif kind == "service":
            yield Taker("service", f"AWS service {name.partition('.amazonaws')[0]}", service_account=name)
        elif kind == "federated":
            yield from _tokens(statement, name)
        elif name.isdigit() or name.endswith(":root"):
            yield Taker("account", f"whom the policies of account {account_of(name) or shown(name)} let")
        else:
            yield Taker("principal", name.rpartition(":")[2])

    def _pods(self, role: Resource, trust: list[Statement] | None) -> Iterator[Taker]:
        for sure, one in self._graph.referring(role, _ASSOCIATIONS, "roleArn"):
            known = {
                key: value
                for key, value in (
                    ("kubernetes-namespace", one.props.get("namespace")),
                    ("kubernetes-service-account", one.props.get("serviceAccount")),
                    ("eks-cluster-name", one.props.get("clusterName")),
                )
                if isinstance(value, str)
            }
            if trust is not None and _refuses(trust, known):
                continue
            namespace, account = known.get("kubernetes-namespace", "?"), known.get("kubernetes-service-account", "?")
            yield Taker("pod", f"pods of {namespace}/{account}", namespace, account)
            if not sure:
                yield Taker("unknown", f"whoever else takes this role, should {one.name} be for another,")

        for addon in self._graph.of(_ADDONS):
            for one in _listed(addon["podIdentityAssociations"]):
                if isinstance(one.raw, dict) and one.raw.get("roleArn") == role.props.get("arn"):
                    account = str(one.raw.get("serviceAccount"))
                    yield Taker("pod", f"pods of kube-system/{account}", "kube-system", account)

    def _makers(self, namespaces: set[str]) -> Iterator[Taker]:
        """Whoever may make pods in a namespace can have any of its service accounts, and so the role."""
        for one in self._graph.of(_ACCESS) if namespaces else ():
            policy, scope = one.props.get("policyArn"), one.props.get("accessScope")
            inside = scope.get("namespaces") if isinstance(scope, dict) else None
            within = not isinstance(inside, list) or not inside or not namespaces.isdisjoint(map(str, inside))
            if isinstance(policy, str) and policy.rpartition("/")[2] in _MAKERS and within:
                who = one.props.get("principalArn")
                label = who.rpartition(":")[2] if isinstance(who, str) else one.name
                yield Taker("maker", f"{label} (may make pods there)")

    def _machines(self, role: Resource) -> Iterator[Taker]:
        groups = [one for _, one in self._graph.referring(role, _NODE_GROUPS, "nodeRoleArn")]
        entries = [
            one
            for _, one in self._graph.referring(role, _ENTRIES, "principalArn")
            if one.props.get("type") in (*_NODE_ENTRIES, UNKNOWN)
        ]
        if groups or entries:
            yield Taker("node", f"nodes of {', '.join(one.name for one in (groups or entries)[:4])}")
            return
        profiles = [one for _, one in self._graph.referring(role, _PROFILES, "role")]
        yield Taker("instance", f"instances with {', '.join(one.name for one in profiles) or 'a profile of it'}")

    def _context(self, found: Principal, resource: Resource) -> Context:
        """What is known of each request that the identity makes. It makes it as it can: over TLS."""
        known: dict[str, tuple[str, ...]] = {
            "aws:securetransport": ("true",),
            "s3:tlsversion": ("1.3",),
            "aws:principalisawsservice": ("false",),
            # A grant that only AWS services may use gives nobody the key.
            "kms:grantisforawsresource": ("false",),
            "aws:principaltype": ("User" if resource.type in USERS else "AssumedRole",),
        }
        if found.arn is not None:
            known["aws:principalarn"] = (found.arn,)
        if len(self._accounts) == 1:
            known |= dict.fromkeys(_ACCOUNT_KEYS, tuple(self._accounts))
        tags = tags_of(resource)
        for key, value in (tags.raw if isinstance(tags.raw, dict) else {}).items():
            if isinstance(value, str):
                known[f"aws:principaltag/{key.lower()}"] = (value,)
        known |= _session_tags(found.takers)
        absent = ("aws:sourceaccount", "aws:sourcearn", "s3:x-amz-", "kms:recipientattestation:")
        return Context(known, closed=False, absent=absent)


def _read(policy: _Policy) -> Sequence[Statement]:
    if isinstance(policy, UnverifiedError):
        raise policy
    return policy if isinstance(policy, tuple) else documents.statements(policy)


def _session_tags(takers: list[Taker]) -> dict[str, tuple[str, ...]]:
    """What Pod Identity writes on a session, where all who take the role are pods and agree on it."""
    takers = [one for one in takers if one.kind != "maker"]
    if any(one.kind != "pod" for one in takers):
        return {}
    found = {}
    for key, values in (
        ("kubernetes-namespace", {one.namespace for one in takers}),
        ("kubernetes-service-account", {one.service_account for one in takers}),
    ):
        if len(values) == 1 and "?" not in values:
            found[f"aws:principaltag/{key}"] = tuple(values)
    return found


def _refuses(trust: list[Statement], tags: dict[str, str]) -> bool:
    known: dict[str, tuple[str, ...]] = {f"aws:requesttag/{key}": (value,) for key, value in tags.items()}
    request = Request("sts:AssumeRole", principal=_PODS, context=Context(known, closed=False))
    denied = spoken(trust, "Deny", request).truth is Truth.YES
    return denied or spoken(trust, "Allow", request).truth is Truth.NO


def _tokens(statement: Statement, provider: str) -> Iterator[Taker]:
    host = provider.partition(":oidc-provider/")[2] or provider.rpartition("/")[2]
    subjects = documents.pinned(statement, f"{host.lower()}:sub")
    for subject in subjects or ("anyone",):
        parts = subject.split(":")
        if parts[:2] == ["system", "serviceaccount"] and len(parts) == 4 and "*" not in subject:
            yield Taker("pod", f"pods of {parts[2]}/{parts[3]}", parts[2], parts[3])
        else:
            yield Taker("token", f"tokens of {host} for {subject}")


def _listed(value: Value) -> list[Value]:
    """The items of a list, one value alone, or, where the whole is unknown, that."""
    if value.raw is None:
        return []
    return value.items() if isinstance(value.raw, list) else [value]
