"""A container has the least of its kernel's powers: no root, no capabilities, a seccomp profile, the usual /proc."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.pod_templates import (
    EFA,
    NODE_HINT,
    Pod,
    each_container,
    each_pod,
    has_pods,
    named,
    needs_the_node,
    on_windows,
    over_containers,
    setting,
)
from trainyard.policies.preflight import number
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, violation
from trainyard.policies.values import Value, shown

_SECCOMP = ("RuntimeDefault", "Localhost")
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"

# Each pod has its own copy of these, and none of them reaches beyond it (Pod Security Standards, "Sysctls").
_SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)

_LEAST = {"NIST 800-53": ("AC-6", "CM-7"), "ISO 27001": ("A.8.2", "A.8.9")}


@resource_rule(
    "pod-no-privilege-escalation",
    title="No process in a container gains rights that its parent had not",
    severity=Severity.HIGH,
    applies=has_pods,
    controls={"CIS EKS": ("4.2.5",), "Trivy": ("KSV-0001",), "Checkov": ("CKV_K8S_20",), **_LEAST},
    why="Unless refused, a set-user-ID program in the image makes root of any user. The switch is on where not said.",
    remedy="""
"security_context": {"allow_privilege_escalation": False}      # of each container, init containers too
""",
)
def no_privilege_escalation(resource: Resource) -> Iterator[Finding]:
    def check(container: Value, pod: Pod) -> Iterator[Finding]:
        allowed = container["securityContext"]["allowPrivilegeEscalation"]
        if allowed.flag() is False or (pod.partial and not allowed.present) or on_windows(pod):
            return
        # A privileged container cannot be without it; whether it may be privileged is another rule's.
        if not container["securityContext"]["privileged"].flag():
            yield violation(f"{named(container)} may gain rights: allowPrivilegeEscalation is not false", allowed)

    yield from each_container(resource, check)


@stack_rule(
    "pod-runs-as-non-root",
    title="Every container refuses to run as root",
    severity=Severity.HIGH,
    applies=has_pods,
    controls={"Trivy": ("KSV-0012", "KSV-0105"), "Checkov": ("CKV_K8S_23",), **_LEAST},
    why="Root in a container is root on the node as soon as anything lets it out, and owns every file it mounts.",
    remedy="""
"security_context": {"run_as_non_root": True, "run_as_user": 10001}      # of the pod; a container's own comes first
""",
)
def runs_as_non_root(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(container: Value, pod: Pod) -> Iterator[Finding]:
        if on_windows(pod):
            return
        non_root, user = setting(container, pod, "runAsNonRoot"), setting(container, pod, "runAsUser")
        said = non_root.flag()
        if number(user) == 0:
            at, message = user, f"{named(container)} runs as user 0"
        elif not said and not (pod.partial and not non_root.present):
            at, message = non_root, f"{named(container)} may run as root, whatever user the image names"
        else:
            return
        if not needs_the_node(pod, graph, "root"):
            yield violation(message + NODE_HINT, at)

    yield from each_container(resource, check)


@stack_rule(
    "pod-drops-capabilities",
    title="A container drops all capabilities and adds none but NET_BIND_SERVICE, and IPC_LOCK with EFA",
    severity=Severity.MEDIUM,
    applies=has_pods,
    controls={
        "Trivy": ("KSV-0003", "KSV-0022", "KSV-0106"),
        "Checkov": ("CKV_K8S_25", "CKV_K8S_28", "CKV_K8S_37", "CKV_K8S_39"),
        **_LEAST,
    },
    why=(
        "What a runtime grants by default lets a container forge packets and change owners of files. Only pinning "
        "memory for RDMA (IPC_LOCK) is work of a training pod, and only where it has an EFA interface."
    ),
    remedy="""
"security_context": {"capabilities": {"drop": ["ALL"]}}        # EFA's huge pages need no IPC_LOCK
""",
)
def drops_capabilities(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(container: Value, pod: Pod) -> Iterator[Finding]:
        if on_windows(pod):
            return
        held = container["securityContext"]["capabilities"]
        dropped = [one.text() for one in held["drop"].items()]
        kept = "ALL" not in dropped and not (pod.partial and not held["drop"].present)
        if kept and not needs_the_node(pod, graph, "capabilities"):
            yield violation(f"{named(container)} keeps the runtime's own capabilities; drop ALL", held)
        yield from each(held["add"].items(), lambda added: _added(added, container, pod, graph))

    yield from each_container(resource, check)


def _added(added: Value, container: Value, pod: Pod, graph: Graph) -> Iterator[Finding]:
    name = (added.text() or "").upper().removeprefix("CAP_")
    if name == "NET_BIND_SERVICE" or (name == "IPC_LOCK" and _has_efa(container)):
        return
    if not needs_the_node(pod, graph, "capabilities"):
        reason = ", and asks for no EFA interface that would need it" if name == "IPC_LOCK" else ""
        yield violation(f"{named(container)} adds the capability {shown(name)}{reason}", added)


def _has_efa(container: Value) -> bool:
    return any(bool(number(container["resources"][side][EFA])) for side in ("limits", "requests"))


@resource_rule(
    "pod-seccomp",
    title="A container's system calls are filtered by seccomp",
    severity=Severity.MEDIUM,
    applies=has_pods,
    controls={"Trivy": ("KSV-0030", "KSV-0104"), "Checkov": ("CKV_K8S_31",), **_LEAST},
    why="Most ways out of a container go through system calls that no program in it needs. EKS filters none by itself.",
    remedy="""
