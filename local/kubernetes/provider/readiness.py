"""When an object is ready: a rule per kind, over the live object alone.

Example: `judge(kind, live)` is `READY`, or a `State` with the reason why not yet (`failed` where it never will be).
Rules as the official provider documents them for its resources; a kind without a rule is ready once it exists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.errors import ProviderError
from trainyard.local.kubernetes.provider.kinds import Kind

SKIP_AWAIT = "pulumi.com/skipAwait"
WAIT_FOR = "pulumi.com/waitFor"
TIMEOUT_SECONDS = "pulumi.com/timeoutSeconds"

Object = Mapping[str, Any]


@dataclass(frozen=True)
class State:
    """Whether an object is ready; `reason` says why not, `failed` that waiting is of no use."""

    ready: bool
    reason: str = ""
    failed: bool = False


READY = State(True)


def judge(kind: Kind, live: Object) -> State:
    """The state of `live`; what its annotations say goes before the rule of its kind."""
    told = annotations_of(live)
    if told.get(SKIP_AWAIT) == "true":
        return READY
    if expression := told.get(WAIT_FOR):
        return _waited_for(expression, live)
    rule = _RULES.get((kind.group, kind.kind))
    return rule(live) if rule else READY


def has_rule(kind: Kind, inputs: Object) -> bool:
    """Whether there is anything to wait for."""
    told = annotations_of(inputs)
    return told.get(SKIP_AWAIT) != "true" and (WAIT_FOR in told or (kind.group, kind.kind) in _RULES)


def timeout_seconds(inputs: Object, custom: float, default: float) -> float:
    """How long to wait: the resource's `custom_timeouts`, else its annotation, else `default`."""
    if custom:
        return custom
    told = annotations_of(inputs).get(TIMEOUT_SECONDS)
    try:
        return float(told) if told else default
    except (TypeError, ValueError):
        raise ProviderError(
            f"the annotation {TIMEOUT_SECONDS} is {told!r}; a number of seconds may stand there"
        ) from None


