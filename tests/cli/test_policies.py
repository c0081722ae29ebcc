"""`trainyard policies`: the rules as a person asks for them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from trainyard.cli import policies
from trainyard.cli.main import app
from trainyard.policies.registry import RULES


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["policies", *arguments], env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_list_names_every_rule_with_its_severity() -> None:
    shown = said("list")

    assert all(rule.id in shown for rule in RULES)
    assert f"{len(RULES)} rules" in shown


def test_list_of_a_framework_holds_only_its_rules() -> None:
    told = json.loads(said("list", "--framework", "uae pdpl", "--json"))["rules"]

    assert told
    assert {one["id"] for one in told} == {rule.id for rule in RULES if "UAE PDPL" in rule.controls}


def test_explain_tells_why_what_to_write_and_by_example() -> None:
    shown = said("explain", "s3-tls-only")
    rule = next(rule for rule in RULES if rule.id == "s3-tls-only")

    for part in (rule.title, rule.why, "FSBP: S3.5", rule.remedy.splitlines()[0], "only reading is denied"):
        assert part in shown, part


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(("explain", "s3-tls-onyl"), "s3-tls-only"), (("explain", "x"), "list"), (("list", "--framework", "PCI"), "FSBP")],
)
def test_what_is_not_there_is_refused_with_what_is(arguments: tuple[str, ...], hint: str) -> None:
    with pytest.raises(policies.NoSuchRuleError, match=hint):
        said(*arguments)
