"""Where objects of Kubernetes have their pods, whatever starts them, and what of a pod Kubernetes merges or looks up.

A pod is found in each built-in kind that has one, in the `...Patch` and `...List` types of pulumi-kubernetes, anywhere
in a custom resource (JobSet, the Kubeflow jobs, LeaderWorkerSet), and in the manifests of a job template, which is a
ConfigMap. The objects of a chart or of YAML files are resources of their own. Out of sight is what a controller makes
of something else than a pod's spec: the values of a Helm Release, an Argo Workflow's `container`, EKS add-ons.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.rule import Finding, each, unverified
from trainyard.policies.values import UNKNOWN, UnverifiedError, Value

GPU, EFA, HUGEPAGES = "nvidia.com/gpu", "vpc.amazonaws.com/efa", "hugepages-2Mi"
JOB_TEMPLATE_LABEL = "trainyard.dev/job-template"

ENFORCED = "pod-security.kubernetes.io/enforce"
PRIVILEGED_REASON = "trainyard.dev/privileged-reason"
"""Annotation of a namespace whose pods need the node itself: what for."""
PRIVILEGES = "trainyard.dev/privileges"
"""Annotation beside it: which of the node its pods need, by the names that `needs_the_node` is asked for. Without it,
anything."""

NAMESPACES = frozenset({"kubernetes:core/v1:Namespace", "kubernetes:v1:Namespace"})
CONFIG_MAPS = frozenset({"kubernetes:core/v1:ConfigMap"})

# Where a built-in kind has the template of its pods; a pod is its own.
_TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        ("Job", "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "ReplicationController"), ("spec", "template")
    ),
}

# Groups with a dot in their name that are Kubernetes' own or this provider's, so that no custom resource is in them.
_BUILT_IN_GROUP = re.compile(r"helm\.sh|kustomize|yaml|.*\.apiserver\.k8s\.io|[a-z]+\.(authorization\.)?k8s\.io")

# Custom resources that are made of pods: while any part of one is unknown, so may be a pod. Of the others only parts
# with such names are taken for one.
_WORKLOAD_GROUPS = re.compile(
    r"jobset\.x-k8s\.io|(trainer\.)?kubeflow\.org|leaderworkerset\.x-k8s\.io|ray\.io|batch\.volcano\.sh|serving\.knative\.dev"
)
_MAY_HOLD_PODS = re.compile(r"spec|\w*(Spec|Template)s?|templates?")
_NO_PODS = ("apiVersion", "kind", "metadata", "status", "id", "urn")

# Each of these may nest a YAML text one deeper. The loader in C is ten times as fast, and a large stack has hundreds of
# job templates; but it dies, with the whole process, of a text that is nested some ten thousand deep.
_NESTING = re.compile(r"[\[{]|[-?:]\s")
_FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_NESTING, _LONGEST_FAST = 2000, 100_000

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_PLACEHOLDER = re.compile(r"\$\{\w+\}")


@dataclass(frozen=True)
class Pod:
    """A pod as an object describes it.

    Attributes:
        holder: the resource that is, or has, the object.
        kind: of the object, such as `Job`.
        object: the object itself.
        controller: what the pod's template stands in, such as a Job's `spec`; for a lone pod the pod.
        metadata: the pod's own.
        spec: the pod's own.
        partial: whether this is a patch: what it does not name stays as another program left it.
    """

    holder: Resource
    kind: str
    object: Value
    controller: Value
    metadata: Value
    spec: Value
    partial: bool = False

    @property
    def namespace(self) -> Value:
        return self.object["metadata"]["namespace"]

    @property
    def is_template(self) -> bool:
        """Whether placeholders are still to be filled in."""
        return self.holder.type in CONFIG_MAPS


PodCheck = Callable[[Pod], Iterable[Finding]]
ContainerCheck = Callable[[Value, Pod], Iterable[Finding]]


def has_pods(resource_type: str) -> bool:
    """Whether resources of a type may hold pods: the test that a rule about pods applies to."""
    kind, custom, _ = _kind(resource_type)
    return custom or kind in _TEMPLATES or resource_type in CONFIG_MAPS


def each_pod(resource: Resource, check: PodCheck) -> Iterator[Finding]:
    """Judges the pods one by one, so that one that cannot be read does not hide what is wrong with the next."""
    for pod in pods(resource):
        yield from each([pod.spec], lambda _, pod=pod: check(pod))
    yield from (unverified(reason, at) for at, reason in unread(resource))


def each_container(resource: Resource, check: ContainerCheck) -> Iterator[Finding]:
    """Judges each container of each pod, those that run before the others or are added to a running pod included."""
    yield from each_pod(resource, lambda pod: over_containers(pod, check))


def over_containers(pod: Pod, check: ContainerCheck) -> Iterator[Finding]:
    def judge(containers: Value) -> Iterator[Finding]:
        yield from each(containers.items(), lambda one: check(one, pod))

    yield from each([pod.spec[name] for name in _CONTAINERS], judge)


def containers(pod: Pod) -> list[Value]:
    return [one for name in _CONTAINERS for one in pod.spec[name].items()]


def pods(resource: Resource) -> Iterator[Pod]:
    """The pods of a resource. What cannot be read of a job template is left out; `unread` has it."""
    if resource.type in CONFIG_MAPS:
        for text in _entries(resource["data"]):
            for manifest in (_manifests(text.raw) if _is_manifest(text, resource) else None) or ():
                object_type = f"kubernetes:{manifest.get('apiVersion')}:{manifest.get('kind')}"
                yield from _found(resource, object_type, Value(manifest, text.path, text.urn))
        return
    yield from _found(resource, resource.type, Value(dict(resource.props), (), resource.urn))


def unread(resource: Resource) -> Iterator[tuple[Value, str]]:
    """Entries of a ConfigMap that are, or may be, job templates, and show their pods to nobody, with the reason."""
    if resource.type not in CONFIG_MAPS:
        return
    for entry in _entries(resource["data"]):
        if entry.raw is UNKNOWN:
            if is_job_template(resource):
                yield entry, "the job template is not known yet"
        elif not isinstance(entry.raw, str):
            if is_job_template(resource):
                yield entry, "a job template is text"
        elif _is_manifest(entry, resource) and _manifests(entry.raw) is None:
            yield entry, "this looks like the manifest of a job and is no YAML"


def setting(container: Value, pod: Pod, name: str) -> Value:
    """What holds of a container's security context: its own, else the pod's."""
    own = container["securityContext"][name]
    return own if own.present else pod.spec["securityContext"][name]


def on_windows(pod: Pod) -> bool:
    """Whether the pod says that it is one of Windows, which has no capabilities, seccomp or user numbers."""
    return pod.spec["os"]["name"].text() == "windows"


def is_placeholder(value: Value, pod: Pod) -> bool:
    """Whether whoever submits the job fills this in."""
    return pod.is_template and isinstance(value.raw, str) and _PLACEHOLDER.fullmatch(value.raw) is not None


def named(container: Value) -> str:
    """A container for a message."""
    name = container.raw.get("name") if isinstance(container.raw, dict) else None
    return f"container {name}" if isinstance(name, str) else "a container"


def namespace_name(pod: Pod) -> str | None:
    """The namespace's name where it is written down: by the object, else by the provider, else Kubernetes' own."""
    return written_namespace(pod.holder, pod.namespace)


def written_namespace(resource: Resource, namespace: Value) -> str | None:
    if namespace.raw is UNKNOWN:
        return None
    given = namespace.text()
    provided = resource.provider.props.get("namespace") if resource.provider else None
    if given or provided is UNKNOWN:
        return given
    return provided if isinstance(provided, str) and provided else "default"


def namespace_of(resource: Resource, namespace: Value, graph: Graph) -> Resource | None:
    """The Namespace that an object is in; None where it is not part of this stack.

    Raises UnverifiedError where that cannot be told.
    """
    name = written_namespace(resource, namespace)
    made = graph.of(NAMESPACES)
    if name is not None:
        found = [one for one in made if one["metadata"]["name"].raw == name]
        return found[0] if found else None
    origins = [one for one in graph.origins(resource, "metadata") if one.type in NAMESPACES]
    if len(origins) != 1:
        raise UnverifiedError(namespace, "which namespace this is in is not known yet")
    return origins[0]


def needs_the_node(pod: Pod, graph: Graph, what: str) -> bool:
    """Whether the pod's namespace is made for pods that need the node itself, says in writing what for, and does not
    leave `what` out where it lists what they need."""
    namespace = namespace_of(pod.holder, pod.namespace, graph)
    if namespace is None or not is_explained(namespace):
        return False
    listed = namespace["metadata"]["annotations"][PRIVILEGES].text()
    return listed is None or what in {one.strip() for one in listed.split(",")}


def is_explained(namespace: Resource) -> bool:
    """Whether a namespace admits privileged pods and gives its reason."""
    metadata = namespace["metadata"]
    if metadata["labels"][ENFORCED].text() != "privileged":
        return False
    return bool((metadata["annotations"][PRIVILEGED_REASON].text() or "").strip())


NODE_HINT = (
    "; where the node itself is the work, as for a device plugin, its namespace enforces `privileged` and says why in "
    f"the annotation {PRIVILEGED_REASON} (and in {PRIVILEGES}, if it lists any, that this is needed)"
)


def _kind(resource_type: str) -> tuple[str, bool, str]:
    """The object's kind, whether it is a custom resource, and what is left of the type: `Patch`, `List` or nothing."""
    package, _, rest = resource_type.partition(":")
    api, _, name = rest.partition(":")
    if package != "kubernetes" or not name:
        return "", False, ""
    group = api.rpartition("/")[0]
    custom = "." in group and not _BUILT_IN_GROUP.fullmatch(group)
    kind = name.removesuffix("Patch").removesuffix("List")
    return (kind, custom, name.removeprefix(kind)) if kind else (name, custom, "")


