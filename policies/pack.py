"""The rules as a CrossGuard pack: what the engine is told of each, and the process that serves them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from concurrent import futures
from pathlib import Path
from typing import Any, NoReturn

import grpc
from pulumi.runtime.proto import analyzer_pb2_grpc
from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyComplianceFramework,
    PolicyConfigSchema,
    ResourceValidationPolicy,
    StackValidationPolicy,
)
from pulumi_policy import Severity as SdkSeverity

from trainyard.policies.analyzer import Analyzer
from trainyard.policies.in_force import InForce, in_force
from trainyard.policies.rule import Rule, Scope

NAME = "trainyard"
_LARGEST_MESSAGE = 400 << 20  # bytes; a whole stack comes in one
_REQUESTS_AT_ONCE = 4

# What a rule does about a value that it cannot judge. Advice lets a preview of a new stack succeed; an `up` meets the
# same rules again with the values known.
_CONFIGURATION = PolicyConfigSchema(
    {
        "unverified": {
            "type": "string",
            "enum": ["mandatory", "advisory"],
            "default": "mandatory",
            "description": "Whether what cannot be verified stops the deployment or is reported as advice",
        },
        "stops": {
            "type": "boolean",
            "default": True,
            "description": "false: every finding is reported as advice, for a run that collects them all",
        },
    }
)


def policies(rules: Iterable[Rule]) -> list[Policy]:
    """One policy for each rule, mandatory unless the pack's configuration says otherwise."""
    return [
        ResourceValidationPolicy(validate=_judged_by_the_analyzer, **_metadata(one))
        if one.scope is Scope.RESOURCE
        else StackValidationPolicy(validate=_judged_by_the_analyzer, **_metadata(one))
        for one in rules
    ]


def analyzer(judging: InForce) -> Analyzer:
    register = judging.register()
    served = [*judging.served, register.rule()]
    return Analyzer(NAME, served, policies(served), judging.levels, register)


def serve(folder: Path) -> None:
    """Serves the pack in `folder` to the engine that started this process, until it ends that. Tells it the port, on
    stdout."""
    server = grpc.server(
        futures.ThreadPoolExecutor(_REQUESTS_AT_ONCE),
        options=[("grpc.max_receive_message_length", _LARGEST_MESSAGE)],
    )
    analyzer_pb2_grpc.add_AnalyzerServicer_to_server(analyzer(in_force(folder)), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    server.wait_for_termination()


def _judged_by_the_analyzer(*_: Any) -> NoReturn:
    raise AssertionError("policies only describe the rules; Analyzer runs them")


def _metadata(rule: Rule) -> dict[str, Any]:
    catalogue, ids = next(iter(rule.controls.items()))
    return {
        "name": rule.id,
        "enforcement_level": EnforcementLevel(rule.level.value),
        "description": rule.title,
        "display_name": rule.title,
        "severity": SdkSeverity(rule.severity.value),
        "config_schema": _CONFIGURATION,
        "framework": PolicyComplianceFramework(name=catalogue, specification=" ".join(ids)),
        "tags": [f"{name} {control}" for name, controls in rule.controls.items() for control in controls],
        "remediation_steps": rule.remedy,
    }


if __name__ == "__main__":
    # What policies/unverified-advisory.json holds.
    advice = {rule.id: {"unverified": "advisory"} for rule in in_force().rules}
    print(json.dumps(advice, indent=2))
