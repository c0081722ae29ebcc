"""Node groups with GPUs: which they are, how they are bought, and which of them a pod may land on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.pod_templates import Pod
from trainyard.policies.preflight import NODE_GROUPS, template_of
from trainyard.policies.values import UNKNOWN, UnverifiedError, Value

# Families with GPUs or AWS's own accelerators: p5, p6-b200, g6e, gr6, trn2, inf2.
_ACCELERATED = re.compile(r"(p\d|g\d|gr\d|trn\d|inf\d)[a-z0-9-]*\.[a-z0-9-]+")

# How EKS, Karpenter and others label a node by the way it was bought.
_CAPACITY_KEYS = ("eks.amazonaws.com/capacityType", "karpenter.sh/capacity-type", "node-lifecycle")


def has_gpus(group: Resource, graph: Graph) -> bool | None:
    """Whether a node group has GPUs; None where that is not known yet."""
    types = _types(group, graph)
    if types:
        return any(_ACCELERATED.fullmatch(name) for name in types)
    image = group["amiType"].raw
    if isinstance(image, str) and any(mark in image for mark in ("NVIDIA", "GPU", "NEURON")):
        return True
    # Without a type anywhere EKS takes one without GPUs; an image of its own is for such types, too.
    if image is UNKNOWN:
        return None
    return False if types == [] or image not in (None, "CUSTOM") else None


def _types(group: Resource, graph: Graph) -> list[str] | None:
    """The instance types of a node group; None where they are not known yet, nothing where none is said."""
    names = group["instanceTypes"]
    if names.raw and names.known:
        found = [one.raw for one in names.items()]
        names_read = [name for name in found if isinstance(name, str)]
        return names_read if len(names_read) == len(found) else None
    try:
        template = template_of(group, graph)
    except UnverifiedError:
        return None
    kind = template["instanceType"] if template else Value(None)
    if names.raw is UNKNOWN and not kind.present:
        return None
    if not kind.present:
        return []
    return [kind.raw] if isinstance(kind.raw, str) else None


def is_reserved(group: Resource, graph: Graph) -> bool:
    """Whether a group's capacity is paid for whether it runs or not: a Capacity Block, or a reservation.

    Raises UnverifiedError where that cannot be told.
    """
    if group["capacityType"].text() == "CAPACITY_BLOCK":
        return True
    template = template_of(group, graph)
    if template is None:
        return False
    target = template["capacityReservationSpecification"]["capacityReservationTarget"]
    reserved = [target[key] for key in ("capacityReservationId", "capacityReservationResourceGroupArn")]
    return any(value.raw not in (None, "") for value in reserved)


def lands_on_spot(pod: Pod, graph: Graph) -> bool | None:
    """Whether a pod with GPUs may land on Spot nodes: by what it asks for, else by the groups that it may run on.

    None where the stack has no group that the pod selects, or does not know yet.
    """
    selector = pod.spec["nodeSelector"]
    for kinds in (_said(selector), _demanded(pod)):
        if kinds:
            return any(kind.lower() == "spot" for kind in kinds)
    groups = [one for one in graph.of(NODE_GROUPS) if _may_run_on(selector, one) and has_gpus(one, graph) is not False]
    kinds = [one["capacityType"].raw for one in groups]
    if "SPOT" in kinds:
        return True
    return None if not groups or any(kind is not None and not isinstance(kind, str) for kind in kinds) else False


def _said(selector: Value) -> list[str]:
    return [text for key in _CAPACITY_KEYS if (text := selector[key].text())]


def _demanded(pod: Pod) -> list[str]:
    """The ways of buying that the pod's affinity insists on; a preference excludes nothing."""
    required = pod.spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return [
        value.text() or ""
        for term in required["nodeSelectorTerms"].items()
        for expression in _expressions(term)
        if expression["operator"].text() == "In"
        for value in expression["values"].items()
    ]


def _expressions(term: Value) -> Iterator[Value]:
    for expression in term["matchExpressions"].items():
        if expression["key"].text() in _CAPACITY_KEYS:
            yield expression


def _may_run_on(selector: Value, group: Resource) -> bool:
    """Whether a group's labels do not speak against a pod's selector. Labels that Kubernetes sets are not compared."""
    labels = group["labels"]
    if labels.raw is UNKNOWN:
        return True
    for key, wanted in selector.fields().items():
        if key.partition("/")[0].endswith(("kubernetes.io", "k8s.io", "amazonaws.com", "karpenter.sh")):
            continue
        label = labels[key].raw
        if label is None or (isinstance(label, str) and label != wanted.text()):
            return False
    return True
