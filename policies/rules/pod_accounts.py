"""What a pod may know and be: no secrets in its manifest, no token without use, no account that all pods share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.pod_templates import (
    Pod,
    each_container,
    each_pod,
    has_pods,
    is_placeholder,
    named,
    namespace_name,
    written_namespace,
)
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UNKNOWN, Value, shown

_ACCOUNTS = frozenset({"kubernetes:core/v1:ServiceAccount"})
_BINDINGS = frozenset(
    f"kubernetes:rbac.authorization.k8s.io/v1:{kind}" for kind in ("RoleBinding", "ClusterRoleBinding")
)
_IDENTITIES = frozenset({"aws:eks/podIdentityAssociation:PodIdentityAssociation"})
_RELEASE = "kubernetes:helm.sh/v3:Release"
_ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"

# Values that are secrets wherever they stand, by how their issuers write them.
_SECRETS = re.compile(
    r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"
    r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY"
    r"|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{40}|\bglpat-[\w-]{20}"
    r"|\bhf_[A-Za-z0-9]{30}|\bsk-[A-Za-z0-9_-]{32}|\bxox[abprs]-[\w-]{20}"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\."
    r"|://[^/\s:@$]+:[^/\s:@$]+@"
)
# Variables that hold secrets by their name, and values that only say where one is.
_SECRET_NAME = re.compile(
    r"(.*[_-])?(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?)", re.IGNORECASE
)
_NO_SECRET = re.compile(
    r"|true|false|none|[\d.]+|/.*|arn:aws[\w-]*:.*|[a-z][a-z0-9+]*://[^@]*|.*\$[({]\w+[)}].*", re.IGNORECASE
)


@resource_rule(
    "pod-no-secret-in-manifest",
    title="No secret stands in a container's variables, command or arguments",
    severity=Severity.CRITICAL,
    applies=has_pods,
    controls={
        "CIS EKS": ("4.4.1", "4.4.2"),
        "NIST 800-53": ("IA-5", "SC-28"),
        "ISO 27001": ("A.5.17", "A.8.12"),
    },
    why="Whoever may read pods, the program's source or its state has it, and so has each process that the pod starts.",
    remedy="""
# AWS: no keys at all, but an aws.eks.PodIdentityAssociation for the pod's service account; anything else from a Secret
"env": [{"name": "WANDB_API_KEY", "value_from": {"secret_key_ref": {"name": "wandb", "key": "api-key"}}}]
""",
)
def no_secret_in_manifest(resource: Resource) -> Iterator[Finding]:
    def check(container: Value, pod: Pod) -> Iterator[Finding]:
        def variable(entry: Value) -> Iterator[Finding]:
            value = entry["value"]
            if not value.present or is_placeholder(value, pod):
                return
            text, name = value.text() or "", entry["name"].text() or ""
            if _SECRETS.search(text):
                yield violation(f"the variable {shown(name)} of {named(container)} holds a secret", value)
            elif _SECRET_NAME.fullmatch(name) and len(text) >= 6 and not _NO_SECRET.fullmatch(text):
                yield violation(f"the variable {shown(name)} of {named(container)} holds a secret, by its name", value)

        def word(argument: Value) -> Iterator[Finding]:
            if _SECRETS.search(argument.text() or ""):
                yield violation(f"a secret stands in what {named(container)} is started with", argument)

        yield from each([container["env"]], lambda entries: each(entries.items(), variable))
        for name in ("command", "args"):
            yield from each([container[name]], lambda words: each(words.items(), word))

    yield from each_container(resource, check)


@stack_rule(
    "pod-token-not-mounted",
    title="A pod has a token of Kubernetes only where its service account is bound to a role",
    severity=Severity.MEDIUM,
    applies=has_pods,
    controls={
        "CIS EKS": ("4.1.6",),
        "Trivy": ("KSV-0036",),
        "Checkov": ("CKV_K8S_38",),
        "NIST 800-53": ("AC-6", "IA-5"),
        "ISO 27001": ("A.5.15", "A.8.2"),
    },
    why="With a token, whoever gets into a pod speaks to the cluster as it. AWS credentials come without one.",
    remedy="""
