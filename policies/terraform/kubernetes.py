"""Kubernetes objects that a plan has as manifests: `kubernetes_manifest`, and those of the kubectl provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

_MANIFEST, _KUBECTL = "kubernetes_manifest", "kubectl_manifest"


@dataclass(frozen=True)
class Manifest:
    """An object whose type its manifest says. It answers as `table.Kind` does."""

    pulumi: str
    computed: frozenset[str] = frozenset()

    def pulumi_names(self, name: str) -> tuple[str, ...]:
        return ("metadata", "spec", "data") if name in ("manifest", "yaml_body") else (name,)

    def holds_blocks(self, name: str) -> bool:
        return False

    def to_pulumi(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return dict(_body(values))


def manifest(change: Mapping[str, Any]) -> Manifest | None:
    """The kind of a change to an object that is given as a manifest; None where it is none, or says no kind."""
    if change["type"] not in (_MANIFEST, _KUBECTL):
        return None
    body = _body(change["change"].get("after") or {})
    version, kind = body.get("apiVersion"), body.get("kind")
    return Manifest(token(version, kind)) if isinstance(version, str) and isinstance(kind, str) else None


def token(version: str, kind: str) -> str:
    """Pulumi's type token of an object: `v1`, `Pod` -> `kubernetes:core/v1:Pod`."""
    return f"kubernetes:{version if '/' in version else f'core/{version}'}:{kind}"


def api_version(pulumi: str) -> str:
    """The apiVersion in a type token."""
    return pulumi.removeprefix("kubernetes:").partition(":")[0].removeprefix("core/")


def _body(values: Mapping[str, Any]) -> Mapping[str, Any]:
    body = values.get("manifest")
    text = values.get("yaml_body")
    if isinstance(text, str):
        try:
            body = yaml.safe_load(text)
        except yaml.YAMLError:
            return {}
    return body if isinstance(body, Mapping) else {}
