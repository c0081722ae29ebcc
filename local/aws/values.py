"""Property values as the engine sees them: plain Python, a marker for what is not known yet, canonical forms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


class _Marker:
    """A named singleton that survives copying."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __copy__(self) -> _Marker:
        return self

    def __deepcopy__(self, memo: object) -> _Marker:
        return self


UNKNOWN = _Marker("UNKNOWN")
"""A value that only exists once something else has been created; seen in previews."""

OMIT = _Marker("OMIT")
"""Nothing to send: the parameter is left out of the request."""


def has_unknown(value: Any) -> bool:
    """Whether `value` or anything inside it is not known yet."""
    if value is UNKNOWN:
        return True
    if isinstance(value, Mapping):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return False


def is_zero(value: Any) -> bool:
    """Whether `value` says no more than leaving the property out, as Terraform's first SDK has it."""
    if isinstance(value, (bool, int, float)):
        return not value
    return value is None or (isinstance(value, (str, list, dict)) and not value)


def prune(value: Any) -> Any:
    """`value` without keys that say nothing, at every depth; lists keep their length."""
    if isinstance(value, Mapping):
        pruned = {key: prune(item) for key, item in value.items()}
        return {key: item for key, item in pruned.items() if not is_zero(item)}
    if isinstance(value, (list, tuple)):
        return [prune(item) for item in value]
    return value


def sort_key(value: Any) -> str:
    """A total order over property values, for lists whose order means nothing."""
    return json.dumps(value, sort_keys=True, default=repr)


def canonical_document(document: Any) -> Any:
    """A JSON policy in one form: lists of one unwrapped, lists of scalars sorted; AWS's rewording is no change."""
    if isinstance(document, Mapping):
        return {key: canonical_document(item) for key, item in document.items()}
    if isinstance(document, list):
        items = [canonical_document(item) for item in document]
        if len(items) == 1 and not isinstance(items[0], (dict, list)):
            return items[0]
        return sorted(items, key=sort_key) if all(not isinstance(item, (dict, list)) for item in items) else items
    return document


def parse_document(text: Any) -> Any:
    """The JSON in `text`, or `text` itself when it is none (the caller compares it as it stands)."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def from_aws(value: Any) -> Any:
    """A value of a boto3 answer as a property value: times as RFC 3339 text in UTC, bytes as text, no `None`."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {key: from_aws(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [from_aws(item) for item in value]
    return value


def without_paths(value: Any, paths: frozenset[str], kept: Any, prefix: str = "") -> Any:
    """`value` without what stands at `paths` (`rules[].bucketKeyEnabled`), except where `kept` has something there too.

    Used to leave out of a comparison what AWS fills in by itself and the program does not ask for.
    """
    if not any(path.startswith(prefix) for path in paths):
        return value
    if isinstance(value, Mapping):
        kept_map = kept if isinstance(kept, Mapping) else {}
        result = {}
        for key, item in value.items():
            path = f"{prefix}.{key}" if prefix else key
            if path in paths and key not in kept_map:
                continue
            result[key] = without_paths(item, paths, kept_map.get(key), path)
        return result
    if isinstance(value, list):
        kept_list = kept if isinstance(kept, list) else []
        return [
            without_paths(item, paths, kept_list[index] if index < len(kept_list) else None, f"{prefix}[]")
            for index, item in enumerate(value)
        ]
    return value
