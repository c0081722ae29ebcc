"""A pod keeps to itself: it is not privileged and shares nothing of its node, unless the node is its work."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.pod_templates import (
    NODE_HINT,
    Pod,
    containers,
    each_container,
    each_pod,
    has_pods,
    named,
    needs_the_node,
    setting,
)
from trainyard.policies.preflight import number
from trainyard.policies.rule import Finding, Severity, each, stack_rule, violation
from trainyard.policies.values import Value, shown

_HOST_NAMESPACES = {"hostNetwork": "network", "hostPID": "processes", "hostIPC": "shared memory"}
_VOLUMES = frozenset({"kubernetes:core/v1:PersistentVolume", "kubernetes:core/v1:PersistentVolumePatch"})

# What makes a pod its node's master wherever it runs: the runtime's sockets always, these folders where written to.
_SOCKETS = ("docker.sock", "containerd.sock", "crio.sock", "cri-dockerd.sock")
_SOCKET_FOLDERS = ("/run", "/var/run", "/run/containerd", "/var/run/containerd", "/var/run/docker", "/var/run/crio")
_VITAL_FOLDERS = ("/", "/etc", "/root", "/home", "/boot", "/bin", "/sbin", "/usr", "/lib", "/lib64", "/var", "/var/lib")

_ISOLATION = {"NIST 800-53": ("AC-6", "CM-7", "SC-39"), "ISO 27001": ("A.8.2", "A.8.9")}


@stack_rule(
    "pod-not-privileged",
    title="No container is privileged",
    severity=Severity.CRITICAL,
    applies=has_pods,
    controls={
        "CIS EKS": ("4.2.1",),
        "Trivy": ("KSV-0017", "KSV-0103"),
        "Checkov": ("CKV_K8S_16", "CKV_K8S_159"),
        **_ISOLATION,
    },
    why="A privileged container is root on its node: it reads every other pod's memory, secrets and AWS credentials.",
    remedy="""
"security_context": {"privileged": False}      # GPUs and EFA come by device plugins, as resources; neither needs more
""",
)
def not_privileged(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(container: Value, pod: Pod) -> Iterator[Finding]:
        privileged = container["securityContext"]["privileged"]
        if privileged.flag() and not needs_the_node(pod, graph, "privileged"):
            yield violation(f"{named(container)} is privileged{NODE_HINT}", privileged)
        host_process = setting(container, pod, "windowsOptions")["hostProcess"]
        if host_process.flag() and not needs_the_node(pod, graph, "hostProcess"):
            yield violation(f"{named(container)} is a process of the Windows node itself{NODE_HINT}", host_process)

    yield from each_container(resource, check)


@stack_rule(
    "pod-no-host-namespaces",
    title="A pod has a network, processes and shared memory of its own",
    severity=Severity.HIGH,
    applies=has_pods,
    controls={
        "CIS EKS": ("4.2.2", "4.2.3", "4.2.4"),
        "Trivy": ("KSV-0008", "KSV-0009", "KSV-0010"),
        "Checkov": ("CKV_K8S_17", "CKV_K8S_18", "CKV_K8S_19"),
        **_ISOLATION,
    },
    why=(
        "On the node's network a pod is past every NetworkPolicy and reaches the node's own credentials; among its "
        "processes it reads the environment of every other pod."
    ),
    remedy="""
"spec": {"host_network": False, "host_pid": False, "host_ipc": False}     # EFA works without any of them
""",
)
def no_host_namespaces(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(pod: Pod) -> Iterator[Finding]:
        def shared(switch: Value) -> Iterator[Finding]:
            if switch.flag() and not needs_the_node(pod, graph, str(switch.path[-1])):
                yield violation(
                    f"the pod shares the node's {_HOST_NAMESPACES[str(switch.path[-1])]}{NODE_HINT}", switch
                )

        yield from each([pod.spec[name] for name in _HOST_NAMESPACES], shared)

    yield from each_pod(resource, check)


@stack_rule(
    "pod-no-host-path",
    title="A pod mounts nothing of its node's disk, and nothing vital of it even where the node is its work",
    severity=Severity.HIGH,
    applies=lambda resource_type: has_pods(resource_type) or resource_type in _VOLUMES,
    controls={"Trivy": ("KSV-0023", "KSV-0006"), "Checkov": ("CKV_K8S_27",), **_ISOLATION},
    why=(
        "Whoever writes to a node's folders, or speaks to its container runtime, owns the node. A PersistentVolume on "
        "the node's disk is the same by another way, past the Pod Security level of every namespace."
    ),
    remedy="""
"volumes": [{"name": "scratch", "empty_dir": {}}]      # lies on the node's local disks too, and ends with the pod
""",
)
def no_host_path(resource: Resource, graph: Graph) -> Iterator[Finding]:
    if resource.type in _VOLUMES:
        if resource["spec"]["hostPath"].present:
            yield violation("this volume is a folder of whichever node mounts it", resource["spec"]["hostPath"])
        return

    def check(pod: Pod) -> Iterator[Finding]:
        yield from each(pod.spec["volumes"].items(), lambda volume: _host_path(volume, pod, graph))

    yield from each_pod(resource, check)


def _host_path(volume: Value, pod: Pod, graph: Graph) -> Iterator[Finding]:
    held = volume["hostPath"]
    if not held.present:
        return
    if not needs_the_node(pod, graph, "hostPath"):
        yield violation(f"the pod mounts {shown(held['path'].raw)} of its node{NODE_HINT}", held)
        return
    path = posixpath.normpath("/" + (held["path"].text() or "").lstrip("/"))
    if path.endswith(_SOCKETS) or path in _SOCKET_FOLDERS:
        yield violation(f"{shown(path)} leads to the container runtime, which may start anything on the node", held)
    elif path in _VITAL_FOLDERS and _written(volume, pod):
        yield violation(f"{shown(path)} of the node is mounted to be written to; mount it read-only, or less", held)


def _written(volume: Value, pod: Pod) -> bool:
    """Whether any container may write to a volume."""
    name = volume["name"].text()
    mounts = [one for container in containers(pod) for one in container["volumeMounts"].items()]
    return any(one["name"].text() == name and not one["readOnly"].flag() for one in mounts)


@stack_rule(
    "pod-no-host-port",
    title="No container takes a port of its node",
    severity=Severity.MEDIUM,
    applies=has_pods,
    controls={"Trivy": ("KSV-0024",), "Checkov": ("CKV_K8S_26",), **_ISOLATION},
    why="A node's port is reached past NetworkPolicies and Services, and only one pod of a node can have it.",
    remedy="""
"ports": [{"container_port": 8080}]            # no host_port; a Service reaches it
""",
)
def no_host_port(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(container: Value, pod: Pod) -> Iterator[Finding]:
        def taken(port: Value) -> Iterator[Finding]:
            # On the node's own network, which is another rule's, Kubernetes fills the same number in.
            if number(port["hostPort"]) and not (
                pod.spec["hostNetwork"].flag() or needs_the_node(pod, graph, "hostPort")
            ):
                yield violation(f"{named(container)} takes port {port['hostPort'].raw} of its node", port["hostPort"])

        yield from each(container["ports"].items(), taken)

    yield from each_container(resource, check)
