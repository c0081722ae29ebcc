"""What differs between the inputs of two runs, and which differences only a new object can hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainyard.local.aws.values import UNKNOWN
from trainyard.local.kubernetes.provider.kinds import Kind

_EVERYWHERE = ("metadata.name", "metadata.namespace", "apiVersion", "kind")
_VOLUME_SOURCES = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
]

_IMMUTABLE: dict[tuple[str, str], tuple[str, ...]] = {
    ("apps", "Deployment"): ("spec.selector",),
    ("apps", "DaemonSet"): ("spec.selector",),
    ("apps", "ReplicaSet"): ("spec.selector",),
    ("apps", "StatefulSet"): (
        "spec.podManagementPolicy",
        "spec.selector",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    ),
    ("batch", "Job"): ("spec.completions", "spec.parallelism", "spec.selector", "spec.template", "spec.completionMode"),
    ("rbac.authorization.k8s.io", "RoleBinding"): ("roleRef",),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ("roleRef",),
    ("storage.k8s.io", "StorageClass"): ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"),
    ("storage.k8s.io", "CSIDriver"): ("spec.attachRequired", "spec.volumeLifecycleModes"),
    ("scheduling.k8s.io", "PriorityClass"): ("value", "preemptionPolicy"),
    ("node.k8s.io", "RuntimeClass"): ("handler",),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): ("spec.group", "spec.scope", "spec.names.plural"),
    ("", "ConfigMap"): ("data", "binaryData"),
    ("", "Secret"): ("data", "stringData", "type"),
    ("", "Service"): ("spec.clusterIP",),
    ("", "ResourceQuota"): ("spec.scopes",),
    ("", "PersistentVolume"): tuple(f"spec.{source}" for source in _VOLUME_SOURCES),
    ("", "PersistentVolumeClaim"): (
        "spec.accessModes",
        "spec.dataSource",
        "spec.dataSourceRef",
        "spec.resources.limits",
        "spec.selector",
        "spec.storageClassName",
        "spec.volumeMode",
        "spec.volumeName",
    ),
    ("", "Pod"): ("spec",),
}
"""Paths that only a new object can hold, by group and kind. Sources: the official provider's list
(pulumi-kubernetes, provider/pkg/provider/diff.go, 2025) and the API reference of Kubernetes 1.35; where the two
differ, the API reference."""

_POD_MAY_CHANGE = re.compile(
    r"spec\.(initContainers|containers)\[\d+\]\.image|spec\.activeDeadlineSeconds|spec\.tolerations(\[.*)?"
)
_CONTROL_KEYS = ("__initialApiVersion", "__fieldManager", "__inputs", "__defaults")


@dataclass(frozen=True)
class Mutability:
    """Provider options: whether data changes in place in those that are not marked `immutable`."""

    config_maps: bool = False
    secrets: bool = False


@dataclass
class Difference:
    """`changes` maps each differing path to "add", "delete" or "update"; `replaces` are those that need a new one."""

    changes: dict[str, str] = field(default_factory=dict)
    replaces: set[str] = field(default_factory=set)
    delete_before_replace: bool = False


def changed_paths(old: Any, new: Any, path: str = "") -> dict[str, str]:
    """The paths (`spec.replicas`, `spec.ports[0].port`) at which `old` and `new` differ, and how."""
    if old is not None and new is not None and (old is UNKNOWN or new is UNKNOWN):
        return {path: "update"}
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found: dict[str, str] = {}
        for key in sorted({*old, *new}, key=str):
            if path or key not in _CONTROL_KEYS:
                found |= changed_paths(old.get(key), new.get(key), _step(path, key))
        return found
    if isinstance(old, list) and isinstance(new, list):
        found = {}
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else None
            after = new[index] if index < len(new) else None
            found |= changed_paths(before, after, f"{path}[{index}]")
        return found
    if old == new and isinstance(old, bool) == isinstance(new, bool):
        return {}
    return {path: "add" if old is None else "delete" if new is None else "update"}


def replacing(kind: Kind, paths: Mapping[str, str], inputs: Mapping[str, Any], mutability: Mutability) -> set[str]:
    """Those of `paths` that only a new object of `kind` can hold."""
    rules = [*_EVERYWHERE]
    if not _is_mutable_data(kind, inputs, mutability):
        rules += _IMMUTABLE.get((kind.group, kind.kind), ())
    elif kind.kind == "Secret":
        rules.append("type")
    return {path for path in paths if any(covers(rule, path) for rule in rules) and not _may_change(kind, path)}


def covers(rule: str, path: str) -> bool:
    """Whether `path` is `rule`, lies inside it or holds it (`spec` as a whole was added)."""
    return path == rule or path.startswith((f"{rule}.", f"{rule}[")) or rule.startswith(f"{path}.")


def _is_mutable_data(kind: Kind, inputs: Mapping[str, Any], mutability: Mutability) -> bool:
    if kind.group or inputs.get("immutable") is True:
        return False
    return (kind.kind == "ConfigMap" and mutability.config_maps) or (kind.kind == "Secret" and mutability.secrets)


def _may_change(kind: Kind, path: str) -> bool:
    return kind.kind == "Pod" and not kind.group and _POD_MAY_CHANGE.fullmatch(path) is not None


def _step(path: str, key: str) -> str:
    if re.fullmatch(r"[A-Za-z_$][\w$]*", key):
        return f"{path}.{key}" if path else key
    return f'{path}["{key}"]'
