"""AWS's cron expressions, as AWS Backup takes them: what is wrong in one, in words.

    backup_schedule("cron(0 3 * * ? *)").years    # those from 1970 to 2199
    backup_schedule("cron(0 24 * * ? *)")         # ScheduleError: Its hour, 24, is not from 0 to 23.

Source: EventBridge user guide, "Cron expressions reference"; AWS Backup API, BackupRule.ScheduleExpression, which knows
cron and no rate; that jobs lie an hour apart or more is what AWS Backup answers otherwise (re:Post). All read 2026-11.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass

EXAMPLE = "cron(0 3 * * ? *)"

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MOST_WEEKS = 5
SHORTEST_MONTH = 28
LONGEST = 256
"""Characters. Source: EventBridge API, PutRule, ScheduleExpression, in the service model of botocore 1.44.5."""


class ScheduleError(ValueError):
    """What is wrong in an expression, in whole sentences."""


@dataclass(frozen=True)
class Field:
    """One of the six fields: its name, its bounds, and the names that its numbers have."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()

    @property
    def values(self) -> frozenset[int]:
        """All that may stand in it."""
        return frozenset(range(self.least, self.most + 1))

    @property
    def span(self) -> str:
        """Its bounds, in words."""
        words = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"from {self.least} to {self.most}{words}"


MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY = Field("day of the month", 1, 31)
MONTH = Field("month", 1, 12, _MONTHS)
WEEKDAY = Field("day of the week", 1, 7, _WEEKDAYS)
YEAR = Field("year", 1970, 2199)
FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY, YEAR)


@dataclass(frozen=True)
class Schedule:
    """The values of each field; None for the days where the other of the two fields tells them, or where they depend on
    the calendar (`L`, `15W`, `FRI#2`)."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] | None
    months: frozenset[int]
    weekdays: frozenset[int] | None
    years: frozenset[int]


def backup_schedule(expression: str) -> Schedule:
    """The times that an expression names. Raises ScheduleError for one that AWS Backup refuses or that never comes."""
    schedule = cron(expression)
    if len(schedule.minutes) > 1:
        raise ScheduleError(
            f"It starts backups {len(schedule.minutes)} times within an hour, and AWS Backup wants an hour between "
            f"two; name one minute, as in {EXAMPLE}."
        )
    return schedule


def cron(expression: str) -> Schedule:
    """The times that `cron(…)` names. Raises ScheduleError with what is wrong in it."""
    if len(expression) > LONGEST:
        raise ScheduleError(f"It has {len(expression)} characters, and AWS takes {LONGEST}; such as {EXAMPLE}.")
    if expression.startswith("rate("):
        raise ScheduleError(f"AWS Backup takes no rate; write when, as in {EXAMPLE}, which is daily at three, UTC.")
    match = re.fullmatch(r"cron\(\s*([^()]*?)\s*\)", expression)
    if match is None:
        raise ScheduleError(f"It is written as AWS writes it: cron( six fields ), such as {EXAMPLE}.")
    texts = match[1].split()
    if len(texts) != len(FIELDS):
        raise ScheduleError(
            f"It has {len(texts)} fields, and AWS has six: minute, hour, day of the month, month, day of the week and "
            f"year, such as {EXAMPLE}."
        )
    minutes, hours, day, months, weekday, years = texts
    if (day == "?") == (weekday == "?"):
        raise ScheduleError(
            f"Its day of the month is {day} and its day of the week {weekday}; one of the two is ?, and the other says "
            f"which days, as in {EXAMPLE} or cron(0 3 ? * SUN *)."
        )
    schedule = Schedule(
        _values(MINUTE, minutes),
        _values(HOUR, hours),
        _days(day),
        _values(MONTH, months),
        _weekdays(weekday),
        _values(YEAR, years),
    )
    _comes(schedule)
    return schedule


def _comes(schedule: Schedule) -> None:
    if schedule.days is None or min(schedule.days) <= SHORTEST_MONTH:
        return
    longest = max(calendar.monthrange(year, month)[1] for year in schedule.years for month in schedule.months)
    if min(schedule.days) > longest:
        raise ScheduleError(
            f"None of its months has a day {min(schedule.days)}, so it never comes; L is the last day of each."
        )


def _days(text: str) -> frozenset[int] | None:
    if text in ("?", "L", "LW"):
        return None
    if text.endswith("W"):
        _number(DAY, text[:-1])
        return None
    return _values(DAY, text)


def _weekdays(text: str) -> frozenset[int] | None:
    if text in ("?", "L"):
        return None
    day, hash_sign, week = text.partition("#")
    if hash_sign:
        _number(WEEKDAY, day)
        if not re.fullmatch(rf"[1-{MOST_WEEKS}]", week):
            raise ScheduleError(
                f"Its day of the week, {text}, names a week of the month after #, which is one from 1 to {MOST_WEEKS}; "
                "it stands alone, such as SUN#1."
            )
        return None
    if text.endswith("L"):
        _number(WEEKDAY, text[:-1])
        return None
    return _values(WEEKDAY, text)


def _values(kind: Field, text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        values = _span(kind, span, open_ended=bool(slash))
        if slash:
            largest = kind.most - kind.least + (1 if kind.least else 0)
            if not re.fullmatch(r"[0-9]{1,4}", step) or not 1 <= int(step) <= largest:
                raise ScheduleError(f"Its {kind.name}, {text}, has a step after / that is not from 1 to {largest}.")
            values = values[:: int(step)]
        found.update(values)
    return frozenset(found)


def _span(kind: Field, text: str, *, open_ended: bool) -> range:
    """`*`, `7`, `1-5`; before a step one number means from there on."""
    if text == "*":
        return range(kind.least, kind.most + 1)
    first, dash, last = text.partition("-")
    low = _number(kind, first)
    if not dash:
        return range(low, kind.most + 1) if open_ended else range(low, low + 1)
    high = _number(kind, last)
    if high < low:
        raise ScheduleError(
            f"Its {kind.name}, {text}, goes backwards; write {low}-{kind.most},{kind.least}-{high} for what goes round."
        )
    return range(low, high + 1)


def _number(kind: Field, text: str) -> int:
    if text.upper() in kind.names:
        return kind.names.index(text.upper()) + kind.least
    if not re.fullmatch(r"[0-9]{1,4}", text) or not kind.least <= int(text) <= kind.most:
        sunday = " Sunday is 1." if kind is WEEKDAY else ""
        raise ScheduleError(f"Its {kind.name}, {text or 'which is empty'}, is not {kind.span}.{sunday}")
    return int(text)
