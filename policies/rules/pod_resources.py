"""A container says what it needs, and gets no more: memory, CPU, GPUs and EFA interfaces."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.pod_templates import GPU, Pod, each_container, has_pods, named
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, violation
from trainyard.policies.values import NotKnownYetError, UnverifiedError, Value, shown

# What must be said, as (side, resource), and by which other statements Kubernetes fills it in.
_NEEDED = (
    (("requests", "cpu"), ("limits", "cpu")),
    (("requests", "memory"), ("limits", "memory")),
    (("limits", "memory"),),
)

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|[kKMGTPE]i?|)")
_POWERS = {letter: power for power, letter in enumerate(("", "k", "M", "G", "T", "P", "E"))}

_CAPACITY = {"NIST 800-53": ("SC-6",), "ISO 27001": ("A.8.6",)}


@resource_rule(
    "pod-resources-set",
    title="A container requests CPU and memory, and its memory has a limit",
    severity=Severity.MEDIUM,
    applies=has_pods,
    controls={
        "Trivy": ("KSV-0015", "KSV-0016", "KSV-0018"),
        "Checkov": ("CKV_K8S_10", "CKV_K8S_12", "CKV_K8S_13"),
        **_CAPACITY,
    },
    why=(
        "Without a request a pod is put where there is no room for it, and evicted first; without a limit its growth "
        "ends whatever trains beside it."
    ),
    remedy="""
"resources": {"requests": {"cpu": "100m", "memory": "600Mi"}, "limits": {"memory": "600Mi"}}
""",
)
def resources_set(resource: Resource) -> Iterator[Finding]:
    def check(container: Value, pod: Pod) -> Iterator[Finding]:
        # One that is added to a running pod cannot ask for any; a patch leaves what it does not name.
        if "ephemeralContainers" in container.path or (pod.partial and not container["resources"].present):
            return
        for ways in _NEEDED:
            if not any(
                _said(holder["resources"][side][what]) for side, what in ways for holder in (container, pod.spec)
            ):
                side, what = ways[0]
                yield violation(f"{named(container)} has no {what} {side.removesuffix('s')}", container["resources"])

    yield from each_container(resource, check)


def _said(value: Value) -> bool:
    if not value.known:
        raise NotKnownYetError(value)
    return value.present


@stack_rule(
    "pod-cpu-limit",
    title="A container without GPUs has a CPU limit",
    severity=Severity.LOW,
    applies=has_pods,
    controls={"Trivy": ("KSV-0011",), "Checkov": ("CKV_K8S_11",), **_CAPACITY},
    why=(
        "One that spins takes what its neighbours left unused. Where latency counts it may be right all the same: "
        "a limit throttles even on an idle node, and stalls a whole gang of GPUs."
    ),
    remedy="""
"resources": {"limits": {"cpu": "1"}}
""",
    advice=True,
)
def cpu_limit(resource: Resource, _: Graph) -> Iterator[Finding]:
    def check(container: Value, pod: Pod) -> Iterator[Finding]:
        if "ephemeralContainers" in container.path or (pod.partial and not container["resources"].present):
            return
        limits = container["resources"]["limits"]
        if not _said(limits["cpu"]) and not _said(limits[GPU]) and not _said(pod.spec["resources"]["limits"]["cpu"]):
            yield violation(f"{named(container)} has no CPU limit", limits)

    yield from each_container(resource, check)


@resource_rule(
    "pod-devices-are-limits",
    title="GPUs, EFA interfaces and huge pages are asked for as limits, and requested as much",
    severity=Severity.MEDIUM,
    applies=has_pods,
    controls=_CAPACITY,
    why=(
        "A device is had whole or not at all. Kubernetes refuses a pod that requests another number than its limit, "
        "or names no limit: hours later, when the job's turn has come."
    ),
    remedy="""
devices = {"nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "32", "hugepages-2Mi": "5120Mi"}
"resources": {"requests": {"cpu": "90", **devices}, "limits": {"memory": "1Ti", **devices}}
""",
)
def devices_are_limits(resource: Resource) -> Iterator[Finding]:
    def check(container: Value, pod: Pod) -> Iterator[Finding]:
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]

        def equal(request: Value) -> Iterator[Finding]:
            name = str(request.path[-1])
            limit = limits[name]
            if not limit.present:
                if not pod.partial:
                    yield violation(f"{name} is requested and has no limit", request)
            elif _amount(request) != _amount(limit):
                yield violation(
                    f"{shown(request.raw)} of {name} are requested, and the limit is {shown(limit.raw)}", request
                )

        yield from each([one for name, one in requests.fields().items() if _is_device(name)], equal)

    yield from each_container(resource, check)


def _is_device(name: str) -> bool:
    """Whether a resource is had whole: an extended one, or huge pages."""
    return name.startswith("hugepages-") or ("/" in name and not name.partition("/")[0].endswith("kubernetes.io"))


def _amount(value: Value) -> float:
    """What a quantity of Kubernetes comes to.

    Raises UnverifiedError where it is unknown or none.
    """
    if isinstance(value.raw, int | float) and not isinstance(value.raw, bool):
        return value.raw
    found = _QUANTITY.fullmatch(value.text() or "")
    if not found:
        raise UnverifiedError(value, f"this is no quantity: {shown(value.raw)!r}")
    digits, unit = found.groups()
    if unit == "m":
        return float(digits) / 1000
    base = 1024 if unit.endswith("i") else 1000
    return float(digits) * base ** _POWERS[unit[:1].replace("K", "k")]
