"""The manifest of a training job for one GPU type, and how a job's own values are filled in. Needs no Pulumi.

    template = job_template(JobShape(namespace="vision", group="p5", instance_type="p5.48xlarge", maximum_nodes=4))
    manifests = render(template, JobRequest("llama", image, nodes=4, arguments=("--config", "gpt2-124m")))

A template is YAML with these placeholders, each the whole of a value or, for NAME, a part of one:

    ${NAME}            of the job, its Service and its disruption budget
    ${NODES}           number of pods, one on each node
    ${FAILURES}        how many pods may fail before the job does
    ${IMAGE}           the training image
    ${ARGUMENTS}       an item of a list that becomes the trainer's arguments, one item each

Values are put in after the YAML has been read, so none can change its structure. What Kubernetes itself replaces is
written with round brackets: `$(NODE_RANK)`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from trainyard.modules.instance_types import InstanceType, instance_type

TRAINER_USER = 10001
"""User and group of the training image."""

RENDEZVOUS_PORT = 29500

JOB_LABEL = "trainyard.dev/job"
GROUP_LABEL = "trainyard.dev/group"
TEAM_LABEL = "trainyard.dev/team"
MOST_NODES = "trainyard.dev/maximum-nodes"
ENDS_AT = "trainyard.dev/ends-at"
GPU_TAINT_KEY = "nvidia.com/gpu"

HUGEPAGES_MIB = 5120
"""What libfabric's EFA provider takes in 2 MiB pages. Source: EKS user guide, "Run machine learning training on Amazon
EKS with Elastic Fabric Adapter", read 2026-11."""

_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
_LONGEST_NAME = 50
"""Of a job: its pods are called NAME-INDEX, and a host name has at most 63 characters."""

# EC2 gives two minutes' notice of a Spot instance's end. Elsewhere nobody hurries, and a large model saves for minutes.
_SPOT_GRACE_SECONDS, _GRACE_SECONDS = 110, 600
_KILLED_BEFORE_SECONDS = 15
"""torchrun ends its workers so long before the pod is killed, and reports how they ended."""

_KEPT_DAYS = 7


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


@dataclass(frozen=True)
class JobShape:
    """What all jobs of a team on one group of nodes have in common.

    Attributes:
        namespace: the team's.
        group: value of the nodes' label `trainyard.dev/group`.
        instance_type: of its nodes, from `instance_types`.
        maximum_nodes: how many it may have; a job asks for no more.
        service_account: under whose IAM role the pods work.
        spot: whether nodes go at two minutes' notice.
        ends_at: when a Capacity Block's nodes begin to go, with a time zone.
        claims: volumes.
    """

    namespace: str
    group: str
    instance_type: str
    maximum_nodes: int
    service_account: str = "trainer"
    spot: bool = False
    ends_at: datetime | None = None
    claims: tuple[ClaimMount, ...] = ()

    def __post_init__(self) -> None:
        if not instance_type(self.instance_type).gpus:
            raise ValueError(f"instance_type is {self.instance_type}, which has no GPU; a training job needs one")
        if self.maximum_nodes < 1:
            raise ValueError(f"maximum_nodes is {self.maximum_nodes}; it is 1 or more")
        if self.ends_at is not None and self.ends_at.tzinfo is None:
            raise ValueError(f"ends_at is {self.ends_at}, which has no time zone; write 2026-12-01T11:30:00Z")
        paths = [claim.path for claim in self.claims]
        if len(set(paths)) < len(paths) or not all(path.startswith("/") for path in paths):
            raise ValueError(f"the claims' paths are {', '.join(paths)}; each is absolute and stands once")


@dataclass(frozen=True)
class JobRequest:
    """What one job brings.

    Attributes:
        name: lower-case letters, digits and hyphens, at most 50.
        image: the training image, by tag or digest.
        nodes: how many, at most the template's.
        arguments: of `python -m trainer`.
        failures_per_node: how often each pod may fail before the job does. Evictions do not count.
    """

    name: str
    image: str
    nodes: int = 1
    arguments: tuple[str, ...] = ()
    failures_per_node: int = 3

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", self.name) or len(self.name) > _LONGEST_NAME:
            raise ValueError(
                f"name is {self.name!r}; it begins with a letter and has lower-case letters, digits and hyphens, "
                f"{_LONGEST_NAME} at most"
            )
        if not re.search(r"(@sha256:[0-9a-f]{64}|:[\w][\w.-]*)$", self.image):
            raise ValueError(
                f"image is {self.image!r}; it ends in a tag or a digest, for latest may change under a job"
            )
        if self.nodes < 1 or self.failures_per_node < 0:
            raise ValueError(
                f"nodes is {self.nodes} and failures_per_node {self.failures_per_node}; at least 1 and at least 0"
            )