"security_context": {"seccomp_profile": {"type": "RuntimeDefault"}}      # of the pod; a container's own comes first
""",
)
def seccomp(resource: Resource) -> Iterator[Finding]:
    def check(container: Value, pod: Pod) -> Iterator[Finding]:
        if on_windows(pod):
            return
        profile = setting(container, pod, "seccompProfile")
        kind = profile["type"].text()
        if kind in _SECCOMP or (pod.partial and not profile.present):
            return
        # Kubernetes gives a privileged container no filter; whether it may be privileged is another rule's.
        if not container["securityContext"]["privileged"].flag():
            found = f"has the profile {shown(kind)}" if kind else "has no profile"
            yield violation(f"{named(container)} {found}; RuntimeDefault or Localhost may stand there", profile)

    yield from each_container(resource, check)


@stack_rule(
    "pod-read-only-root",
    title="A container's own file system is read-only",
    severity=Severity.LOW,
    applies=has_pods,
    controls={
        "Trivy": ("KSV-0014",),
        "Checkov": ("CKV_K8S_22",),
        "NIST 800-53": ("CM-5", "SI-7"),
        "ISO 27001": ("A.8.9",),
    },
    why=(
        "Who breaks in cannot replace a program or leave one behind. Where an image must write beside its mounted "
        "folders, it may be right all the same."
    ),
    remedy="""
"security_context": {"read_only_root_filesystem": True},
"volume_mounts": [{"name": "temporary", "mount_path": "/tmp"}]           # an emptyDir for each folder it writes to
""",
    advice=True,
)
def read_only_root(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(container: Value, pod: Pod) -> Iterator[Finding]:
        read_only = container["securityContext"]["readOnlyRootFilesystem"]
        if read_only.flag() or (pod.partial and not read_only.present):
            return
        if not needs_the_node(pod, graph, "writableRoot"):
            yield violation(f"{named(container)} can write anywhere in its own file system", read_only)

    yield from each_container(resource, check)


@stack_rule(
    "pod-kernel-defaults",
    title="A pod leaves the kernel's guards as they are: /proc, sysctls, SELinux and AppArmor",
    severity=Severity.MEDIUM,
    applies=has_pods,
    controls={"Trivy": ("KSV-0002", "KSV-0025", "KSV-0026", "KSV-0027"), **_LEAST},
    why="An unmasked /proc shows the node's kernel, and an unsafe sysctl changes it for every pod on the node.",
    remedy="""
"security_context": {"sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "60"}]}      # from the safe ones
""",
)
def kernel_defaults(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(pod: Pod) -> Iterator[Finding]:
        context = pod.spec["securityContext"]
        yield from _refused(each(context["sysctls"].items(), _unsafe_sysctl), pod, graph)
        yield from _refused(_loosened(context), pod, graph)
        yield from _refused(over_containers(pod, _loosened_container), pod, graph)
        yield from _refused(each(_profiles(pod), _no_apparmor), pod, graph)

    yield from each_pod(resource, check)


def _refused(findings: Iterator[Finding], pod: Pod, graph: Graph) -> Iterator[Finding]:
    """The findings, unless the pod's namespace is made for such pods and says what for."""
    held = list(findings)
    if held and not needs_the_node(pod, graph, "kernel"):
        yield from held


def _unsafe_sysctl(sysctl: Value) -> Iterator[Finding]:
    if (name := sysctl["name"].text()) not in _SAFE_SYSCTLS:
        yield violation(f"{shown(name)} is none of the sysctls that are safe to change{NODE_HINT}", sysctl)


def _loosened(context: Value) -> Iterator[Finding]:
    """What a security context, of a pod or of a container, takes away from SELinux and AppArmor."""
    labels = context["seLinuxOptions"]
    for name in ("user", "role"):
        if labels[name].text():
            yield violation(f"an own SELinux {name} is set", labels[name])
    if (labels["type"].text() or "") not in _SELINUX_TYPES:
        yield violation(f"the SELinux type is {shown(labels['type'].raw)}", labels["type"])
    if context["appArmorProfile"]["type"].text() == "Unconfined":
        yield violation("AppArmor is switched off", context["appArmorProfile"])


def _loosened_container(container: Value, _: Pod) -> Iterator[Finding]:
    context = container["securityContext"]
    mount = context["procMount"]
    if (mount.text() or "Default") != "Default":
        yield violation(f"{named(container)} sees /proc as {shown(mount.raw)}", mount)
    yield from _loosened(context)


def _profiles(pod: Pod) -> list[Value]:
    """AppArmor's profiles in the annotations that came before the field."""
    return [one for name, one in pod.metadata["annotations"].fields().items() if name.startswith(_APPARMOR)]


def _no_apparmor(profile: Value) -> Iterator[Finding]:
    if profile.text() == "unconfined":
        yield violation("AppArmor is switched off", profile)
