"""AWS's cron expressions: every value that its reference allows is taken, and every other is refused in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard.stacks.setting_schedule import FIELDS, Field, Schedule, ScheduleError, backup_schedule, cron

WHOLE = ["0", "3", "*", "*", "?", "*"]
NAMES = [kind.name for kind in FIELDS]


def _with(kind: Field, text: str) -> str:
    """An expression with `text` in the field of that kind, and in the other day's the ? that it asks for."""
    fields = list(WHOLE)
    if kind.name == "day of the week":
        fields[2] = "?"
    fields[FIELDS.index(kind)] = text
    return f"cron({' '.join(fields)})"


def _values(schedule: Schedule, kind: Field) -> frozenset[int] | None:
    names = ("minutes", "hours", "days", "months", "weekdays", "years")
    return getattr(schedule, names[FIELDS.index(kind)])


def _refused(expression: str) -> str:
    with pytest.raises(ScheduleError) as wrong:
        cron(expression)
    return str(wrong.value)


@pytest.mark.parametrize("kind", FIELDS, ids=NAMES)
def test_the_whole_range_of_each_field_is_taken_and_nothing_beyond(kind: Field) -> None:
    for value in range(-1, 2300):
        if kind.least <= value <= kind.most:
            assert _values(cron(_with(kind, str(value))), kind) == {value}
        else:
            assert kind.span in _refused(_with(kind, str(value))) or value == -1


@pytest.mark.parametrize("kind", FIELDS, ids=NAMES)
def test_every_range_forwards_is_taken_and_every_one_backwards_refused(kind: Field) -> None:
    most = min(kind.most, kind.least + 60)
    for low in range(kind.least, most + 1):
        for high in range(kind.least, most + 1):
            if low <= high:
                assert _values(cron(_with(kind, f"{low}-{high}")), kind) == set(range(low, high + 1))
            else:
                says = _refused(_with(kind, f"{low}-{high}"))
                rewritten = says.partition("write ")[2].partition(" for")[0]
                assert _values(cron(_with(kind, rewritten)), kind) == {
                    *range(low, kind.most + 1),
                    *range(kind.least, high + 1),
                }


@pytest.mark.parametrize("kind", FIELDS, ids=NAMES)
def test_every_step_is_taken_up_to_the_field_itself(kind: Field) -> None:
    largest = kind.most - kind.least + bool(kind.least)
    for step in range(largest + 3):
        if 1 <= step <= largest:
            assert _values(cron(_with(kind, f"*/{step}")), kind) == set(range(kind.least, kind.most + 1, step))
            assert _values(cron(_with(kind, f"{kind.least + 1}/{step}")), kind) == set(
                range(kind.least + 1, kind.most + 1, step)
            )
        else:
            assert f"not from 1 to {largest}" in _refused(_with(kind, f"*/{step}"))


@pytest.mark.parametrize("kind", [kind for kind in FIELDS if kind.names], ids=lambda kind: kind.name)
def test_names_stand_for_their_numbers(kind: Field) -> None:
    for number, name in enumerate(kind.names, kind.least):
        assert _values(cron(_with(kind, name)), kind) == {number}
        assert _values(cron(_with(kind, name.lower())), kind) == {number}
    first, last = kind.names[0], kind.names[-1]
    assert _values(cron(_with(kind, f"{first}-{last}")), kind) == set(range(kind.least, kind.most + 1))


@pytest.mark.parametrize(
    "expression",
    # As AWS's own pages write them.
    [
        "cron(0 5 ? * * *)",
        "cron(15 12 * * ? *)",
        "cron(0 18 ? * MON-FRI *)",
        "cron(0 8 1 * ? *)",
        "cron(30 0 ? * 3#2 *)",
        "cron(0 2 ? * THU#3 *)",
        "cron(0 9 L * ? *)",
        "cron(0 9 LW * ? *)",
        "cron(0 9 3W * ? *)",
        "cron(0 9 ? * L *)",
        "cron(0 9 ? * 6L *)",
        "cron(0 9 29 2 ? *)",
        "cron(0  9  29  2  ?  2028)",
        "cron( 0 9 1,15 JAN,FEB,MAR ? 2026-2199/2 )",
    ],
)
def test_what_aws_writes_is_taken(expression: str) -> None:
    assert backup_schedule(expression).hours


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "cron(0 3 * * ? *)"),
        ("0 3 * * ? *", "cron( six fields )"),
        ("cron(0 3 * * ? *) ", "cron( six fields )"),
        (f"cron(0 {','.join(['3'] * 200)} * * ? *)", "and AWS takes 256"),
        ("cron()", "It has 0 fields"),
        ("cron(0 3 * * ? * *)", "It has 7 fields"),
        ("cron(0 3 ? * ? *)", "one of the two is ?"),
        ("cron(0 3 1 * MON *)", "one of the two is ?"),
        ("cron(? 3 * * ? *)", "Its minute, ?, is not from 0 to 59."),
        ("cron(L 3 * * ? *)", "Its minute, L,"),
        ("cron(0 3, * * ? *)", "Its hour, which is empty, is not from 0 to 23."),
        ("cron(0 -3 * * ? *)", "Its hour, which is empty,"),
        ("cron(0 ٣ * * ? *)", "Its hour, ٣,"),
        ("cron(0 3 32W * ? *)", "Its day of the month, 32,"),
        ("cron(0 3 W * ? *)", "Its day of the month, which is empty,"),
        ("cron(0 3 * JANUARY ? *)", "Its month, JANUARY, is not from 1 to 12 or JAN to DEC."),
        ("cron(0 3 ? * 0 *)", "Sunday is 1."),
        ("cron(0 3 ? * MON#6 *)", "from 1 to 5"),
        ("cron(0 3 ? * 3#1,6#3 *)", "it stands alone"),
        ("cron(0 3 ? * 8L *)", "Its day of the week, 8,"),
        ("cron(0 3 31 2,4,6 ? *)", "None of its months has a day 31"),
        ("cron(0 3 29 2 ? 2027)", "None of its months has a day 29"),
        ("cron(0 */ * * ? *)", "has a step after / that is not from 1 to 23"),
        ("rate(12 hours)", "AWS Backup takes no rate"),
    ],
)
def test_what_is_malformed_is_told(expression: str, says: str) -> None:
    assert says in _refused(expression)


@pytest.mark.parametrize("minute", ["*", "0,30", "0/20", "10-11"])
def test_backups_lie_an_hour_apart(minute: str) -> None:
    assert cron(f"cron({minute} 3 * * ? *)")
    with pytest.raises(ScheduleError, match="wants an hour between two"):
        backup_schedule(f"cron({minute} 3 * * ? *)")


@given(st.text(alphabet="cron()0123456789 */-,?LW#MONJAN\t\n", max_size=40))
def test_any_other_text_is_taken_or_told_in_a_sentence(text: str) -> None:
    for expression in (text, f"cron({text})"):
        assert _told(expression).endswith(".")


def _told(expression: str) -> str:
    try:
        return f"Taken: {sorted(cron(expression).hours)}."
    except ScheduleError as wrong:
        return str(wrong)
