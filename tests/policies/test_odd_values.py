"""Whatever stands where a rule reads something else: no rule fails, and all are asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from trainyard.policies.cases import cases_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Rule, evaluate
from trainyard.policies.testing import Harness
from trainyard.policies.values import UNKNOWN
from trainyard.policies.wire import DEEPEST

ODD: list[Any] = [
    *(None, True, 0, -1, 10**400, float("nan"), float("inf"), UNKNOWN),
    *(
        "",
        "odd",
        "\x00\u202e\U0001f600",
        "٣",
        "9" * 5000,
        "${x}",
        "*",
        "arn:aws:s3:::",
        "0.0.0.0/99",
        "[",
        '{"a":' * 50,
    ),
    *([], [None], [[]], [UNKNOWN], {}, {"a": 1}, {"": None}, [{"a": [0]}]),
    *('{"Statement": [{}]}', '{"Statement": {"Condition": {"Bool": 1}, "Effect": "Allow", "Principal": [{}]}}'),
]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deep for key, item in items for deep in _paths(item, (*path, key)))]


def _with(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    copy = dict(value) if isinstance(value, Mapping) else list(value)
    copy[path[0]] = _with(copy[path[0]], path[1:], odd)
    return copy


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_an_odd_value_in_any_place_of_a_case_fails_no_rule(rule: Rule) -> None:
    """Each place gets another one of the odd values, so that all places and all values have had their turn."""
    turns = count(len(rule.id))
    for case in cases_of(rule):
        resources = case.graph().resources
        for position, resource in enumerate(resources):
            for path in _paths(dict(resource.props))[1:]:
                odd = ODD[next(turns) % len(ODD)]
                changed = replace(resource, props=_with(resource.props, path, odd))
                stack = [*resources[:position], changed, *resources[position + 1 :]]
                rewired = [replace(one, provider=changed) if one.provider == resource else one for one in stack]
                crashes = [
                    finding.cause
                    for result in evaluate([rule], Graph(rewired))
                    for finding in result.findings
                    if finding.crashed
                ]

                assert crashes == [], f"{case.name}: {resource.name}.{path} is {str(odd)[:40]!r}"


def _asked_of(resource_type: str, **props: Any) -> list[str]:
    """What the pack tells the engine of one resource that nothing else refers to."""
    resource = Resource(f"urn:pulumi:dev::p::{resource_type}::odd", resource_type, "odd", props)
    said = [one.message for one in Harness().analyze([resource]).diagnostics]
    assert "the rule itself failed" not in "".join(said)
    return said


@pytest.mark.parametrize("levels", [DEEPEST - 5, DEEPEST + 20])
@pytest.mark.parametrize("kind", ["kubernetes:batch/v1:Job", "aws:s3/bucketPolicy:BucketPolicy", "aws:ec2/vpc:Vpc"])
def test_a_value_of_any_depth_is_read(kind: str, levels: int) -> None:
    deep: Any = "arn:aws:kms:us-west-1:1:key/1"
    for level in range(levels):
        deep = [deep] if level % 2 else {"spec": deep}

    said = _asked_of(kind, spec=deep, policy=deep, tags=deep)

    assert said


def test_what_lies_too_deep_to_be_read_cannot_be_verified() -> None:
    deep: Any = "eu-west-1"
    for _ in range(DEEPEST + 1):
        deep = [deep]

    said = _asked_of("aws:sqs/queue:Queue", region=deep)

    assert any("cannot be verified" in one for one in said)


def test_the_last_of_a_hundred_thousand_is_judged() -> None:
    keys = ["arn:aws:kms:us-east-1:1:key/1"] * 99_999 + ["arn:aws:kms:eu-west-1:1:key/1"]

    said = _asked_of("aws:sqs/queue:Queue", keys=keys, tags=dict.fromkeys(map(str, range(1000)), "x"))

    assert any("keys[99999]" in one for one in said)


def test_resources_that_all_depend_on_each_other_end_no_rule() -> None:
    kinds = sorted({one.type for rule in RULES for case in cases_of(rule) for one in case.resources})
    urns = tuple(f"urn:pulumi:dev::p::{kind}::{number}" for number, kind in enumerate(kinds))
    names = (
        "bucket",
        "policy",
        "role",
        "policyArn",
        "keyId",
        "vpcId",
        "subnetIds",
        "securityGroupIds",
        "kmsKeyId",
        "arn",
    )
    ring = [
        Resource(urn, kind, str(number), dict.fromkeys(names, UNKNOWN), None, urns, dict.fromkeys(names, urns))
        for number, (urn, kind) in enumerate(zip(urns, kinds, strict=True))
    ]

    said = Harness().analyze(ring).diagnostics

    assert "the rule itself failed" not in "".join(one.message for one in said)
    assert any("cannot be verified" in one.message for one in said)
