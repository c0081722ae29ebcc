"""The JSON schema of an environment's file, for editors.

    python -m trainyard.stacks.schema > stacks/settings.schema.json

It says what each setting may be by itself; what has to hold between settings stands in setting_checks.py.
"""

from __future__ import annotations

import json
from typing import Any

from trainyard.stacks.setting_model import Settings

NAMESPACE = "trainyard"


def schema() -> dict[str, Any]:
    """The schema of `Pulumi.<environment>.yaml`, generated from the models."""
    model = Settings.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An environment of Trainyard",
        "type": "object",
        "properties": {
            "secretsprovider": {"type": "string"},
            "encryptedkey": {"type": "string"},
            "encryptionsalt": {"type": "string"},
            "config": {
                "type": "object",
                "properties": {f"{NAMESPACE}:{key}": value for key, value in model["properties"].items()},
                "required": [f"{NAMESPACE}:{key}" for key in model["required"]],
                "patternProperties": {f"^(?!{NAMESPACE}:)": {}},
                "additionalProperties": False,
            },
        },
        "required": ["config"],
        "$defs": model["$defs"],
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
