"""Every check of Checkov that a rule cites is one that Checkov has."""

from __future__ import annotations

from pathlib import Path

import yaml

from trainyard.policies.registry import RULES

TABLE = yaml.safe_load(Path(__file__).with_name("checkov_controls.yaml").read_text(encoding="utf-8"))
CITED = {check: rule.id for rule in RULES for check in rule.controls.get("Checkov", ())}


def test_a_rule_cites_only_checks_that_there_are() -> None:
    strange = {check: rule for check, rule in CITED.items() if check not in TABLE["controls"]}
    assert strange == {}, f"look them up and add them to checkov_controls.yaml, by name: {TABLE['source']}"


def test_the_table_holds_none_in_vain() -> None:
    assert sorted(set(TABLE["controls"]) - set(CITED)) == []


def test_what_only_checkov_asks_for_is_explained_once_and_cited_by_no_rule() -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "peers" / "checkov_only.yaml"
    explained = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = {rule.id for rule in RULES}

    for check, said in explained.items():
        (kind,) = set(said) - {"why"}
        assert kind in ("covered", "not here", "against", "lacking"), check
        assert check not in CITED
        assert kind != "covered" or set(said["covered"]) <= known, check
