"""What a plan has of Kubernetes as a whole: `kubernetes_manifest`, the kubectl provider's manifests, charts of Helm."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

RELEASE = "kubernetes:helm.sh/v3:Release"
_RELEASE_SAYS = ("name", "namespace", "chart", "version")
# A patch of an object that others made, and Pulumi's lists.
_NO_MANIFEST = re.compile(r"kubernetes:helm\.sh/|.*(?:Patch|List)$")


@dataclass(frozen=True)
class Given:
    """An object whose type its manifest says, or a chart. It answers as `table.Kind` does."""

    pulumi: str
    computed: frozenset[str] = frozenset()

    def pulumi_names(self, name: str) -> tuple[str, ...]:
        return ("metadata", "spec", "data") if name in ("manifest", "yaml_body") else (name,)

    def holds_blocks(self, _name: str) -> bool:
        return False

    def to_pulumi(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return _release(values) if self.pulumi == RELEASE else dict(_body(values))


def given(change: Mapping[str, Any]) -> Given | None:
    """The kind of a change to an object that is given as a manifest, or to a chart; None where it is neither, or where
    the manifest says no kind."""
    if change["type"] == "helm_release":
        return Given(RELEASE)
    if change["type"] not in ("kubernetes_manifest", "kubectl_manifest"):
        return None
    body = _body(change["change"].get("after") or {})
    version, kind = body.get("apiVersion"), body.get("kind")
    return Given(token(version, kind)) if isinstance(version, str) and isinstance(kind, str) else None


def to_terraform(resource_type: str, props: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The type and values by which Terraform makes an object of a kind that it has no type for; None if it cannot."""
    if resource_type == RELEASE:
        options = props.get("repositoryOpts")
        repository = {"repository": options.get("repo")} if isinstance(options, Mapping) else {}
        return "helm_release", {name: props[name] for name in _RELEASE_SAYS if name in props} | repository
    if not resource_type.startswith("kubernetes:") or _NO_MANIFEST.match(resource_type):
        return None
    said = {"apiVersion": api_version(resource_type), "kind": resource_type.rpartition(":")[2]}
    return "kubernetes_manifest", {"manifest": said | dict(props)}


def _release(values: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: values[name] for name in _RELEASE_SAYS if values.get(name) is not None}
    repository = values.get("repository")
    return kept | ({"repositoryOpts": {"repo": repository}} if repository is not None else {})


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
