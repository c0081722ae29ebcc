"""How a property's value before and after is laid out on a review's page."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard.cli.review import diff

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (None, "–"),
        (True, "true"),
        (3, "3"),
        ({}, "{}"),
        ("", ""),
        ("a\nb", "a\nb"),
        ([1, {"b": 2}], '[\n  1,\n  {\n    "b": 2\n  }\n]'),
        ('{"Version":"2012-10-17"}', '{\n  "Version": "2012-10-17"\n}'),  # a policy is a string of JSON
        ("{not json", "{not json"),
        ("[secret]", "[secret]"),
    ],
)
def test_a_value_is_told_whole(raw: Any, told: str) -> None:
    assert diff.whole(raw) == told


def test_values_of_one_line_each_need_no_lines() -> None:
    assert diff.lines(1200, 2400) == diff.lines(None, "x" * 300) == []


def test_of_a_policy_only_what_changes_is_shown_with_what_is_around_it() -> None:
    statements = [{"Sid": str(number), "Effect": "Deny", "Principal": "*"} for number in range(20)]
    before = json.dumps({"Statement": statements})
    statements[10]["Principal"] = "arn:aws:iam::123456789012:root"

    lines = diff.lines(before, json.dumps({"Statement": statements}))

    assert [(sign, line.strip()) for sign, line in lines if sign in "+-"] == [
        ("-", '"Principal": "*"'),
        ("+", '"Principal": "arn:aws:iam::123456789012:root"'),
    ]
    assert [sign for sign, _ in lines] == ["…", *"   -+   ", "…"]
    left_out = sum(int(line.split()[0]) for sign, line in lines if sign == "…")
    assert left_out + sum(sign in " -" for sign, _ in lines) == len(diff.whole(before).splitlines())


def test_what_was_not_there_before_is_all_new() -> None:
    assert {sign for sign, _ in diff.lines(None, {"a": 1})} == {"+"}
    assert {sign for sign, _ in diff.lines({"a": 1}, None)} == {"-"}


def test_very_long_values_are_not_compared_at_a_cost_that_squares() -> None:
    before, after = ([number % 7 for number in range(count)] for count in (20_000, 20_001))

    assert len(diff.lines(before, after)) == 40_005


@given(JSON, JSON)
def test_both_values_can_be_read_out_of_the_lines(before: Any, after: Any) -> None:
    lines = diff.lines(before, after)
    if lines and all(sign != "…" for sign, _ in lines):
        for raw, signs in ((before, " -"), (after, " +")):
            told = [line for sign, line in lines if sign in signs]
            assert told == ([] if raw is None else diff.whole(raw).splitlines())
