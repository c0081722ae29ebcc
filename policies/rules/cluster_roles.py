"""Who may do what in the cluster: roles name their rights one by one, and bindings name whom they trust."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from trainyard.policies.graph import Resource
from trainyard.policies.rule import Finding, Severity, each, resource_rule, violation
from trainyard.policies.values import Value, shown


def _rbac(*kinds: str) -> frozenset[str]:
    """The types of kinds of RBAC, in each version, as an object and as a patch of one."""
    return frozenset(
        f"kubernetes:rbac.authorization.k8s.io/{version}:{kind}{suffix}"
        for version in ("v1", "v1beta1", "v1alpha1")
        for kind in kinds
        for suffix in ("", "Patch")
    )


_ROLES = _rbac("Role", "ClusterRole")
_BINDINGS = _rbac("RoleBinding", "ClusterRoleBinding")

# Rights by which whoever has them gets others: (resource, verbs that do it, what it comes to).
_ESCALATING: tuple[tuple[str, frozenset[str], str], ...] = (
    ("roles", frozenset({"bind", "escalate"}), "give itself any role"),
    ("clusterroles", frozenset({"bind", "escalate"}), "give itself any role"),
    *(
        (who, frozenset({"impersonate"}), f"act as other {who}")
        for who in ("users", "groups", "serviceaccounts", "uids", "userextras")
    ),
    ("serviceaccounts/token", frozenset({"create"}), "take any service account's token"),
    ("certificatesigningrequests/approval", frozenset({"update", "patch"}), "sign certificates for anyone"),
    ("signers", frozenset({"approve", "sign"}), "sign certificates for anyone"),
    *(
        (f"{kind}webhookconfigurations", frozenset({"create", "update", "patch"}), "read and change what anyone sends")
        for kind in ("mutating", "validating")
    ),
)

# Ways into what runs on a node, past admission.
_INTO_PODS = ("pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers")
_READING = frozenset({"get", "list", "watch"})
_CHANGING = frozenset({"update", "patch", "delete", "deletecollection"})
"""Making one is left out: Kubernetes cannot bound that by a name."""

_EVERYONE = frozenset({"system:anonymous", "system:unauthenticated", "system:authenticated", "system:serviceaccounts"})
_ALMIGHTY_GROUP = "system:masters"

_LEAST = {"NIST 800-53": ("AC-3", "AC-6"), "ISO 27001": ("A.5.15", "A.8.2")}


def _of_rules(role: Resource, check: Callable[[Value], Iterator[Finding]]) -> Iterator[Finding]:
    yield from each([role["rules"]], lambda rules: each(rules.items(), check))


def _texts(rule: Value, name: str) -> list[str]:
    return [one.text() or "" for one in rule[name].items()]


def _grants(rule: Value, resource: str, verbs: frozenset[str]) -> list[str]:
    """Which of the verbs a rule gives on a resource, wildcards included."""
    kind, _, part = resource.partition("/")
    names = {"*", resource, *({f"{kind}/*", f"*/{part}"} if part else ())}
    if not names & set(_texts(rule, "resources")):
        return []
    given = _texts(rule, "verbs")
    return sorted(verbs) if "*" in given else sorted(verbs & set(given))


@resource_rule(
    "rbac-no-wildcards",
    title="A role names its verbs, resources and groups, and grants none by a wildcard",
    severity=Severity.HIGH,
    applies=_ROLES,
    controls={
        "CIS EKS": ("4.1.3",),
        "Trivy": ("KSV-0044", "KSV-0045", "KSV-0046"),
        "Checkov": ("CKV_K8S_49",),
        **_LEAST,
    },
    why="A wildcard grants what an upgrade adds, too: verbs, resources and kinds that nobody has thought of.",
    remedy="""
{"api_groups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch", "create", "delete"]}
""",
)
def no_wildcards(role: Resource) -> Iterator[Finding]:
    def check(rule: Value) -> Iterator[Finding]:
        def wild(entry: Value) -> Iterator[Finding]:
            text = entry.text() or ""
            if text == "*" or (entry.path[-2] == "resources" and text.startswith("*/")):
                yield violation(f"{entry.path[-2]} is a wildcard", entry)

        for name in ("verbs", "resources", "apiGroups", "nonResourceURLs"):
            yield from each([rule[name]], lambda entries: each(entries.items(), wild))

    yield from _of_rules(role, check)


@resource_rule(
    "rbac-no-escalation",
    title="No role lets its holder become more than it is",
    severity=Severity.CRITICAL,
    applies=_ROLES,
    controls={
        "CIS EKS": ("4.1.8",),
        "Trivy": ("KSV-0043",),
        "Checkov": ("CKV_K8S_155", "CKV_K8S_156", "CKV_K8S_157", "CKV_K8S_158", "CKV2_K8S_3"),
        **_LEAST,
    },
    why="Kubernetes lets nobody grant what they have not, except by these few rights: each is the cluster in the end.",
    remedy="""
