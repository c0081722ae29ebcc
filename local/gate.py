"""The gate: an environment judged on its resolved graph.

A value that is unknown in a preview silently turns a mandatory policy into advice. So the gate does not preview: it
brings the whole environment up in a throw-away emulated account, where every value is known, with the policy pack in
the engine, and reports every finding there is. While it runs each policy only advises, because a mandatory one stops
the engine at its first finding; the level that counts is the one the pack declares.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from trainyard.local import prerequisites
from trainyard.local.engine import EngineError, Event
from trainyard.local.rehearsal import Rehearsal
from trainyard.local.toolchain import Progress
from trainyard.policies.pack import policies
from trainyard.policies.rule import Verdict

_SIGNATURE = "4dabf18193072939515e22adb298388d"
"""The key that marks a secret in a state (pulumi: sdk/go/common/resource/sig)."""

_EVERYTHING_ADVISES = {"all": "advisory"}


class Status(StrEnum):
    """What the gate says, from best to worst; `exit_status` is what a command ends with."""

    CLEAN = "clean"
    VIOLATIONS = "violations"
    BAD_SETTINGS = "bad settings"
    UNVERIFIED = "cannot be verified"
    FAILED = "failed"

    @property
    def exit_status(self) -> int:
        return {"clean": 0, "violations": 1, "bad settings": 2}.get(self.value, 3)


@dataclass(frozen=True)
class PlannedResource:
    """One resource of the environment, with the inputs the program gave it, all of them known. Secrets are hidden."""

    urn: str
    type: str
    name: str
    parent: str | None
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class PolicyFinding:
    """What a policy has against a resource; `urn` is the stack's where it is about the whole."""

    policy: str
    level: str
    urn: str
    message: str


@dataclass(frozen=True)
class Report:
    """What `trainyard preview --json` prints, and why the engine failed where it did."""

    environment: str
    region: str | None
    status: Status
    resources: Sequence[PlannedResource] = ()
    policies: Sequence[PolicyFinding] = ()
    error: str = field(default="")
    evaluated: frozenset[str] = frozenset()
    """Names of the policies that were judged on something."""

    def as_json(self) -> dict[str, Any]:
        return {
            "environment": self.environment,
            "region": self.region,
            "status": self.status.value,
            "resources": [asdict(one) for one in self.resources],
            "policies": [asdict(one) for one in self.policies],
        }


def judge(
    environment: str,
    values: Mapping[str, Any],
    *,
    layers: Sequence[str] = (),
    on_event: Callable[[Event], None] | None = None,
    progress: Progress | None = None,
    project: Path | None = None,
) -> Report:
    """Bring `environment` up in an account of its own that ends with this call, and report on it.

    `values` are the whole configuration of the stack, by full key (`trainyard:region`). `layers` names the parts where
    the environment is split into several stacks.
    """
    region = values.get("trainyard:region")
    with tempfile.TemporaryDirectory(prefix="trainyard-gate-") as folder:
        config = Path(folder, f"Pulumi.{environment}.yaml")
        config.write_text(yaml.safe_dump({"config": dict(values)}))
        levels = Path(folder, "levels.json")
        levels.write_text(json.dumps(_EVERYTHING_ADVISES))
        rehearsal = Rehearsal(
            environment,
            Path(folder, "rehearsal"),
            project,
            config=config,
            policy_configuration=levels,
            layers=layers,
            throw_away=True,
        )
        with rehearsal:
            error = ""
            config.write_text(yaml.safe_dump({"config": prerequisites.provide(rehearsal.endpoint, values)}))
            try:
                result = rehearsal.up(on_event, progress)
            except EngineError as failed:
                result, error = failed.result, str(failed)
            resources = planned_resources(rehearsal.export())
    findings = tuple(_findings(result.violations))
    return Report(environment, region, _status(findings, error), resources, findings, error, frozenset(result.policies))


def planned_resources(export: Mapping[str, Any]) -> tuple[PlannedResource, ...]:
    """The resources of an exported deployment, in the order they were made."""
    return tuple(
        PlannedResource(
            urn=raw["urn"],
            type=raw["type"],
            name=raw["urn"].rpartition("::")[2],
            parent=raw.get("parent") or None,
            inputs=_shown(raw.get("inputs") or {}),
        )
        for raw in (export.get("deployment") or {}).get("resources") or []
        if not raw.get("delete")
    )


def _shown(value: Any) -> Any:
    """A value without the engine's own keys and without secrets."""
    if isinstance(value, Mapping):
        if _SIGNATURE in value:
            return "[secret]"
        return {key: _shown(item) for key, item in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return value


def _findings(violations: Sequence[Mapping[str, str]]) -> list[PolicyFinding]:
    declared = {policy.name: policy.enforcement_level for policy in policies()}
    return [
        PolicyFinding(
            one["policy"],
            level.value if (level := declared.get(one["policy"])) else "mandatory",
            one["urn"],
            one["message"],
        )
        for one in violations
    ]


def _status(findings: Sequence[PolicyFinding], error: str) -> Status:
    mandatory = [one for one in findings if one.level == "mandatory"]
    unverified = [one for one in mandatory if f"[{Verdict.UNVERIFIED}]" in one.message]
    if len(mandatory) > len(unverified):
        return Status.VIOLATIONS
    if error:
        return Status.FAILED
    return Status.UNVERIFIED if unverified else Status.CLEAN