"spec": {"automount_service_account_token": False}                       # of the pod, or
kubernetes.core.v1.ServiceAccount(name, automount_service_account_token=False)      # of all pods of the account
""",
)
def token_not_mounted(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(pod: Pod) -> Iterator[Finding]:
        mounted = pod.spec["automountServiceAccountToken"]
        if mounted.flag() is False or (pod.partial and not mounted.present):
            return
        account, namespace = _account(pod), namespace_name(pod)
        if not mounted.present and namespace is not None and (account, namespace) in _without_token(graph):
            return
        bound, more = _bound(graph)
        if namespace is not None and {(account, namespace), (account, "")} & bound:
            return
        at = mounted if mounted.present else pod.spec
        if more or namespace is None:
            yield unverified(f"whether a role is bound to {shown(account)} is not known yet", at)
        else:
            yield violation(f"the pod gets the token of {shown(account)}, which no role is bound to", at)

    yield from each_pod(resource, check)


def _account(pod: Pod) -> str:
    names = (pod.spec["serviceAccountName"].text(), pod.spec["serviceAccount"].text())
    return next((name for name in names if name), "default")


@lru_cache(maxsize=2)
def _without_token(graph: Graph) -> frozenset[tuple[str, str]]:
    """The service accounts that give their pods no token unless they ask: name and namespace."""
    found = set()
    for account in graph.of(_ACCOUNTS):
        metadata = account["metadata"]
        if account["automountServiceAccountToken"].raw is False and metadata.known:
            name, namespace = metadata["name"].raw, written_namespace(account, metadata["namespace"])
            if isinstance(name, str) and namespace is not None:
                found.add((name, namespace))
    return frozenset(found)


@lru_cache(maxsize=2)
def _bound(graph: Graph) -> tuple[frozenset[tuple[str, str]], bool]:
    """The service accounts that some role is bound to, by name and namespace, and whether there may be more."""
    found, more = set(), False
    for binding in graph.of(_BINDINGS):
        subjects = binding["subjects"]
        if not subjects.known:
            more = True
            continue
        for subject in subjects.items():
            parts = [subject[key].raw for key in ("kind", "name", "namespace")] if subject.known else [UNKNOWN]
            if UNKNOWN in parts:
                more = True
            elif parts[0] == "ServiceAccount":
                found.add((str(parts[1]), str(parts[2] or "")))
    return frozenset(found), more


@resource_rule(
    "service-account-token-off",
    title="A service account gives its token to no pod that does not ask for it",
    severity=Severity.MEDIUM,
    applies=frozenset({"kubernetes:core/v1:ServiceAccount"}),
    controls={
        "CIS EKS": ("4.1.6",),
        "Trivy": ("KSV-0036",),
        "NIST 800-53": ("AC-6", "IA-5"),
        "ISO 27001": ("A.5.15", "A.8.2"),
    },
    why="Kubernetes mounts the token into each pod of the account unless told not to, and people forget to.",
    remedy="""
kubernetes.core.v1.ServiceAccount(name, automount_service_account_token=False)     # a pod that needs it says so
""",
)
def account_token_off(account: Resource) -> Iterator[Finding]:
    mounts = account["automountServiceAccountToken"]
    if mounts.flag() is not False:
        yield violation("its token is mounted into every pod that does not say otherwise", mounts)


@resource_rule(
    "service-account-default-unused",
    title="The service account `default` has no rights, neither in the cluster nor in AWS",
    severity=Severity.HIGH,
    applies=_ACCOUNTS | _BINDINGS | _IDENTITIES,
    controls={
        "CIS EKS": ("4.1.5", "5.2.1"),
        "Checkov": ("CKV_K8S_41", "CKV_K8S_42"),
        "NIST 800-53": ("AC-6", "AC-2"),
        "ISO 27001": ("A.5.15", "A.5.18"),
    },
    why="Every pod of the namespace that names no account is `default`: a right of it is a right of all of them.",
    remedy="""
account = kubernetes.core.v1.ServiceAccount(name, metadata={"name": "trainer", "namespace": namespace})
aws.eks.PodIdentityAssociation(name, service_account="trainer", ...)      # and service_account_name="trainer" in pods
""",
)
def default_account_unused(resource: Resource) -> Iterator[Finding]:
    if resource.type in _IDENTITIES:
        account = resource["serviceAccount"]
        if account.text() == "default":
            yield violation("every pod of the namespace that names no account takes this IAM role", account)
    elif resource.type in _ACCOUNTS:
        metadata = resource["metadata"]
        role = metadata["annotations"][_ROLE_ANNOTATION]
        if metadata["name"].text() == "default" and role.present:
            yield violation("every pod of the namespace that names no account takes this IAM role", role)
    else:
        yield from each(resource["subjects"].items(), _default_subject)


def _default_subject(subject: Value) -> Iterator[Finding]:
    if subject["kind"].text() == "ServiceAccount" and subject["name"].text() == "default":
        yield violation("every pod of the namespace that names no account gets this role", subject)


@stack_rule(
    "secret-not-in-program",
    title="A Secret of Kubernetes is filled from a store of secrets, not by the program",
    severity=Severity.LOW,
    applies={"kubernetes:core/v1:Secret", "kubernetes:core/v1:SecretPatch"},
    controls={"CIS EKS": ("4.4.2",), "NIST 800-53": ("IA-5", "SC-28"), "ISO 27001": ("A.5.17", "A.8.24")},
    why=(
        "What the program holds is in its state and its previews as well, and is changed by a deployment only. A value "
        "made by another resource, and one that the stack's configuration encrypts, may be right all the same."
    ),
    remedy="""
# AWS Secrets Manager and its provider for the Secrets Store CSI driver: a SecretProviderClass, mounted by the pod
""",
    advice=True,
)
def secret_not_in_program(secret: Resource, _: Graph) -> Iterator[Finding]:
    for name in ("data", "stringData"):
        held = secret[name]
        # What another resource of the program made is nobody's text.
        if secret.property_dependencies.get(name):
            continue
        if not held.known:
            yield unverified("where this comes from is not known yet", held)
        elif held.fields():
            yield violation(f"the program writes {shown(', '.join(held.fields()))} itself", held)


@stack_rule(
    "pods-in-sight",
    title="The pods of a Helm chart are resources of the program, so that rules see them",
    severity=Severity.LOW,
    applies={_RELEASE, "kubernetes:helm.sh/v4:Chart"},
    controls={"NIST 800-53": ("CM-3", "CA-7"), "ISO 27001": ("A.8.32",)},
    why="A Release hands the chart to Helm: what it makes of its values no rule about pods ever sees, in no preview.",
    remedy="""
kubernetes.helm.v4.Chart(name, chart=chart, version=version, values=values)      # each of its objects is a resource
""",
    advice=True,
)
def pods_in_sight(release: Resource, _: Graph) -> Iterator[Finding]:
    if release.type != _RELEASE:
        return
    chart = release["chart"]
    yield unverified(f"what pods the chart {shown(chart.raw)} makes is seen by no rule", chart)
