"""The package schema of the emulated types, made from the SDK: `pulumi import` writes programs from it."""

from __future__ import annotations

import json
from typing import Any

from trainyard.local.aws.rows import rows
from trainyard.local.aws.sdk import SdkType, sdk_type, sdk_version


def package_schema() -> str:
    """The schema as JSON, of the types that have a row."""
    types: dict[str, Any] = {}
    resources = {token: _resource(sdk_type(token), types) for token in rows()}
    return json.dumps(
        {
            "name": "aws",
            "version": sdk_version(),
            "resources": resources,
            "types": types,
            "provider": {"inputProperties": {"region": {"type": "string"}}},
            "language": {"python": {"readme": ""}},
        }
    )


def _resource(sdk: SdkType, types: dict[str, Any]) -> dict[str, Any]:
    return {
        "inputProperties": {name: _property(sdk, type_, types) for name, type_ in sdk.inputs.items()},
        "requiredInputs": sdk.required,
        "properties": {name: _property(sdk, type_, types) for name, type_ in sdk.outputs.items()},
    }


def _property(sdk: SdkType, type_: dict[str, Any], types: dict[str, Any]) -> dict[str, Any]:
    kind = type_["is"]
    if kind == "list":
        return {"type": "array", "items": _property(sdk, type_["of"], types)}
    if kind == "map":
        return {"type": "object", "additionalProperties": _property(sdk, type_["of"], types)}
    if kind == "union":
        return {"oneOf": [_property(sdk, option, types) for option in type_["of"]]}
    if kind == "object":
        return {"$ref": f"#/types/{_object(sdk, type_['name'], types)}"}
    return {"$ref": "pulumi.json#/Any"} if kind == "any" else {"type": kind}


def _object(sdk: SdkType, name: str, types: dict[str, Any]) -> str:
    """The token of an object type, put into `types` the first time."""
    module, class_name = name.rsplit(".", 1)
    package = module.split(".")[1]
    token = f"aws:{package.rstrip('_')}/{class_name}:{class_name.removesuffix('Args')}"
    if token not in types:
        types[token] = {}  # it may contain itself
        object_ = sdk.objects[name]
        types[token] = {
            "type": "object",
            "properties": {key: _property(sdk, type_, types) for key, type_ in object_["properties"].items()},
            "required": object_["required"],
        }
    return token
