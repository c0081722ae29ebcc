"""An environment's file and what a command line changes in it, checked before anything is started."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainyard.policies import yaml_document
from trainyard.policies.yaml_document import UnreadableError

if TYPE_CHECKING:
    from trainyard.stacks.settings import Settings

NAMESPACE = "trainyard"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
_LARGEST_FILE_BYTES = 256 * 1024
_STEP = re.compile(r"(?P<key>[A-Za-z_][\w-]*)(?P<places>(?:\[\d+\])*)")


class SettingsError(Exception):
    """The environment's file, or what was to be set in it, is not as it has to be; `region` where it is known."""

    exit_status = 2

    def __init__(self, message: str, region: str | None = None) -> None:
        super().__init__(message)
        self.region = region


def environment_file(environment: str, project: Path) -> Path:
    """The environment's file; raises `SettingsError` that names those there are."""
    folder = project / "stacks" / "environments"
    file = folder / f"Pulumi.{environment}.yaml"
    if _NAME.fullmatch(environment) and file.is_file():
        return file
    known = ", ".join(names(project)) or "none"
    raise SettingsError(f"no environment is called {environment[:100]!r}; there are {known}")


def names(project: Path) -> list[str]:
    """Every environment that has a file."""
    folder = project / "stacks" / "environments"
    return sorted(found.stem.removeprefix("Pulumi.") for found in folder.glob("Pulumi.*.yaml") if found.is_file())


def read_values(file: Path) -> dict[str, Any]:
    """The configuration in a stack's file, by full key. Raises `SettingsError`."""
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST_FILE_BYTES + 1)
    except OSError as failed:
        raise SettingsError(f"{file} cannot be read: {failed.strerror}") from None
    try:
        if len(content) > _LARGEST_FILE_BYTES:
            raise UnreadableError(f"it is larger than {_LARGEST_FILE_BYTES // 1024} KiB")
        document = yaml_document.load(content.decode("utf-8-sig")) or {}
        if not isinstance(document, dict):
            raise UnreadableError("it is no mapping")
        config = document.get("config") or {}
        if not isinstance(config, dict):
            raise UnreadableError("its config is no mapping of keys to values")
        return _by_full_key(config)
    except (UnreadableError, UnicodeDecodeError) as wrong:
        raise SettingsError(f"{file} is not the YAML of a stack: {wrong}") from None


def _by_full_key(config: Mapping[Any, Any]) -> dict[str, Any]:
    """`config` with the namespaces that Pulumi adds where a key has none."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        if not isinstance(key, str):
            raise UnreadableError(f"the key {key!r} in its config is no text; put it in quotation marks")
        full = key if ":" in key else f"{NAMESPACE}:{key}"
        if full in values:
            raise UnreadableError(f"{full} stands in it twice")
        values[full] = value
    return values


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
            value = yaml_document.load(text)
        except UnreadableError:
            shown = assignment if len(assignment) <= 200 else f"{assignment[:200]}…"
            raise SettingsError(f"--set {shown}: the value is no YAML; put it in quotation marks") from None
        _assign(changed, _steps(path.strip().removeprefix(f"{NAMESPACE}:"), assignment), value, assignment)
    return changed


def read(environment: str, file: Path, changes: Sequence[str] = ()) -> tuple[dict[str, Any], Settings]:
    """The environment's configuration by full key, with `changes` made, and the settings in it.

    Raises `SettingsError`.
    """
    values = read_values(file)
    try:
        values = with_changes(values, changes)
        return values, parse(environment, values, str(file))
    except SettingsError as wrong:
        region = values.get(f"{NAMESPACE}:region")
        raise SettingsError(str(wrong), region if isinstance(region, str) else None) from None


def parse(environment: str, values: Mapping[str, Any], where: str) -> Settings:
    """The settings in `values`; raises `SettingsError` in the program's own words, naming `where` they stand."""
    import pulumi

    from trainyard.stacks.settings import parse_settings

    own = {
        key.removeprefix(f"{NAMESPACE}:"): _as_pulumi_has_it(value)
        for key, value in values.items()
        if key.startswith(f"{NAMESPACE}:")
    }
    try:
        return parse_settings(own, namespace=NAMESPACE, stack=environment)
    except pulumi.RunError as wrong:
        raise SettingsError(f"{wrong}\nin {where}") from None


def nearest(environment: str, values: Mapping[str, Any], known: Mapping[str, Any]) -> Settings:
    """The settings in `values`, which were written for another revision of the program.

    What today's program has no word for, or asks for since, is as in `known`, which it can read; no more than need be.
    """
    try:
        return parse(environment, values, "")
    except SettingsError:
        pass
    read, found = dict(known), parse(environment, known, "")
    for key in {**values, **known}:
        tried = {name: value for name, value in read.items() if name != key}
        if key in values:
            tried[key] = values[key]
        try:
            found = parse(environment, tried, "")
        except SettingsError:
            continue
        read = tried
    return found


def _as_pulumi_has_it(value: Any) -> Any:
    """A number that is a whole setting is text to the program, so that 2026 may be a name or an account's number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


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
