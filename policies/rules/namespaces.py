"""A namespace bounds its pods: a Pod Security level, and for people's own a quota and limits; nothing in `default`.

People submit to a namespace where a group or a user is bound to a role in it, where a job template or a local queue of
Kueue lies in it, or where a label says whose it is. A platform's own namespaces, where only its program puts pods, need
no quota: what stands there has been reviewed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

from trainyard.policies.gpu_groups import has_gpus
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.pod_templates import (
    CONFIG_MAPS,
    ENFORCED,
    NAMESPACES,
    PRIVILEGED_REASON,
    each_pod,
    has_pods,
    is_explained,
    is_job_template,
    written_namespace,
)
from trainyard.policies.preflight import NODE_GROUPS, number
from trainyard.policies.rule import Finding, Severity, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UNKNOWN, Value, shown

_LEVELS = ("privileged", "baseline", "restricted")
_TEAM_LABELS = ("trainyard.dev/team", "kueue.x-k8s.io/managed-namespace")
_BINDINGS = frozenset({"kubernetes:rbac.authorization.k8s.io/v1:RoleBinding"})
_QUOTAS = frozenset({"kubernetes:core/v1:ResourceQuota"})
_LIMITS = frozenset({"kubernetes:core/v1:LimitRange"})
LOCAL_QUEUES = tuple(
    f"kubernetes:kueue.x-k8s.io/{version}:LocalQueue" for version in ("v1alpha1", "v1beta1", "v1beta2")
)

_SIGNS = _BINDINGS | CONFIG_MAPS | frozenset(LOCAL_QUEUES)

# What a quota has to bound before it bounds what a team costs or takes from others.
_GPUS = re.compile(r"(requests\.)?[a-z0-9.-]+/gpu")
_COMPUTE = re.compile(r"((requests|limits)\.)?(cpu|memory)|requests\.[a-z0-9.-]+/gpu")

# Built-in kinds that lie in a namespace, apart from those that have pods.
_NAMESPACED = frozenset(
    {
        *(f"kubernetes:core/v1:{kind}" for kind in ("PersistentVolumeClaim", "Secret", "Service", "ServiceAccount")),
        *(f"kubernetes:rbac.authorization.k8s.io/v1:{kind}" for kind in ("Role", "RoleBinding")),
        "kubernetes:core/v1:ConfigMap",
        "kubernetes:networking.k8s.io/v1:Ingress",
    }
)

_BOUNDS = {"NIST 800-53": ("SC-6",), "ISO 27001": ("A.8.6",)}


def lies_in(resource: Resource, namespace: Resource) -> bool | None:
    """Whether an object lies in a namespace; None where that is not known yet."""
    place = _part(_part(resource["metadata"], "namespace"), None)
    name = _part(_part(namespace["metadata"], "name"), None)
    if isinstance(place.raw, str | None) and isinstance(name.raw, str | None):
        return name.raw is not None and written_namespace(resource, place) == name.raw
    origins = resource.property_dependencies.get("metadata", ())
    if namespace.urn in origins:
        return True
    return None


def _part(value: Value, key: str | None) -> Value:
    """A part of an object; unknown where the object is."""
    return value if key is None or value.raw is UNKNOWN else value[key]


def inside(namespace: Resource, graph: Graph, types: Iterable[str]) -> Iterator[tuple[Resource, bool | None]]:
    """Objects of some types that lie in a namespace, or may do so, with what `lies_in` says."""
    by_name, unplaced = _placed(graph)
    name = _part(_part(namespace["metadata"], "name"), None).raw
    candidates = [*by_name.get(name, ()), *unplaced] if isinstance(name, str) else graph.of(types)
    for one in candidates:
        if one.type in types and (place := lies_in(one, namespace)) is not False:
            yield one, place


@lru_cache(maxsize=2)
def _placed(graph: Graph) -> tuple[Mapping[str, list[Resource]], list[Resource]]:
    """Objects of Kubernetes by their namespace, and those whose namespace is not known yet. Made once for a stack."""
    by_name: defaultdict[str, list[Resource]] = defaultdict(list)
    unplaced: list[Resource] = []
    for resource in graph.resources:
        if resource.type.startswith("kubernetes:"):
            metadata = resource.props.get("metadata")
            place = metadata.get("namespace") if isinstance(metadata, Mapping) else metadata
            if isinstance(place, str) or place is None:
                name = written_namespace(resource, Value(place, ("metadata", "namespace"), resource.urn))
                (by_name[name] if name else unplaced).append(resource)
            else:
                unplaced.append(resource)
    return by_name, unplaced


def submitted_to(namespace: Resource, graph: Graph) -> bool | None:
    """Whether people start pods in a namespace by themselves; None where that is not known yet."""
    labels = namespace["metadata"]["labels"]
    if any(labels[label].present for label in _TEAM_LABELS):
        return True
    signs = [(place, _is_sign(one)) for one, place in inside(namespace, graph, _SIGNS)]
    if (True, True) in signs:
        return True
    return None if any(sign is not False for _, sign in signs) else False


def _is_sign(resource: Resource) -> bool | None:
    """Whether an object is there for people who start pods; None where that is not known yet."""
    if resource.type in _BINDINGS:
        return _binds_people(resource)
    if resource.type in CONFIG_MAPS:
        return is_job_template(resource)
    return True


def _binds_people(binding: Resource) -> bool | None:
    subjects = binding["subjects"]
    kinds = [one["kind"].raw if one.known else UNKNOWN for one in subjects.items()] if subjects.known else [UNKNOWN]
    if "Group" in kinds or "User" in kinds:
        return True
    return None if any(kind is not None and not isinstance(kind, str) for kind in kinds) else False


@stack_rule(
    "namespace-pod-security",
    title="A namespace enforces a Pod Security level, and never `privileged` where people start pods",
    severity=Severity.HIGH,
    applies=NAMESPACES,
    controls={
        "CIS EKS": ("4.2.1", "4.2.2", "4.2.3", "4.2.4", "4.2.5"),
        "NIST 800-53": ("AC-6", "CM-7"),
        "ISO 27001": ("A.8.2", "A.8.9"),
    },
    why="Rules of a program see what the program makes. What people and controllers start later, only admission does.",
    remedy="""
