"""A team's own rules: asked like the shipped ones, and never silently absent."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_rules import CASES, RULE, SOUND, write

from trainyard.policies.case_check import departures
from trainyard.policies.cases import cases_of, stack
from trainyard.policies.in_force import BrokenPackError, InForce, in_force
from trainyard.policies.own_rules import folders_in, load
from trainyard.policies.registry import RULES
from trainyard.policies.testing import Diagnostic, Harness

QUEUE = {"type": "aws:sqs/queue:Queue", "name": "q", "props": {"name": "jobs"}}
ROOT = {"type": "pulumi:pulumi:Stack", "name": "trainyard-dev"}


def told(judging: InForce, *resources: dict) -> list[Diagnostic]:
    return list(Harness(judging=judging).analyze(stack(list(resources), "dev")).diagnostics)


def test_a_teams_rule_is_asked_beside_the_shipped_ones(tmp_path: Path) -> None:
    judging = in_force(write(tmp_path)).require_order()

    found = {one.policy: one.level for one in told(judging, ROOT, QUEUE)}

    assert judging.rules[: len(RULES)] == RULES
    assert found["team-queue-named"] == "mandatory"
    assert found.keys() & {rule.id for rule in RULES}, "the shipped ones have something against this queue too"
    assert "pack-in-order" not in found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": RULE.format(id="kms-rotation")}, "the pack has a rule of that id already"),
        ({"source": "import no_such_module\n"}, r"cannot be imported: ModuleNotFoundError.*\(line 1\)"),
        ({"source": "def broken(:\n"}, r"SyntaxError.*\(line 1\)"),
        ({"source": "raise SystemExit(3)\n"}, "SystemExit"),
        ({"source": "x = 1\n"}, "defines a rule"),
        ({"source": RULE.format(id="Queue Named")}, "no id of a rule"),
        ({"source": SOUND.replace('("N-1",)', '("N-1")')}, "write a tuple of ids"),
        ({"source": SOUND.replace("Severity.LOW", "'low'")}, r"Severity\.LOW"),
        ({"source": SOUND.replace("Bills are sorted by name.", " ")}, "why is missing"),
        ({"cases": None}, "without examples"),
        ({"cases": CASES.replace("good:", "unverified:")}, "has no good case"),
        ({"cases": CASES.replace("bad:", "unverified:")}, "has no bad case"),
        ({"cases": "good: [{name: a}]\n"}, "cannot be read"),
        ({"cases": "[" * 3_000}, "cannot be read: RecursionError"),
        ({"cases": CASES + "unverifed: []\n"}, "'unverifed' is none of good, bad, unverified"),
        ({"source": "raise GeneratorExit\n"}, "GeneratorExit"),
        ({"source": RULE.format(id="exemptions-in-order")}, "the pack has a rule of that id already"),
    ],
)
def test_what_cannot_be_asked_stops_every_environment_before_anything_is_made(
    tmp_path: Path, change: dict, said: str
) -> None:
    judging = in_force(write(tmp_path, **change))

    (found,) = (one for one in told(judging, ROOT) if one.policy == "pack-in-order")

    assert found.level == "mandatory"
    assert found.urn.endswith("::pulumi:pulumi:Stack::trainyard-dev")
    with pytest.raises(BrokenPackError, match=said):
        judging.require_order()


def test_a_sound_rule_beside_a_broken_one_is_asked_all_the_same(tmp_path: Path) -> None:
    pack = write(tmp_path)
    (tmp_path / "our-rules" / "broken.py").write_text("1 / 0\n")

    found = {one.policy for one in told(in_force(pack), ROOT, QUEUE)}

    assert {"team-queue-named", "pack-in-order"} <= found


def test_modules_of_a_folder_may_share_and_a_rule_counts_once(tmp_path: Path) -> None:
    pack = write(tmp_path)
    (tmp_path / "our-rules" / "zones.py").write_text("from .queues import named\n")

    assert [one.rule.id for one in in_force(pack).require_order().own] == ["team-queue-named"]


@pytest.mark.parametrize("broken", ["lambda kind: kind.no_such", "lambda kind: 1 / 0"])
def test_a_test_of_types_that_fails_is_a_finding_and_ends_nothing(tmp_path: Path, broken: str) -> None:
    pack = write(tmp_path, SOUND.replace('{"aws:sqs/queue:Queue"}', broken))

    found = [one for one in told(in_force(pack), ROOT, QUEUE) if one.policy == "team-queue-named"]

    assert {one.urn.rpartition("::")[2] for one in found} == {"q", "trainyard-dev"}
    assert all("the rule itself failed" in one.message and "OwnRuleError" not in one.message for one in found)


@pytest.mark.parametrize("ending", ["SystemExit(0)", "GeneratorExit"])
def test_a_rule_cannot_end_the_judgement(tmp_path: Path, ending: str) -> None:
    source = SOUND.replace("    yield violation", f"    raise {ending}\n    yield violation")
    assert source != SOUND

    found = {one.policy: one for one in told(in_force(write(tmp_path, source)), ROOT, QUEUE)}

    assert "which ends no judgement" in found["team-queue-named"].message
    assert found["team-queue-named"].level == "mandatory"
    assert found.keys() & {rule.id for rule in RULES}


def test_a_finding_without_a_text_is_told(tmp_path: Path) -> None:
    source = SOUND.replace('violation("it does', 'violation(3 or "it does')

    (found,) = (one for one in told(in_force(write(tmp_path, source)), QUEUE) if one.policy == "team-queue-named")

    assert "message is a text, not a int" in found.message


def test_what_a_rule_prints_is_not_among_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = SOUND.replace("    yield violation", '    print("hello")\n    yield violation')

    assert told(in_force(write(tmp_path, source)), QUEUE)
    assert capsys.readouterr().out == ""


def test_a_rule_that_no_module_names_is_missed(tmp_path: Path) -> None:
    pack = write(tmp_path)
    (tmp_path / "our-rules" / "cases" / "team-queue-renamed.yaml").write_text(CASES)

    with pytest.raises(BrokenPackError, match="has a rule 'team-queue-renamed', so nobody asks it"):
        in_force(pack).require_order()


def test_a_rule_that_yields_something_else_is_told_what_to_yield(tmp_path: Path) -> None:
    source = SOUND.replace('violation("it does', '("it does')

    found = [one for one in told(in_force(write(tmp_path, source)), QUEUE) if one.policy == "team-queue-named"]

    assert "yield violation(…) or unverified(…), not a tuple" in found[0].message


def test_what_a_module_prints_does_not_reach_the_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    in_force(write(tmp_path, "print('hello')\n" + SOUND)).require_order()

    assert capsys.readouterr().out == ""


def test_two_folders_with_one_id_are_told_apart(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    write(first)
    write(second)

    loaded = load([first / "our-rules", second / "our-rules"], RULES)

    assert len(loaded.rules) == 1
    assert "a/our-rules/queues.py has a rule of that id already" in loaded.problems[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("folders: ../x\n", "one list"),
        ("folder: [../x]\n", "one list"),
        ("folders: [1]\n", "no folder"),
        ("folders: [", "flow"),
    ],
)
def test_a_wrong_list_of_folders_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "own_rules.yaml").write_text(content)

    with pytest.raises(ValueError, match=said):
        folders_in(tmp_path / "own_rules.yaml")
    with pytest.raises(BrokenPackError, match=said):
        in_force(tmp_path).require_order()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "own_rules.yaml").write_text("folders: [gone]\n")

    with pytest.raises(BrokenPackError, match="there is no such folder"):
        in_force(tmp_path).require_order()


def test_a_folder_without_a_pack_is_no_pack(tmp_path: Path) -> None:
    with pytest.raises(BrokenPackError, match="no folder of a policy pack"):
        in_force(tmp_path)


def test_what_this_repository_has_of_its_own_does_as_its_cases_say() -> None:
    for one in in_force().require_order().own:
        for case in cases_of(one.rule, one.folder):
            assert list(departures(one.rule, case)) == [], f"{one.rule.id}: {case.name}"
