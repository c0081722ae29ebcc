"""A training job outlives its nodes: it saves where no node's end reaches, has the time to, and is tried again."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainyard.policies.gpu_groups import lands_on_spot
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.pod_templates import CONFIG_MAPS, GPU, Pod, containers, each_pod, has_pods, written_namespace
from trainyard.policies.preflight import NODE_GROUPS, number
from trainyard.policies.rule import Finding, Severity, stack_rule, unverified, violation
from trainyard.policies.rules.namespaces import LOCAL_QUEUES
from trainyard.policies.values import Value, shown

# Kinds whose pods end by themselves, among them the custom ones that are called so (PyTorchJob, MPIJob, TrainJob).
_JOB = re.compile(r"\w*Job|JobSet")
_BATCH = ("Job", "CronJob", "JobSet")

_CHECKPOINT = re.compile(r"check-?_?points?|ckpts?", re.IGNORECASE)
_BUCKET = re.compile(r"\b(s3|gs|abfss?)://\S")
_SEPARATORS = re.compile(r"""[\s=:'"]+""")

_SPOT_NOTICE_SECONDS = 120
"""EC2 gives so much notice of a Spot instance's end (EC2 user guide, "Spot Instance interruption notices")."""
_SAVE_SECONDS = 90
"""To finish the step, write what eight GPUs hold and hand it over; Kubernetes' default of 30 is for web servers."""

_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_DEFAULT_QUEUE = "default"

_LASTING = {"NIST 800-53": ("CP-9", "CP-10"), "ISO 27001": ("A.8.13", "A.5.30")}
_AVAILABLE = {"NIST 800-53": ("CP-2", "CP-10"), "ISO 27001": ("A.5.30",)}


def _trains(pod: Pod) -> bool:
    """Whether this is a pod of a job, and takes GPUs."""
    return _JOB.fullmatch(pod.kind) is not None and _most_gpus(pod) > 0


def _most_gpus(pod: Pod) -> int:
    """The GPUs of the container that takes most."""
    sides = [one["resources"][side][GPU] for one in containers(pod) for side in ("limits", "requests")]
    return max((number(value) or 0 for value in sides), default=0)


@stack_rule(
    "training-spot-checkpoint",
    title="A job with GPUs on Spot nodes has a place for its checkpoints that outlives the node",
    severity=Severity.HIGH,
    applies=has_pods,
    controls=_LASTING,
    why="EC2 takes a Spot node back at two minutes' notice. What lay on its disks, or nowhere, is the whole run.",
    remedy="""
"args": [..., "checkpoint.uri=s3://checkpoints/runs/vision/llama"]     # a bucket, or a path on a volume claim;
JobTemplates(name, JobTemplatesArgs(..., facts={"checkpoints": f"s3://{bucket}/runs/{team}"}))      # a job template's
""",
)
def spot_checkpoint(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(pod: Pod) -> Iterator[Finding]:
        if pod.partial or not _trains(pod):
            return
        spot = lands_on_spot(pod, graph)
        if spot is False:
            return
        places = list(_places(pod))
        if any(_outlives(place, pod) for place in places):
            return
        local = [place for place in places if "/" in str(place.raw)]
        found = f"{shown(local[0].raw)} goes with the node" if local else "no place for checkpoints is said"
        at = local[0] if local else pod.spec
        if spot:
            yield violation(f"the job may run on Spot nodes, and {found}", at)
        else:
            yield unverified(f"{found}, and whether the job runs on Spot nodes is not known here", at)

    yield from each_pod(resource, check)


def _places(pod: Pod) -> Iterator[Value]:
    """Where a job is told to save: its template's fact, else arguments and variables that speak of checkpoints."""
    if pod.holder.type in CONFIG_MAPS:
        for name, fact in pod.holder["data"].fields().items():
            if _CHECKPOINT.fullmatch(name):
                yield fact
    for container in containers(pod):
        words = [*container["command"].items(), *container["args"].items()]
        for index, word in enumerate(words):
            text = word.text() or ""
            if _CHECKPOINT.search(text):
                # A flag may have its value in the next word.
                follows = text.startswith("-") and "=" not in text and index + 1 < len(words)
                yield words[index + 1] if follows else word
        for variable in container["env"].items():
            if _CHECKPOINT.search(variable["name"].text() or ""):
                yield variable["value"] if variable["value"].present else variable["valueFrom"]


def _outlives(place: Value, pod: Pod) -> bool:
    """Whether what is saved there is left when the node is gone: a bucket, or a volume that is not the pod's own."""
    if place.path[-1] == "valueFrom" and place.known:
        return True  # from a ConfigMap or a Secret, which names no path of a node as a rule
    text = place.text() or ""
    if _BUCKET.search(text):
        return True
    mounts = [mount for container in containers(pod) for mount in container["volumeMounts"].items()]
    return any(_lasts(path, mounts, pod) for path in _SEPARATORS.split(text) if path.startswith("/"))


def _lasts(path: str, mounts: list[Value], pod: Pod) -> bool:
    """Whether a path lies on a volume that is left when the pod and its node are gone."""
    above = [mount for mount in mounts if _is_under(path, mount["mountPath"].text() or "")]
    if not above:
        return False
    name = max(above, key=lambda mount: len(mount["mountPath"].text() or ""))["name"].text()
    volumes = [volume for volume in pod.spec["volumes"].items() if volume["name"].text() == name]
    return any(volume[kind].present for volume in volumes for kind in ("persistentVolumeClaim", "csi", "nfs"))


def _is_under(path: str, folder: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


@stack_rule(
    "training-grace-for-save",
    title="A job with GPUs has the time to save before it is killed, and on Spot no more than the node has",
    severity=Severity.MEDIUM,
    applies=has_pods,
    controls=_LASTING,
    why=(
        "Kubernetes kills 30 seconds after the signal unless told otherwise: amid the save. On Spot the node is gone "
        "after two minutes, and whoever counts on more is cut off in its turn."
    ),
    remedy="""
"termination_grace_period_seconds": 110       # on Spot; elsewhere 600, for a large model saves for minutes
""",
)
def grace_for_save(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(pod: Pod) -> Iterator[Finding]:
        grace = pod.spec["terminationGracePeriodSeconds"]
        if not _trains(pod) or (pod.partial and not grace.present):
            return
        seconds = number(grace)
        if seconds is None or seconds < _SAVE_SECONDS:
            found = "30 seconds, for nothing is said" if seconds is None else f"{seconds} seconds"
            yield violation(f"the job has {found}; {_SAVE_SECONDS} or more let it save", grace)
        elif seconds > _SPOT_NOTICE_SECONDS:
            spot = lands_on_spot(pod, graph)
            message = f"the job counts on {seconds} seconds, and a Spot node has {_SPOT_NOTICE_SECONDS}"
            if spot:
                yield violation(message, grace)
            elif spot is None and graph.of(NODE_GROUPS):
                yield unverified(f"{message}; whether its nodes are Spot is not known yet", grace)

    yield from each_pod(resource, check)


@stack_rule(
    "training-eviction-is-no-failure",
    title="A job with GPUs does not count a lost node as a failure of its own",
    severity=Severity.LOW,
    applies=has_pods,
    controls=_AVAILABLE,
    why=(
        "A pod that is evicted, or whose Spot node goes, counts against backoffLimit: the seventh ends the run. Short "
        "jobs may be right all the same."
    ),
    remedy="""
"pod_failure_policy": {"rules": [
    {"action": "Ignore", "on_pod_conditions": [{"type": "DisruptionTarget", "status": "True"}]}]},
"template": {"spec": {"restart_policy": "Never", ...}}
""",
    advice=True,
)
def eviction_is_no_failure(resource: Resource, _: Graph) -> Iterator[Finding]:
    def check(pod: Pod) -> Iterator[Finding]:
        if pod.kind not in _BATCH or pod.partial or not _trains(pod):
            return
        rules = pod.controller["podFailurePolicy"]
        if not any(_forgives(rule) for rule in rules["rules"].items()):
            yield violation("a pod that loses its node counts as one that failed", rules)
        elif (restart := pod.spec["restartPolicy"]).text() != "Never":
            yield violation("a podFailurePolicy needs the restartPolicy Never", restart)

    yield from each_pod(resource, check)


def _forgives(rule: Value) -> bool:
    conditions = [one["type"].text() for one in rule["onPodConditions"].items()]
    return rule["action"].text() == "Ignore" and "DisruptionTarget" in conditions


@stack_rule(
    "training-shared-memory",
    title="A pod with several GPUs has shared memory for them",
    severity=Severity.LOW,
    applies=has_pods,
    controls={"NIST 800-53": ("SC-6",), "ISO 27001": ("A.8.6",)},
    why=(
        "NCCL and data loaders pass tensors through /dev/shm, of which a container has 64 MiB: a bus error in the "
        "first hour. Programs that use neither may be right all the same."
    ),
    remedy="""
"volumes": [{"name": "shared-memory", "empty_dir": {"medium": "Memory", "size_limit": "64Gi"}}],
"volume_mounts": [{"name": "shared-memory", "mount_path": "/dev/shm"}]
""",
    advice=True,
)
def shared_memory(resource: Resource, _: Graph) -> Iterator[Finding]:
    def check(pod: Pod) -> Iterator[Finding]:
        if pod.partial or pod.spec["hostIPC"].flag():
            return
        in_memory = {one["name"].text() for one in pod.spec["volumes"].items() if _is_memory(one)}
        for container in containers(pod):
            sides = [container["resources"][side][GPU] for side in ("limits", "requests")]
            if max(number(value) or 0 for value in sides) < 2:
                continue
            mounts = container["volumeMounts"]
            shared = [one["name"].text() for one in mounts.items() if one["mountPath"].text() == "/dev/shm"]  # noqa: S108
            if not in_memory & set(shared):
                yield violation("its GPUs share 64 MiB: no volume in memory is mounted at /dev/shm", mounts)

    yield from each_pod(resource, check)


def _is_memory(volume: Value) -> bool:
    return volume["emptyDir"]["medium"].text() == "Memory"


@stack_rule(
    "training-job-is-queued",
    title="Where jobs are queued by Kueue, a job with GPUs names its queue",
    severity=Severity.MEDIUM,
    applies=has_pods,
    controls=_AVAILABLE,
    why="A job without the label goes past the queue, onto nodes that others wait for; no quota of Kueue counts it.",
    remedy="""
metadata={"namespace": team, "labels": {"kueue.x-k8s.io/queue-name": "training"}}
""",
)
def job_is_queued(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(pod: Pod) -> Iterator[Finding]:
        if pod.partial or not _trains(pod):
            return
        labels = _queued_object(pod)["metadata"]["labels"]
        if labels[_QUEUE_LABEL].present:
            return
        queues = [(_name(one), _beside(one, pod)) for one in graph.of(LOCAL_QUEUES)]
        names = [name for name, beside in queues if beside]
        # Kueue takes the queue `default`, where there is one, for jobs that name none.
        if names and _DEFAULT_QUEUE not in names:
            yield violation(f"the job names no queue; {' or '.join(names)} may stand there", labels)
        elif not names and any(beside is None for _, beside in queues):
            yield unverified("whether jobs of this namespace are queued is not known yet", labels)

    yield from each_pod(resource, check)


def _beside(queue: Resource, pod: Pod) -> bool | None:
    """Whether a queue lies in the pod's namespace; None where that is not known yet."""
    metadata = queue["metadata"]
    names = [written_namespace(pod.holder, pod.namespace)]
    names.append(written_namespace(queue, metadata["namespace"]) if metadata.known else None)
    if None not in names:
        return names[0] == names[1]
    made = [
        {urn for urn in one.property_dependencies.get("metadata", ()) if ":Namespace::" in urn}
        for one in (queue, pod.holder)
    ]
    return True if made[0] & made[1] else None


def _name(queue: Resource) -> str:
    metadata = queue["metadata"]
    return shown(metadata["name"].raw if metadata.known else metadata.raw)


def _queued_object(pod: Pod) -> Value:
    """What Kueue looks at: the object, or, for each run of a CronJob, the template of its job."""
    return pod.object["spec"]["jobTemplate"] if pod.kind == "CronJob" else pod.object