def job_template(shape: JobShape) -> str:
    """The template as YAML of several documents: a Service, where nodes do not go by themselves a budget, the Job."""
    documents = [_service(shape), *([] if shape.spot else [_budget(shape)]), _job(shape)]
    return yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, explicit_start=True, width=120)


class _Plain(yaml.SafeDumper):
    """Writes what stands twice twice: anchors are hard to read."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (the base class names it)
        return True


def render(template: str, request: JobRequest, now: datetime | None = None) -> list[dict[str, Any]]:
    """The manifests of one job, to be created in this order.

    On nodes that go at a fixed time the job ends by itself a grace period earlier, counted from `now`.

    Raises:
        ValueError: where the request asks for more than the template's group has, or the nodes are gone by then.
    """
    documents = [_filled(document, _values(request)) for document in yaml.safe_load_all(template)]
    job = documents[-1]
    annotations = job["metadata"]["annotations"]
    most = int(annotations[MOST_NODES])
    if request.nodes > most:
        raise ValueError(f"nodes is {request.nodes}, but the group {_group(job)} has {most} at most")
    if ENDS_AT in annotations:
        ends_at = datetime.fromisoformat(annotations[ENDS_AT])
        grace = job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        left = int((ends_at - (now or datetime.now(UTC))).total_seconds()) - grace
        if left <= 0:
            raise ValueError(
                f"the nodes of the group {_group(job)} go at {annotations[ENDS_AT]}; there is no time left"
            )
        job["spec"]["activeDeadlineSeconds"] = left
    return documents


def pod_resources(kind: InstanceType) -> dict[str, str]:
    """What a pod that has a node of this type for itself asks for, as requests and as limits."""
    reserved_cpus, reserved_gib = max(1, kind.vcpus // 24), max(3, kind.memory_gib // 12)
    resources = {"cpu": str(kind.vcpus - reserved_cpus), "nvidia.com/gpu": str(kind.gpus)}
    memory_mib = (kind.memory_gib - reserved_gib) * 1024
    if kind.efa_interfaces:
        # The whole count: with one less, NCCL takes fewer paths, with none it falls back to TCP, and nothing says so.
        resources |= {"vpc.amazonaws.com/efa": str(kind.efa_interfaces), "hugepages-2Mi": f"{HUGEPAGES_MIB}Mi"}
        memory_mib -= HUGEPAGES_MIB
    return {**resources, "memory": f"{memory_mib}Mi"}


def _values(request: JobRequest) -> dict[str, Any]:
    return {
        "${NAME}": request.name,
        "${NODES}": request.nodes,
        "${FAILURES}": request.failures_per_node * request.nodes,
        "${IMAGE}": request.image,
        "${ARGUMENTS}": list(request.arguments),
    }


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        filled: list[Any] = []
        for item in value:
            if item == "${ARGUMENTS}":
                filled.extend(values[item])
            else:
                filled.append(_filled(item, values))
        return filled
    if not isinstance(value, str):
        return value
    if value in values:
        return values[value]
    # The number of nodes also stands inside an argument.
    return value.replace("${NAME}", values["${NAME}"]).replace("${NODES}", str(values["${NODES}"]))


def _group(job: Mapping[str, Any]) -> str:
    return job["metadata"]["labels"][GROUP_LABEL]


def _metadata(shape: JobShape, **more: Any) -> dict[str, Any]:
    labels = {
        "app.kubernetes.io/name": "trainer",
        "app.kubernetes.io/managed-by": "trainyard",
        TEAM_LABEL: shape.namespace,
        GROUP_LABEL: shape.group,
        JOB_LABEL: "${NAME}",
    }
    return {"name": "${NAME}", "namespace": shape.namespace, "labels": labels, **more}


def _service(shape: JobShape) -> dict[str, Any]:
    """Names for the pods. They find each other before any of them is ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(shape),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {JOB_LABEL: "${NAME}"},
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT, "protocol": "TCP"}],
        },
    }


