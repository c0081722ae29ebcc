"""An environment's settings: what stands in stacks/environments/, checked before any resource is made.

Every wrong setting is reported, each with its key, what it was and what may stand there instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from trainyard.stacks import setting_checks
from trainyard.stacks.setting_draft import draft
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


def parse_settings(values: Mapping[str, Any], *, namespace: str, stack: str, now: datetime | None = None) -> Settings:
    """The settings that `values` hold, by key without the namespace.

    Values may be text, as Pulumi hands them to a program, or already of their type, as in a stack's YAML file. An empty
    one counts as missing. `now` is what past and future are told by, with a time zone; left out, the clock's.

    Raises:
        SettingsError: names every setting that is missing, wrong or unknown, or does not fit the others.
    """
    given = {key: value for key, value in values.items() if value not in EMPTY}
    unreadable = [key for key, value in given.items() if not _is_text(value)]
    told = {f"{namespace}:{key}": "It holds half a character; write it in UTF-8." for key in unreadable}
    readable = {key: value for key, value in given.items() if key not in unreadable}
    try:
        settings = Settings.model_validate(readable)
    except ValidationError as invalid:
        for problem in problems(invalid.errors(include_url=False), Settings, readable, namespace):
            told.setdefault(problem.key, problem.message)
        settings = draft(Settings, readable)
    between: dict[str, str] = {}
    for path, message in setting_checks.check(settings, now or datetime.now(UTC)):
        key = f"{namespace}:{path}"
        between[key] = f"{between[key]} {message}" if key in between else message
    wrong = [Problem(key, message) for key, message in {**between, **told}.items()]
    if wrong:
        raise SettingsError(stack, sorted(wrong, key=lambda problem: problem.key not in told))
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
