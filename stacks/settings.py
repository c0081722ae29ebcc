"""An environment's settings: what stands in stacks/environments/, checked before any resource is made.

Every wrong setting is reported, each with its key, what it was and what may stand there instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from trainyard.stacks import setting_checks
from trainyard.stacks.setting_errors import Problem, SettingsError, problems
from trainyard.stacks.setting_model import LAYERS, Settings
from trainyard.stacks.setting_parts import GpuGroupSettings, TeamSettings

__all__ = [
    "EMPTY",
    "LAYERS",
    "GpuGroupSettings",
    "Problem",
    "Settings",
    "SettingsError",
    "TeamSettings",
    "parse_settings",
]

EMPTY = ("", "[]", "{}", [], {}, None)
"""What Pulumi.yaml has for a setting without a default."""


def parse_settings(values: Mapping[str, Any], *, namespace: str, stack: str) -> Settings:
    """The settings that `values` hold, by key without the namespace.

    Values may be text, as Pulumi hands them to a program, or already of their type, as in a stack's YAML file. An empty
    one counts as missing.

    Raises:
        SettingsError: names every setting that is missing, wrong or unknown.
    """
    given = {key: value for key, value in values.items() if value not in EMPTY}
    unreadable = [key for key, value in given.items() if not _is_text(value)]
    if unreadable:
        raise SettingsError(
            stack,
            [Problem(f"{namespace}:{key}", "It holds half a character; write it in UTF-8.") for key in unreadable],
        )
    try:
        settings = Settings.model_validate(given)
    except ValidationError as invalid:
        raise SettingsError(stack, problems(invalid.errors(include_url=False), Settings, given, namespace)) from None
    wrong = [Problem(f"{namespace}:{path}", message) for path, message in setting_checks.check(settings)]
    if wrong:
        raise SettingsError(stack, wrong)
    return settings


def _is_text(value: Any) -> bool:
    """Whether all text in it can be written down: an escape such as "\\ud800" alone is no character."""
    try:
        loaded = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        loaded = value
    try:
        json.dumps(loaded, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    except (ValueError, TypeError, RecursionError):
        pass  # No text's fault; the models say what is.
    return True
