"""The provider's methods, free of gRPC: what the engine asks for a resource, done to an object of the cluster."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.errors import HalfMadeError, ProviderError
from trainyard.local.aws.naming import Autonaming
from trainyard.local.aws.values import UNKNOWN, has_unknown
from trainyard.local.kubernetes.provider.changes import Difference, Mutability, changed_paths, covers, replacing
from trainyard.local.kubernetes.provider.configuration import Configuration
from trainyard.local.kubernetes.provider.connection import Connection, UnreachableError
from trainyard.local.kubernetes.provider.drift import drifted_inputs, imported_inputs
from trainyard.local.kubernetes.provider.kinds import Kind, NoSuchKindError, kind_of, refused_because
from trainyard.local.kubernetes.provider.kubeconfig import read_kubeconfig
from trainyard.local.kubernetes.provider.naming import is_autonamed, named, placed
from trainyard.local.kubernetes.provider.objects import (
    PATCH_FORCE,
    Manager,
    Objects,
    Reference,
    RefusedObjectError,
    said_immutable,
)
from trainyard.local.kubernetes.provider.preview import Preview
from trainyard.local.kubernetes.provider.readiness import SKIP_AWAIT, annotations_of, has_rule, timeout_seconds
from trainyard.local.kubernetes.provider.waiting import (
    DEFAULT_READY_SECONDS,
    DELETED_SECONDS,
    READY_SECONDS,
    NotReadyError,
    Patience,
    state_of,
    wait_until_gone,
    wait_until_ready,
)

MANAGER_KEY = "__fieldManager"
_VERSION_KEY = "__initialApiVersion"
_PROPAGATION = "pulumi.com/deletionPropagationPolicy"
_FIELD_MANAGER = "pulumi.com/patchFieldManager"
_REPLACE_UNREADY = "pulumi.com/replaceUnready"
_KIND_APPEARS_SECONDS = 60.0

_OF_THE_CLUSTER = frozenset(
    [
        "Namespace",
        "Node",
        "PersistentVolume",
        "ClusterRole",
        "ClusterRoleBinding",
        "StorageClass",
        "CSIDriver",
        "CSINode",
        "VolumeAttachment",
        "PriorityClass",
        "RuntimeClass",
        "CustomResourceDefinition",
        "APIService",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "FlowSchema",
        "PriorityLevelConfiguration",
        "CertificateSigningRequest",
        "ClusterTrustBundle",
        "DeviceClass",
        "ResourceSlice",
    ]
)
"""Kinds without a namespace, for when no cluster can be asked yet."""


@dataclass(frozen=True)
class Told:
    """What goes to the person: `status` is a passing line, `info` and `warning` stay."""

    status: Callable[[str], None]
    info: Callable[[str], None]
    warning: Callable[[str], None]


class Provider:
    """One configured provider: the program's resources in one cluster. `cancelled` ends all waiting."""

    def __init__(self, configuration: Configuration, cancelled: threading.Event | None = None) -> None:
        self.configuration = configuration
        self.cancelled = cancelled or threading.Event()
        self._namespace = configuration.namespace or "default"
        self._objects: Objects | None = None
        self._preview: Preview | None = None
        if isinstance(configuration.kubeconfig, str):
            cluster = read_kubeconfig(configuration.kubeconfig, configuration.context, configuration.cluster)
            self._namespace = configuration.namespace or cluster.namespace or "default"
            self._objects = Objects(Connection(cluster))
            self._preview = Preview(self._objects)

    def check(
        self,
        token: str,
        name: str,
        inputs: Mapping[str, Any],
        old: Mapping[str, Any],
        seed: bytes = b"",
        autonaming: Autonaming | None = None,
    ) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Inputs with their name and namespace, and what is wrong with them."""
        if reason := refused_because(token):
            return dict(inputs), [("", reason)]
        kind = kind_of(token)
        checked = _without_nulls(inputs)
        problems = [
            (key, f"is {checked[key]!r}, but the resource's type says {wanted!r}")
            for key, wanted in (("apiVersion", kind.api_version), ("kind", kind.kind))
            if checked.get(key) not in (None, UNKNOWN, wanted)
        ]
        checked |= {"apiVersion": kind.api_version, "kind": kind.kind}
        if not isinstance(checked.get("metadata", {}), dict) and checked["metadata"] is not UNKNOWN:
            return checked, [*problems, ("metadata", "has to be an object")]
        named(checked, name, old, seed, autonaming)
        placed(checked, self._is_namespaced(kind), self._namespace)
        told = annotations_of(checked)
        if _REPLACE_UNREADY in told:
            problems.append(("metadata.annotations", f"{_REPLACE_UNREADY} is not emulated; use pulumi up --replace"))
        if str(told.get(_PROPAGATION, "foreground")).lower() not in ("foreground", "background", "orphan"):
            problems.append(
                (
                    "metadata.annotations",
                    f"{_PROPAGATION} is {told[_PROPAGATION]!r}; foreground, background or orphan may stand there",
                )
            )
        return checked, problems

    def diff(
        self, token: str, old: Mapping[str, Any], old_outputs: Mapping[str, Any], new: Mapping[str, Any]
    ) -> Difference:
        """What differs between the old inputs and the new ones, and what of it needs a new object."""
        kind = kind_of(token)
        paths = changed_paths(old, new)
        if not self._is_namespaced(kind):
            paths.pop("metadata.namespace", None)  # a definition that was not there yet when its object was checked
        options = self.configuration
        mutability = Mutability(options.config_maps_mutable, options.secrets_mutable)
        replaces = replacing(kind, paths, new, mutability)
        if paths and not replaces:
            replaces = self._immutable(kind, paths, old_outputs, new)
        in_place = _place(old_outputs or old) == _place(new) and not is_autonamed(new)
        return Difference(paths, replaces, delete_before_replace=bool(replaces) and in_place)

    def create(
        self, token: str, inputs: Mapping[str, Any], told: Told, timeout: float = 0.0, *, preview: bool
    ) -> tuple[str, dict[str, Any]]:
        """Make an object and wait until it is ready; in a preview the ID is empty: unknown to the engine."""
        kind = kind_of(token)
        manager = self._manager(inputs, {})
        upsert = self.configuration.upsert_existing_objects
        if preview:
            if self._preview is None:
                told.info("not checked: the cluster is not known yet")
                return "", {**inputs, "status": UNKNOWN}
            return "", _outputs(inputs, self._preview.create(kind, inputs, manager, told.info, upsert=upsert), manager)
        objects, reference = self._reference(kind, _known(kind, inputs))
        sent = _sent(inputs, reference)
        if not reference.name:
            live = objects.create_with_generated_name(reference, sent, manager)
            reference = Reference(reference.resource, reference.namespace, live["metadata"]["name"])
        else:
            if not upsert and objects.get(reference) is not None:
                raise ProviderError(
                    f"{reference} exists already. Import it (`pulumi import {token} NAME {reference.id}`), give yours "
                    "another name, or set the provider's upsert_existing_objects to take over what exists"
                )
            live = objects.apply(reference, sent, manager)
        return reference.id, self._awaited(reference, inputs, live, manager, told, timeout)

    def update(
        self,
        token: str,
        resource_id: str,
        inputs: Mapping[str, Any],
        old_outputs: Mapping[str, Any],
        told: Told,
        timeout: float = 0.0,
        *,
        preview: bool,
    ) -> dict[str, Any]:
        """Bring an object to its new inputs and wait until it is ready again; its new outputs."""
        kind = kind_of(token)
        manager = self._manager(inputs, old_outputs)
        if preview:
            if self._preview is None:
                told.info("not checked: the cluster is not known yet")
                return {**old_outputs, **inputs}
            return _outputs(inputs, self._preview.update(kind, inputs, old_outputs, manager, told.info), manager)
        try:
            objects, reference = self._reference(kind, _known(kind, inputs), resource_id)
            there = objects.get(reference)
        except UnreachableError as error:
            if not self.configuration.skip_update_unreachable:
                raise
            told.warning(f"left as it is (skipUpdateUnreachable): {error}")
            return dict(old_outputs)
        if there is None:
            raise ProviderError(f"{reference} is gone; `pulumi refresh` takes what is gone out of the state")
        live = objects.apply(reference, _sent(inputs, reference), manager)
        return self._awaited(reference, inputs, live, manager, told, timeout)

    def read(
        self, token: str, resource_id: str, old: Mapping[str, Any], old_outputs: Mapping[str, Any], told: Told
    ) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
        """ID, inputs and outputs as the cluster has them; `None` where the object is gone.

        Without old inputs the ID alone, `namespace/name` or `name`, says which object is meant (an import).
        """
        kind = kind_of(token)
        try:
            objects, reference = self._reference(kind, {}, resource_id, patient=False)
            live = objects.get(reference)
        except NoSuchKindError:
            if not old:
                raise
            return None
        except UnreachableError as error:
            if self.configuration.delete_unreachable:
                told.warning(f"taken out of the state (deleteUnreachable): {error}")
                return None
            if self.configuration.skip_update_unreachable and old:
                told.warning(f"not read (skipUpdateUnreachable): {error}")
                return resource_id, dict(old), dict(old_outputs)
            raise
        if live is None:
            return None
        manager = self._manager(old, old_outputs)
        inputs = drifted_inputs(old, old_outputs, live) if old else imported_inputs(live)
        inputs |= {"apiVersion": kind.api_version, "kind": kind.kind}
        outputs = _outputs(inputs, live, manager)
        state = state_of(objects, reference, live)
        if not state.ready:
            raise HalfMadeError(reference.id, outputs, inputs, [f"{reference}: {state.reason}"])
        return reference.id, inputs, outputs

    def delete(self, token: str, resource_id: str, old: Mapping[str, Any], told: Told, timeout: float = 0.0) -> None:
        """Delete an object and wait until it is gone; one that is gone already is deleted."""
        try:
            objects, reference = self._reference(kind_of(token), {}, resource_id, patient=False)
            live = objects.get(reference)
            if live is None:
                return
            propagation = str(annotations_of(old).get(_PROPAGATION, "foreground")).capitalize()
            objects.delete(reference, propagation)
        except NoSuchKindError:
            return  # with its definition all objects of a kind are gone
        except UnreachableError as error:
            if not self.configuration.delete_unreachable:
                raise
            told.warning(f"taken out of the state (deleteUnreachable): {error}")
            return
        if annotations_of(old).get(SKIP_AWAIT) != "true":
            seconds = timeout_seconds(old, timeout, DELETED_SECONDS)
            wait_until_gone(
                objects, reference, live["metadata"]["uid"], Patience(seconds, self.cancelled, told.status, told.info)
            )

    def _awaited(
        self,
        reference: Reference,
        inputs: Mapping[str, Any],
        live: dict[str, Any],
        manager: Manager,
        told: Told,
        timeout: float,
    ) -> dict[str, Any]:
        kind = reference.resource.kind
        if has_rule(kind, inputs):
            default = READY_SECONDS.get(kind.kind, DEFAULT_READY_SECONDS)
            try:
                seconds = timeout_seconds(inputs, timeout, default)
                live = wait_until_ready(
                    self._connected(), reference, live, Patience(seconds, self.cancelled, told.status, told.info)
                )
            except NotReadyError as error:
                raise HalfMadeError(
                    reference.id, _outputs(inputs, error.live, manager), inputs, [str(error)]
                ) from error
            except ProviderError as error:
                raise HalfMadeError(reference.id, _outputs(inputs, live, manager), inputs, [str(error)]) from error
        return _outputs(inputs, live, manager)

    def _immutable(
        self, kind: Kind, paths: Mapping[str, str], old_outputs: Mapping[str, Any], new: Mapping[str, Any]
    ) -> set[str]:
        """Those of `paths` that the API server says, in a dry run, can't be changed."""
        if self._objects is None or has_unknown(new):
            return set()
        manager = Manager(old_outputs.get(MANAGER_KEY) or "pulumi-kubernetes", force=True)
        try:
            reference = self._objects.reference(kind, new)
            self._objects.apply(reference, _sent(new, reference), manager, dry_run=True)
        except RefusedObjectError as error:
            said = said_immutable(error.error)
            return {path for path in paths if any(covers(one, path) for one in said)} or (set(paths) if said else set())
        except ProviderError:
            return set()  # the update itself tells
        return set()

    def _connected(self) -> Objects:
        if self._objects is None:
            raise ProviderError("the provider's kubeconfig is not known")
        return self._objects

    def _reference(
        self, kind: Kind, inputs: Mapping[str, Any], resource_id: str = "", *, patient: bool = True
    ) -> tuple[Objects, Reference]:
        """The object meant; a kind that was just defined may take a moment to be served."""
        objects = self._connected()
        deadline = time.monotonic() + (_KIND_APPEARS_SECONDS if patient else 0.0)
        while True:
            try:
                resource = objects.discovery.resource(kind)
                break
            except NoSuchKindError:
                if time.monotonic() >= deadline or self.cancelled.wait(0.6):
                    raise
        namespace, _, name = resource_id.rpartition("/")
        metadata = inputs.get("metadata") or {}
        namespace = namespace or metadata.get("namespace") or self._namespace
        return objects, Reference(
            resource, namespace if resource.namespaced else None, name or metadata.get("name", "")
        )

    def _is_namespaced(self, kind: Kind) -> bool:
        """A kind that no cluster knows yet is taken to be namespaced, as most are."""
        if self._objects is not None:
            try:
                return self._objects.discovery.resource(kind).namespaced
            except (NoSuchKindError, UnreachableError):
                pass
        return kind.kind not in _OF_THE_CLUSTER

    def _manager(self, inputs: Mapping[str, Any], old_outputs: Mapping[str, Any]) -> Manager:
        told = annotations_of(inputs)
        name = told.get(_FIELD_MANAGER) or old_outputs.get(MANAGER_KEY) or f"pulumi-kubernetes-{secrets.token_hex(4)}"
        force = told.get(PATCH_FORCE, str(self.configuration.enable_patch_force)).lower() == "true"
        return Manager(str(name), force)