# Leave the right out: programs bind roles, and a person who has to act as another takes an access entry of EKS.
""",
)
def no_escalation(role: Resource) -> Iterator[Finding]:
    def check(rule: Value) -> Iterator[Finding]:
        found = {
            (verb, resource): outcome
            for resource, verbs, outcome in _ESCALATING
            for verb in _grants(rule, resource, verbs)
        }
        if found:
            (verb, resource), outcome = next(iter(found.items()))
            more = f", and {len(found) - 1} more of that kind" if len(found) > 1 else ""
            yield violation(f"{verb} on {resource} lets the holder {outcome}{more}", rule)

    yield from _of_rules(role, check)


@resource_rule(
    "rbac-secrets-not-readable",
    title="No role reads or changes secrets, save single ones by name",
    severity=Severity.HIGH,
    applies=_ROLES,
    controls={"CIS EKS": ("4.1.2",), "Trivy": ("KSV-0041", "KSV-0113"), "Checkov": ("CKV2_K8S_5",), **_LEAST},
    why=(
        "List and watch show the contents, not only the names: tokens, keys and registry passwords of the namespace. "
        "Who changes them puts credentials of his own in their place."
    ),
    remedy="""
{"api_groups": [""], "resources": ["secrets"], "resource_names": ["wandb"], "verbs": ["get"]}
""",
)
def secrets_not_readable(role: Resource) -> Iterator[Finding]:
    def check(rule: Value) -> Iterator[Finding]:
        groups = _texts(rule, "apiGroups")
        if not {"", "*"} & set(groups):
            return
        verbs = _grants(rule, "secrets", _READING | _CHANGING)
        if verbs and not rule["resourceNames"].items():
            done = "read" if _READING & set(verbs) else "changed"
            yield violation(f"every secret may be {done} ({', '.join(verbs)}); name the one that is needed", rule)

    yield from _of_rules(role, check)


@resource_rule(
    "rbac-no-way-into-nodes",
    title="No role reaches the kubelets, and none of the whole cluster gets into pods",
    severity=Severity.HIGH,
    applies=_ROLES,
    controls={
        "Trivy": ("KSV-0047", "KSV-0053", "KSV-0054"),
        "Checkov": ("CKV2_K8S_2",),
        **_LEAST,
    },
    why=(
        "nodes/proxy runs commands in any pod of a node past audit and admission; exec in every namespace reaches the "
        "system's own pods and their credentials. In one namespace exec is a team's own affair."
    ),
    remedy="""
kubernetes.rbac.v1.Role(name, metadata={"namespace": team},                 # a Role of one namespace, no ClusterRole
    rules=[{"api_groups": [""], "resources": ["pods/exec"], "verbs": ["create"]}])
""",
)
def no_way_into_nodes(role: Resource) -> Iterator[Finding]:
    whole_cluster = ":ClusterRole" in role.type

    def check(rule: Value) -> Iterator[Finding]:
        if _grants(rule, "nodes/proxy", _READING | {"create", "update", "patch", "delete"}):
            yield violation("nodes/proxy runs commands in every pod of a node", rule)
        for resource in _INTO_PODS if whole_cluster else ():
            if _grants(rule, resource, frozenset({"create", "get", "update", "patch"})):
                yield violation(f"{resource} is granted in every namespace", rule)
                break

    yield from _of_rules(role, check)


@resource_rule(
    "rbac-cluster-admin-named",
    title="cluster-admin is bound to named groups of people only",
    severity=Severity.CRITICAL,
    applies=_BINDINGS,
    controls={"CIS EKS": ("4.1.1",), "Trivy": ("KSV-0111",), **_LEAST},
    why="Who has it may do everything, unseen by every other rule. A group says who; a pod or a single name does not.",
    remedy="""
"subjects": [{"kind": "Group", "name": "platform-admins", "api_group": "rbac.authorization.k8s.io"}]
""",
)
def cluster_admin_named(binding: Resource) -> Iterator[Finding]:
    def almighty(subject: Value) -> Iterator[Finding]:
        if subject["name"].text() == _ALMIGHTY_GROUP:
            yield violation(f"the group {_ALMIGHTY_GROUP} is past all authorization; bind a group of your own", subject)

    def named(subject: Value) -> Iterator[Finding]:
        name, kind = subject["name"].text() or "", subject["kind"].text()
        if kind != "Group" or name.startswith("system:"):
            yield violation(f"cluster-admin is bound to {kind} {shown(name)}; a named group may stand there", subject)

    role = binding["roleRef"]["name"].text()
    yield from each(binding["subjects"].items(), named if role == "cluster-admin" else almighty)


@resource_rule(
    "rbac-nobody-anonymous",
    title="No role is bound to everyone: neither to the unauthenticated nor to all who are authenticated",
    severity=Severity.CRITICAL,
    applies=_BINDINGS,
    controls={"Trivy": ("KSV-0122",), **_LEAST},
    why="In EKS everybody with some IAM role in the cluster is authenticated, each node and each pod included.",
    remedy="""
"subjects": [{"kind": "Group", "name": "trainyard:vision", "api_group": "rbac.authorization.k8s.io"}]
""",
)
def nobody_anonymous(binding: Resource) -> Iterator[Finding]:
    def check(subject: Value) -> Iterator[Finding]:
        name = subject["name"].text() or ""
        if name in _EVERYONE and subject["kind"].text() != "ServiceAccount":
            yield violation(f"{name} is everyone who reaches the cluster's endpoint, or nearly so", subject)

    yield from each(binding["subjects"].items(), check)
