"""What the installed pulumi-aws SDK says about a resource type: its inputs, their types, and the names of its outputs.

The only module that looks into the SDK. Introspection costs a second per run and much memory, so what is found is
kept on disk, a small JSON file per type and SDK version.
"""

from __future__ import annotations

import collections.abc
import hashlib
import importlib
import inspect
import json
import keyword
import os
import re
import tempfile
import threading
import types
import typing
import warnings
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from trainyard.local.paths import cache_directory

_SCALARS = {str: "string", bool: "boolean", int: "integer", float: "number"}


class UnknownTypeError(LookupError):
    """The SDK has no such resource type."""


@dataclass(frozen=True)
class SdkType:
    """A resource type of the SDK.

    `inputs` maps each input to its type, `required` names those a program must give, `outputs` maps each output to
    its type. A type is a dict: {"is": "string|boolean|integer|number|any"}, {"is": "list|map", "of": type}, {"is":
    "union", "of": [types]} or {"is": "object", "name": key of `objects`}; an object has `properties` and `required`.
    """

    token: str
    inputs: dict[str, Any]
    required: list[str]
    outputs: dict[str, Any]
    objects: dict[str, Any]


def sdk_version() -> str:
    """The version of the installed pulumi-aws, which the plugin has to answer with."""
    return metadata.version("pulumi-aws")


@cache
def sdk_type(token: str) -> SdkType:
    """The SDK's description of `token`, from the cache on disk or the SDK itself; `UnknownTypeError` if it has none."""
    path = _cache_path(token)
    try:
        return SdkType(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        pass
    found = introspect(token)
    _write(path, json.dumps(vars(found)))
    return found


def introspect(token: str) -> SdkType:
    """Look `token` up in the SDK itself."""
    module, class_name = _module_of(token)
    # Where a nested type has the name already, the resource's arguments are called otherwise.
    arguments = getattr(module, f"{class_name}InitArgs", None) or getattr(module, f"{class_name}Args", None)
    resource = getattr(module, class_name, None)
    if arguments is None or resource is None:
        raise UnknownTypeError(token)
    objects: dict[str, Any] = {}
    inputs, required = _properties(arguments, objects)
    from pulumi import _types

    outputs = {
        name: _describe(type_, objects)
        for name, type_ in _types.resource_types(resource).items()
        if name not in ("id", "urn")
    }
    return SdkType(token, inputs, required, outputs, objects)


_importing = threading.Lock()
"""The SDK's packages load when they are first touched, which two threads must not do at once."""


def _module_of(token: str) -> tuple[Any, str]:
    match = re.fullmatch(r"aws:(\w+)/(\w+):(\w+)", token)
    if match is None:
        raise UnknownTypeError(token)
    package, file, class_name = match.groups()
    package = f"{package}_" if keyword.iskeyword(package) else package
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", file).lower()
    try:
        with _importing, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of other types in the same module
            # Touched before its module: a package that loads in the midst of one of its modules lacks it for good.
            hasattr(importlib.import_module(f"pulumi_aws.{package}"), class_name)
            return importlib.import_module(f"pulumi_aws.{package}.{snake}"), class_name
    except ModuleNotFoundError:
        raise UnknownTypeError(token) from None


def _properties(arguments: type, objects: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    from pulumi import _types

    pulumi_names = _types.input_type_py_to_pulumi_names(arguments)
    parameters = inspect.signature(arguments.__init__).parameters
    described = {name: _describe(type_, objects) for name, type_ in _types.input_type_types(arguments).items()}
    required = [pulumi_names.get(name, name) for name, parameter in parameters.items() if _is_required(parameter)]
    return described, sorted(name for name in required if name in described)


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is inspect.Parameter.empty


def _describe(type_: Any, objects: dict[str, Any]) -> dict[str, Any]:
    if type_ in _SCALARS:
        return {"is": _SCALARS[type_]}
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin in (collections.abc.Sequence, list):
        return {"is": "list", "of": _describe(arguments[0], objects)}
    if origin in (collections.abc.Mapping, dict):
        return {"is": "map", "of": _describe(arguments[1], objects)}
    if origin in (typing.Union, types.UnionType):
        return _describe_union(arguments, objects)
    if isinstance(type_, type):
        if issubclass(type_, str):  # the SDK's enums are open: any string goes
            return {"is": "string"}
        if _is_object(type_):
            return _describe_object(type_, objects)
    return {"is": "any"}


def _describe_union(members: tuple[Any, ...], objects: dict[str, Any]) -> dict[str, Any]:
    """`Input[T]` is T, an awaitable of it or an `Output`; what is left after those may still be several types."""
    described: list[dict[str, Any]] = []
    for member in members:
        if member is type(None) or typing.get_origin(member) is collections.abc.Awaitable or _is_output(member):
            continue
        found = _describe(member, objects)
        if found not in described:
            described.append(found)
    if len(described) == 1:
        return described[0]
    return {"is": "union", "of": described} if described else {"is": "any"}


def _is_output(member: Any) -> bool:
    origin = typing.get_origin(member) or member
    return getattr(origin, "__module__", "") == "pulumi.output"


def _is_object(type_: type) -> bool:
    from pulumi import _types

    return _types.is_input_type(type_) or _types.is_output_type(type_)


def _describe_object(type_: type, objects: dict[str, Any]) -> dict[str, Any]:
    from pulumi import _types

    name = f"{type_.__module__}.{type_.__qualname__}"
    if name not in objects:
        objects[name] = {}  # a type may contain itself
        if _types.is_input_type(type_):
            properties, required = _properties(type_, objects)
        else:
            properties = {key: _describe(value, objects) for key, value in _types.output_type_types(type_).items()}
            required = []
        objects[name] = {"properties": properties, "required": required}
    return {"is": "object", "name": name}


def _cache_path(token: str) -> Path:
    return cache_directory() / "schemas" / _cache_key() / (re.sub(r"\W", ".", token) + ".json")


@cache
def _cache_key() -> str:
    """Of the SDK and of this module, so that neither finds what another version of it wrote."""
    mine = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    return f"pulumi-aws-{sdk_version()}-{mine}"


def _write(path: Path, text: str) -> None:
    """Several plugins may write a file at once, so whole files only; a cache that can't be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(temporary).replace(path)
    except OSError:
        return
