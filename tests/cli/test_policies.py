"""`trainyard policies`: the rules as a person asks for them."""

from __future__ import annotations

import json
from pathlib import Path

import own_rules
import pytest
from typer.testing import CliRunner

from trainyard.cli import policies
from trainyard.cli.main import app
from trainyard.policies.in_force import BrokenPackError, in_force
from trainyard.policies.registry import RULES


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """The folder that a pack and a team's rules stand in."""
    own_rules.write(tmp_path)
    return tmp_path


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["policies", *arguments], env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_list_names_every_rule_with_its_severity() -> None:
    shown = said("list")

    assert all(rule.id in shown for rule in RULES)
    assert f"{len(in_force().rules)} rules" in shown


def test_list_of_a_framework_holds_only_its_rules() -> None:
    told = json.loads(said("list", "--framework", "uae pdpl", "--json"))["rules"]

    assert told
    assert {one["id"] for one in told} == {rule.id for rule in in_force().rules if "UAE PDPL" in rule.controls}


def test_explain_tells_why_what_to_write_and_by_example() -> None:
    shown = said("explain", "s3-tls-only")
    rule = next(rule for rule in RULES if rule.id == "s3-tls-only")

    for part in (rule.title, rule.why, "FSBP: S3.5", rule.remedy.splitlines()[0], "only reading is denied"):
        assert part in shown, part


@pytest.mark.parametrize(
    "rule", ["pack-in-order", "levels-in-force", "exemptions-in-order", "transfer-state-backend", "transfer-state-key"]
)
def test_a_rule_about_the_pack_or_the_state_is_explained_as_any_that_a_finding_names(rule: str) -> None:
    assert f"{rule}  " in said("explain", rule)
    assert rule in said("list")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(("explain", "s3-tls-onyl"), "s3-tls-only"), (("explain", "x"), "list"), (("list", "--framework", "PCI"), "FSBP")],
)
def test_what_is_not_there_is_refused_with_what_is(arguments: tuple[str, ...], hint: str) -> None:
    with pytest.raises(policies.NoSuchRuleError, match=hint):
        said(*arguments)


def test_a_teams_rules_are_told_apart_and_shown_with_their_examples(team: Path) -> None:
    pack = ["--pack", str(team / "pack")]

    listed = json.loads(said("list", "--json", *pack))["rules"]
    explained = said("explain", "team-queue-named", *pack)

    own = [one for one in listed if one["origin"] != "trainyard"]
    assert [(one["id"], one["origin"]) for one in own] == [("team-queue-named", str(team / "our-rules"))]
    assert len(listed) == len(RULES) + 1
    assert "1 of them the team's own" in said("list", *pack)
    for part in ("our-rules/cases/team-queue-named.yaml", "Example Corp: N-1", "a stranger's"):
        assert part in explained


def test_explain_tells_the_levels_that_environments_have(team: Path) -> None:
    (team / "pack" / "levels.yaml").write_text(
        "levels: [{environment: dev, rule: s3-tls-only, level: advisory, owner: me, reason: It is tried in dev first.}]"
    )

    shown = said("explain", "s3-tls-only", "--pack", str(team / "pack"))

    assert "Level: advisory in dev (me: It is tried in dev first.)" in shown


@pytest.mark.parametrize("named", ["the folder", "the pack"])
def test_a_teams_cases_are_judged(team: Path, named: str) -> None:
    where = [str(team / "our-rules")] if named == "the folder" else ["--pack", str(team / "pack")]

    assert "team-queue-named: 2 of 2 cases as they say" in said("test", *where)


def test_a_case_that_is_judged_otherwise_is_told_with_what_was_found(team: Path) -> None:
    cases = team / "our-rules" / "cases" / "team-queue-named.yaml"
    cases.write_text(cases.read_text().replace("q.name", "q.fifoQueue"))

    done = CliRunner().invoke(app, ["policies", "test", str(team / "our-rules")])

    assert done.exit_code == 1
    assert "a stranger's: finds says [q.fifoQueue]; found is [q.name]" in done.output


def test_a_case_that_the_rule_never_looks_at_is_told(team: Path) -> None:
    cases = team / "our-rules" / "cases" / "team-queue-named.yaml"
    cases.write_text(cases.read_text().replace("aws:sqs/queue:Queue", "aws:sqs/queue:Queu"))

    done = CliRunner().invoke(app, ["policies", "test", str(team / "our-rules")])

    assert done.exit_code == 1
    assert done.output.count("no resource in it is one that the rule is about") == 2


@pytest.mark.parametrize("command", [["list"], ["explain", "s3-tls-only"], ["test"], ["check", "any.json"]])
def test_a_broken_folder_stops_every_command_with_the_reason(team: Path, command: list[str]) -> None:
    (team / "our-rules" / "more.py").write_text("import nothing_of_that_name\n")

    with pytest.raises(BrokenPackError, match=r"more\.py: it cannot be imported.*nothing_of_that_name") as stopped:
        said(*command, "--pack", str(team / "pack"))

    assert stopped.value.exit_status == 2


def test_without_a_folder_there_is_nothing_to_test() -> None:
    with pytest.raises(BrokenPackError, match="names no folder of your own"):
        said("test")