def _found(resource: Resource, object_type: str, value: Value) -> Iterator[Pod]:
    kind, custom, suffix = _kind(object_type)
    for one in value["items"].items() if suffix == "List" else [value]:
        if custom:
            whole = _WORKLOAD_GROUPS.fullmatch(object_type.split(":")[1].rpartition("/")[0]) is not None
            for controller, metadata, spec in _search(one, whole):
                yield Pod(resource, kind, one, controller, metadata, spec, suffix == "Patch")
        elif kind in _TEMPLATES:
            yield _built_in(resource, kind, one, suffix == "Patch")


def _built_in(resource: Resource, kind: str, value: Value, partial: bool) -> Pod:
    controller = template = value
    for step in _TEMPLATES[kind]:
        if template.raw is UNKNOWN:
            return Pod(resource, kind, value, template, template, template, partial)  # reading the spec says so
        controller, template = template, template[step]
    if template.raw is UNKNOWN:
        return Pod(resource, kind, value, controller, template, template, partial)
    return Pod(resource, kind, value, controller, template["metadata"], template["spec"], partial)


def _search(value: Value, whole: bool) -> Iterator[tuple[Value, Value, Value]]:
    """Every pod in a custom resource, with what it stands in, without recursion. What is not known yet counts
    as one by its name, or, where the resource is a workload as a whole, always."""
    parts = [part for name, part in value.fields().items() if name not in _NO_PODS]
    waiting: list[tuple[Value, Value, Value]] = [(part, value, value) for part in reversed(parts)]
    while waiting:
        one, above, two_above = waiting.pop()
        if isinstance(one.raw, list):
            waiting.extend((item, above, two_above) for item in reversed(one.items()))
        elif isinstance(one.raw, dict):
            if isinstance(one.raw.get("containers"), list) or one.raw.get("containers") is UNKNOWN:
                # A field of another name that holds a spec has no metadata beside it.
                yield two_above, above["metadata"] if one.path[-1] == "spec" else Value(None, one.path, one.urn), one
            else:
                waiting.extend((item, one, above) for item in reversed(one.fields().values()))
        elif one.raw is UNKNOWN and (whole or _MAY_HOLD_PODS.fullmatch(str(one.path[-1]))):
            yield above, one, one


def _is_manifest(entry: Value, resource: Resource) -> bool:
    """Whether an entry of a ConfigMap looks like the manifest of a job."""
    return isinstance(entry.raw, str) and "kind:" in entry.raw and (GPU in entry.raw or is_job_template(resource))


def _entries(data: Value) -> list[Value]:
    return list(data.fields().values()) if isinstance(data.raw, dict) else [data] if data.present else []


def is_job_template(resource: Resource) -> bool:
    """Whether a ConfigMap's labels say that it is a job template, or may do so once they are known."""
    metadata = resource.props.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else metadata
    return labels is UNKNOWN or (isinstance(labels, Mapping) and JOB_TEMPLATE_LABEL in labels)


@lru_cache(maxsize=8192)
def _manifests(text: str) -> list[dict[str, Any]] | None:
    """The objects in a YAML text, read once for all rules; None where it is no YAML."""
    nesting = sum(1 for _ in _NESTING.finditer(text))
    loader = _FAST_LOADER if nesting < _MOST_NESTING and len(text) < _LONGEST_FAST else yaml.SafeLoader
    try:
        return [one for one in yaml.load_all(text, loader) if isinstance(one, dict)]
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
