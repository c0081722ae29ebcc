"""The gate: an environment judged on its resolved graph.

A value that is unknown in a preview silently turns a mandatory policy into advice. So the gate does not preview: it
brings the whole environment up in a throw-away emulated account, where every value is known, with the policy pack in
the engine, and reports every finding there is. While it runs each policy only advises, because a mandatory one stops
the engine at its first finding; the level that counts is the one the pack declares.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from trainyard.local import prerequisites, scratch, supervisor
from trainyard.local.engine import EngineError, Event
from trainyard.local.gate_report import PlannedResource, PolicyFinding, Report, Status
from trainyard.local.prerequisites import PrerequisiteError
from trainyard.local.rehearsal import Rehearsal
from trainyard.local.service import ServiceError
from trainyard.local.shown_values import shown
from trainyard.local.toolchain import Progress, ToolError
from trainyard.policies.analyzer import level_told, told
from trainyard.policies.in_force import in_force
from trainyard.policies.rule import Level, Result, Verdict
from trainyard.policies.state import evaluate_export
from trainyard.stacks.settings import Settings

__all__ = ["PlannedResource", "PolicyFinding", "Report", "Status", "judge", "planned_resources"]

PURPOSE = "gate"
"""Of the temporary folders, in which the accounts are."""


def judge(
    environment: str,
    values: Mapping[str, Any],
    settings: Settings,
    *,
    on_event: Callable[[Event], None] | None = None,
    progress: Progress | None = None,
    project: Path | None = None,
) -> Report:
    """Bring `environment` up in an account of its own that ends with this call, and report on it.

    `values` are the whole configuration of the stack, by full key (`trainyard:region`), and `settings` what they mean.
    Whatever keeps the environment from coming up is in the report; interrupts and bugs are raised.
    """
    clear_left_behind()
    try:
        with scratch.folder(PURPOSE) as folder:
            return _judge_in(folder, environment, values, settings, on_event, progress, project)
    except (ServiceError, ToolError, PrerequisiteError, scratch.NoScratchError, OSError) as failed:
        return Report(environment, settings.region, Status.FAILED, error=str(failed))


def clear_left_behind(purpose: str = PURPOSE) -> None:
    """Remove what gates that were killed have left, or others who rehearse in temporary folders. Their services have
    ended with them, unless they hang."""
    for left in scratch.left_behind(purpose):
        for rehearsed in filter(Path.is_dir, left.glob("*")):
            supervisor.stop(rehearsed, within_seconds=5)
        shutil.rmtree(left, ignore_errors=True)


def _judge_in(
    folder: Path,
    environment: str,
    values: Mapping[str, Any],
    settings: Settings,
    on_event: Callable[[Event], None] | None,
    progress: Progress | None,
    project: Path | None,
) -> Report:
    own = readable(values)
    config = folder / f"Pulumi.{environment}.yaml"
    config.write_text(_yaml({"config": own}), encoding="utf-8")
    levels = folder / "levels.json"
    everything_advises = {rule.id: {"stops": False} for rule in in_force().served}
    levels.write_text(json.dumps(everything_advises), encoding="utf-8")
    rehearsal = Rehearsal(
        environment,
        folder / "rehearsal",
        project,
        config=config,
        policy_configuration=levels,
        layers=settings.stack_layers,
        throw_away=True,
    )
    with rehearsal:
        given = prerequisites.provide(rehearsal.endpoint, settings)
        config.write_text(_yaml({"config": {**own, **given}}), encoding="utf-8")
        error = ""
        try:
            result = rehearsal.up(on_event, progress)
        except EngineError as failed:
            result, error = failed.result, str(failed)
        export = rehearsal.export()
    if not error and not result.policies:
        error = "the engine judged no policy"
    # The engine judges one stack at a time. What a layer refers to in another is known only over all of them.
    findings = tuple(_over_all(export) if settings.stack_layers and not error else _findings(result.violations))
    status, resources = _status(findings, error), planned_resources(export)
    return Report(environment, settings.region, status, resources, findings, error, frozenset(result.policies))


def with_more(report: Report, results: Iterable[Result]) -> Report:
    """The report with what was found besides, outside of the program."""
    more = tuple(
        PolicyFinding(result.rule.id, finding.level.value, result.resource.urn, told(result, finding))
        for result in results
        for finding in result.findings
    )
    findings = (*report.policies, *more)
    return replace(report, policies=findings, status=_status(findings, report.error)) if more else report


def readable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Only the key of its stack opens what is encrypted, and the program has no secret settings."""
    return {key: value for key, value in values.items() if not _is_encrypted(value)}


def _is_encrypted(value: Any) -> bool:
    if isinstance(value, Mapping):
        return set(value) == {"secure"} or any(_is_encrypted(item) for item in value.values())
    return isinstance(value, list) and any(_is_encrypted(item) for item in value)


def _yaml(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(content), allow_unicode=True)


def planned_resources(export: Mapping[str, Any]) -> tuple[PlannedResource, ...]:
    """The resources of an exported deployment, in the order they were made."""
    return tuple(
        PlannedResource(
            urn=raw["urn"],
            type=raw["type"],
            name=raw["urn"].rpartition("::")[2],
            parent=raw.get("parent") or None,
            inputs=shown(raw.get("inputs") or {}),
        )
        for raw in (export.get("deployment") or {}).get("resources") or []
        if not raw.get("delete")
    )


def _findings(violations: Sequence[Mapping[str, str]]) -> list[PolicyFinding]:
    """At the levels that they have in their environment: here the engine was told that everything advises."""
    declared = {rule.id: rule.level for rule in in_force().served}
    return [
        PolicyFinding(
            one["policy"],
            level_told(one["message"], declared.get(one["policy"], Level.MANDATORY)).value,
            one["urn"],
            one["message"],
        )
        for one in violations
    ]


def _over_all(export: Mapping[str, Any]) -> Iterator[PolicyFinding]:
    """The rules over all stacks of a split environment together."""
    for result in evaluate_export(in_force(), export):
        for finding in result.findings:
            yield PolicyFinding(result.rule.id, finding.level.value, result.resource.urn, told(result, finding))


def _status(findings: Sequence[PolicyFinding], error: str) -> Status:
    mandatory = [one for one in findings if one.level == "mandatory"]
    unverified = [one for one in mandatory if f"[{Verdict.UNVERIFIED}]" in one.message]
    if len(mandatory) > len(unverified):
        return Status.VIOLATIONS
    if error:
        return Status.FAILED
    return Status.UNVERIFIED if unverified else Status.CLEAN