kubernetes.core.v1.Namespace(name, metadata={"name": team, "labels": {
    "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.35"}})
""",
)
def pod_security(namespace: Resource, graph: Graph) -> Iterator[Finding]:
    labels = namespace["metadata"]["labels"]
    level = labels[ENFORCED]
    name = level.text()
    if name not in _LEVELS:
        found = f"is {shown(name)}" if name else "is not said"
        yield violation(f"the level that is enforced {found}; {', '.join(_LEVELS[1:])} may stand there", labels)
    elif name == "privileged":
        people = submitted_to(namespace, graph)
        if people:
            yield violation("people start pods here, and any pod is let in; enforce baseline or restricted", level)
        elif people is None:
            yield unverified("any pod is let in here, and whether people start pods is not known yet", level)


@resource_rule(
    "namespace-privileged-explained",
    title="A namespace that admits privileged pods says what for",
    severity=Severity.MEDIUM,
    applies=NAMESPACES,
    controls={"CIS EKS": ("4.2.1",), "NIST 800-53": ("AC-6", "CM-7"), "ISO 27001": ("A.5.37", "A.8.2")},
    why="Every rule about pods lets such a namespace pass more. A written reason is what a reviewer can hold it to.",
    remedy="""
metadata={"annotations": {"trainyard.dev/privileged-reason": "the EFA device plugin speaks to the kubelet's socket"}}
""",
)
def privileged_explained(namespace: Resource) -> Iterator[Finding]:
    metadata = namespace["metadata"]
    if metadata["labels"][ENFORCED].text() == "privileged" and not is_explained(namespace):
        message = f"any pod is let in here, and the annotation {PRIVILEGED_REASON} does not say what for"
        yield violation(message, metadata["annotations"])


@stack_rule(
    "namespace-quota",
    title="A namespace where people start pods has a quota of compute",
    severity=Severity.MEDIUM,
    applies=NAMESPACES,
    controls={"Trivy": ("KSV-0040",), **_BOUNDS},
    why="Without one, a loop that submits jobs takes every GPU that the autoscaler can buy.",
    remedy="""
kubernetes.core.v1.ResourceQuota(name, metadata={"namespace": team},
    spec={"hard": {"requests.nvidia.com/gpu": "16", "requests.cpu": "400", "requests.memory": "4Ti"}})
""",
)
def quota(namespace: Resource, graph: Graph) -> Iterator[Finding]:
    yield from _has(namespace, graph, _QUOTAS, "quota that bounds compute", _bounds_compute)


@stack_rule(
    "namespace-services-inside",
    title="Where people start pods, the quota lets them open no load balancer and no port of a node",
    severity=Severity.MEDIUM,
    applies=NAMESPACES,
    controls={"NIST 800-53": ("SC-7", "AC-4"), "ISO 27001": ("A.8.20", "A.8.22")},
    why=(
        "Whoever may make Services makes addresses on the internet with one word in a manifest that no rule here sees. "
        "The quota is what refuses it in the cluster."
    ),
    remedy="""
kubernetes.core.v1.ResourceQuota(name, metadata={"namespace": team},
    spec={"hard": {"services.loadbalancers": "0", "services.nodeports": "0", ...}})
""",
)
def services_inside(namespace: Resource, graph: Graph) -> Iterator[Finding]:
    yield from _has(namespace, graph, _QUOTAS, "quota that forbids Services to the outside", _bounds_services)


@stack_rule(
    "namespace-gpu-quota",
    title="Where there are nodes with GPUs, the quota of a namespace where people start pods counts them",
    severity=Severity.MEDIUM,
    applies=NAMESPACES,
    controls={"Trivy": ("KSV-0040",), **_BOUNDS},
    why="A quota of CPUs and memory is no bound: one pod with eight GPUs asks for little of either and buys a node.",
    remedy="""
