"""Reads this stack's settings from Pulumi."""

from __future__ import annotations

import pulumi
from pulumi.runtime import get_config_env
from pulumi.runtime.config import CONFIG

from trainyard.stacks.settings import Settings, parse_settings


def settings_of_this_stack() -> Settings:
    """The settings of the stack that is being run.

    Raises:
        SettingsError: a setting is missing, wrong or unknown; Pulumi shows its text without a traceback.
    """
    namespace = pulumi.get_project()
    return parse_settings(values_under(namespace), namespace=namespace, stack=pulumi.get_stack())


def values_under(namespace: str) -> dict[str, str]:
    """Every value that the stack has under `namespace`, by key; lists and objects as JSON text.

    Pulumi's public API reads keys one by one and so can't tell which are there: this is the one place that looks into
    how the SDK keeps them. tests/stacks/test_config.py notices when that changes.
    """
    prefix = f"{namespace}:"
    values = {**get_config_env(), **CONFIG.get()}
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
