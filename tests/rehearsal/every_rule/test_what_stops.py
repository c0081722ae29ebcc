"""What a finding does to the engine's command: which stop it, when, and what is left in the state."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rehearsal.every_rule.batches import Placed
from tests.rehearsal.every_rule.runs import PACK, Runs, finished
from trainyard.local.engine_events import Result
from trainyard.policies.cases import cases_of
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Level, Verdict

_BY_ID = {rule.id: rule for rule in RULES}
_OF_A_TEAM = """
from trainyard.policies.rule import Severity, resource_rule, violation


@resource_rule(
    "keys-have-a-contact",
    title="A key's tags say whom to call",
    severity=Severity.LOW,
    applies={"aws:kms/key:Key"},
    controls={"NIST 800-53": ("CM-8",)},
    why="A key that nobody answers for is never retired.",
    remedy='aws.kms.Key(name, tags={"contact": "storage team"})',
)
def contact(key):
    if not key.props["tags"]["contact"]:  # a key without tags was not thought of
        yield violation("nobody is named")
"""
_ITS_CASES = {
    "good": [
        {
            "name": "named",
            "resources": [{"type": "aws:kms/key:Key", "name": "key", "props": {"tags": {"contact": "a"}}}],
        }
    ],
    "bad": [
        {
            "name": "nobody",
            "resources": [{"type": "aws:kms/key:Key", "name": "key", "props": {"tags": {"contact": ""}}}],
            "finds": ["key"],
        }
    ],
}


def _case(rule_id: str, verdict: Verdict) -> Placed:
    rule = _BY_ID[rule_id]
    return Placed(rule, next(case for case in cases_of(rule) if case.verdict is verdict), 1)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., tuple[Result, list[str]]]]:
    """Runs cases in a stack: the result, and the names of what is in the state afterwards."""

    def ask(
        operation: str, *cases: Placed, settings: Mapping[str, Mapping[str, Any]] | None = None, pack: Path = PACK
    ) -> tuple[Result, list[str]]:
        engine = runs.engine("dev", cases)
        # A case is clean or wrong by its own rule only; the others may say what they like, and stop nothing.
        configured = {name: {"stops": False} for name in [*_BY_ID, "exemptions-in-order"]}
        configured |= {one.rule.id: {"stops": True} for one in cases} | dict(settings or {})
        file = tmp_path / "configuration.json"
        file.write_text(json.dumps(configured), encoding="utf-8")
        result = finished(engine, operation, pack, configuration=file)
        left = [one["urn"].rpartition("::")[2] for one in engine.export()["deployment"].get("resources", ())]
        return result, left

    with Runs(tmp_path) as runs:
        yield ask


def test_up_stops_before_it_makes_what_a_resource_rule_forbids(run: Callable[..., Any]) -> None:
    one = _case("kms-rotation", Verdict.VIOLATION)

    result, left = run("up", one)

    assert result.exit_status != 0
    assert {found["policy"] for found in result.mandatory} == {"kms-rotation"}
    assert {resource.name for resource in one.resources} & set(left) == set()


def test_up_fails_at_its_end_where_a_stack_rule_is_broken(run: Callable[..., Any]) -> None:
    one = _case("s3-tls-only", Verdict.VIOLATION)

    result, left = run("up", one)

    assert result.exit_status != 0
    assert {found["policy"] for found in result.mandatory} == {"s3-tls-only"}
    assert {resource.name for resource in one.resources} <= set(left), "every resource was registered before"


def test_what_cannot_be_verified_makes_a_preview_fail_unless_it_is_configured_as_advice(
    run: Callable[..., Any],
) -> None:
    one = _case("kms-rotation", Verdict.UNVERIFIED)

    strict, _ = run("preview", one)
    lenient, _ = run("preview", one, settings={"kms-rotation": {"unverified": "advisory"}})

    assert strict.exit_status != 0
    assert [found["policy"] for found in strict.mandatory] == ["kms-rotation"]
    assert "[cannot be verified]" in strict.mandatory[0]["message"]
    assert (lenient.exit_status, lenient.mandatory) == (0, [])
    told = [found for found in lenient.violations if found["policy"] == "kms-rotation"]
    assert [(found["level"], "[cannot be verified]" in found["message"]) for found in told] == [("advisory", True)]


def test_advice_is_told_and_stops_nothing(run: Callable[..., Any]) -> None:
    advising = next(rule for rule in RULES if rule.level is Level.ADVISORY and rule.id == "eks-admins-few")

    result, _ = run("preview", _case(advising.id, Verdict.VIOLATION))

    assert (result.exit_status, result.mandatory) == (0, [])
    assert [found["level"] for found in result.violations if found["policy"] == advising.id] == ["advisory"]


def test_a_rule_that_fails_is_a_finding_and_the_others_go_on(run: Callable[..., Any], tmp_path: Path) -> None:
    """A team's own rule, in a pack of its own beside all that are shipped."""
    pack, rules = tmp_path / "pack", tmp_path / "rules"
    (rules / "cases").mkdir(parents=True)
    (rules / "keys.py").write_text(_OF_A_TEAM)
    (rules / "cases" / "keys-have-a-contact.yaml").write_text(yaml.safe_dump(_ITS_CASES))
    pack.mkdir()
    (pack / "PulumiPolicy.yaml").write_text("runtime: python\n")
    (pack / "own_rules.yaml").write_text("folders: [../rules]\n")
    (pack / "__main__.py").write_text(
        "from pathlib import Path\nfrom trainyard.policies.pack import serve\nserve(Path(__file__).parent)\n"
    )

    result, _ = run(
        "preview", _case("kms-rotation", Verdict.VIOLATION), _case("s3-tls-only", Verdict.VIOLATION), pack=pack
    )

    assert result.exit_status != 0
    by_policy = {found["policy"]: found["message"] for found in result.mandatory}
    assert set(by_policy) == {"keys-have-a-contact", "kms-rotation", "s3-tls-only"}
    assert "the rule itself failed (KeyError: 'tags')" in by_policy["keys-have-a-contact"]