kubernetes.core.v1.ResourceQuota(name, metadata={"namespace": team}, spec={"hard": {"requests.nvidia.com/gpu": "16"}})
""",
)
def gpu_quota(namespace: Resource, graph: Graph) -> Iterator[Finding]:
    gpus = _gpus(graph)
    if True in gpus:
        yield from _has(namespace, graph, _QUOTAS, "quota that counts GPUs", _bounds_gpus)
    elif None in gpus and any(_has(namespace, graph, _QUOTAS, "quota that counts GPUs", _bounds_gpus)):
        yield unverified("no quota here counts GPUs, and whether any nodes have them is not known yet")


@lru_cache(maxsize=2)
def _gpus(graph: Graph) -> frozenset[bool | None]:
    """What `has_gpus` says of the stack's node groups."""
    return frozenset(has_gpus(group, graph) for group in graph.of(NODE_GROUPS))


@stack_rule(
    "namespace-limit-range",
    title="A namespace where people start pods has limits for a single pod",
    severity=Severity.LOW,
    applies=NAMESPACES,
    controls={"Trivy": ("KSV-0039",), **_BOUNDS},
    why="A quota bounds a team; only a LimitRange keeps one pod of it from taking a node's memory or saying nothing.",
    remedy="""
kubernetes.core.v1.LimitRange(name, metadata={"namespace": team},
    spec={"limits": [{"type": "Pod", "max": {"memory": "4Ti"}}]})
""",
)
def limit_range(namespace: Resource, graph: Graph) -> Iterator[Finding]:
    yield from _has(namespace, graph, _LIMITS, "LimitRange for pods or containers", _bounds_pods)


def _has(
    namespace: Resource, graph: Graph, types: Iterable[str], what: str, bounds: Callable[[Resource], bool]
) -> Iterator[Finding]:
    """A finding where people start pods in a namespace and nothing in it bounds them."""
    people = submitted_to(namespace, graph)
    if people is False:
        return
    found = [place for one, place in inside(namespace, graph, types) if bounds(one)]
    if True in found:
        return
    if people is None or None in found:
        yield unverified(f"whether people start pods here, and whether it has a {what}, is not known yet")
    else:
        yield violation(f"people start pods here, and the namespace has no {what}")


def _bounds_compute(quota_resource: Resource) -> bool:
    """Whether a quota bounds compute for every pod."""
    return any(_COMPUTE.fullmatch(name) for name in _counted(quota_resource))


def _bounds_services(quota_resource: Resource) -> bool:
    """Whether a quota lets no Service out of the cluster: by a load balancer, or by a port of every node."""
    hard = quota_resource["spec"]["hard"]
    return all(number(hard[name]) == 0 for name in ("services.loadbalancers", "services.nodeports"))


def _bounds_gpus(quota_resource: Resource) -> bool:
    return any(_GPUS.fullmatch(name) for name in _counted(quota_resource))


def _counted(quota_resource: Resource) -> list[str]:
    """What a quota counts of every pod. One with a scope counts some pods only."""
    spec = quota_resource["spec"]
    scoped = spec["scopes"].items() or spec["scopeSelector"].present
    return [] if scoped else list(spec["hard"].fields())


def _bounds_pods(limits: Resource) -> bool:
    return any(one["type"].text() in ("Pod", "Container") for one in limits["spec"]["limits"].items())


@stack_rule(
    "namespace-default-unused",
    title="Nothing is put into the namespace `default`",
    severity=Severity.LOW,
    applies=lambda resource_type: has_pods(resource_type) or resource_type in _NAMESPACED,
    controls={
        "CIS EKS": ("4.5.2",),
        "Trivy": ("KSV-0110",),
        "Checkov": ("CKV_K8S_21",),
        "NIST 800-53": ("SC-7", "AC-6"),
        "ISO 27001": ("A.8.22",),
    },
    why="It has no Pod Security level, no quota and no NetworkPolicy, and what forgets its namespace lands there too.",
    remedy="""
metadata={"namespace": namespace.metadata.name}
""",
)
def default_unused(resource: Resource, _: Graph) -> Iterator[Finding]:
    if resource.type in _NAMESPACED:
        metadata = resource["metadata"]
        # Hardening the account that every namespace is born with is no use of the namespace.
        own = resource.type.endswith(":ServiceAccount") and metadata["name"].text() == "default"
        if not own:
            yield from _in_default(resource, metadata["namespace"])
        return

    yield from each_pod(resource, lambda pod: _in_default(resource, pod.namespace))


def _in_default(resource: Resource, namespace: Value) -> Iterator[Finding]:
    name = written_namespace(resource, namespace)
    if name == "default":
        yield violation("this lies in the namespace default", namespace)
    elif name is None and not namespace.known and not _from_a_namespace(resource):
        yield unverified("which namespace this will be is not known yet", namespace)
    elif name is None and namespace.known:
        yield unverified("no namespace is said, and which one the provider has is not known yet", namespace)


def _from_a_namespace(resource: Resource) -> bool:
    """Whether an object's namespace comes from one that the program makes, which is never `default`."""
    return any(":Namespace::" in urn for urn in resource.property_dependencies.get("metadata", ()))
