"""A pod that takes a whole GPU node takes its network too. Job templates, kept in ConfigMaps, are judged as pods."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.pod_templates import CONFIG_MAPS, EFA, GPU, HUGEPAGES, Pod, each_pod, has_pods
from trainyard.policies.preflight import NODE_GROUPS, GpuType, gpu_type, number, offerings
from trainyard.policies.rule import Finding, Severity, each, stack_rule, unverified, violation
from trainyard.policies.values import Value

_TYPE_KEYS = ("node.kubernetes.io/instance-type", "trainyard.dev/instance-type")
_GROUP_KEY = "trainyard.dev/group"


@stack_rule(
    "pod-takes-all-efa",
    title="A pod that takes all GPUs of a node takes all of its EFA interfaces",
    severity=Severity.HIGH,
    applies=has_pods,
    controls={
        "EKS user guide": ("node-efa",),
        "Issue": ("skypilot #10055",),
        "NIST 800-53": ("SC-6", "CP-2(2)"),
        "ISO 27001": ("A.8.6",),
    },
    why="Without them NCCL falls back to TCP without a word, and the job runs up to a hundred times slower.",
    remedy="""
resources = {"nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "32", "hugepages-2Mi": "5120Mi"}   # requests and limits;
job_manifest.job_template(JobShape(..., instance_type="p5.48xlarge"))                            # says so by itself
""",
)
def takes_all_efa(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(pod: Pod) -> Iterator[Finding]:
        yield from each(pod.spec["containers"].items(), lambda one: _judge(one, pod, graph))

    yield from each_pod(resource, check)


def _judge(container: Value, pod: Pod, graph: Graph) -> Iterator[Finding]:
    limits, requests = (container["resources"][side] for side in ("limits", "requests"))
    gpus = number(limits[GPU]) or number(requests[GPU]) or 0
    if not gpus:
        return
    efa = number(limits[EFA]) or number(requests[EFA]) or 0
    at = container["resources"]
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


def _kind(pod: Pod, graph: Graph) -> GpuType | None:
    """The type that the pod runs on: named by its selector, by its template, or by the node group that it selects."""
    selector = pod.spec["nodeSelector"]
    named = [selector[key] for key in _TYPE_KEYS]
    if pod.holder.type in CONFIG_MAPS:
        named.append(pod.holder["metadata"]["annotations"][_TYPE_KEYS[1]])
    for value in named:
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
