"""Batches of cases through the real engine: a stack for each environment, a preview for each batch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Self

import yaml
from waiting import WAIT_SECONDS

from tests.rehearsal.every_rule.batches import Batch, Placed
from trainyard.local import toolchain
from trainyard.local.aws.sdk import UnknownTypeError, sdk_type
from trainyard.local.engine import Engine, EngineError, Event, Result
from trainyard.policies.graph import Resource
from trainyard.policies.rule import Scope
from trainyard.policies.testing import wire
from trainyard.policies.values import UNKNOWN

HERE = Path(__file__).parent
PACK = HERE.parents[2] / "policies"
PACK_OF_ONE_DAY = HERE / "pack_of_one_day"
_PACKAGES = ("aws", "aws-native", "kubernetes", "random")
_REFERENCE = "pulumi:pulumi:StackReference"
_NO_ACCOUNT = "http://127.0.0.1:9"  # nothing here talks to a cloud

_ERRORS_OF_POLICIES = {"preview failed", "update failed"}

Told = Counter[tuple[str, str, str]]
"""URN, level and message of findings."""


@dataclass
class Answer:
    """What the engine told of a batch."""

    registered: set[str] = field(default_factory=set)
    """URNs of the resources that it would make or read."""
    asked: dict[str, set[str]] = field(default_factory=dict)
    """Policies by the URN of the resource that they judged alone; under "" those that judged the stack."""
    findings: list[dict[str, str]] = field(default_factory=list)

    def hear(self, event: Event) -> None:
        alone, stack = event.get("policyAnalyzeSummaryEvent"), event.get("policyAnalyzeStackSummaryEvent")
        if summary := alone or stack:
            policies = self.asked.setdefault(summary.get("resourceUrn", "") if alone else "", set())
            policies.update(summary.get("passed") or (), summary.get("failed") or ())
        elif "resourcePreEvent" in event:
            self.registered.add(event["resourcePreEvent"]["metadata"]["urn"])

    def of(self, one: Placed) -> Told:
        """What the case's own rule found in it."""
        return Counter(
            (found["urn"], found["level"], found["message"])
            for found in self.findings
            if found["policy"] == one.rule.id and one.holds(found["urn"])
        )


class _Engine(Engine):
    """With a provider that runs already: the engine would start one for each provider that a case configures."""

    port = ""

    def environment(self) -> dict[str, str]:
        attached = ",".join(f"{package}:{self.port}" for package in _PACKAGES)
        return super().environment() | {"PULUMI_DEBUG_PROVIDERS": attached}


class Runs:
    """The engine with a provider for resources of every type, inside a `with`; what it leaves lies in `home`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._batch, self._added = home / "batch.json", home / "added.json"
        self._engines: dict[str, Engine] = {}

    def __enter__(self) -> Self:
        command = [sys.executable, str(HERE / "plugin.py"), str(self._added)]
        self._provider = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._provider.stdout is not None
        self._port = self._provider.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._provider.terminate()
        self._provider.wait(timeout=WAIT_SECONDS)

    def preview(self, batch: Batch) -> Answer:
        """What engine and pack say of a batch."""
        answer = Answer()
        engine = self.engine(batch.environment, batch.cases)
        pack = PACK_OF_ONE_DAY if batch.dated else PACK
        result = finished(engine, "preview", pack, on_event=answer.hear)
        answer.findings = result.violations
        return answer

    def engine(self, stack: str, cases: Sequence[Placed]) -> Engine:
        """Of this stack, with the program that registers these cases."""
        self._batch.write_text(json.dumps([_described(one) for one in cases]), encoding="utf-8")
        added = {
            one.urn(resource.urn): _added(resource, one.rule.scope) for one in cases for resource in one.case.resources
        }
        self._added.write_text(json.dumps(added), encoding="utf-8")
        others = {resource.name for one in cases for resource in one.case.resources if resource.type == _REFERENCE}
        for name in {stack, *others} - self._engines.keys():
            self._engines[name] = self._prepared(name)
        return self._engines[stack]

    def _prepared(self, stack: str) -> Engine:
        settings = self._home / f"{stack}.yaml"
        settings.write_text(yaml.safe_dump({"config": {"cases:batch": str(self._batch), "aws:region": "us-east-1"}}))
        pulumi = toolchain.find("pulumi")
        engine = _Engine(pulumi, HERE / "program", stack, self._home / "engine", _NO_ACCOUNT, settings)
        engine.port = self._port
        engine.ensure_stack()
        return engine


def finished(
    engine: Engine,
    operation: str,
    pack: Path,
    configuration: Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Result:
    """The result of a run that the pack may have stopped. Raises `EngineError` where something else did."""
    arguments = ["--policy-pack-config", str(configuration)] if configuration else []
    try:
        return engine.run(operation, *arguments, policy_pack=pack, on_event=on_event)
    except EngineError as stopped:
        if not stopped.result.mandatory or set(stopped.result.errors) - _ERRORS_OF_POLICIES:
            raise
        return stopped.result


def _described(one: Placed) -> dict[str, Any]:
    """A case for the program."""
    return {
        "component": one.component,
        "resources": [
            {
                "type": resource.type,
                "name": resource.name,
                "inputs": wire({name: resource.props[name] for name in _inputs(resource, one.rule.scope)}),
                "provider": resource.provider.name if resource.provider else None,
                "depends": {
                    name: [urn.rpartition("::")[2] for urn in urns]
                    for name, urns in resource.property_dependencies.items()
                },
            }
            for resource in _origins_first(one.case.resources)
        ],
    }


def _origins_first(resources: Sequence[Resource]) -> Iterable[Resource]:
    """In the order in which a program can write them. Raises `CycleError` where there is none."""
    by_urn = {resource.urn: resource for resource in resources}
    needed = {
        one.urn: {*one.dependencies, *([one.provider.urn] if one.provider else ())} & by_urn.keys() for one in resources
    }
    return [by_urn[urn] for urn in TopologicalSorter(needed).static_order()]


def _added(resource: Resource, scope: Scope) -> dict[str, Any]:
    """What no program says of a resource: AWS's provider merges tags when it checks, and the rest comes from AWS."""
    inputs = set(_inputs(resource, scope))
    rest = {name: value for name, value in resource.props.items() if name not in inputs}
    checked = {name: rest.pop(name) for name in ("tagsAll",) if name in rest}
    return {"checked": wire(checked), "made": wire(rest)}


def _inputs(resource: Resource, scope: Scope) -> Iterable[str]:
    """The properties that the program gives. Of a whole stack the engine says what each was computed from: one that is
    unknown and of which it says nothing is AWS's own answer, as that to an argument that was left out."""
    try:
        possible = set(sdk_type(resource.type).inputs)
    except UnknownTypeError:
        possible = set(resource.props) - {"id"}
    for name, value in resource.props.items():
        answered = scope is Scope.STACK and value is UNKNOWN and name not in resource.property_dependencies
        if name in possible and not answered:
            yield name
