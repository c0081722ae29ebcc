"""Levels by environment: what they change, for whom, and what they cannot change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from trainyard.policies.cases import stack
from trainyard.policies.exemptions import Exemption
from trainyard.policies.in_force import BrokenPackError, InForce, in_force
from trainyard.policies.state import evaluate_export
from trainyard.policies.testing import Harness

ANSWERED = {"owner": "platform@example.org", "reason": "It is tried in dev before it counts."}
ROOT = {"type": "pulumi:pulumi:Stack", "name": "trainyard-dev"}
KEY = {"type": "aws:kms/key:Key", "name": "key", "props": {"enableKeyRotation": False}}
UNREADABLE = {"type": "aws:kms/key:Key", "name": "key", "props": {"enableKeyRotation": "perhaps"}}
ROTATION = {"environment": "dev", "rule": "kms-rotation"}


def with_rows(folder: Path, *rows: dict) -> InForce:
    (folder / "levels.yaml").write_text(yaml.safe_dump({"levels": [{**ANSWERED, **row} for row in rows]}))
    return in_force(folder)


def found(judging: InForce, *resources: dict, environment: str = "dev") -> dict[str, tuple[str, str]]:
    """(level, message) by policy, as the engine is told."""
    told = Harness(judging=judging).analyze(stack(list(resources), environment)).diagnostics
    return {one.policy: (one.level, one.message) for one in told}


def test_a_lowered_level_says_who_answers_for_it_and_counts_in_its_environment_only(tmp_path: Path) -> None:
    judging = with_rows(tmp_path, {**ROTATION, "level": "advisory"}).require_order()

    level, message = found(judging, ROOT, KEY)["kms-rotation"]

    assert level == "advisory"
    assert "[advisory in dev (platform@example.org: It is tried in dev before it counts.)]" in message
    assert found(judging, ROOT, KEY, environment="research")["kms-rotation"][0] == "mandatory"


def test_every_row_is_told_in_its_environment_also_where_nothing_was_found(tmp_path: Path) -> None:
    judging = with_rows(tmp_path, {**ROTATION, "level": "disabled"})

    told = found(judging, ROOT, KEY)

    assert "kms-rotation" not in told
    assert told["levels-in-force"][0] == "advisory"
    assert "kms-rotation: disabled in dev (platform@example.org" in told["levels-in-force"][1]
    assert "levels-in-force" not in found(judging, ROOT, KEY, environment="research")


def test_only_what_cannot_be_verified_is_lowered_where_the_row_says_so(tmp_path: Path) -> None:
    judging = with_rows(tmp_path, {**ROTATION, "unverified": "advisory"})

    assert found(judging, ROOT, UNREADABLE)["kms-rotation"][0] == "advisory"
    assert found(judging, ROOT, KEY)["kms-rotation"][0] == "mandatory"


def test_a_severity_is_lowered_and_the_row_that_names_a_rule_wins(tmp_path: Path) -> None:
    # kms-rotation is of medium severity, and so is what is said of a key's policy.
    rows = [{"environment": "dev", "severity": "medium", "level": "advisory"}, {**ROTATION, "level": "disabled"}]
    judging = with_rows(tmp_path, *rows).require_order()
    medium = {rule.id for rule in judging.rules if rule.severity == "medium" and not rule.advice}

    told = {policy: level for policy, (level, _) in found(judging, ROOT, KEY).items()}

    assert "kms-rotation" not in told
    assert {told[policy] for policy in told.keys() & medium} <= {"advisory"}


def test_advice_is_made_to_stop(tmp_path: Path) -> None:
    advising = next(rule for rule in in_force().rules if rule.advice)
    judging = with_rows(tmp_path, {"environment": "dev", "rule": advising.id, "level": "mandatory"}).require_order()
    fails = replace(advising, applies={"aws:kms/key:Key"}.__contains__, check=lambda *_: 1 / 0)
    judging = replace(judging, rules=(fails,))

    assert found(judging, ROOT, KEY)[advising.id][0] == "mandatory"
    assert found(judging, ROOT, KEY, environment="research")[advising.id][0] == "advisory"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**ROTATION, "environment": "devel", "level": "advisory"}, "there is no environment 'devel'; there are local"),
        ({**ROTATION, "rule": "kms-rotaton", "level": "advisory"}, "there is no such rule"),
        ({**ROTATION, "rule": "pack-in-order", "level": "disabled"}, "not to be changed"),
        ({**ROTATION, "rule": "exemptions-in-order", "level": "disabled"}, "not to be changed"),
        ({**ROTATION, "level": "mandatory"}, "has that level without this row"),
        ({**ROTATION}, "say a level"),
        ({**ROTATION, "level": "off"}, "'mandatory', 'advisory' or 'disabled'"),
        ({**ROTATION, "severity": "low", "level": "advisory"}, "a rule or a severity, and not both"),
        ({"environment": "dev", "level": "advisory"}, "a rule or a severity, and not both"),
        ({"environment": "dev", "severity": "low", "level": "disabled"}, "disabled by name"),
        ({**ROTATION, "level": "advisory", "unverified": "advisory"}, "adds nothing"),
        ({**ROTATION, "level": "advisory", "reason": "why not"}, r"levels\[1\].reason"),
        ({**ROTATION, "level": "advisory", "owner": ""}, r"levels\[1\].owner"),
        ({**ROTATION, "level": "advisory", "resource": "key"}, r"levels\[1\].resource"),
    ],
)
def test_a_row_that_says_nothing_true_lowers_nothing_and_stops(tmp_path: Path, row: dict, said: str) -> None:
    judging = with_rows(tmp_path, {**ROTATION, "unverified": "advisory"}, row)

    with pytest.raises(BrokenPackError, match=said):
        judging.require_order()
    told = found(judging, ROOT, UNREADABLE)
    assert told["kms-rotation"][0] == "mandatory", "no row counts while one is wrong"
    assert told["pack-in-order"][0] == "mandatory"


def test_a_row_stands_there_once(tmp_path: Path) -> None:
    row = {**ROTATION, "level": "advisory"}

    with pytest.raises(BrokenPackError, match="twice"):
        with_rows(tmp_path, row, row).require_order()


@pytest.mark.parametrize("level", ["advisory", "disabled"])
@pytest.mark.parametrize(
    ("tags", "lowered"),
    [
        ({"data-class": "internal"}, True),
        ({"data-class": "public"}, True),
        ({"data-class": "personal"}, False),
        ({"data-class": "secret"}, False),
        ({}, False),
    ],
)
def test_residency_is_lowered_only_where_no_data_above_internal_may_lie(
    tmp_path: Path, level: str, tags: dict, lowered: bool
) -> None:
    rule = "residency-resource-region"
    judging = with_rows(tmp_path, {"environment": "dev", "rule": rule, "level": level}).require_order()
    bucket = {"type": "aws:s3/bucket:Bucket", "name": "b", "props": {"region": "eu-west-1", "tagsAll": tags}}

    told = found(judging, ROOT, bucket)

    if lowered:
        assert told.get(rule, ("advisory",))[0] == "advisory"
        assert (rule in told) == (level == "advisory")
    else:
        assert told[rule][0] == "mandatory"
        assert "does not hold where data above internal may lie" in told[rule][1]


@pytest.mark.parametrize("data_class", ["internal", "health"])
def test_a_provider_is_of_the_class_that_it_puts_on_others(tmp_path: Path, data_class: str) -> None:
    rule = "residency-provider-region"
    judging = with_rows(tmp_path, {"environment": "dev", "rule": rule, "level": "advisory"})
    tags = {"tags": {"data-class": data_class}}
    provider = {"type": "pulumi:providers:aws", "name": "p", "props": {"region": "eu-west-1", "defaultTags": tags}}

    assert found(judging, ROOT, provider)[rule][0] == ("advisory" if data_class == "internal" else "mandatory")


def test_a_state_is_judged_alike(tmp_path: Path) -> None:
    judging = with_rows(tmp_path, {**ROTATION, "level": "advisory"})
    head = "urn:pulumi:dev::trainyard::"
    export = {
        "deployment": {
            "resources": [
                {"urn": f"{head}{one['type']}::{one['name']}", "type": one["type"], "inputs": one.get("props", {})}
                for one in (ROOT, KEY)
            ]
        }
    }

    in_state = {
        (result.rule.id, str(finding.level))
        for result in evaluate_export(judging, export)
        if result.rule.scope == "resource"
        for finding in result.findings
    }

    told = Harness(judging=judging).analyze(stack([ROOT, KEY], "dev")).diagnostics
    resource_rules = {rule.id for rule in judging.rules if rule.scope == "resource"}
    assert in_state == {(one.policy, one.level) for one in told if one.policy in resource_rules}
    assert ("kms-rotation", "advisory") in in_state


def test_the_engines_own_configuration_wins_where_it_says_another_level(tmp_path: Path) -> None:
    judging = with_rows(tmp_path, {**ROTATION, "level": "advisory"})
    collecting = Harness(judging=judging, configuration={"kms-rotation": {"stops": False}})
    collecting_without = Harness(judging=in_force(), configuration={"kms-rotation": {"stops": False}})

    for harness in (collecting, collecting_without):
        told = harness.analyze(stack([ROOT, KEY], "dev")).diagnostics
        assert {one.level for one in told if one.policy == "kms-rotation"} == {"advisory"}


def test_an_exemption_of_a_rule_that_is_not_asked_is_needed_no_more(tmp_path: Path) -> None:
    exemption = Exemption(
        rule="kms-rotation", environment="dev", resource="key", ticket="P-1", expires="2027-01-01", **ANSWERED
    )
    judging = replace(with_rows(tmp_path, {**ROTATION, "level": "disabled"}), exemptions=(exemption,))

    assert "nothing against it any more" in found(judging, ROOT, KEY)["exemptions-in-order"][1]


def test_a_review_finds_the_row_that_a_change_brings(tmp_path: Path) -> None:
    judging = with_rows(tmp_path, {**ROTATION, "level": "advisory"})
    (tmp_path / "earlier.yaml").write_text("levels: []\n")
    export = {
        "deployment": {"resources": [{"urn": "urn:pulumi:dev::p::pulumi:pulumi:Stack::p-dev", "type": ROOT["type"]}]}
    }

    def told(one: InForce) -> list[str]:
        return [result.rule.id for result in evaluate_export(one, export) if result.findings]

    assert told(judging) == ["levels-in-force"]
    assert told(judging.with_levels_of(tmp_path / "earlier.yaml")) == []
    assert told(judging.with_levels_of(tmp_path / "gone.yaml")) == []


def test_the_pages_rows_are_in_order(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "exemptions.md"
    (block,) = (one for one in page.read_text(encoding="utf-8").split("```") if one.startswith("yaml\nlevels:"))
    (tmp_path / "levels.yaml").write_text(block.removeprefix("yaml\n"))

    assert len(in_force(tmp_path).require_order().levels.rows) == 2
