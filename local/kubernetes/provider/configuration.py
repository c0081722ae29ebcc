"""What a program's `pulumi_kubernetes.Provider` says: which cluster, and how its objects are treated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.errors import ProviderError
from trainyard.local.aws.values import UNKNOWN
from trainyard.local.kubernetes.provider.kubeconfig import KubeconfigError, active_cluster, read_kubeconfig

Problem = tuple[str, str]

_FLAGS = {
    "enableServerSideApply": True,
    "enablePatchForce": False,
    "enableConfigMapMutable": False,
    "enableSecretMutable": False,
    "deleteUnreachable": False,
    "skipUpdateUnreachable": False,
    "upsertExistingObjects": False,
}
_TEXTS = ("kubeconfig", "context", "cluster", "namespace", "clusterIdentifier")
_WITHOUT_EFFECT = (
    "suppressDeprecationWarnings",
    "suppressHelmHookWarnings",
    "helmReleaseSettings",
    "kubeClientSettings",
    "version",
    "pluginDownloadURL",
)
"""About how fast a real client works and what it warns of: accepted, and of no meaning here."""
_REFUSED = {
    "renderYamlToDirectory": "is not emulated: objects are made in the cluster, never written as files",
    "alwaysRender": "is not emulated: objects are made in the cluster, never written as files",
}


@dataclass(frozen=True)
class Configuration:
    """The provider's options, as its SDK names them; `kubeconfig` may be `UNKNOWN` in a preview."""

    kubeconfig: Any
    context: str | None = None
    cluster: str | None = None
    namespace: str | None = None
    cluster_identifier: str | None = None
    enable_patch_force: bool = False
    config_maps_mutable: bool = False
    secrets_mutable: bool = False
    delete_unreachable: bool = False
    skip_update_unreachable: bool = False
    upsert_existing_objects: bool = False

    @classmethod
    def parse(cls, properties: Mapping[str, Any]) -> Configuration:
        """Read the provider's properties; the engine sends flags as text."""

        def text(name: str) -> Any:
            value = properties.get(name)
            return json.dumps(value) if isinstance(value, Mapping) else value or None

        return cls(
            text("kubeconfig"),
            text("context"),
            text("cluster"),
            text("namespace"),
            text("clusterIdentifier"),
            _flag(properties, "enablePatchForce"),
            _flag(properties, "enableConfigMapMutable"),
            _flag(properties, "enableSecretMutable"),
            _flag(properties, "deleteUnreachable"),
            _flag(properties, "skipUpdateUnreachable"),
            _flag(properties, "upsertExistingObjects"),
        )


def check_configuration(properties: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the properties of the program's provider."""
    problems: list[Problem] = []
    for name, value in properties.items():
        if name.startswith("__") or value in (None, "") or name in _WITHOUT_EFFECT or name in _TEXTS:
            continue
        if name in _REFUSED:
            problems.append((name, _REFUSED[name]))
        elif name not in _FLAGS:
            known = ", ".join([*_TEXTS, *_FLAGS])
            problems.append((name, f"is no option of the kubernetes provider; there are {known}"))
        elif value is not UNKNOWN and str(value).lower() not in ("true", "false"):
            problems.append((name, f"is {value!r}; true or false may stand there"))
    if str(properties.get("enableServerSideApply", True)).lower() == "false":
        problems.append(
            ("enableServerSideApply", "is false: client-side apply is not emulated; leave it out, or set it to true")
        )
    configuration = Configuration.parse(properties)
    if configuration.kubeconfig is None:
        problems.append(
            ("kubeconfig", "is missing: give the provider the cluster's; no file of yours is looked for in a rehearsal")
        )
    elif _is_known(configuration):
        try:
            read_kubeconfig(configuration.kubeconfig, configuration.context, configuration.cluster)
        except KubeconfigError as error:
            problems.append(("kubeconfig", str(error)))
    return problems


def configuration_replaces(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The provider's properties whose change means another cluster, where every object has to be made anew."""
    before, after = Configuration.parse(old), Configuration.parse(new)
    if before.cluster_identifier or after.cluster_identifier:
        return ["clusterIdentifier"] if before.cluster_identifier != after.cluster_identifier else []
    if not (_is_known(before) and _is_known(after)) or before.kubeconfig == after.kubeconfig:
        return []
    try:
        here = active_cluster(before.kubeconfig, before.context, before.cluster)
        there = active_cluster(after.kubeconfig, after.context, after.cluster)
    except ProviderError:
        return []
    return ["kubeconfig"] if here != there else []


def _is_known(configuration: Configuration) -> bool:
    values = (configuration.kubeconfig, configuration.context, configuration.cluster)
    return isinstance(values[0], str) and UNKNOWN not in values


def _flag(properties: Mapping[str, Any], name: str) -> bool:
    value = properties.get(name)
    return _FLAGS[name] if value in (None, "", UNKNOWN) else str(value).lower() == "true"
