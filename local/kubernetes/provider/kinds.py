"""Which object a Pulumi token means, and where the API server keeps objects of its kind."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.errors import ProviderError
from trainyard.local.kubernetes.provider.connection import ApiError, Connection

_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_REFRESHED_AFTER_SECONDS = 0.5

_REFUSED_PACKAGES = {
    "helm.sh": "Helm charts and releases need Helm",
    "yaml": "YAML files and groups of them need the official provider",
    "kustomize": "Kustomize directories need kustomize",
}
_BUILT_IN_GROUP = re.compile(r"[a-z]+|[a-z.]+\.k8s\.io")


class NoSuchKindError(ProviderError):
    """The cluster serves no such kind, or not yet: its CustomResourceDefinition may be made in the same run."""


@dataclass(frozen=True)
class Kind:
    """A kind of objects, as a token or a manifest names it."""

    api_version: str
    kind: str

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    def __str__(self) -> str:
        return f"{self.api_version}/{self.kind}"


@dataclass(frozen=True)
class Resource:
    """Where the API server keeps objects of a kind."""

    kind: Kind
    plural: str
    namespaced: bool

    def path(self, namespace: str | None, name: str | None) -> str:
        """The path of an object, or without `name` of all of them."""
        root = f"/apis/{self.kind.api_version}" if self.kind.group else f"/api/{self.kind.api_version}"
        place = f"{root}/namespaces/{namespace}" if self.namespaced else root
        return f"{place}/{self.plural}" + (f"/{name}" if name else "")


def refused_because(token: str) -> str | None:
    """Why resources of this type are not emulated, in a sentence; `None` where they are."""
    match = re.fullmatch(r"kubernetes:([^:]+):(\w+)", token)
    if match is None:
        return f"{token} is no type of Kubernetes object; one looks like kubernetes:apps/v1:Deployment"
    package, kind = match.groups()
    group = package.partition("/")[0]
    if group in _REFUSED_PACKAGES:
        return (
            f"{token} is not emulated: {_REFUSED_PACKAGES[group]}. Declare the objects themselves, for example with "
            "pulumi_kubernetes.apps.v1.Deployment"
        )
    if _BUILT_IN_GROUP.fullmatch(group) and kind.endswith("Patch"):
        return (
            f"{token} is not emulated: it changes a part of an object that somebody else made. Declare the whole "
            f"object as {token.removesuffix('Patch')}, or import it"
        )
    if _BUILT_IN_GROUP.fullmatch(group) and kind.endswith("List"):
        return f"{token} is not emulated: declare the objects one by one as {token.removesuffix('List')}"
    return None


def kind_of(token: str) -> Kind:
    """The kind that `kubernetes:apps/v1:Deployment` means; `ProviderError` for what is refused."""
    if reason := refused_because(token):
        raise ProviderError(reason)
    _, package, kind = token.split(":")
    return Kind(package.removeprefix("core/"), kind)


class Discovery:
    """The kinds that a cluster serves; asked again when one is missing, since definitions come while a program runs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._resources: dict[Kind, Resource] = {}
        self._asked = 0.0
        self._lock = threading.Lock()

    def resource(self, kind: Kind) -> Resource:
        """Where objects of `kind` are kept; `NoSuchKindError` where the cluster does not serve it."""
        found = self._resources.get(kind)
        if found is None:
            with self._lock:
                if kind not in self._resources and time.monotonic() - self._asked > _REFRESHED_AFTER_SECONDS:
                    self._resources = self._ask()
                    self._asked = time.monotonic()
            found = self._resources.get(kind)
        if found is None:
            raise NoSuchKindError(
                f"the cluster serves no {kind.kind} of {kind.api_version}. Is its CustomResourceDefinition made before "
                "it (`depends_on`), and is the apiVersion right?"
            )
        return found

    def _ask(self) -> dict[Kind, Resource]:
        found: dict[Kind, Resource] = {}
        for path in ("/api", "/apis"):
            for group in self._connection.request("GET", path, accept=_DISCOVERY).get("items") or ():
                for version in group.get("versions") or ():
                    found.update(_resources(group, version))
        if not found:
            raise ApiError(406, "NotAcceptable", "the API server tells nothing of its kinds; is it older than 1.30?")
        return found


def _resources(group: Mapping[str, Any], version: Mapping[str, Any]) -> dict[Kind, Resource]:
    name = (group.get("metadata") or {}).get("name") or ""
    api_version = f"{name}/{version['version']}" if name else version["version"]
    found = {}
    for entry in version.get("resources") or ():
        kind = Kind(api_version, (entry.get("responseKind") or {}).get("kind") or "")
        if kind.kind:
            found[kind] = Resource(kind, entry["resource"], entry.get("scope") == "Namespaced")
    return found
