"""An environment of any data class keeps what its class asks for, and the policy pack has nothing against it."""

from __future__ import annotations

from typing import Any

import pytest
from mocked_pulumi import Deployment, Registered, run
from setting_examples import BASE

from trainyard.policies.aws import DATA_CLASSES
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Scope, Verdict, evaluate
from trainyard.policies.rules.backups import _KEPT_CLASSES
from trainyard.policies.rules.buckets import _LOCKED_CLASSES
from trainyard.stacks.architecture import platform
from trainyard.stacks.setting_model import LOCKED_CLASSES
from trainyard.stacks.settings import parse_settings

LOCK = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
VAULT_LOCK = "aws:backup/vaultLockConfiguration:VaultLockConfiguration"


def _deploy(data_class: str, **changes: Any) -> Deployment:
    backups = {"schedule": "cron(0 3 * * ? *)", "retention_days": 35}
    budget = {**BASE["budget"], "notify": ["ml@example.com"]}
    values = {
        **BASE,
        "budget": budget,
        "environment": "prod-us",
        "region": "us-east-1",
        "jurisdiction": "US",
        "backups": backups,
    }
    settings = parse_settings({**values, "data_class": data_class, **changes}, namespace="trainyard", stack="prod-us")
    return run(lambda: platform(settings), stack="prod-us")


def _graph(deployment: Deployment, side: str) -> Graph:
    def resource(one: Registered, provider: Resource | None) -> Resource:
        props = {"id": one.id, **one.outputs} if side == "outputs" else dict(one.inputs)
        # The mocks give every stack one name in URNs, and the rules know an environment by it.
        urn = one.urn.replace("urn:pulumi:stack::", "urn:pulumi:prod-us::")
        return Resource(urn, one.type, one.name, props, provider)

    providers = {one.urn: resource(one, None) for one in deployment.resources if one.type.startswith("pulumi:")}
    return Graph(resource(one, providers.get(one.provider.rpartition("::")[0])) for one in deployment.resources)


def _violations(data_class: str) -> set[tuple[str, str, str]]:
    """Mandatory ones, of all rules over the whole platform."""
    deployment = _deploy(data_class)
    sides = {Scope.RESOURCE: _graph(deployment, "inputs"), Scope.STACK: _graph(deployment, "outputs")}
    return {
        (result.rule.id, result.resource.name, finding.message)
        for scope, graph in sides.items()
        for result in evaluate([rule for rule in RULES if rule.scope is scope and not rule.advice], graph)
        for finding in result.findings
        if finding.verdict is Verdict.VIOLATION
    }


@pytest.mark.parametrize("data_class", DATA_CLASSES)
def test_an_environment_of_this_class_violates_nothing(data_class: str) -> None:
    assert _violations(data_class) == set()


def test_a_class_that_is_not_locked_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: without the setting's default the rules find all that is not locked."""
    monkeypatch.setattr("trainyard.stacks.setting_model.LOCKED_CLASSES", frozenset())
    found = sorted((rule, name.removeprefix("trainyard-prod-us-")) for rule, name, _ in _violations("government"))
    buckets = [("s3-object-lock", purpose) for purpose in ("artifacts", "checkpoints", "datasets")]
    assert found == [("backup-vault-locked", "backups"), *buckets]


def test_the_settings_lock_the_classes_that_the_rules_ask_for() -> None:
    assert LOCKED_CLASSES == set(_LOCKED_CLASSES) == _KEPT_CLASSES


@pytest.mark.parametrize(
    ("changes", "rule", "vault"),
    [
        ({}, {"mode": "GOVERNANCE", "days": 30}, {"minRetentionDays": 30}),
        (
            {"retention_lock": {"mode": "compliance", "days": 35}},
            {"mode": "COMPLIANCE", "days": 35},
            {"minRetentionDays": 35, "changeableForDays": 3},
        ),
    ],
    ids=["by class", "for good"],
)
def test_buckets_and_backups_are_kept_alike(changes: dict[str, Any], rule: dict[str, Any], vault: dict) -> None:
    deployment = _deploy("health", **changes)
    assert [one.inputs.get("rule") for one in deployment.of_type(LOCK)].count({"defaultRetention": rule}) == 2
    lock = deployment.one(VAULT_LOCK).inputs
    assert {name: value for name, value in lock.items() if name != "backupVaultName"} == vault


def test_other_data_are_locked_on_request_only() -> None:
    assert not _deploy("personal").of_type(LOCK)
    assert len(_deploy("public", retention_lock={"days": 7}).of_type(LOCK)) == 3
