"""Property values on the wire: protobuf structs to Python and back, and errors with their details.

The only module that knows Pulumi's private encodings (markers for unknown values, secrets, outputs and resources).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import google.protobuf.struct_pb2
import grpc
from pulumi.runtime import rpc
from pulumi.runtime.proto import provider_pb2, status_pb2

from trainyard.local.aws.values import UNKNOWN

_pb: Any = google.protobuf.struct_pb2  # made at import; type checkers do not see its members
Struct = Any

_SIGNATURE = rpc._special_sig_key
_SECRET = rpc._special_secret_sig
_OUTPUT = rpc._special_output_value_sig
_RESOURCE = rpc._special_resource_sig
_UNKNOWN_PREFIX = rpc.UNKNOWN[:-1]
"""Unknowns of different types differ in the last character only."""


def from_struct(struct: Struct) -> dict[str, Any]:
    """The properties in `struct`: whole numbers as `int`, secrets and outputs unwrapped, unknowns as `UNKNOWN`."""
    return {key: _from_value(value) for key, value in struct.fields.items()}


def to_struct(properties: Mapping[str, Any], secret: frozenset[str] = frozenset()) -> Struct:
    """`properties` as a struct; `None` is left out, those named in `secret` are marked as such."""
    struct = _pb.Struct()
    for key, value in properties.items():
        if value is not None:
            marked = {_SIGNATURE: _SECRET, "value": value} if key in secret else value
            struct.fields[key].CopyFrom(_to_value(marked))
    return struct


def secret_properties(*structs: Struct) -> frozenset[str]:
    """The top properties that are secret or have a secret in them; all tags are, where one is."""
    found = {key for struct in structs for key, value in struct.fields.items() if _has_secret(value)}
    return frozenset(found | {"tags", "tagsAll"} if found & {"tags", "tagsAll"} else found)


def _has_secret(value: Any) -> bool:
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return any(_has_secret(item) for item in value.list_value.values)
    if kind != "struct_value":
        return False
    fields = value.struct_value.fields
    signature = fields[_SIGNATURE].string_value if _SIGNATURE in fields else ""
    if signature == _SECRET or (signature == _OUTPUT and "secret" in fields and fields["secret"].bool_value):
        return True
    return any(_has_secret(item) for item in fields.values())


def _from_value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        text = value.string_value
        return UNKNOWN if len(text) == len(rpc.UNKNOWN) and text.startswith(_UNKNOWN_PREFIX) else text
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_from_value(item) for item in value.list_value.values]
    if kind == "struct_value":
        return _from_object(value.struct_value)
    return None


def _from_object(struct: Struct) -> Any:
    fields = struct.fields
    signature = fields[_SIGNATURE].string_value if _SIGNATURE in fields else ""
    if signature in (_SECRET, _OUTPUT):
        return _from_value(fields["value"]) if "value" in fields else UNKNOWN
    if signature == _RESOURCE:
        return _from_value(fields["id"]) if "id" in fields else UNKNOWN
    return from_struct(struct)


def _to_value(value: Any) -> Any:
    if value is UNKNOWN:
        return _pb.Value(string_value=rpc.UNKNOWN)
    if value is None:
        return _pb.Value(null_value=_pb.NULL_VALUE)
    if isinstance(value, bool):
        return _pb.Value(bool_value=value)
    if isinstance(value, (int, float)):
        return _pb.Value(number_value=value)
    if isinstance(value, str):
        return _pb.Value(string_value=value)
    if isinstance(value, Mapping):
        return _pb.Value(struct_value=to_struct(value))
    if isinstance(value, (list, tuple)):
        return _pb.Value(list_value=_pb.ListValue(values=[_to_value(item) for item in value]))
    raise TypeError(f"{type(value).__name__} is no property value: {value!r}")


def half_made_status(
    resource_id: str,
    outputs: Mapping[str, Any],
    inputs: Mapping[str, Any],
    reasons: Iterable[str],
    secret: frozenset[str] = frozenset(),
) -> tuple[str, tuple[tuple[str, bytes], ...]]:
    """The message and trailing metadata that tell the engine to keep a resource whose initialisation failed."""
    reasons = list(reasons)
    message = "; ".join(reasons)
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=message)
    status.details.add().Pack(
        provider_pb2.ErrorResourceInitFailed(
            id=resource_id, properties=to_struct(outputs, secret), inputs=to_struct(inputs, secret), reasons=reasons
        )
    )
    return message, (("grpc-status-details-bin", status.SerializeToString()),)
