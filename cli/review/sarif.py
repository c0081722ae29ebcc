"""A review as SARIF 2.1.0, which code hosts show beside the lines of a change."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trainyard.cli.review import words
from trainyard.cli.review.model import Environment, Finding, Review, Standing
from trainyard.policies.rule import Severity, Verdict

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_BASELINE = {Standing.NEW: "new", Standing.STANDING: "unchanged", Standing.FIXED: "absent"}
# What GitHub sorts by: https://docs.github.com/code-security/code-scanning, "security-severity".
_SCORES = {Severity.CRITICAL: "9.5", Severity.HIGH: "8.0", Severity.MEDIUM: "5.5", Severity.LOW: "2.0"}


def render(review: Review) -> dict[str, Any]:
    """One run. A finding lies in its environment's settings file, or in the file that was judged: a resource has no
    line of its own in a program. Without a base there is nothing that a finding could be new against."""
    found = [(one, finding) for one in review.environments for finding in one.findings]
    rules = {finding.rule: finding for _, finding in found}
    positions = {rule: position for position, rule in enumerate(rules)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "trainyard",
                        "version": version("trainyard"),
                        "rules": [_rule(finding) for finding in rules.values()],
                    }
                },
                "results": [
                    _result(one, finding, positions[finding.rule]) | _baseline(review, finding)
                    for one, finding in found
                ],
                "invocations": [
                    {
                        "executionSuccessful": not any(one.failure for one in review.environments),
                        "exitCode": review.exit_status,
                        "toolExecutionNotifications": list(_notifications(review)),
                    }
                ],
                "properties": {"base": review.base, "head": review.head},
            }
        ],
    }


def _rule(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.rule,
        "shortDescription": {"text": finding.title},
        "fullDescription": {"text": finding.why},
        "help": {
            "text": f"{finding.why}\n\n{finding.remedy}",
            "markdown": f"{finding.why}\n\n```python\n{finding.remedy}\n```",
        },
        "defaultConfiguration": {"level": "error" if finding.level == "mandatory" else "warning"},
        "properties": {
            "security-severity": _SCORES[finding.severity],
            "tags": [f"{name} {control}" for name, controls in finding.controls.items() for control in controls],
        },
    }


def _result(environment: Environment, finding: Finding, position: int) -> dict[str, Any]:
    place = f"{finding.name}.{finding.place}" if finding.place else finding.name
    unverified = finding.verdict is Verdict.UNVERIFIED
    answered = {"suppressions": [{"kind": "external", "status": "accepted", "justification": finding.message}]}
    return (answered if finding.level == "exempt" else {}) | {
        "ruleId": finding.rule,
        "ruleIndex": position,
        "kind": "open" if unverified else "fail",
        "level": "none" if unverified else "error" if finding.level == "mandatory" else "warning",
        "message": {"text": f"{environment.name}: {place}: {finding.message}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(environment)},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"fullyQualifiedName": finding.urn, "name": finding.name, "kind": "resource"}],
            }
        ],
        "partialFingerprints": {"resource/v1": f"{finding.rule}|{finding.urn}|{finding.place}"},
    }


def _baseline(review: Review, finding: Finding) -> dict[str, str]:
    return {"baselineState": _BASELINE[finding.standing]} if review.base else {}


def _uri(environment: Environment) -> str:
    if not environment.source:
        return f"stacks/environments/Pulumi.{environment.name}.yaml"
    file = Path(environment.source)
    return file.as_uri() if file.is_absolute() else quote(file.as_posix())


def _notifications(review: Review) -> Iterator[dict[str, Any]]:
    for said in (*words.warnings(review), *(one.summary for one in review.judging)):
        yield {"level": "warning", "message": {"text": said}}
    for one in review.environments:
        for said in filter(None, (one.failure, one.apply_error)):
            yield {"level": "error", "message": {"text": f"{one.name}: {said}"}}
