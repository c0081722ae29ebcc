"""The rules over an exported state give what the engine would."""

from __future__ import annotations

from typing import Any

import pytest

from trainyard.policies.registry import RULES
from trainyard.policies.rule import Verdict
from trainyard.policies.state import evaluate_state

HEAD = "urn:pulumi:prod-uae::trainyard::"
PROVIDER = f"{HEAD}pulumi:providers:aws::aws"
SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}


def row(
    kind: str, name: str, inputs: dict[str, Any], outputs: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    urn = f"{HEAD}{kind}::{name}"
    return {"urn": urn, "type": kind, "custom": True, "inputs": inputs, "outputs": outputs or inputs, **more}


def findings(*rows: dict[str, Any]) -> set[tuple[str, str, Verdict]]:
    results = evaluate_state(RULES, {"version": 3, "deployment": {"resources": list(rows)}})
    return {(result.rule.id, result.resource.name, result.verdict) for result in results if result.findings}


def test_resource_rules_see_inputs_provider_and_environment() -> None:
    provider = row("pulumi:providers:aws", "aws", {"region": "me-central-1", "defaultTags": '{"tags": {"owner": "a"}}'})
    key = row("aws:kms/key:Key", "key", {"region": "us-east-1", "__defaults": []}, provider=f"{PROVIDER}::0a1b-2c3d")

    assert findings(provider, key) >= {
        ("residency-resource-region", "key", Verdict.VIOLATION),
        ("kms-rotation", "key", Verdict.VIOLATION),
        ("tags-data-class", "key", Verdict.VIOLATION),
    }


def test_stack_rules_see_outputs_ids_and_what_depends_on_what() -> None:
    vpc = row("aws:ec2/vpc:Vpc", "vpc", {}, id="vpc-1")
    group = row("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "group", {"vpcId": "vpc-1"}, id="sg-1")
    rule = "network-default-group-owned"

    assert (rule, "vpc", Verdict.VIOLATION) in findings(vpc)
    assert rule not in {found[0] for found in findings(vpc, group)}


def test_resources_on_their_way_out_are_not_judged() -> None:
    gone = row("aws:kms/key:Key", "key", {"enableKeyRotation": False}, delete=True)

    assert findings(gone) == set()


def test_what_the_program_only_reads_is_not_judged() -> None:
    """The engine tells no policy of it; who makes it answers for it."""
    read = row("aws:kms/key:Key", "key", {"enableKeyRotation": False}, external=True)

    assert findings(read) == set()


def test_a_closed_secret_is_unknown_and_an_open_one_is_read() -> None:
    closed = row("aws:kms/key:Key", "closed", {"enableKeyRotation": {**SECRET, "ciphertext": "v1:x"}})
    opened = row("aws:kms/key:Key", "opened", {"enableKeyRotation": {**SECRET, "plaintext": "true"}})

    found = {(rule, name): verdict for rule, name, verdict in findings(closed, opened)}

    assert found["kms-rotation", "closed"] is Verdict.UNVERIFIED
    assert ("kms-rotation", "opened") not in found


@pytest.mark.parametrize("wrong", [{}, {"deployment": {}}, {"deployment": {"resources": "none"}}])
def test_what_is_no_export_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="pulumi stack export"):
        evaluate_state(RULES, wrong)