def _budget(shape: JobShape) -> dict[str, Any]:
    """No pod that runs is evicted, so that a change of the nodes waits for the job or fails, and does not end it.

    Where nodes go anyway there is none: it would only keep the pods from being told.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(shape),
        "spec": {
            # A job has no scale from which a share could be counted; a number is all that holds.
            "minAvailable": "${NODES}",
            "selector": {"matchLabels": {JOB_LABEL: "${NAME}"}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def _job(shape: JobShape) -> dict[str, Any]:
    kind = instance_type(shape.instance_type)
    annotations = {MOST_NODES: str(shape.maximum_nodes)}
    if shape.ends_at is not None:
        annotations[ENDS_AT] = shape.ends_at.astimezone(UTC).isoformat()
    labels = _metadata(shape)["labels"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(shape, annotations=annotations),
        "spec": {
            "completionMode": "Indexed",
            "completions": "${NODES}",
            "parallelism": "${NODES}",
            "backoffLimit": "${FAILURES}",
            # A pod's successor must not meet it on the same GPUs.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    # Wrong arguments stay wrong.
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "trainer", "operator": "In", "values": [2]},
                    },
                ]
            },
            "ttlSecondsAfterFinished": _KEPT_DAYS * 86400,
            "template": {
                "metadata": {
                    "labels": labels,
                    # The autoscaler would take a node for idle whose pod waits for the others.
                    "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
                },
                "spec": _pod(shape, kind),
            },
        },
    }


def _pod(shape: JobShape, kind: InstanceType) -> dict[str, Any]:
    grace = _SPOT_GRACE_SECONDS if shape.spot else _GRACE_SECONDS
    mounts = [
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
    for number, claim in enumerate(shape.claims):
        mounts.append({"name": f"claim-{number}", "mountPath": claim.path, "readOnly": claim.read_only})
        source = {"claimName": claim.claim, "readOnly": claim.read_only}
        volumes.append({"name": f"claim-{number}", "persistentVolumeClaim": source})
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": shape.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "subdomain": "${NAME}",
        "terminationGracePeriodSeconds": grace,
        "nodeSelector": {GROUP_LABEL: shape.group},
        "tolerations": [{"key": GPU_TAINT_KEY, "operator": "Exists", "effect": "NoSchedule"}],
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
                # For the image's own entry point, torchrun behind tini.
                "args": [
                    "--nnodes=${NODES}",
                    f"--nproc-per-node={kind.gpus}",
                    "--node-rank=$(NODE_RANK)",
                    "--master-addr=${NAME}-0.${NAME}",
                    f"--master-port={RENDEZVOUS_PORT}",
                    f"--shutdown-timeout={grace - _KILLED_BEFORE_SECONDS}",
                    "-m",
                    "trainer",
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


_LEAST_PRIVILEGE = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _environment(kind: InstanceType) -> list[dict[str, Any]]:
    """Where the pod stands in the job. Of NCCL only what it tells: the plugin and libfabric choose for themselves."""
    rank = {"fieldRef": {"fieldPath": f"metadata.labels['{_INDEX_LABEL}']"}}
    variables: list[dict[str, Any]] = [
        {"name": "NODE_RANK", "valueFrom": rank},
        # For a trainer that ends well after saving: a pod that exits with 0 would count as one that has finished.
        {"name": "TRAINER_PREEMPTED_EXIT_STATUS", "value": "75"},
    ]
    if kind.efa_interfaces:
        # The proof that EFA is used: "NET/OFI Selected provider is efa".
        variables += [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "NCCL_DEBUG_SUBSYS", "value": "INIT,NET"}]
    return variables


def _efa_check(kind: InstanceType) -> dict[str, Any]:
    """Ends the pod where not every EFA device has been handed in, before a GPU hour is spent on TCP."""
    efa = {"vpc.amazonaws.com/efa": str(kind.efa_interfaces), "cpu": "1", "memory": "256Mi"}
    script = (
        'set -- /dev/infiniband/uverbs*; [ -e "$1" ] || set --; '
        f'[ $# -eq {kind.efa_interfaces} ] || {{ echo "$# EFA devices of {kind.efa_interfaces}; see the EFA device '
        'plugin on this node" >&2; exit 1; }'
    )
    return {
        "name": "efa-check",
        "image": "${IMAGE}",
        "command": ["/bin/sh", "-c", script],
        "resources": {"requests": efa, "limits": dict(efa)},
        "securityContext": dict(_LEAST_PRIVILEGE),
    }
