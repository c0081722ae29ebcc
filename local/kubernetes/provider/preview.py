"""What an object will be: the API server's own dry run, and where it can't be asked, its schema."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from trainyard.local.aws.values import UNKNOWN, has_unknown
from trainyard.local.kubernetes.provider.connection import UnreachableError
from trainyard.local.kubernetes.provider.kinds import Kind, NoSuchKindError
from trainyard.local.kubernetes.provider.objects import Manager, Objects, RefusedObjectError

Say = Callable[[str], None]

_MADE_LATER = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")
_CHOSEN_LATER: dict[Kind, tuple[str, ...]] = {
    Kind("v1", "Service"): ("clusterIP", "clusterIPs"),
    Kind("v1", "PersistentVolumeClaim"): ("volumeName",),
    Kind("v1", "Pod"): ("nodeName",),
    Kind("batch/v1", "Job"): ("selector",),
}
"""Fields of `spec` that the cluster chooses when the object is really made, whatever a dry run says."""


class Preview:
    """Previews for one cluster; `say` is told what could not be checked."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def create(self, kind: Kind, inputs: Mapping[str, Any], manager: Manager, say: Say, *, upsert: bool) -> Any:
        """The object as it would be made; `ProviderError` where it would be refused."""
        return _foreseen(kind, inputs, self._asked_to_create(kind, inputs, manager, say, upsert=upsert))

    def update(
        self, kind: Kind, inputs: Mapping[str, Any], old: Mapping[str, Any], manager: Manager, say: Say
    ) -> dict[str, Any]:
        """The object as it would be after an update in place."""
        try:
            if has_unknown(inputs):
                self._by_schema(kind, inputs, say, "some of its values are not known yet")
                return {**old, **inputs}
            return self._objects.apply(self._objects.reference(kind, inputs), inputs, manager, dry_run=True)
        except (NoSuchKindError, UnreachableError) as error:
            say(f"not checked: {error}")
        except RefusedObjectError as error:
            if not _cannot_be_asked(error):
                raise
            self._by_schema(kind, inputs, say, error.error.message)
        return {**old, **inputs}

    def _asked_to_create(
        self, kind: Kind, inputs: Mapping[str, Any], manager: Manager, say: Say, *, upsert: bool
    ) -> Mapping[str, Any]:
        try:
            if has_unknown(inputs):
                self._by_schema(kind, inputs, say, "some of its values are not known yet")
                return inputs
            if not inputs["metadata"].get("name"):
                self._by_schema(kind, inputs, say, "its name is made by the API server")
                return inputs
            reference = self._objects.reference(kind, inputs)
            if not upsert and self._objects.get(reference) is not None:
                self._by_schema(kind, inputs, say, f"{reference} exists, and has to be deleted before it can be made")
                return inputs
            return self._objects.apply(reference, inputs, manager, dry_run=True)
        except NoSuchKindError:
            say(f"not checked: the cluster does not serve {kind} yet")
        except UnreachableError as error:
            say(f"not checked: {error}")
        except RefusedObjectError as error:
            if not _cannot_be_asked(error):
                raise
            self._by_schema(kind, inputs, say, error.error.message)
        return inputs

    def _by_schema(self, kind: Kind, inputs: Mapping[str, Any], say: Say, why: str) -> None:
        has_schema = self._objects.require_schema(kind, inputs)
        checked = "checked against its schema only" if has_schema else "not checked"
        say(f"{checked}: {why}")


def _cannot_be_asked(error: RefusedObjectError) -> bool:
    """Whether the refusal is about the dry run, not about the object: no namespace yet, no right, no webhook for it."""
    return error.error.status in (403, 404) or "dry run" in error.error.message


def _foreseen(kind: Kind, inputs: Mapping[str, Any], answered: Mapping[str, Any]) -> dict[str, Any]:
    """`answered` without what a dry run invents: those values are unknown, or left out where programs look through."""
    foreseen = copy.deepcopy(dict(answered))
    metadata = foreseen.get("metadata")
    if isinstance(metadata, dict):
        for key in _MADE_LATER:
            metadata.pop(key, None)
    spec = foreseen.get("spec")
    if isinstance(spec, dict):
        given = inputs.get("spec")
        for key in _CHOSEN_LATER.get(kind, ()):
            if not isinstance(given, Mapping) or key not in given:
                spec[key] = UNKNOWN
    if "status" not in inputs:
        foreseen["status"] = UNKNOWN
    return foreseen
