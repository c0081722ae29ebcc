"""Builds, functions and parameters get secrets by reference, not in plain text."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.graph import Resource
from trainyard.policies.rule import Finding, Severity, each, resource_rule, violation
from trainyard.policies.user_data import secrets_in
from trainyard.policies.values import Value

_BUILDS = frozenset({"aws:codebuild/project:Project"})
_FUNCTIONS = frozenset({"aws:lambda/function:Function"})
_PARAMETERS = frozenset({"aws:ssm/parameter:Parameter"})

# Stands in for a value that is not known yet: only the name beside it can tell what it will be.
_SPECIMEN = "Zk3vQ9xT7mB2wL5c"


@resource_rule(
    "settings-hold-no-secret",
    title="No build, function or plain parameter holds a secret in its settings",
    severity=Severity.CRITICAL,
    applies=_BUILDS | _FUNCTIONS | _PARAMETERS,
    controls={
        "FSBP": ("CodeBuild.2",),
        "Checkov": ("CKV_AWS_45",),
        "NIST 800-53": ("IA-5(7)", "SC-28"),
        "ISO 27001": ("A.5.17", "A.8.24"),
    },
    why="Settings are shown in the console, written to logs and states, and read by whoever may describe the resource.",
    remedy="""
environment={"environment_variables": [{"name": "HF_TOKEN", "type": "SECRETS_MANAGER", "value": secret.arn}], ...}
""",
)
def settings_hold_no_secret(resource: Resource) -> Iterator[Finding]:
    if resource.type in _BUILDS:
        variables = resource["environment"]["environmentVariables"].items()
        yield from each(variables, _variable)
        yield from each([resource["source"]["buildspec"]], _script)
    elif resource.type in _FUNCTIONS:
        for name, value in resource["environment"]["variables"].fields().items():
            yield from each([value], lambda one, name=name: _setting(name, one))
    elif resource["type"].text() != "SecureString":
        name = (resource["name"].text() or resource.name).rpartition("/")[2]
        yield from each([resource["value"], resource["insecureValue"]], lambda one: _setting(name, one))


def _variable(variable: Value) -> Iterator[Finding]:
    if (variable["type"].text() or "PLAINTEXT") == "PLAINTEXT":
        yield from _setting(variable["name"].text() or "", variable["value"])


def _setting(name: str, value: Value) -> Iterator[Finding]:
    if not value.known and any(secrets_in(f"{name}={_SPECIMEN}")):
        value.text()  # not known yet, and called as a secret is
    if isinstance(value.raw, dict | list):
        value.text()  # no setting is one of these: what it holds is not read
    if isinstance(value.raw, str):
        for found in secrets_in(f"{name}={value.raw}"):
            yield violation(f"{name or 'it'} holds {found.kind}", value)


def _script(script: Value) -> Iterator[Finding]:
    for found in secrets_in((script.text() or "").replace("\\n", "\n")):
        yield violation(f"line {found.line} holds {found.kind}", script)
