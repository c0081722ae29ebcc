"""Names and namespaces as the official provider gives them where the program leaves them out."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

from trainyard.local.aws.naming import Autonaming

AUTONAMED = "pulumi.com/autonamed"
_RANDOM_DIGITS = 8


def named(
    inputs: dict[str, Any], resource: str, old: Mapping[str, Any], seed: bytes, autonaming: Autonaming | None = None
) -> None:
    """Give `inputs` a name where they have none: the old one if it was made like that, else `resource-1a2b3c4d`."""
    metadata = inputs.setdefault("metadata", {})
    if not isinstance(metadata, dict) or metadata.get("name") is not None or metadata.get("generateName"):
        return
    if is_autonamed(old):
        name = old["metadata"]["name"]
    elif autonaming is not None:
        if autonaming.mode == "disable":
            return
        name = autonaming.proposed
    else:
        digits = hashlib.sha256(seed).hexdigest() if seed else secrets.token_hex(_RANDOM_DIGITS)
        name = f"{resource}-{digits[:_RANDOM_DIGITS]}"
    metadata["name"] = name
    annotations = metadata.setdefault("annotations", {})
    if isinstance(annotations, dict):
        annotations[AUTONAMED] = "true"


def is_autonamed(inputs: Mapping[str, Any]) -> bool:
    """Whether the provider made the object's name."""
    metadata = inputs.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    return isinstance(annotations, Mapping) and annotations.get(AUTONAMED) == "true"


def placed(inputs: dict[str, Any], namespaced: bool, namespace: str) -> None:
    """Give a namespaced object `namespace` where it has none; take it from one that is of the whole cluster."""
    metadata = inputs.get("metadata")
    if not isinstance(metadata, dict):
        return
    if not namespaced:
        metadata.pop("namespace", None)
    elif not metadata.get("namespace"):
        metadata["namespace"] = namespace
