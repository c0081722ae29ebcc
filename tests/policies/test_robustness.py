"""No resource, however odd, makes a rule fail, and no unknown value makes one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainyard.policies.cases import Case, cases_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Verdict, evaluate
from trainyard.policies.testing import Harness
from trainyard.policies.values import UNKNOWN

CASES = [case for rule in RULES for case in cases_of(rule)]
TYPES = sorted({resource.type for case in CASES for resource in case.resources})


def _keys_of(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        return set(value) | {key for item in value.values() for key in _keys_of(item)}
    return {key for item in value for key in _keys_of(item)} if isinstance(value, list) else set()


# The names and values that rules look for, mixed with any others, so that odd inputs get deep into the rules.
KEYS = sorted({key for case in CASES for resource in case.graph().resources for key in _keys_of(dict(resource.props))})
TEXTS = [
    "*",
    "0.0.0.0/0",
    "us-east-1",
    "data",
    "alias/aws/s3",
    "arn:aws:kms:us-west-1:1:key/1",
    '{"tags": 5}',
    '{"Statement": {"Effect": "Allow", "Principal": {"AWS": {}}, "Condition": {"IpAddress": {"aws:SourceIp": [[]]}}}}',
    '{"Statement": [7, {"Effect": ["Deny"], "Principal": [["*"]], "Action": {}, "Condition": [1]}]}',
]
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(),
    st.text(max_size=8),
    st.sampled_from(TEXTS),
    st.just(UNKNOWN),
)
names = st.one_of(st.sampled_from(KEYS), st.text(max_size=6))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
)
props = st.dictionaries(names, values, max_size=8)


@st.composite
def stacks(draw: st.DrawFn) -> list[Resource]:
    """A few resources of kinds that rules know, with any properties and any references, cycles included."""
    urns = [f"urn:pulumi:dev::p::{draw(st.sampled_from(TYPES))}::r{index}" for index in range(draw(st.integers(1, 5)))]
    targets = st.lists(st.sampled_from([*urns, "urn:pulumi:dev::p::gone::gone", ""]), max_size=3).map(tuple)
    provider = Resource("urn:pulumi:dev::p::pulumi:providers:aws::aws", "pulumi:providers:aws", "aws", draw(props))
    return [
        Resource(
            urn=urn,
            type=urn.split("::")[2],
            name=urn.split("::")[3],
            props=draw(props),
            provider=draw(st.sampled_from([None, provider])),
            dependencies=draw(targets),
            property_dependencies=draw(st.dictionaries(names, targets, max_size=4)),
        )
        for urn in urns
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks())
def test_no_rule_fails_on_any_stack(resources: list[Resource]) -> None:
    crashes = [
        (result.rule.id, finding.cause)
        for result in evaluate(RULES, Graph(resources))
        for finding in result.findings
        if finding.crashed
    ]

    assert crashes == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks())
def test_engine_gets_an_answer_to_any_stack(resources: list[Resource]) -> None:
    analysis = Harness().analyze(resources)

    assert "the rule itself failed" not in "".join(one.message for one in analysis.diagnostics)
    assert {one.level for one in analysis.diagnostics} <= {"mandatory", "advisory"}


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, Mapping):
        return [path, *(deep for key, item in value.items() for deep in _paths(item, (*path, key)))]
    if isinstance(value, list):
        return [path, *(deep for index, item in enumerate(value) for deep in _paths(item, (*path, index)))]
    return [path]


def _without(value: Any, path: tuple[Any, ...]) -> Any:
    """The value with what lies at `path` unknown."""
    if not path:
        return UNKNOWN
    copy = dict(value) if isinstance(value, Mapping) else list(value)
    copy[path[0]] = _without(copy[path[0]], path[1:])
    return copy


# These judge known inputs only, and residency-unknown-reference traces the unknown ones.
_KNOWN_ONLY = ("residency-input-region", "reference-known-accounts")
# These ask whether the program gives something, and not what.
_WHETHER_GIVEN = ("kms-policy-explicit", "backup-plan-takes-something")
BAD = [case for case in CASES if case.verdict is Verdict.VIOLATION and case.rule_id not in _KNOWN_ONLY]


@pytest.mark.parametrize("case", BAD, ids=[f"{case.rule_id}: {case.name}" for case in BAD])
def test_hiding_any_value_of_a_bad_case_never_makes_it_pass(case: Case) -> None:
    """An attacker's, or chance's, favourite: what is wrong becomes unknown, and the check falls silent."""
    (rule,) = (rule for rule in RULES if rule.id == case.rule_id)
    resources = case.graph().resources
    for position, resource in enumerate(resources):
        for path in _paths(dict(resource.props))[1:]:
            if resource.props[path[0]] is UNKNOWN:
                continue
            given = {path[0]: (), **resource.property_dependencies}
            if rule.id in _WHETHER_GIVEN:
                given.pop(path[0])
            hidden = replace(resource, props=_without(resource.props, path), property_dependencies=given)
            stack = [*resources[:position], hidden, *resources[position + 1 :]]
            rewired = [replace(one, provider=hidden) if one.provider == resource else one for one in stack]
            verdicts = {result.verdict for result in evaluate([rule], Graph(rewired))}

            assert verdicts - {Verdict.PASSED}, f"passes once {resource.name}.{path} is unknown"


def test_a_deep_and_wide_value_is_walked_without_recursion() -> None:
    deep: Any = "arn:aws:kms:eu-west-1:1:key/1"
    for _ in range(5000):
        deep = [deep]
    queue = Resource("urn:pulumi:dev::p::aws:sqs/queue:Queue::q", "aws:sqs/queue:Queue", "q", {"x": deep})

    found = [f for result in evaluate(RULES, Graph([queue])) for f in result.findings if "eu-west-1" in f.message]

    assert len(found) == 1
