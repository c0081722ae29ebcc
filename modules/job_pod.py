"""The pod of a training job: all that a node of one type has, under the least rights. Needs no Pulumi.

    training_pod(instance_type("p5.48xlarge"), group="p5", grace_seconds=600)      # a pod's `spec`, with placeholders

Where the type has EFA, the pod's own programs see to it that it is used: `efa_proof`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainyard.modules.efa_proof import NCCL_LOG_VARIABLES, WITHOUT_EFA_VARIABLE, device_check, guarded_launch
from trainyard.modules.instance_types import InstanceType
from trainyard.modules.node_labels import (
    EFA_RESOURCE,
    GPU_RESOURCE,
    GPU_TAINT,
    GROUP_LABEL,
    HUGEPAGES_MIB,
    HUGEPAGES_RESOURCE,
    NODE_HUGEPAGES_MIB,
)

TRAINER_USER = 10001
"""User and group of the training image."""

RENDEZVOUS_PORT = 29500

PREEMPTED_EXIT_STATUS = 75
"""Of a trainer that was asked to go and has saved; EX_TEMPFAIL of sysexits.h."""

_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"

_KILLED_BEFORE_SECONDS = 15
"""The launcher ends its ranks so long before the pod is killed, and reports how they ended."""

_LEAST_PRIVILEGE = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True)
class ClaimMount:
    """A volume claim of the team's namespace, mounted in each pod.

    Attributes:
        claim: its name.
        path: where it is seen.
        read_only: whether pods may only read.
    """

    claim: str
    path: str
    read_only: bool = True


def pod_resources(kind: InstanceType) -> dict[str, str]:
    """What a pod that has a node of this type for itself asks for, as requests and as limits."""
    reserved_cpus, reserved_gib = max(1, kind.vcpus // 24), max(3, kind.memory_gib // 12)
    resources = {"cpu": str(kind.vcpus - reserved_cpus), GPU_RESOURCE: str(kind.gpus)}
    memory_mib = (kind.memory_gib - reserved_gib) * 1024
    if kind.efa_interfaces:
        # The whole count: with one less, NCCL takes fewer paths, with none it falls back to TCP, and nothing says so.
        resources |= {EFA_RESOURCE: str(kind.efa_interfaces), HUGEPAGES_RESOURCE: f"{HUGEPAGES_MIB}Mi"}
        memory_mib -= NODE_HUGEPAGES_MIB  # set aside on the node, whoever asks for how much of them
    return {**resources, "memory": f"{memory_mib}Mi"}


def training_pod(
    kind: InstanceType,
    *,
    group: str,
    grace_seconds: int,
    service_account: str = "trainer",
    claims: Sequence[ClaimMount] = (),
) -> dict[str, Any]:
    """The `spec` of a pod on a node of this type and group, with the placeholders of `job_manifest`.

    Args:
        kind: of the node, which the pod has for itself.
        group: value of the nodes' label `trainyard.dev/group`.
        grace_seconds: from SIGTERM until the pod is killed.
        service_account: under whose IAM role the pod works.
        claims: volumes.
    """
    mounts, volumes = _volumes(kind, claims)
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "subdomain": "${NAME}",
        "terminationGracePeriodSeconds": grace_seconds,
        "nodeSelector": {GROUP_LABEL: group},
        "tolerations": [{"key": GPU_TAINT[0], "operator": "Exists", "effect": "NoSchedule"}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": TRAINER_USER,
            "runAsGroup": TRAINER_USER,
            "fsGroup": TRAINER_USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "trainer",
                "image": "${IMAGE}",
                # Without EFA the image's own entry point: the launcher behind tini.
                **({"command": _guarded_command()} if kind.efa_interfaces else {}),
                "args": [
                    "--nnodes=${NODES}",
                    f"--nproc-per-node={kind.gpus}",
                    "--node-rank=$(NODE_RANK)",
                    "--master-addr=${NAME}-0.${NAME}",
                    f"--master-port={RENDEZVOUS_PORT}",
                    f"--shutdown-timeout={grace_seconds - _KILLED_BEFORE_SECONDS}",
                    "--",
                    "${ARGUMENTS}",
                ],
                "env": _environment(kind),
                "ports": [{"name": "rendezvous", "containerPort": RENDEZVOUS_PORT}],
                "resources": {"requests": pod_resources(kind), "limits": pod_resources(kind)},
                "securityContext": _LEAST_PRIVILEGE,
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }
    if kind.efa_interfaces:
        pod["initContainers"] = [_efa_check(kind)]
    return pod


def _volumes(kind: InstanceType, claims: Sequence[ClaimMount]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The container's mounts, and the pod's volumes behind them."""
    mounts: list[dict[str, Any]] = [
        {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 (the pod's own)
        {"name": "home", "mountPath": "/home/trainer"},
        {"name": "temporary", "mountPath": "/tmp"},  # noqa: S108 (the pod's own)
        {"name": "scratch", "mountPath": "/scratch"},
    ]
    volumes: list[dict[str, Any]] = [
        # NCCL and data loaders share memory there; it counts as the container's own.
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": f"{max(1, kind.memory_gib // 8)}Gi"}},
        {"name": "home", "emptyDir": {}},
        {"name": "temporary", "emptyDir": {}},
        # On the array of local disks where the type has any.
        {"name": "scratch", "emptyDir": {}},
    ]
    for number, claim in enumerate(claims):
        mounts.append({"name": f"claim-{number}", "mountPath": claim.path, "readOnly": claim.read_only})
        source = {"claimName": claim.claim, "readOnly": claim.read_only}
        volumes.append({"name": f"claim-{number}", "persistentVolumeClaim": source})
    return mounts, volumes


def _guarded_command() -> list[str]:
    """The image's entry point with the guard between tini and the launcher; the arguments stay the same."""
    return ["/usr/bin/tini", "--", "/bin/sh", "-c", guarded_launch(), "trainer-launch"]


def _environment(kind: InstanceType) -> list[dict[str, Any]]:
    """Where the pod stands in the job. Of NCCL only what it tells: the plugin and libfabric choose for themselves."""
    rank = {"fieldRef": {"fieldPath": f"metadata.labels['{_INDEX_LABEL}']"}}
    variables: list[dict[str, Any]] = [
        {"name": "NODE_RANK", "valueFrom": rank},
        # Of a pod that was asked to go and has saved: one that exits with 0 would count as finished.
        {"name": "TRAINER_PREEMPTED_EXIT_STATUS", "value": str(PREEMPTED_EXIT_STATUS)},
    ]
    if kind.efa_interfaces:
        told = {**NCCL_LOG_VARIABLES, WITHOUT_EFA_VARIABLE: "${WITHOUT_EFA}"}
        variables += [{"name": name, "value": value} for name, value in told.items()]
    return variables


def _efa_check(kind: InstanceType) -> dict[str, Any]:
    """A first container that ends the pod where EFA devices are missing."""
    efa = {EFA_RESOURCE: str(kind.efa_interfaces), "cpu": "1", "memory": "256Mi"}
    return {
        "name": "efa-check",
        "image": "${IMAGE}",
        "command": ["/bin/sh", "-c", device_check(kind.efa_interfaces)],
        "resources": {"requests": efa, "limits": dict(efa)},
        "securityContext": dict(_LEAST_PRIVILEGE),
    }
