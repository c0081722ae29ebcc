"""What a role's trust policy lets a service do.

trusts(document, "pods.eks.amazonaws.com", "sts:AssumeRole", "sts:TagSession")
"""

from __future__ import annotations

import json
from typing import Any


def trusts(policy: Any, service: str, *actions: str) -> bool:
    """Whether Allow statements let `service` do all of `actions`; their conditions are not looked at."""
    document = json.loads(policy) if isinstance(policy, str) else policy
    allowed: set[str] = set()
    for statement in _as_list(document.get("Statement")):
        principal = statement.get("Principal")
        services = _as_list(principal.get("Service")) if isinstance(principal, dict) else []
        if statement.get("Effect") == "Allow" and service in services:
            allowed |= {action.lower() for action in _as_list(statement.get("Action"))}
    return bool({"*", "sts:*"} & allowed) or {action.lower() for action in actions} <= allowed


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
