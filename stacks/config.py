"""Reads this stack's settings from Pulumi.

The stack of a layer has the environment's settings: `prod-us-data` those of `Pulumi.prod-us.yaml`. Its own file holds
what Pulumi keeps there (the secrets provider) and nothing of ours, or three stacks could disagree.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime import get_config_env
from pulumi.runtime.config import CONFIG

from trainyard.stacks.setting_advice import advice
from trainyard.stacks.settings import EMPTY, LAYERS, Problem, Settings, SettingsError, parse_settings

PROJECT = Path(__file__).resolve().parents[1]


def settings_of_this_stack() -> Settings:
    """The settings of the stack that is being run.

    Raises:
        SettingsError: a setting is missing, wrong or unknown; Pulumi shows its text without a traceback.
    """
    namespace, stack = pulumi.get_project(), pulumi.get_stack()
    values: dict[str, Any] = dict(values_under(namespace))
    environment, _, layer = stack.rpartition("-")
    file = PROJECT / "stacks" / "environments" / f"Pulumi.{environment}.yaml"
    if layer in LAYERS and values.get("environment") in EMPTY and file.is_file():
        _refuse_own(values, namespace, stack, file)
        values = {**values_of_file(file, namespace, stack), "layer": layer}
    settings = parse_settings(values, namespace=namespace, stack=stack)
    for one in advice(settings, namespace):
        pulumi.log.warn(str(one))
    if settings.layers and settings.layer == "all":
        stacks = ", then ".join(f"{settings.environment}-{one}" for one in LAYERS)
        raise SettingsError(
            stack, [Problem(f"{namespace}:layers", f"The environment is split: bring up {stacks} instead.")]
        )
    if settings.layer != "all" and not settings.layers:
        raise SettingsError(
            stack,
            [
                Problem(
                    f"{namespace}:layers",
                    f"The environment {settings.environment} is one stack; to split it, set layers to true in "
                    f"Pulumi.{settings.environment}.yaml before it is first brought up.",
                )
            ],
        )
    return settings


def values_under(namespace: str) -> dict[str, str]:
    """Every value that the stack has under `namespace`, by key; lists and objects as JSON text.

    Pulumi's public API reads keys one by one and so can't tell which are there: this is the one place that looks into
    how the SDK keeps them. tests/stacks/test_config.py notices when that changes.
    """
    prefix = f"{namespace}:"
    values = {**get_config_env(), **CONFIG.get()}
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def values_of_file(file: Path, namespace: str, stack: str) -> dict[str, Any]:
    """The settings in an environment's file. Raises SettingsError for one that is encrypted: only its own stack has
    the key."""
    prefix = f"{namespace}:"
    config = (yaml.safe_load(file.read_text()) or {}).get("config") or {}
    values = {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}
    encrypted = [key for key, value in values.items() if isinstance(value, dict) and set(value) == {"secure"}]
    if encrypted:
        raise SettingsError(
            stack,
            [
                Problem(f"{prefix}{key}", f"It is encrypted in {file.name}. No setting is secret: write it plain.")
                for key in encrypted
            ],
        )
    return values


def _refuse_own(values: dict[str, Any], namespace: str, stack: str, file: Path) -> None:
    """A layer's stack has no settings of its own beside the defaults that Pulumi gives every stack."""
    declared = yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"]
    own = [key for key, value in values.items() if key not in declared or not _is(value, declared[key]["default"])]
    if own:
        raise SettingsError(
            stack, [Problem(f"{namespace}:{key}", f"It belongs into {file.name}, for all layers alike.") for key in own]
        )


def _is(text: str, default: Any) -> bool:
    return text == (default if isinstance(default, str) else json.dumps(default))
