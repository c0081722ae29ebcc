"""The page of all rules is that of the rules there are."""

from __future__ import annotations

from pathlib import Path

from trainyard.policies.registry import RULES
from trainyard.policies.rule_page import page

FILE = Path(__file__).resolve().parents[2] / "docs" / "rules.md"


def test_page_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == page(), "run: python -m trainyard.policies.rule_page > docs/rules.md"


def test_every_rule_stands_on_it_once() -> None:
    assert all(page().count(f"| `{rule.id}` |") == 1 for rule in RULES)