def _outputs(inputs: Mapping[str, Any], live: Mapping[str, Any], manager: Manager) -> dict[str, Any]:
    """The live object, less the API server's bookkeeping, with what the next operation has to know."""
    outputs = dict(live)
    if isinstance(outputs.get("metadata"), Mapping):
        outputs["metadata"] = {key: one for key, one in outputs["metadata"].items() if key != "managedFields"}
    if inputs.get("kind") == "Secret" and "stringData" in inputs:
        outputs["stringData"] = inputs["stringData"]
    return outputs | {_VERSION_KEY: inputs["apiVersion"], MANAGER_KEY: manager.name}


def _sent(inputs: Mapping[str, Any], reference: Reference) -> dict[str, Any]:
    """What goes to the API server: the inputs under the object's own name and place."""
    metadata = {key: one for key, one in (inputs.get("metadata") or {}).items() if key != "namespace"}
    if reference.namespace:
        metadata["namespace"] = reference.namespace
    if reference.name:
        metadata["name"] = reference.name
    return {**inputs, "metadata": metadata}


def _place(inputs: Mapping[str, Any]) -> tuple[Any, Any]:
    metadata = inputs.get("metadata")
    return (metadata.get("namespace"), metadata.get("name")) if isinstance(metadata, Mapping) else (None, None)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_nulls(one) for one in value]
    return value


def _known(kind: Kind, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    if has_unknown(inputs):
        raise ProviderError(f"{kind}: inputs are still unknown outside a preview")
    return inputs
