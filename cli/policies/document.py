"""A file that resources can be read from: which kind it is, told from what is in it, and what is wrong with it if it is
none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainyard.policies.graph import Graph
    from trainyard.policies.rule import Result

LARGEST = 1 << 30
"""Bytes. 5,000 resources take some 50 MiB."""
_VERSIONS = (3, 4)
_KINDS = (
    "an exported state (pulumi stack export), a saved preview (pulumi preview --json --show-sames) "
    "or a Terraform plan (terraform show -json PLAN)"
)
_STACK = re.compile(r"urn:pulumi:([^:]+)::")


class UnreadableFileError(Exception):
    """The file cannot be judged; the message says why, and what to give instead."""

    exit_status = 2


@dataclass(frozen=True)
class Document:
    """What a file holds. `stack` is the Pulumi stack that it is of; empty where a file names none."""

    kind: str
    stack: str
    inputs: Graph
    outputs: Graph
    notice: str = ""
    """What in the file is not known, and how it would be."""
    unread: Result | None = None
    """Tells which resources are of kinds that no rule can read."""


def read(file: Path, environment: str = "") -> Document:
    """The file's resources, as those of `environment` where one is given. Raises `UnreadableFileError`."""
    from trainyard.policies.saved_preview import UnusablePreviewError
    from trainyard.policies.terraform.plan import NotAPlanError

    content = parsed(file)
    try:
        return _recognised(content, environment)
    except (UnreadableFileError, UnusablePreviewError, NotAPlanError) as wrong:
        raise UnreadableFileError(f"{file}: {wrong}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise UnreadableFileError(f"{file}: it is damaged, or not {_KINDS}: {_said(wrong)}") from None
    except RecursionError:
        raise UnreadableFileError(f"{file} is nested too deeply to be {_KINDS}") from None


def _said(wrong: Exception) -> str:
    return str(wrong) if isinstance(wrong, ValueError) else f"{type(wrong).__name__} {wrong}"


def parsed(file: Path, kinds: str = _KINDS) -> Any:
    """The JSON in the file. Raises `UnreadableFileError`, saying that `kinds` may be given instead."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(LARGEST + 1)  # a pipe or a device does not say beforehand how much it holds
        if len(raw) > LARGEST:
            raise UnreadableFileError(f"{file} has more than {LARGEST >> 20} MiB, the most that is read")
        return json.loads(raw)
    except OSError as failed:
        raise UnreadableFileError(f"{file} cannot be read: {failed.strerror}") from None
    except UnicodeDecodeError:
        raise UnreadableFileError(f"{file} is no text; give {kinds}") from None
    except json.JSONDecodeError as wrong:
        raise UnreadableFileError(f"{file} {_what_instead_of_json(wrong)}; give {kinds}") from None
    except RecursionError:
        raise UnreadableFileError(f"{file} is nested too deeply to be {kinds}") from None
    except ValueError:  # Python reads whole numbers of up to 4,300 digits
        raise UnreadableFileError(f"{file} has a number that is too long to be read; give {kinds}") from None


def _what_instead_of_json(wrong: json.JSONDecodeError) -> str:
    if not wrong.doc.strip():
        return "is empty"
    if wrong.msg == "Extra data":
        return "holds more than one JSON document, as an event log does"
    if wrong.msg.startswith("Unterminated") or wrong.pos >= len(wrong.doc.rstrip()) - 1:
        return f"ends in the midst of it (line {wrong.lineno}): it is cut off"
    return f"is no JSON (line {wrong.lineno}: {wrong.msg})"


def _recognised(content: Any, environment: str) -> Document:
    from trainyard.policies import saved_preview
    from trainyard.policies.terraform.plan import is_plan

    if not isinstance(content, Mapping):
        raise UnreadableFileError(f"it is JSON, but not {_KINDS}")
    if saved_preview.is_preview(content):
        return _pulumi("saved preview", saved_preview.as_export(content), environment)
    if "deployment" in content:
        _require_version(content.get("version"))
        return _pulumi("exported state", content, environment)
    if isinstance(content.get("checkpoint"), Mapping):  # as a backend keeps it
        _require_version(content.get("version"))
        return _pulumi("state file", {"deployment": content["checkpoint"].get("latest") or {}}, environment)
    if is_plan(content):
        return _terraform(content, environment)
    if "resourcePlans" in content:
        raise UnreadableFileError(
            "it is an update plan (--save-plan), which holds changes and not resources; "
            "save the preview: pulumi preview --json --show-sames"
        )
    if "terraform_version" in content and "lineage" in content:
        raise UnreadableFileError("it is Terraform's state; give a plan as JSON: terraform show -json PLAN")
    raise UnreadableFileError(f"it is JSON, but not {_KINDS}")


def _require_version(version: Any) -> None:
    if version not in _VERSIONS:
        raise UnreadableFileError(
            f"it is a state of version {version!r}, and {' and '.join(map(str, _VERSIONS))} are known; "
            "export it with a Pulumi of today: pulumi stack export"
        )


def _pulumi(kind: str, export: Mapping[str, Any], environment: str) -> Document:
    from trainyard.policies.state import graph_of

    deployment = export["deployment"]
    if not isinstance(deployment, Mapping):
        raise UnreadableFileError("its deployment is no object: the export did not come to its end, or was edited")
    resources = deployment.get("resources")
    resources = [] if resources is None else resources  # as of a stack that has none
    if not isinstance(resources, list) or not all(map(_is_resource, resources)):
        raise UnreadableFileError("its deployment.resources is no list of resources")
    stacks = {found[1] for one in resources if (found := _STACK.match(str(one["urn"])))}
    if len(stacks) > 1 and environment:
        raise UnreadableFileError(f"it is of the stacks {', '.join(sorted(stacks))}, which cannot be one environment")
    if environment and stacks:
        export = _renamed(
            export, lambda text: text.replace(f"urn:pulumi:{min(stacks)}::", f"urn:pulumi:{environment}::")
        )
    secret = _secrets([one.get("outputs") or one.get("inputs") for one in resources])
    closed = "1 secret value is closed and counts" if secret == 1 else f"{secret} secret values are closed and count"
    notice = f"{closed} as unknown: pulumi stack export --show-secrets opens them" if secret else ""
    stack = environment or ", ".join(sorted(stacks))
    return Document(kind, stack, graph_of(export, "inputs"), graph_of(export, "outputs"), notice)


def _is_resource(raw: Any) -> bool:
    return isinstance(raw, Mapping) and isinstance(raw.get("urn"), str) and isinstance(raw.get("type"), str)


def _terraform(content: Mapping[str, Any], environment: str) -> Document:
    from trainyard.policies.terraform import plan

    if not environment:
        raise UnreadableFileError("it is a Terraform plan, which names no environment: --environment says which it is")
    return Document(
        "Terraform plan",
        environment,
        plan.graph_of_plan(content, environment, "inputs"),
        plan.graph_of_plan(content, environment, "outputs"),
        unread=plan.unread(content, environment),
    )


def _renamed(value: Any, change: Callable[[str], str]) -> Any:
    """Every text in it, also the keys, changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key): _renamed(one, change) for key, one in value.items()}
    return [_renamed(one, change) for one in value] if isinstance(value, list) else value


def _secrets(value: Any) -> int:
    """Secrets whose text is not there."""
    from trainyard.policies.wire import SIGNATURE

    found, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            found += SIGNATURE in one and "ciphertext" in one and "plaintext" not in one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return found
