"""Every rule against its own examples: judged directly, and as the engine would ask."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from trainyard.policies import cases as cases_module
from trainyard.policies.analyzer import explain
from trainyard.policies.cases import Case, cases_of
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Rule, Verdict, evaluate
from trainyard.policies.testing import Harness

ALL = [(rule, case) for rule in RULES for case in cases_of(rule)]
by_case = pytest.mark.parametrize(("rule", "case"), ALL, ids=[f"{rule.id}: {case.name}" for rule, case in ALL])

# What cannot be unknown has no such case: known inputs are searched, unknown ones are the next rule's.
NEVER_UNVERIFIED = {"residency-input-region"}
NEVER_VIOLATED = {"residency-unknown-reference", "pods-in-sight"}


@by_case
def test_rule_finds_exactly_what_the_case_says(rule: Rule, case: Case) -> None:
    results = [result for result in evaluate([rule], case.graph()) if result.findings]
    places = {
        f"{result.resource.name}.{finding.place}".rstrip(".") for result in results for finding in result.findings
    }

    assert places == set(case.finds)
    assert {finding.verdict for result in results for finding in result.findings} == (
        set() if case.verdict is Verdict.PASSED else {case.verdict}
    )


@by_case
def test_engine_is_told_the_same(rule: Rule, case: Case) -> None:
    analysis = Harness([rule]).analyze(case.resources)
    direct = [
        (result.resource.urn, f"{rule.title}\n{explain(result, finding)}")
        for result in evaluate([rule], case.graph())
        for finding in result.findings
    ]

    assert Counter((one.urn, one.message) for one in analysis.diagnostics) == Counter(direct)
    assert {one.level for one in analysis.diagnostics} <= {"advisory" if rule.advice else "mandatory"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rule_has_good_and_bad_cases(rule: Rule) -> None:
    verdicts = Counter(case.verdict for case in cases_of(rule))

    assert verdicts[Verdict.PASSED] >= 2
    assert verdicts[Verdict.VIOLATION] >= (0 if rule.id in NEVER_VIOLATED else 2)
    assert verdicts[Verdict.UNVERIFIED] >= (0 if rule.id in NEVER_UNVERIFIED else 1)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_good_cases_are_really_looked_at(rule: Rule) -> None:
    judged = [result for case in cases_of(rule) for result in evaluate([rule], case.graph())]

    assert Verdict.PASSED in {result.verdict for result in judged}


def test_no_case_belongs_to_a_rule_that_is_gone() -> None:
    written = {path.stem for path in (Path(cases_module.__file__).parent / "cases").glob("*.yaml")}

    assert written == {rule.id for rule in RULES}
