"""A rule against its own examples: judged directly, and as the engine asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from trainyard.policies.analyzer import told
from trainyard.policies.cases import Case
from trainyard.policies.rule import Result, Rule, Verdict, evaluate
from trainyard.policies.testing import Harness


def departures(rule: Rule, case: Case) -> Iterator[str]:
    """What the rule does in another way than the case says; nothing where it does as it should."""
    results = list(evaluate([rule], case.graph()))
    found = [result for result in results if result.findings]
    for result in found:
        for finding in result.findings:
            if finding.crashed:
                yield f"on {result.resource.name} {finding.message}"
    places = {f"{result.resource.name}.{finding.place}".rstrip(".") for result in found for finding in result.findings}
    verdicts = {finding.verdict for result in found for finding in result.findings}
    wanted = set() if case.verdict is Verdict.PASSED else {case.verdict}
    if not results:
        yield "no resource in it is one that the rule is about: look at its types, and at applies"
    elif verdicts != wanted:
        yield f"it should be {_said(wanted)}, and is {_said(verdicts)}"
    if places != set(case.finds):
        yield f"finds says {_listed(case.finds)}; found is {_listed(places)}"
    if Counter(_direct(results)) != Counter((one.urn, one.message) for one in _in_engine(rule, case)):
        yield "the engine would be told something else; report this"


def _direct(results: list[Result]) -> Iterator[tuple[str, str]]:
    for result in results:
        for finding in result.findings:
            yield result.resource.urn, told(result, finding)


def _in_engine(rule: Rule, case: Case):
    return Harness([rule]).analyze(case.resources).diagnostics


def _said(verdicts: set[Verdict]) -> str:
    return " and ".join(sorted(verdicts)) or Verdict.PASSED.value


def _listed(places) -> str:
    return f"[{', '.join(sorted(places))}]"
