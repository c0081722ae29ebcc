"""Waiting: until an object is ready, or gone, telling the person meanwhile what it waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.errors import ProviderError
from trainyard.local.kubernetes.provider.kinds import Kind, NoSuchKindError
from trainyard.local.kubernetes.provider.objects import Objects, Reference
from trainyard.local.kubernetes.provider.readiness import (
    READY,
    SKIP_AWAIT,
    WAIT_FOR,
    State,
    annotations_of,
    judge,
    judge_without_nodes,
    pod_reason,
)

Say = Callable[[str], None]

READY_SECONDS = {"Pod": 300.0, "PersistentVolumeClaim": 300.0, "PersistentVolume": 300.0}
DEFAULT_READY_SECONDS = 600.0
DELETED_SECONDS = 600.0

_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.1, 1.0
_DETAILS_EVERY_SECONDS = 5.0
_FIRST_CONSUMER = "WaitForFirstConsumer"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


class NotReadyError(ProviderError):
    """The object is there but not ready; `live` is what it was when last seen."""

    def __init__(self, message: str, live: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.live = live


@dataclass(frozen=True)
class Patience:
    """How long to wait, what ends it early, and whom to tell: `say` passes, `note` stays."""

    seconds: float
    cancelled: threading.Event
    say: Say
    note: Say


def wait_until_ready(
    objects: Objects, reference: Reference, live: dict[str, Any], patience: Patience
) -> dict[str, Any]:
    """The object once it is ready; `NotReadyError` with the reasons where it fails, is cancelled or takes too long."""
    deadline = time.monotonic() + patience.seconds
    pause, told, next_details = _SHORTEST_SECONDS, "", time.monotonic() + _DETAILS_EVERY_SECONDS
    while True:
        state = state_of(objects, reference, live)
        if state.ready:
            if not judge(reference.resource.kind, live).ready and _lacks_nodes(objects):
                patience.note(f"{reference}: its pods are made, but not waited for: the cluster has no nodes")
            return live
        if state.failed:
            raise NotReadyError(_with_details(objects, reference, live, state.reason), live)
        if state.reason != told:
            told = state.reason
            patience.say(f"{reference}: {told}")
        if time.monotonic() >= next_details:
            next_details = time.monotonic() + _DETAILS_EVERY_SECONDS
            patience.say(_with_details(objects, reference, live, state.reason))
        if time.monotonic() >= deadline:
            raise NotReadyError(
                f"not ready after {patience.seconds:g} s: {_with_details(objects, reference, live, state.reason)}",
                live,
            )
        if patience.cancelled.wait(min(pause, max(deadline - time.monotonic(), 0.01))):
            raise NotReadyError(f"cancelled while waiting for {reference}: {state.reason}", live)
        pause = min(pause * 1.5, _LONGEST_SECONDS)
        now = objects.get(reference)
        if now is None:
            raise NotReadyError(f"{reference} was deleted by somebody else while it was waited for", live)
        live = now


def wait_until_gone(objects: Objects, reference: Reference, uid: str, patience: Patience) -> None:
    """Return once the object with `uid` is gone; `ProviderError` tells what keeps it."""
    deadline = time.monotonic() + patience.seconds
    pause, told = _SHORTEST_SECONDS, ""
    while True:
        live = objects.get(reference)
        if live is None or (live.get("metadata") or {}).get("uid") != uid:
            return
        kept = _keepers(live)
        if kept != told:
            told = kept
            patience.say(f"{reference}: {told}")
        if time.monotonic() >= deadline:
            raise ProviderError(f"{reference} is still there after {patience.seconds:g} s: {kept}")
        if patience.cancelled.wait(pause):
            raise ProviderError(f"cancelled while waiting for the deletion of {reference}: {kept}")
        pause = min(pause * 1.5, _LONGEST_SECONDS)


def state_of(objects: Objects, reference: Reference, live: Mapping[str, Any]) -> State:
    """`readiness.judge`, with what only other objects tell: a claim's storage class, a service's endpoints."""
    kind = reference.resource.kind
    state = judge(kind, live)
    if kind == Kind("v1", "PersistentVolumeClaim") and not state.ready and not state.failed:
        return READY if _binds_late(objects, live) else state
    if kind == Kind("v1", "Service") and state.ready and _needs_endpoints(live):
        state = _endpoints_state(objects, reference)
    if not state.ready and not state.failed and WAIT_FOR not in annotations_of(live) and _lacks_nodes(objects):
        return judge_without_nodes(kind, live)
    return state


def _lacks_nodes(objects: Objects) -> bool:
    """Whether the cluster has no node at all, as a rehearsal's: then no pod ever runs."""
    return not objects.find(objects.discovery.resource(Kind("v1", "Node")), None, {"limit": "1"})


