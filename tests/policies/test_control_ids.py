"""Every control that a rule cites is one that its catalogue has."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainyard.policies.registry import RULES

KNOWN: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("known_controls.yaml").read_text())


def _cited(framework: str) -> dict[str, list[str]]:
    """The rules that cite each control."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for rule in RULES:
        for control in rule.controls.get(framework, ()):
            found[control].append(rule.id)
    return found


@pytest.mark.parametrize("framework", KNOWN)
def test_a_rule_cites_only_controls_that_there_are(framework: str) -> None:
    strange = {one: rules for one, rules in _cited(framework).items() if one not in KNOWN[framework]["controls"]}
    assert strange == {}, f"look them up and add them to known_controls.yaml, by name: {KNOWN[framework]['source']}"


@pytest.mark.parametrize("framework", KNOWN)
def test_the_table_says_where_its_names_are_from(framework: str) -> None:
    table = KNOWN[framework]
    assert table["source"]
    assert table["read"].year >= 2026
    assert all(table["controls"].values())


def test_every_rule_cites_a_control_of_nist_s_catalogue() -> None:
    """The one catalogue that all others are mapped to."""
    assert [rule.id for rule in RULES if not rule.controls.get("NIST 800-53")] == []