def annotations_of(live: Object) -> Mapping[str, Any]:
    """The object's annotations."""
    metadata = live.get("metadata")
    found = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _deployment(live: Object) -> State:
    status, wanted = _status(live), _replicas(live)
    if not _is_observed(live):
        return State(False, "the deployment controller has not seen it yet")
    progressing = _condition(live, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return State(False, f"the rollout makes no progress: {progressing.get('message', '')}")
    failure = _condition(live, "ReplicaFailure")
    if failure.get("status") == "True":
        return State(False, f"pods cannot be made: {failure.get('message', '')}")
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted or available < wanted or status.get("replicas", 0) > updated:
        return State(False, f"{available} of {wanted} pods available, {updated} of the newest version")
    return READY


def _stateful_set(live: Object) -> State:
    status, wanted = _status(live), _replicas(live)
    if not _is_observed(live):
        return State(False, "the stateful set controller has not seen it yet")
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    if (_spec(live).get("updateStrategy") or {}).get("type") == "OnDelete":
        updated = wanted
    if ready < wanted or updated < wanted:
        return State(False, f"{ready} of {wanted} pods ready, {updated} of the newest version")
    return READY


def _daemon_set(live: Object) -> State:
    status = _status(live)
    if not _is_observed(live):
        return State(False, "the daemon set controller has not seen it yet")
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    updated = status.get("updatedNumberScheduled", 0)
    if (_spec(live).get("updateStrategy") or {}).get("type") == "OnDelete":
        updated = wanted
    if ready < wanted or updated < wanted:
        return State(False, f"ready on {ready} of {wanted} nodes, newest version on {updated}")
    return READY


def _job(live: Object) -> State:
    failed = _condition(live, "Failed")
    if failed.get("status") == "True":
        return State(False, f"the job failed: {failed.get('reason', '')}: {failed.get('message', '')}", failed=True)
    if _condition(live, "Complete").get("status") == "True" or _spec(live).get("suspend"):
        return READY
    status = _status(live)
    return State(
        False,
        f"{status.get('succeeded', 0)} of {_spec(live).get('completions', 1)} completions, "
        f"{status.get('active', 0)} pods active, {status.get('failed', 0)} failed",
    )


def _service(live: Object) -> State:
    """Its endpoints are judged by the waiter, which can ask for them."""
    spec = _spec(live)
    if spec.get("type") == "LoadBalancer" and not (_status(live).get("loadBalancer") or {}).get("ingress"):
        return State(False, "no load balancer has been given to it yet")
    return READY


def _persistent_volume(live: Object) -> State:
    phase = _status(live).get("phase")
    if phase in ("Available", "Bound"):
        return READY
    reason = f"it is {phase or 'not seen yet'} {_status(live).get('message', '')}".strip()
    return State(False, reason, failed=phase == "Failed")


def _claim(live: Object) -> State:
    phase = _status(live).get("phase")
    if phase == "Bound":
        return READY
    return State(False, f"the claim is {phase or 'not seen yet'}, not Bound", failed=phase == "Lost")


def _namespace(live: Object) -> State:
    phase = _status(live).get("phase")
    return READY if phase == "Active" else State(False, f"the namespace is {phase or 'not seen yet'}")


def _pod(live: Object) -> State:
    status = _status(live)
    if status.get("phase") == "Succeeded" or _condition(live, "Ready").get("status") == "True":
        return READY
    failed = status.get("phase") == "Failed"
    return State(False, pod_reason(live) or f"the pod is {status.get('phase', 'not seen yet')}", failed=failed)


def _definition(live: Object) -> State:
    refused = _condition(live, "NamesAccepted")
    if refused.get("status") == "False":
        return State(False, f"its names are refused: {refused.get('message', '')}", failed=True)
    if _condition(live, "Established").get("status") == "True":
        return READY
    return State(False, "the definition is not established yet")


def _api_service(live: Object) -> State:
    available = _condition(live, "Available")
    if available.get("status") == "True":
        return READY
    return State(False, f"the API is not available: {available.get('message', 'not seen yet')}")


_RULES: dict[tuple[str, str], Callable[[Object], State]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("batch", "Job"): _job,
    ("", "Service"): _service,
    ("", "PersistentVolume"): _persistent_volume,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Namespace"): _namespace,
    ("", "Pod"): _pod,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apiregistration.k8s.io", "APIService"): _api_service,
}


def judge_without_nodes(kind: Kind, live: Object) -> State:
    """The state of what needs pods where no node can run them: as ready as it gets once its pods are made."""
    status, name = _status(live), kind.kind
    if name == "Deployment":
        made = _is_observed(live) and status.get("updatedReplicas", 0) >= _replicas(live)
    elif name == "StatefulSet":  # each pod is made when the one before it runs
        made = _is_observed(live) and status.get("replicas", 0) >= 1
    elif name == "Job":
        made = status.get("active", 0) >= 1
    else:
        made = name in ("Pod", "Service")
    return READY if made else judge(kind, live)


def pod_reason(pod: Object) -> str:
    """Why a pod is not running, as its status tells; empty where it tells nothing."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"cannot be scheduled: {scheduled.get('message', '')}"
    status = _status(pod)
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        state = container.get("state") or {}
        told = state.get("waiting") or (state.get("terminated") if not container.get("ready") else None) or {}
        if told.get("reason") and told["reason"] not in ("ContainerCreating", "PodInitializing", "Completed"):
            return f"container {container.get('name')}: {told['reason']}: {told.get('message', '')}".rstrip(": ")
    return str(status.get("message") or "")


def _waited_for(expression: str, live: Object) -> State:
    """`condition=Type[=Status]`, `jsonpath={.a.b}[=value]`, or a JSON list of such."""
    try:
        several = json.loads(expression)
    except ValueError:
        several = expression
    for one in several if isinstance(several, list) else [expression]:
        if not _holds(one, live):
            return State(False, f"waiting for {one}")
    return READY


def _holds(expression: str, live: Object) -> bool:
    if match := re.fullmatch(r"condition=([^=]+)(?:=(\w+))?", expression):
        return str(_condition(live, match[1]).get("status", "")).lower() == (match[2] or "True").lower()
    if match := re.fullmatch(r"jsonpath=\{((?:\.[A-Za-z_]\w*)+)\}(?:=(.*))?", expression):
        value: Any = live
        for key in match[1][1:].split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value is not None if match[2] is None else str(value) == match[2]
    raise ProviderError(
        f"the annotation {WAIT_FOR} is {expression!r}; condition=Type, condition=Type=Status or "
        "jsonpath={.status.field}=value may stand there (filters and indexes are not emulated)"
    )


def _is_observed(live: Object) -> bool:
    return _status(live).get("observedGeneration", 0) >= (live.get("metadata") or {}).get("generation", 0)


def _replicas(live: Object) -> int:
    replicas = _spec(live).get("replicas")
    return 1 if replicas is None else replicas


def _spec(live: Object) -> Mapping[str, Any]:
    return live.get("spec") or {}


def _status(live: Object) -> Mapping[str, Any]:
    return live.get("status") or {}


def _condition(live: Object, type_: str) -> Mapping[str, Any]:
    return next((one for one in _status(live).get("conditions") or () if one.get("type") == type_), {})
