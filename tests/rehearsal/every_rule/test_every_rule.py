"""Every rule's own cases through the real engine: what it reports is what the cases say, and what the harness says.

Two processes of ours answer the engine, as in any preview: the pack, and a provider that accepts resources of every
type. The engine makes the URNs, resolves what depends on what, and tells what is unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from functools import cached_property

import pytest

from tests.rehearsal.every_rule.batches import Batch, Placed, batches
from tests.rehearsal.every_rule.runs import Answer, Runs, Told
from trainyard.local.engine import EngineError
from trainyard.policies.cases import cases_of
from trainyard.policies.in_force import in_force
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Rule, Scope, Verdict
from trainyard.policies.rules import cluster_versions
from trainyard.policies.testing import Harness


def _cases() -> Iterator[Placed]:
    """Of each rule the first case of each kind: none is left out, whatever the rule looks at."""
    for rule in RULES:
        seen = set()
        for case in cases_of(rule):
            if case.verdict not in seen:
                seen.add(case.verdict)
                yield Placed(rule, case, 1)


CASES = list(_cases())
_CAN_BE_WRONG = {one.rule.id for one in CASES if one.case.verdict is Verdict.VIOLATION}
GO_ALONG = {one.component for one in CASES if one.case.verdict is Verdict.UNVERIFIED and one.rule.id in _CAN_BE_WRONG}
"""Cases beside the good and the bad one that every rule must have in the engine."""
by_case = pytest.mark.parametrize(
    "one", CASES, ids=[f"{one.rule.id}: {one.case.verdict.name.lower()}: {one.case.name}" for one in CASES]
)


@pytest.fixture(scope="module", autouse=True)
def _one_day() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_versions, "today", lambda: date(2026, 11, 21))
        yield


class Asked:
    """What the engine tells of each case that was selected. A batch is previewed when its first case is asked for."""

    def __init__(self, cases: Sequence[Placed], runs: Runs) -> None:
        self._cases, self._runs = cases, runs
        self._told: dict[str, Answer | EngineError] = {}

    def of(self, one: Placed) -> Answer:
        """Raises `EngineError` where the preview of its batch ended without an answer."""
        if one.component not in self._told:
            batch = self._batches[one.component]
            if all(other.component in GO_ALONG for other in batch.cases) and len(batch.cases) < len(self._cases):
                pytest.skip("in doubt only, and it disturbs the others: not worth a preview of its own")
            self._told |= dict.fromkeys((other.component for other in batch.cases), self._previewed(batch))
        told = self._told[one.component]
        if isinstance(told, EngineError):
            raise told
        return told

    @cached_property
    def _batches(self) -> dict[str, Batch]:
        return {one.component: batch for batch in batches(self._cases) for one in batch.cases}

    def _previewed(self, batch: Batch) -> Answer | EngineError:
        try:
            return self._runs.preview(batch)
        except EngineError as failed:
            return failed


@pytest.fixture(scope="module")
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    wanted = [item.callspec.params.get("one") for item in request.session.items if hasattr(item, "callspec")]
    with Runs(tmp_path_factory.mktemp("every_rule")) as runs:
        yield Asked([one for one in wanted if isinstance(one, Placed)], runs)


@by_case
def test_engine_tells_what_the_case_says(one: Placed, asked: Asked) -> None:
    answer = asked.of(one)
    told = answer.of(one)

    # It was looked at: nothing told of what nobody saw would be a pass as well.
    missing = {resource.urn for resource in one.resources} - answer.registered
    assert missing == set()
    assert one.rule.id in (
        answer.asked[""]
        if one.rule.scope is Scope.STACK
        else set().union(*(answer.asked.get(resource.urn, ()) for resource in one.resources))
    )
    assert bool(told) is (one.case.verdict is not Verdict.PASSED)
    assert sorted(told.elements()) == sorted(_harness(one).elements())


def _harness(one: Placed) -> Told:
    judged = Harness(judging=replace(in_force(), rules=(one.rule,), own=())).analyze(one.case.resources)
    return Counter(
        (one.urn(found.urn), found.level, found.message) for found in judged.diagnostics if found.policy == one.rule.id
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_goes_through_the_engine_both_ways(rule: Rule) -> None:
    """Where nothing is ever wrong but only in doubt, that is what the engine has to tell."""
    kinds = {one.case.verdict for one in CASES if one.rule is rule and one.component not in GO_ALONG}

    assert kinds in ({Verdict.PASSED, Verdict.VIOLATION}, {Verdict.PASSED, Verdict.UNVERIFIED})
