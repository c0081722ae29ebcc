"""A resource's properties as people may see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard.policies.wire import SIGNATURE, UNKNOWN_KINDS

SECRET = "[secret]"  # noqa: S105  # what the engine itself writes in the place of one
UNKNOWN = "(known once it is made)"


def shown(value: Any) -> Any:
    """A value of a state or of an engine's event without secrets, unknown marks and the engine's own keys (`__…`)."""
    if isinstance(value, Mapping):
        if SIGNATURE in value:
            return SECRET
        return {key: shown(item) for key, item in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return UNKNOWN if isinstance(value, str) and value in UNKNOWN_KINDS else value
