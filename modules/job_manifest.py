"""The manifest of a training job for one GPU type, and how a job's own values are filled in. Needs no Pulumi.

    template = job_template(JobShape(namespace="vision", group="p5", instance_type="p5.48xlarge", maximum_nodes=4))
    manifests = render(template, JobRequest("llama", image, nodes=4, arguments=("--config", "gpt2-124m")))

A template is YAML with these placeholders, each the whole of a value or, for NAME, a part of one:

    ${NAME}            of the job, its Service and its disruption budget
    ${NODES}           number of pods, one on each node
    ${FAILURES}        how many pods may fail before the job does
    ${IMAGE}           the training image
    ${WITHOUT_EFA}     `refuse` or `warn`: what to do where NCCL turns out not to use EFA
    ${ARGUMENTS}       an item of a list that becomes the trainer's arguments, one item each

Values are put in after the YAML has been read, so none can change its structure. What Kubernetes itself replaces is
written with round brackets: `$(NODE_RANK)`. What the pod asks for and runs: `job_pod`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import yaml

from trainyard.modules.instance_types import instance_type
from trainyard.modules.job_pod import PREEMPTED_EXIT_STATUS, RENDEZVOUS_PORT, ClaimMount, training_pod
from trainyard.modules.node_labels import GROUP_LABEL, JOB_LABEL, TEAM_LABEL

MOST_NODES = "trainyard.dev/maximum-nodes"
ENDS_AT = "trainyard.dev/ends-at"

_LONGEST_NAME = 50
"""Of a job: its pods are called NAME-INDEX, and a host name has at most 63 characters."""

# EC2 gives two minutes' notice of a Spot instance's end. Elsewhere nobody hurries, and a large model saves for minutes.
_SPOT_GRACE_SECONDS, _GRACE_SECONDS = 110, 600
_KEPT_DAYS = 7


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
        without_efa: whether a job on nodes with EFA ends, or says so and goes on, where NCCL trains over something
            else. A job of one node is only told: its GPUs reach each other without a network.
    """

    name: str
    image: str
    nodes: int = 1
    arguments: tuple[str, ...] = ()
    failures_per_node: int = 3
    without_efa: Literal["refuse", "warn"] = "refuse"

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
        if self.without_efa not in ("refuse", "warn"):
            raise ValueError(f"without_efa is {self.without_efa!r}; it is refuse or warn")


def job_template(shape: JobShape) -> str:
    """The template as YAML of several documents: a Service, where nodes do not go by themselves a budget, the Job."""
    documents = [_service(shape), *([] if shape.spot else [_budget(shape)]), _job(shape)]
    return yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, explicit_start=True, width=120)


class _Plain(yaml.SafeDumper):
    """Writes what stands twice twice, for anchors are hard to read, and programs line by line."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (the base class names it)
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _text)


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


def _values(request: JobRequest) -> dict[str, Any]:
    return {
        "${NAME}": request.name,
        "${NODES}": request.nodes,
        "${FAILURES}": request.failures_per_node * request.nodes,
        "${IMAGE}": request.image,
        "${WITHOUT_EFA}": request.without_efa if request.nodes > 1 else "warn",
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
                    # Warned by the queue, a gang saves and goes before its node does, and no eviction is in its way.
                    {
                        "action": "Ignore",
                        "onExitCodes": {
                            "containerName": "trainer",
                            "operator": "In",
                            "values": [PREEMPTED_EXIT_STATUS],
                        },
                    },
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
                "spec": training_pod(
                    instance_type(shape.instance_type),
                    group=shape.group,
                    grace_seconds=_SPOT_GRACE_SECONDS if shape.spot else _GRACE_SECONDS,
                    service_account=shape.service_account,
                    claims=shape.claims,
                ),
            },
        },
    }
