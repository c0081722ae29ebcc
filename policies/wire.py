"""Properties as the engine sends them, read into plain JSON values with `UNKNOWN` in them.

The SDK's own reader makes proxies that raise where a value is unknown, and stops at a signature it does not know. A
pack that has to judge every resource by every rule can afford neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
_FILES = {SPECIAL_ASSET_SIG: "<asset>", SPECIAL_ARCHIVE_SIG: "<archive>"}


def plain(struct: Any) -> dict[str, Any]:
    """Of a `google.protobuf.Struct`. Secrets are opened; a file becomes its kind's name, a resource its id."""
    return {key: _value(value) for key, value in struct.fields.items()}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        text = value.string_value
        return UNKNOWN if text in UNKNOWN_KINDS else text
    if kind == "struct_value":
        return _object(value.struct_value)
    if kind == "list_value":
        return _list(value.list_value)
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    return value.bool_value if kind == "bool_value" else None


def _list(values: Any) -> list[Any]:
    return [_value(value) for value in values.values]


def _object(struct: Any) -> Any:
    found = plain(struct)
    return _signed(found) if SIGNATURE in found else found


def _signed(found: Mapping[str, Any]) -> Any:
    """A value that says what it is. One of a kind that is new here proves nothing: it counts as unknown."""
    signature = found[SIGNATURE]
    if signature == SPECIAL_SECRET_SIG:
        return found.get("value")
    if signature == _OUTPUT_SIG:
        return found.get("value", UNKNOWN)
    if signature == _RESOURCE_SIG:
        return found.get("id") or UNKNOWN
    return _FILES.get(str(signature), UNKNOWN)
