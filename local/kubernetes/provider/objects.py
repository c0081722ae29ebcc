"""Objects on the API server: get, apply and delete one, each error telling which object and what to do.

Example: `Objects(connection).apply(inputs, Manager("pulumi-kubernetes-1a2b3c4d"))` is the live object afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.errors import ProviderError
from trainyard.local.kubernetes.provider.connection import ApiError, Connection
from trainyard.local.kubernetes.provider.kinds import Discovery, Kind, Resource
from trainyard.local.kubernetes.provider.schema import Schemas

PATCH_FORCE = "pulumi.com/patchForce"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML too


class ConflictError(ProviderError):
    """Another manager has set fields that these inputs set otherwise."""


class RefusedObjectError(ProviderError):
    """The API server refused an object; `error` is what it said."""

    def __init__(self, message: str, error: ApiError) -> None:
        super().__init__(message)
        self.error = error


@dataclass(frozen=True)
class Manager:
    """Under which name fields are set, and whether they are taken from others who have set them."""

    name: str
    force: bool = False


@dataclass(frozen=True)
class Reference:
    """One object: where its kind is kept, its namespace (`None` for those without) and its name."""

    resource: Resource
    namespace: str | None
    name: str

    @property
    def path(self) -> str:
        return self.resource.path(self.namespace, self.name)

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def __str__(self) -> str:
        return f"{self.resource.kind.kind} {self.id}"


class Objects:
    """The objects of one cluster."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.discovery = Discovery(connection)
        self.schemas = Schemas(connection)

    def reference(self, kind: Kind, inputs: Mapping[str, Any]) -> Reference:
        """The object that `inputs` describe; `NoSuchKindError` where the cluster has no such kind."""
        resource = self.discovery.resource(kind)
        metadata = inputs.get("metadata") or {}
        return Reference(resource, metadata.get("namespace") if resource.namespaced else None, metadata.get("name", ""))

    def get(self, reference: Reference) -> dict[str, Any] | None:
        """The live object, or `None` where it is not there."""
        try:
            return self.connection.request("GET", reference.path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise _explained(reference, error) from None

    def find(self, resource: Resource, namespace: str | None, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """The live objects of a kind in a namespace."""
        return self.connection.request("GET", resource.path(namespace, None), query=query).get("items") or []

    def apply(
        self, reference: Reference, inputs: Mapping[str, Any], manager: Manager, *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Make the object or bring it to `inputs`, by server-side apply; what it is (or would be) afterwards."""
        query = {
            "fieldManager": manager.name,
            "force": str(manager.force).lower(),
            "fieldValidation": "Strict",
            **({"dryRun": "All"} if dry_run else {}),
        }
        try:
            return self.connection.request("PATCH", reference.path, dict(inputs), query, content_type=_APPLY)
        except ApiError as error:
            if "typed patch object" in error.message:
                self.require_schema(reference.resource.kind, inputs)  # says the same with the fields' names
            raise _explained(reference, error) from None

    def require_schema(self, kind: Kind, inputs: Mapping[str, Any]) -> bool:
        """Raise `ProviderError` where `inputs` do not fit the server's schema; `False` where it has none."""
        problems = self.schemas.problems(kind, inputs)
        if problems:
            raise ProviderError("; ".join(f"{path} {reason}" for path, reason in problems))
        return problems is not None

    def create_with_generated_name(self, reference: Reference, inputs: Mapping[str, Any], manager: Manager) -> Any:
        """Make an object whose name the API server makes from `metadata.generateName`."""
        query = {"fieldManager": manager.name, "fieldValidation": "Strict"}
        path = reference.resource.path(reference.namespace, None)
        try:
            return self.connection.request("POST", path, dict(inputs), query)
        except ApiError as error:
            raise _explained(reference, error) from None

    def delete(self, reference: Reference, propagation: str, uid: str | None = None) -> bool:
        """Ask for the object's deletion; `False` where it was not there. With `uid`, only that very object."""
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self.connection.request("DELETE", reference.path, options)
        except ApiError as error:
            if error.status == 404 or (uid and error.status == 409 and "uid" in error.message.lower()):
                return False
            raise _explained(reference, error) from None
        return True


def _explained(reference: Reference, error: ApiError) -> ProviderError:
    """The API server's refusal with the object it is about and what to do."""
    if error.status == 409 and any(reason == "FieldManagerConflict" for _, reason, _ in error.causes):
        return _conflict(reference, error)
    hints = {
        403: "Give the principal of the kubeconfig the right, by an access entry or a role binding.",
        404: "Make what it needs first (`depends_on`).",
        422: "Correct the program; the fields are named above.",
    }
    hint = hints.get(error.status, "")
    if error.status == 401:
        return error
    return RefusedObjectError(f"{reference}: the API server refused it: {error.message.rstrip('.')}. {hint}", error)


def _conflict(reference: Reference, error: ApiError) -> ConflictError:
    fields = "; ".join(
        f"{field} {message.partition(':')[0].strip() or message}"
        for field, reason, message in error.causes
        if reason == "FieldManagerConflict"
    )
    return ConflictError(
        f"{reference}: other managers have set fields that the program sets otherwise: {fields}. Leave them out of "
        f'the program, or take them over with the annotation {PATCH_FORCE}: "true"'
    )


def said_immutable(error: ApiError) -> set[str]:
    """The top-level paths (`spec.selector`) that the API server says can't be changed; empty for other refusals."""
    if error.status != 422:
        return set()
    return {
        field.split("[")[0]
        for field, reason, message in error.causes
        if "immutable" in message or (reason in ("FieldValueForbidden", "FieldValueInvalid") and _forbids(message))
    }


def _forbids(message: str) -> bool:
    """Wordings of the API server for what stays as it was made, beside "immutable"."""
    wordings = ("updates to", "may not change once set", "cannot change", "cannot be changed", "may not be changed")
    return any(wording in message for wording in wordings)
