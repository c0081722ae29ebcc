"""Exemptions: what they silence, for how long, and when they themselves are found."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainyard.policies import exemptions
from trainyard.policies.analyzer import is_exempt
from trainyard.policies.cases import cases_of, stack
from trainyard.policies.exemptions import Exemption, load
from trainyard.policies.graph import Resource
from trainyard.policies.in_force import BrokenPackError, InForce, in_force
from trainyard.policies.pack import analyzer
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Verdict
from trainyard.policies.state import evaluate_state
from trainyard.policies.testing import Harness

TODAY = date(2026, 11, 21)
ENTRY = {
    "rule": "kms-rotation",
    "environment": "dev",
    "resource": "old",
    "owner": "platform@example.org",
    "reason": "Its material was imported and cannot rotate.",
    "ticket": "PLAT-1",
    "expires": date(2027, 1, 31),
}
ROTATION = next(rule for rule in RULES if rule.id == "kms-rotation")
IN_FILE = "rule: r, environment: e, resource: x, owner: o, ticket: t"
TREE = {"type": "pulumi:pulumi:Stack", "name": "trainyard-dev"}


def key(name: str, rotates: bool, type_: str = "aws:kms/key:Key") -> dict[str, Any]:
    return {"type": type_, "name": name, "props": {"enableKeyRotation": rotates}}


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exemptions, "today", lambda: TODAY)


def told(*resources: dict[str, Any], environment: str = "dev", **changed: Any) -> list[tuple[str, str, str]]:
    """(policy, level, message) of what the engine is told."""
    harness = Harness([ROTATION])
    harness.servicer = analyzer(InForce((ROTATION,), exemptions=(Exemption(**{**ENTRY, **changed}),)))
    found = harness.analyze(stack([TREE, *resources], environment)).diagnostics
    return [(one.policy, one.level, one.message) for one in found]


def test_an_exempt_finding_is_advice_that_says_who_answers_for_it() -> None:
    ((policy, level, message),) = told(key("old", False))

    assert (policy, level) == ("kms-rotation", "advisory")
    assert is_exempt(message)
    for part in ("exempt until 2027-01-31", "cannot rotate", "PLAT-1", "platform@example.org"):
        assert part in message


def test_no_other_resource_is_silenced() -> None:
    found = told(key("old", False), key("new", False))

    assert sorted(level for _, level, _ in found) == ["advisory", "mandatory"]


@pytest.mark.parametrize(
    ("resources", "changed", "why"),
    [
        ([key("old", False)], {"expires": date(2026, 11, 20)}, "expired on 2026-11-20"),
        ([key("old", False)], {"expires": date(2028, 1, 1)}, "more than a year away"),
        ([key("old", True)], {}, "nothing against it any more"),
        ([key("new", True)], {}, "no such resource any more"),
        ([key("old", False)], {"resource": "ol*"}, "there are no wildcards"),
        (
            [key("old", False)],
            {"resource": "urn:pulumi:dev::p::aws:kms/key:Key::old"},
            "write its name instead of its URN: old",
        ),
        ([key("old", True)], {"rule": "kms-rotatoin"}, "no such rule"),
    ],
)
def test_an_exemption_that_is_out_of_order_is_found(resources: list[Any], changed: dict[str, Any], why: str) -> None:
    (message,) = (message for policy, level, message in told(*resources, **changed) if policy == "exemptions-in-order")

    assert why in message
    assert "PLAT-1" in message


def test_an_expired_one_silences_nothing() -> None:
    assert ("kms-rotation", "mandatory") in {
        (policy, level) for policy, level, _ in told(key("old", False), expires=date(2026, 11, 20))
    }


def test_the_last_day_counts() -> None:
    assert [level for _, level, _ in told(key("old", False), expires=TODAY)] == ["advisory"]


def test_one_that_silences_two_resources_is_found_until_it_names_one() -> None:
    both = (
        Resource("urn:pulumi:dev::p::a$aws:kms/key:Key::old", "aws:kms/key:Key", "old", {}),
        Resource("urn:pulumi:dev::p::b$aws:kms/key:Key::old", "aws:kms/key:Key", "old", {}),
        Resource("urn:pulumi:dev::p::pulumi:pulumi:Stack::p-dev", "pulumi:pulumi:Stack", "p-dev", {}),
    )
    harness = Harness([ROTATION])
    harness.servicer = analyzer(InForce((ROTATION,), exemptions=(Exemption(**ENTRY),)))

    messages = [one.message for one in harness.analyze(both).diagnostics if one.policy == "exemptions-in-order"]

    assert ["it is for 2 resources" in text for text in messages] == [True]


def test_other_environments_and_other_layers_are_no_business_of_it() -> None:
    assert told(key("new", True), environment="prod") == []
    assert told(key("new", True), environment="dev-data") == []


def test_a_state_is_judged_alike() -> None:
    case = next(one for one in cases_of(ROTATION) if one.verdict is Verdict.VIOLATION)
    (bad,) = (one for one in case.resources if one.type == "aws:kms/key:Key" and one.name in case.finds[0])
    raw = {"urn": bad.urn, "type": bad.type, "inputs": dict(bad.props), "outputs": dict(bad.props)}
    root = {"urn": "urn:pulumi:dev::trainyard::pulumi:pulumi:Stack::trainyard-dev", "type": "pulumi:pulumi:Stack"}
    export = {"deployment": {"resources": [root, raw]}}

    def verdicts(*entries: Exemption) -> dict[str, Verdict]:
        return {one.rule.id: one.verdict for one in evaluate_state([ROTATION], export, entries)}

    assert verdicts() == {"kms-rotation": Verdict.VIOLATION, "exemptions-in-order": Verdict.PASSED}
    assert set(verdicts(Exemption(**{**ENTRY, "resource": bad.name})).values()) == {Verdict.PASSED}
    assert verdicts(Exemption(**ENTRY))["exemptions-in-order"] is Verdict.VIOLATION


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("exemptions: 1", "list"),
        ("exemptions: [{rule: a}]", "environment"),
        ("other: []", "other"),
        ("exemptions: [", "flow"),
        (f"exemptions: [{{{IN_FILE}, expires: soon, reason: a good reason it is}}]", "expires"),
        (f"exemptions: [{{{IN_FILE}, expires: 2027-01-01, reason: ok}}]", "reason"),
        (f"exemptions:\n- {{{IN_FILE}, expires: 2026-02-30}}", "2026-02-30 in line 2 is no day that there is"),
    ],
)
def test_a_broken_register_stops(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "exemptions.yaml"
    file.write_text(content)

    with pytest.raises(ValueError, match=why):
        load(file)


def test_an_entry_stands_there_once(tmp_path: Path) -> None:
    entry = (
        "{rule: r, environment: e, resource: x, owner: o, ticket: t, expires: 2027-01-01, reason: a good reason it is}"
    )
    (tmp_path / "twice.yaml").write_text(f"exemptions: [{entry}, {entry}]")

    with pytest.raises(ValueError, match="twice"):
        load(tmp_path / "twice.yaml")


@pytest.mark.parametrize("other", ["aws:kms/key:Key::x", "x"])
def test_nor_by_its_name_and_again_with_its_type(tmp_path: Path, other: str) -> None:
    first, second = {"x", "aws:kms/key:Key::x"} - {other}, other
    rows = [ENTRY | {"resource": name, "expires": date(2027, 1, 31)} for name in (*first, second)]
    (tmp_path / "twice.yaml").write_text(yaml.safe_dump({"exemptions": rows}))

    with pytest.raises(ValueError, match="twice"):
        load(tmp_path / "twice.yaml")


def test_the_same_name_of_two_types_is_two_resources(tmp_path: Path) -> None:
    names = ("aws:kms/key:Key::x", "aws:kms/alias:Alias::x")
    rows = [ENTRY | {"resource": name, "expires": date(2027, 1, 31)} for name in names]
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({"exemptions": rows}))

    assert len(load(tmp_path / "two.yaml")) == 2


def test_the_register_that_is_shipped_can_be_read() -> None:
    assert all(one.rule in {rule.id for rule in RULES} for one in exemptions.written())


def test_one_for_an_environment_that_is_not_there_is_told_in_every_environment(tmp_path: Path) -> None:
    entry = ENTRY | {"environment": "prodd-us", "expires": date(2027, 1, 31)}
    (tmp_path / "exemptions.yaml").write_text(yaml.safe_dump({"exemptions": [entry]}))

    with pytest.raises(BrokenPackError, match=r"exemptions\.yaml: .*there is no environment 'prodd-us'"):
        in_force(tmp_path).require_order()
