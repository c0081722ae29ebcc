"""Properties as the engine sends them, read into plain JSON values with `UNKNOWN` in them.

The SDK's own reader makes proxies that raise where a value is unknown, and stops at a signature it does not know. A
pack that has to judge every resource by every rule can afford neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from pulumi_policy.deserialize import (
    SPECIAL_ARCHIVE_SIG,
    SPECIAL_ASSET_SIG,
    SPECIAL_SECRET_SIG,
    SPECIAL_SIG_KEY,
)

from trainyard.policies.values import UNKNOWN

SIGNATURE = SPECIAL_SIG_KEY
"""The key that marks a value as more than its JSON: in the engine's messages and events, and a secret in a state."""

# All kinds of unknown, by pulumi's sdk/go/common/resource/plugin/rpc.go.
UNKNOWN_KINDS = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
# By pulumi's sdk/go/common/resource/sig.
_RESOURCE_SIG = "5cf8f73096256a8f31e491e813e4eb8e"
_OUTPUT_SIG = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
DEEPEST = 200
"""Levels of lists and objects that are read; nothing that AWS or Kubernetes takes is half as deep. What is deeper
counts as unknown: no rule passes it, and none ends in it."""
_Waiting: TypeAlias = tuple[Any, Any, int]
"""A list or an object to fill, with what, and how deep it lies."""
_FILES = {SPECIAL_ASSET_SIG: "<asset>", SPECIAL_ARCHIVE_SIG: "<archive>"}


def plain(struct: Any) -> dict[str, Any]:
    """Of a `google.protobuf.Struct`. Secrets are opened; a file becomes its kind's name, a resource its id."""
    found: dict[str, Any] = {}
    waiting: list[_Waiting] = [(found, struct, 1)]
    while waiting:
        into, told, depth = waiting.pop()
        if isinstance(into, list):
            into.extend(_begun(value, waiting, depth) for value in told.values)
        else:
            fields = told.fields
            for key in fields:
                into[key] = _begun(fields[key], waiting, depth)
    return found


def _begun(value: Any, waiting: list[_Waiting], depth: int) -> Any:
    """A value. A list or an object is still empty, and `waiting` to be filled."""
    while True:
        kind = value.WhichOneof("kind")
        if kind == "string_value":
            text = value.string_value
            return UNKNOWN if text in UNKNOWN_KINDS else text
        if kind == "struct_value":
            fields = value.struct_value.fields
            if SPECIAL_SIG_KEY in fields:
                value, stands_for = _signed(fields)
                if value is None:
                    return stands_for
                continue
            return _filled_later({}, value.struct_value, waiting, depth)
        if kind == "list_value":
            return _filled_later([], value.list_value, waiting, depth)
        if kind == "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        return value.bool_value if kind == "bool_value" else None


def _filled_later(new: Any, told: Any, waiting: list[_Waiting], depth: int) -> Any:
    if depth >= DEEPEST:
        return UNKNOWN
    waiting.append((new, told, depth + 1))
    return new


def _signed(fields: Mapping[str, Any]) -> tuple[Any, Any]:
    """Of a value that says what it is: the one inside that counts, or what it stands for. A kind that is new here
    proves nothing: it counts as unknown."""
    signature = fields[SPECIAL_SIG_KEY].string_value
    if signature in (SPECIAL_SECRET_SIG, _OUTPUT_SIG):
        inside = fields["value"] if "value" in fields else None  # noqa: SIM401 (asking a map for a key makes one)
        return inside, None if signature == SPECIAL_SECRET_SIG else UNKNOWN
    if signature == _RESOURCE_SIG:
        named = "id" in fields and fields["id"].string_value
        return (fields["id"], None) if named else (None, UNKNOWN)
    return None, _FILES.get(signature, UNKNOWN)
