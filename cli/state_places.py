"""Where Pulumi keeps an environment's state and the key of its secrets, as the repository has it written, and judged.

It is no setting and no resource, so neither the program nor a policy pack sees it. What the shell of whoever runs this
is set to (PULUMI_BACKEND_URL, `pulumi login`) is theirs, and not what is reviewed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainyard.policies import yaml_document
from trainyard.policies.yaml_document import UnreadableError

if TYPE_CHECKING:
    from trainyard.policies.rule import Result
    from trainyard.stacks.settings import Settings


def judged(environment: str, project: Path, settings: Settings, file: Path | None = None) -> tuple[Result, ...]:
    """What the two rules say of an environment in the checkout `project`, where they say something.

    `file` is the environment's, where it is not the one in the checkout. A split environment has a stack for each
    layer, each with a file of its own where Pulumi keeps what it needs.
    """
    from trainyard.policies.residency.backend import judge_backend

    about = _mapping(project / "Pulumi.yaml")
    named = about.get("backend")
    backend = str(named.get("url") or "") if isinstance(named, dict) else ""
    found: dict[tuple[str, str], Result] = {}
    for stack, stack_file in _stacks(environment, project, settings, file):
        key = str(_mapping(stack_file).get("secretsprovider") or "")
        for result in judge_backend(str(about.get("name", "")), stack, settings.data_class, backend, key):
            for finding in result.findings:
                found.setdefault((result.rule.id, finding.message), result)  # one for all layers that are alike
    return tuple(found.values())


def _stacks(environment: str, project: Path, settings: Settings, file: Path | None) -> Iterator[tuple[str, Path]]:
    folder = project / "stacks" / "environments"
    if not settings.stack_layers:
        yield environment, file or folder / f"Pulumi.{environment}.yaml"
    for layer in settings.stack_layers:
        yield f"{environment}-{layer}", folder / f"Pulumi.{environment}-{layer}.yaml"


def _mapping(file: Path) -> dict[str, Any]:
    """A file's content; empty where there is none, or none of that kind: others say what is wrong with it."""
    try:
        content = yaml_document.load(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, UnreadableError):
        return {}
    return content if isinstance(content, dict) else {}
