"""An environment's file and what a command line changes in it, checked before anything is started."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from trainyard.stacks.settings import Settings

NAMESPACE = "trainyard"
_STEP = re.compile(r"(?P<key>[A-Za-z_][\w-]*)(?P<places>(?:\[\d+\])*)")


class SettingsError(Exception):
    """The environment's file, or what was to be set in it, is not as it has to be."""

    exit_status = 2


def environment_file(environment: str, project: Path) -> Path:
    """The environment's file; raises `SettingsError` that names those there are."""
    file = project / "stacks" / "environments" / f"Pulumi.{environment}.yaml"
    if not file.is_file():
        known = sorted(found.stem.removeprefix("Pulumi.") for found in file.parent.glob("Pulumi.*.yaml"))
        raise SettingsError(f"no environment is called {environment!r}; there are {', '.join(known)}")
    return file


def read_values(file: Path) -> dict[str, Any]:
    """The configuration in a stack's file, by full key. Raises `SettingsError`."""
    try:
        content = yaml.safe_load(file.read_text()) or {}
        return dict(content.get("config") or {})
    except (yaml.YAMLError, AttributeError, ValueError, TypeError) as wrong:
        raise SettingsError(f"{file} is not the YAML of a stack: {wrong}") from None


def with_changes(values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """`values` with each `key=value` of `assignments` set.

    A key is a setting's name, with or without `trainyard:`, and may lead into it: `lustre.storage_gib=2400`,
    `gpu_groups[0].maximum_nodes=8`. A value is YAML; `null` takes a setting away. Raises `SettingsError`.
    """
    changed = copy.deepcopy(dict(values))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise SettingsError(f"--set {assignment}: it is written key=value, such as --set region=us-west-2")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise SettingsError(f"--set {assignment}: the value is no YAML; put it in quotation marks") from None
        _assign(changed, _steps(path.strip().removeprefix(f"{NAMESPACE}:"), assignment), value, assignment)
    return changed


def parse(environment: str, values: Mapping[str, Any], where: str) -> Settings:
    """The settings in `values`; raises `SettingsError` in the program's own words, naming `where` they stand."""
    import pulumi

    from trainyard.stacks.settings import parse_settings

    own = {key.removeprefix(f"{NAMESPACE}:"): value for key, value in values.items() if key.startswith(f"{NAMESPACE}:")}
    try:
        return parse_settings(own, namespace=NAMESPACE, stack=environment)
    except pulumi.RunError as wrong:
        raise SettingsError(f"{wrong}\nin {where}") from None


def _steps(path: str, assignment: str) -> list[str | int]:
    steps: list[str | int] = []
    for part in path.split("."):
        match = _STEP.fullmatch(part)
        if match is None:
            raise SettingsError(f"--set {assignment}: {path!r} is no key; write name, name.part or name[0].part")
        steps.append(match["key"])
        steps += [int(place) for place in re.findall(r"\d+", match["places"])]
    return steps


def _assign(values: dict[str, Any], steps: list[str | int], value: Any, assignment: str) -> None:
    holder: Any = values
    keys: list[str | int] = [f"{NAMESPACE}:{steps[0]}", *steps[1:]]
    for place, key in enumerate(keys):
        if isinstance(key, int):
            if not isinstance(holder, list) or key >= len(holder):
                there = f"it has {len(holder)}" if isinstance(holder, list) else "it is no list"
                raise SettingsError(f"--set {assignment}: there is no entry [{key}]; {there}")
        elif not isinstance(holder, dict):
            raise SettingsError(f"--set {assignment}: what stands before .{key} is no object")
        if place == len(keys) - 1:
            if value is None and isinstance(holder, dict):
                holder.pop(key, None)
            else:
                holder[key] = value
            return
        if isinstance(key, str) and holder.get(key) is None:
            holder[key] = {}
        holder = holder[key]
