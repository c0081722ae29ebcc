"""A pod that takes a whole GPU node takes its network too. Job templates, kept in ConfigMaps, are judged as pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.preflight import NODE_GROUPS, GpuType, gpu_type, number, offerings
from trainyard.policies.rule import Finding, Severity, each, stack_rule, unverified, violation
from trainyard.policies.values import UNKNOWN, UnverifiedError, Value

GPU, EFA, HUGEPAGES = "nvidia.com/gpu", "vpc.amazonaws.com/efa", "hugepages-2Mi"

_CONFIG_MAPS = frozenset({"kubernetes:core/v1:ConfigMap"})
_TEMPLATE_LABEL = "trainyard.dev/job-template"
_TYPE_KEYS = ("node.kubernetes.io/instance-type", "trainyard.dev/instance-type")
_GROUP_KEY = "trainyard.dev/group"

# Where a kind has its pod's spec.
_POD_SPECS: Mapping[str, tuple[str, ...]] = {
    "kubernetes:core/v1:Pod": ("spec",),
    "kubernetes:batch/v1:CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    **{
        f"kubernetes:{kind}": ("spec", "template", "spec")
        for kind in ("batch/v1:Job", "apps/v1:Deployment", "apps/v1:DaemonSet", "apps/v1:StatefulSet")
    },
}

_TOKENS = {token.rpartition(":")[2]: token for token in _POD_SPECS}


@dataclass(frozen=True)
class _Pod:
    """A pod's spec, the instance type that its holder names besides, and where to point when something is wrong."""

    spec: Value
    hint: Value | None
    place: Value | None


@stack_rule(
    "pod-takes-all-efa",
    title="A pod that takes all GPUs of a node takes all of its EFA interfaces",
    severity=Severity.HIGH,
    applies=frozenset(_POD_SPECS) | _CONFIG_MAPS,
    controls={
        "EKS user guide": ("node-efa",),
        "Issue": ("skypilot #10055",),
        "NIST 800-53": ("CP-2", "SA-5"),
        "ISO 27001": ("A.8.6",),
    },
    why="Without them NCCL falls back to TCP without a word, and the job runs up to a hundred times slower.",
    remedy="""
resources = {"nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "32", "hugepages-2Mi": "5120Mi"}   # requests and limits;
job_manifest.job_template(JobShape(..., instance_type="p5.48xlarge"))                            # says so by itself
""",
)
def takes_all_efa(resource: Resource, graph: Graph) -> Iterator[Finding]:
    for pod in _pods(resource):
        containers = pod.spec["containers"].items()
        yield from each(containers, lambda one, pod=pod: _judge(one, pod, graph))


def _pods(resource: Resource) -> Iterator[_Pod]:
    if resource.type not in _CONFIG_MAPS:
        value = resource[_POD_SPECS[resource.type][0]]
        for step in _POD_SPECS[resource.type][1:]:
            value = value[step]
        yield _Pod(value, None, None)
        return
    hint = _annotation(resource)
    for text in _texts(resource):
        for manifest in _manifests(text):
            value = Value(manifest, text.path, text.urn)
            for step in _POD_SPECS[_TOKENS[manifest["kind"]]]:
                value = value[step]
            yield _Pod(value, hint, text)


def _annotation(resource: Resource) -> Value:
    """The type that a ConfigMap says its jobs run on, where it says so."""
    return resource["metadata"]["annotations"][_TYPE_KEYS[1]]


def _texts(resource: Resource) -> Iterator[Value]:
    """The entries that speak of GPUs. Those of a job template that are not known yet cannot be passed over."""
    data = resource["data"]
    if data.raw is UNKNOWN:
        if _is_template(resource):
            raise UnverifiedError(data, "the job template is not known yet")
        return
    for entry in _entries(data):
        if entry.raw is UNKNOWN:
            if _is_template(resource):
                raise UnverifiedError(entry, "the job template is not known yet")
        elif isinstance(entry.raw, str) and GPU in entry.raw:
            yield entry


def _entries(data: Value) -> list[Value]:
    return list(data.fields().values()) if isinstance(data.raw, dict) else []


def _is_template(resource: Resource) -> bool:
    metadata = resource.props.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else metadata
    return labels is UNKNOWN or (isinstance(labels, Mapping) and _TEMPLATE_LABEL in labels)


def _manifests(text: Value) -> list[dict[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(text.raw))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnverifiedError(text, f"this speaks of GPUs and is no YAML: {type(error).__name__}") from error
    return [one for one in documents if isinstance(one, dict) and one.get("kind") in list(_TOKENS)]


def _judge(container: Value, pod: _Pod, graph: Graph) -> Iterator[Finding]:
    limits, requests = (container["resources"][side] for side in ("limits", "requests"))
    gpus = number(limits[GPU]) or number(requests[GPU]) or 0
    if not gpus:
        return
    efa = number(limits[EFA]) or number(requests[EFA]) or 0
    at = pod.place or container["resources"]
    kind = _kind(pod, graph)
    if kind is None:
        if not efa and gpus >= min(one.gpus for one in offerings().types.values() if one.rdma):
            yield unverified(f"{gpus} GPUs and no EFA interface are asked for, and the instance type is not said", at)
        return
    if gpus > kind.gpus or efa > kind.efa:
        yield violation(
            f"{gpus} GPUs and {efa} EFA interfaces are asked for; {kind.name} has {kind.gpus} and {kind.efa}", at
        )
    elif kind.rdma and gpus == kind.gpus:
        if efa < kind.efa:
            yield violation(f"{efa} EFA interfaces are asked for; {kind.name} has {kind.efa}, and all are needed", at)
        elif not (limits[HUGEPAGES].present or requests[HUGEPAGES].present):
            yield violation(f"EFA takes its memory from huge pages, and no {HUGEPAGES} is asked for", at)


def _kind(pod: _Pod, graph: Graph) -> GpuType | None:
    """The type that the pod runs on: named by its selector, by its template, or by the node group that it selects."""
    selector = pod.spec["nodeSelector"]
    named = [selector[key] for key in _TYPE_KEYS]
    for value in (*named, *([pod.hint] if pod.hint else [])):
        if name := value.text():
            return gpu_type(name)
    group = selector[_GROUP_KEY].text()
    if group is None:
        return None
    found = [one["labels"] for one in graph.of(NODE_GROUPS) if _selects(one["labels"], group)]
    types = {gpu_type(labels[_TYPE_KEYS[1]].text()) for labels in found}
    return types.pop() if len(types) == 1 else None


def _selects(labels: Value, group: str) -> bool:
    return labels.present and labels[_GROUP_KEY].text() == group
