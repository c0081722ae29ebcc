"""Inputs as the cluster has them now: what others changed shows, what the API server only writes otherwise does not."""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from typing import Any

_MADE_BY_SERVER = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
)
_OUTSIDE_PROGRAMS = ("kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision")


def drifted_inputs(inputs: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """`inputs` with those values replaced that differ between the object `before` and `now`.

    A value the API server merely writes otherwise (`1000m` as `1`) is the same before and now, so it stays.
    """
    found = _merge(inputs, before, now)
    if inputs.get("kind") == "Secret" and isinstance(inputs.get("stringData"), Mapping):
        found["stringData"] = _string_data(inputs["stringData"], before.get("data") or {}, now.get("data") or {})
    return found


def imported_inputs(now: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs for an object that the program takes over: all that stands there but what the API server makes."""
    found = copy.deepcopy({key: value for key, value in now.items() if key != "status"})
    metadata = found.get("metadata") or {}
    for key in _MADE_BY_SERVER:
        metadata.pop(key, None)
    for key in _OUTSIDE_PROGRAMS:
        (metadata.get("annotations") or {}).pop(key, None)
    if not metadata.get("annotations"):
        metadata.pop("annotations", None)
    return found


def _merge(wanted: Any, before: Any, now: Any) -> Any:
    if isinstance(wanted, Mapping) and isinstance(now, Mapping):
        old = before if isinstance(before, Mapping) else {}
        merged = {}
        for key, value in wanted.items():
            if key in now:
                merged[key] = _merge(value, old.get(key), now[key])
            elif key not in old:  # never was in the object: something that is only written, or a zero value
                merged[key] = value
        return merged
    if isinstance(wanted, list) and isinstance(now, list):
        return _merge_lists(wanted, before if isinstance(before, list) else [], now)
    if now == before or now is None:
        return wanted
    return now


def _merge_lists(wanted: list[Any], before: list[Any], now: list[Any]) -> list[Any]:
    """By the entries' names where they have one, else by place; entries of others are not the program's."""
    key = next((key for key in ("name", "key", "containerPort", "port") if _all_have(wanted, key)), None)
    if key is None:
        if len(now) != len(wanted):
            return wanted if now == before else now
        return [_merge(one, before[i] if i < len(before) else None, now[i]) for i, one in enumerate(wanted)]
    live = {one.get(key): one for one in now if isinstance(one, Mapping)}
    old = {one.get(key): one for one in before if isinstance(one, Mapping)}
    return [_merge(one, old.get(one[key]), live[one[key]]) for one in wanted if one[key] in live]


def _all_have(entries: list[Any], key: str) -> bool:
    return bool(entries) and all(isinstance(one, Mapping) and key in one for one in entries)


def _string_data(wanted: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """`stringData` is never given back: it stands, encoded, in `data`."""
    found = {}
    for key, value in wanted.items():
        if now.get(key) == before.get(key):
            found[key] = value
        elif key in now:
            found[key] = base64.b64decode(now[key]).decode("utf-8", "replace")
    return found
