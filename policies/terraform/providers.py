"""What the rules ask of a provider: its region, the tags it gives to all, as whom it works, and whether it is sure of
whom it talks to. All but text is JSON in a text in Pulumi."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from trainyard.policies.terraform.names import camel, snake
from trainyard.policies.values import UNKNOWN

TYPES = {"aws": "pulumi:providers:aws", "kubernetes": "pulumi:providers:kubernetes"}
"""By the last part of the provider's address in the registry."""

_VALUES = {"region": "region", "allowed_account_ids": "allowedAccountIds"}
# Terraform's block, Pulumi's name, and whether there may be several.
_BLOCKS = (("default_tags", "defaultTags", False), ("assume_role", "assumeRoles", True))
# Pulumi's provider of Kubernetes is told of the cluster by a kubeconfig.
_UNCHECKED = "insecure-skip-tls-verify"


def to_pulumi(provider: str, expressions: Mapping[str, Any], value: Callable[[Any], Any]) -> dict[str, Any]:
    """The properties of a provider. `value` tells what one of its expressions comes to."""
    if provider == "kubernetes":
        return _kubeconfig(value(expressions.get("host")), value(expressions.get("insecure")))
    found = {
        name: known if isinstance(known, str) else _text(known)
        for terraform, name in (*_VALUES.items(), ("insecure", "insecure"))
        if (known := value(expressions.get(terraform))) is not None
    }
    for block, name, several in _BLOCKS:
        written = expressions.get(block)
        blocks = written if isinstance(written, list) else [written] if isinstance(written, Mapping) else []
        contents = [{camel(key): value(inside) for key, inside in one.items()} for one in blocks]
        if contents:
            found[name] = _text(contents if several else contents[0])
    return found


def _kubeconfig(host: Any, insecure: Any) -> dict[str, Any]:
    if insecure is None:
        return {}
    if insecure is UNKNOWN:
        return {"kubeconfig": UNKNOWN}
    cluster = {"server": "" if host is UNKNOWN else host, _UNCHECKED: insecure}
    return {"kubeconfig": json.dumps({"clusters": [{"name": "terraform", "cluster": cluster}]})}


def to_terraform(provider: str, props: Mapping[str, Any]) -> dict[str, Any]:
    """The expressions of a provider's configuration."""
    if provider == "kubernetes":
        return _cluster(props.get("kubeconfig"))
    found: dict[str, Any] = {
        terraform: _expression(_read(props[name]))
        for terraform, name in (*_VALUES.items(), ("insecure", "insecure"))
        if name in props
    }
    for block, name, several in _BLOCKS:
        content = _read(props.get(name))
        blocks = content if several and isinstance(content, list) else [content] if content else []
        if blocks:
            found[block] = [
                {snake(key): _expression(inside) for key, inside in one.items()}
                if isinstance(one, Mapping)
                else {"tags": {}}
                for one in blocks
            ]
    return found


def _cluster(kubeconfig: Any) -> dict[str, Any]:
    if kubeconfig is UNKNOWN:
        return {"insecure": {}}
    content = _read(kubeconfig)
    clusters = content.get("clusters") if isinstance(content, Mapping) else None
    cluster = (clusters[0].get("cluster") if clusters else None) or {}
    said = {"host": cluster.get("server"), "insecure": cluster.get(_UNCHECKED)}
    return {name: _expression(value) for name, value in said.items() if value is not None}


def _expression(value: Any) -> dict[str, Any]:
    return {} if value is UNKNOWN else {"constant_value": value}


def _text(value: Any) -> Any:
    return UNKNOWN if _open(value) else json.dumps(value)


def _open(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_open, value.values()))
    return any(map(_open, value)) if isinstance(value, list) else value is UNKNOWN


def _read(value: Any) -> Any:
    """What stands in a text of JSON or YAML; another text is itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        pass
    try:
        return yaml.safe_load(value) if "\n" in value else value
    except yaml.YAMLError:
        return value