def _binds_late(objects: Objects, claim: Mapping[str, Any]) -> bool:
    """Whether the claim is bound only once a pod uses it: then there is nothing to wait for."""
    name = (claim.get("spec") or {}).get("storageClassName")
    if name == "":
        return False
    classes = objects.find(objects.discovery.resource(Kind("storage.k8s.io/v1", "StorageClass")), None, {})
    for one in classes:
        metadata = one["metadata"]
        is_meant = (
            metadata["name"] == name if name else (metadata.get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
        )
        if is_meant:
            return one.get("volumeBindingMode") == _FIRST_CONSUMER
    return False


def _needs_endpoints(service: Mapping[str, Any]) -> bool:
    told = annotations_of(service)
    if told.get(SKIP_AWAIT) == "true" or WAIT_FOR in told:
        return False
    spec = service.get("spec") or {}
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None"


def _endpoints_state(objects: Objects, reference: Reference) -> State:
    slices = objects.find(
        objects.discovery.resource(Kind("discovery.k8s.io/v1", "EndpointSlice")),
        reference.namespace,
        {"labelSelector": f"kubernetes.io/service-name={reference.name}"},
    )
    for one in slices:
        for endpoint in one.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready", True):
                return READY
    return State(False, "no ready pod has the labels of its selector")


def _keepers(live: Mapping[str, Any]) -> str:
    metadata, status = live.get("metadata") or {}, live.get("status") or {}
    finalizers = [*(metadata.get("finalizers") or ()), *((live.get("spec") or {}).get("finalizers") or ())]
    said = [
        one["message"]
        for one in status.get("conditions") or ()
        if live.get("kind") == "Namespace" and one.get("status") == "True" and one.get("message")
    ]
    if said:
        return "; ".join(said)
    if finalizers:
        return f"its finalizers are not done: {', '.join(finalizers)}"
    return "it is being deleted"


def _with_details(objects: Objects, reference: Reference, live: Mapping[str, Any], reason: str) -> str:
    """`reason` with what pods and events tell; those are asked for only when somebody reads it."""
    try:
        details = [*_pods(objects, reference, live), *_warnings(objects, reference, live)]
    except (ProviderError, KeyError, TypeError):
        details = []
    return "; ".join(dict.fromkeys([f"{reference}: {reason}", *details]))


def _pods(objects: Objects, reference: Reference, live: Mapping[str, Any]) -> list[str]:
    selector = ((live.get("spec") or {}).get("selector") or {}).get("matchLabels")
    if not selector or not reference.namespace:
        return []
    query = {"labelSelector": ",".join(f"{key}={value}" for key, value in selector.items()), "limit": "20"}
    pods = objects.find(objects.discovery.resource(Kind("v1", "Pod")), reference.namespace, query)
    return [f"pod {pod['metadata']['name']} {reason}" for pod in pods if (reason := pod_reason(pod))][:3]


def _warnings(objects: Objects, reference: Reference, live: Mapping[str, Any]) -> list[str]:
    """What the controllers complain about, of the object itself and of what its kind makes."""
    try:
        events = objects.discovery.resource(Kind("v1", "Event"))
    except NoSuchKindError:
        return []
    uids = {(live.get("metadata") or {}).get("uid")}
    if reference.resource.kind.kind == "Deployment":
        sets = objects.discovery.resource(Kind("apps/v1", "ReplicaSet"))
        for one in objects.find(sets, reference.namespace, {}):
            if any(owner.get("uid") in uids for owner in one["metadata"].get("ownerReferences") or ()):
                uids.add(one["metadata"]["uid"])
    found = objects.find(events, reference.namespace or "default", {"fieldSelector": "type=Warning"})
    about = [one for one in found if (one.get("involvedObject") or {}).get("uid") in uids]
    return [f"{one.get('reason')}: {one.get('message')}" for one in about][-3:]
