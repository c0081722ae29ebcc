"""Whatever stands in a setting: it is taken or refused in words, and nothing breaks."""

from __future__ import annotations

import copy
import datetime
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from setting_examples import BASE, FULL, problems

from trainyard.stacks.settings import Settings, SettingsError, parse_settings


def test_one_wrong_entry_does_not_make_its_list_wrong_too() -> None:
    assert list(problems(teams=[{"name": "vision", "gpu_quota": "many"}])) == ["teams[0].gpu_quota"]


def test_a_misspelt_key_is_not_missing_too() -> None:
    told = problems(teams=[{"name": "vision", "gpu_qouta": 8}])
    assert list(told) == ["teams[0].gpu_qouta"]
    assert "Did you mean gpu_quota?" in told["teams[0].gpu_qouta"]


def test_a_thousand_wrong_entries_are_told_in_a_page() -> None:
    with pytest.raises(SettingsError) as refused:
        parse_settings({**BASE, "teams": ["x"] * 1000}, namespace="trainyard", stack="lab")
    lines = str(refused.value).splitlines()
    assert (len(lines), lines[-1].strip()) == (27, "… and 975 more.")


def test_what_is_shown_of_a_wrong_value_is_short() -> None:
    assert len(problems(environment="a" * 100_000)["environment"]) < 500


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, one in inner for place in _places(one, (*path, key))]


# fmt: off
NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 10**400, 1.35, float("nan"), "", " ", "[]", "null", "9" * 5000, "[" * 100_000, "1e999", [], {},
    [None], [[]], [{}], {"a": 1}, {"secure": "v1:x"}, "\x00", "\ud800", "{0}%s", "0.0.0.0/0", "10.0.0.0/33", "::/0",
    datetime.date(2027, 1, 1), datetime.datetime(2027, 1, 1), "0001-01-01T00:00:00+14:00", ["10.0.0.0/8"] * 2000,
    "cron(" + "9," * 5000 + ")", "cron(* * * * * *)",
)
# fmt: on


@pytest.mark.parametrize("place", _places(FULL), ids=lambda place: ".".join(map(str, place)))
def test_no_value_anywhere_breaks_more_than_the_settings(place: tuple[Any, ...]) -> None:
    for nasty in NASTY:
        values = copy.deepcopy(FULL)
        inside: Any = values
        for step in place[:-1]:
            inside = inside[step]
        inside[place[-1]] = nasty
        as_text = {key: one if isinstance(one, str) else json.dumps(one, default=str) for key, one in values.items()}
        for given_values in (values, as_text):
            told = problems(**given_values)
            assert all(message.endswith((".", "?")) and "Input should" not in message for message in told.values())
            assert all(len(message) < 2000 for message in told.values()), max(told.values(), key=len)[:3000]


def test_the_full_example_has_no_problem() -> None:
    assert problems(**FULL) == {}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    first=st.sampled_from(sorted(Settings.model_fields)),
    second=st.sampled_from(sorted(Settings.model_fields)),
    values=st.tuples(_JSON, _JSON),
)
def test_whatever_stands_there_it_is_taken_or_refused_in_words(
    first: str, second: str, values: tuple[Any, Any]
) -> None:
    told = problems(**{first: values[0], second: values[1]})
    assert all(message.endswith((".", "?")) for message in told.values())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sets(st.sampled_from(_places(FULL)), min_size=1, max_size=12))
def test_whatever_is_missing_the_checks_of_the_rest_end_in_words(missing: set[tuple[Any, ...]]) -> None:
    values = copy.deepcopy(FULL)
    for place in sorted(missing, key=str):
        inside: Any = values
        try:
            for step in place[:-1]:
                inside = inside[step]
        except (KeyError, IndexError, TypeError):
            continue
        if isinstance(inside, dict):
            inside.pop(place[-1], None)
    told = problems(**{key: values.get(key) for key in {*FULL}})
    assert all(message.endswith((".", "?")) for message in told.values())
