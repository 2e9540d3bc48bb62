"""Where dateutil leaves RFC 5545 and we do not: each place, with the dates the RFC asks for.

Each test also states what dateutil answers, so that we hear of it when an upgrade brings it home.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr

from eventmanager.recurrence import expand, parse


def ours(rule: str, first: datetime, days: int) -> list[str]:
    """Return the dates of `rule` in the `days` from `first`, which is in UTC."""
    series = parse(rule, start=first, end=first + timedelta(hours=1), time_zone=ZoneInfo("UTC"))
    found = expand(series, start=first, end=first + timedelta(days=days))
    return [f"{item.start:%Y-%m-%d}" for item in found]


def dateutils(rule: str, first: datetime, days: int) -> list[str]:
    """Return what dateutil answers to the same."""
    end = first + timedelta(days=days)
    found = rrulestr(f"{rule};UNTIL={end:%Y%m%dT%H%M%SZ}", dtstart=first)
    return [f"{item:%Y-%m-%d}" for item in found if item < end]


def test_a_numbered_week_without_byday_is_on_the_weekday_of_dtstart() -> None:
    """What a rule leaves out comes from DTSTART (3.3.10); dateutil takes all seven days."""
    rule, first = "FREQ=YEARLY;BYWEEKNO=20", datetime(2025, 1, 1, 9, tzinfo=UTC)
    assert ours(rule, first, 730) == ["2025-05-14", "2026-05-13"]
    assert len(dateutils(rule, first, 730)) == 14


def test_plain_and_numbered_weekdays_in_one_list_are_a_union() -> None:
    """BYDAY=1MO,FR lists days, as every BY part does; dateutil wants a day to be both."""
    rule, first = "FREQ=MONTHLY;BYDAY=1MO,FR", datetime(2025, 9, 1, 9, tzinfo=UTC)
    union = ["2025-09-01", "2025-09-05", "2025-09-12", "2025-09-19", "2025-09-26"]
    assert ours(rule, first, 30) == union
    assert dateutils(rule, first, 30) == []


@pytest.mark.parametrize(
    ("rule", "expected", "other"),
    [
        # Thursday is the third of Tuesday, Wednesday and Thursday only in the whole week.
        ("FREQ=WEEKLY;BYDAY=TU,WE,TH;BYSETPOS=3", ["2025-09-04", "2025-09-11"], ["2025-09-11"]),
        # Tuesday was the first of its week and lies before DTSTART: the week has none left.
        ("FREQ=WEEKLY;BYDAY=TU,TH;BYSETPOS=1", ["2025-09-09"], ["2025-09-04", "2025-09-09"]),
    ],
)
def test_the_set_of_a_first_week_is_that_of_the_whole_week(
    rule: str, expected: list[str], other: list[str]
) -> None:
    """BYSETPOS counts in the set of one interval (3.3.10); dateutil starts the week at DTSTART."""
    wednesday = datetime(2025, 9, 3, 9, tzinfo=UTC)
    assert ours(rule, wednesday, 9) == expected
    assert dateutils(rule, wednesday, 9) == other


def test_the_last_week_of_a_year_reaches_into_january() -> None:
    """1 and 2 January 2011 are in week 52 of 2010; dateutil counts that year's weeks wrongly."""
    rule, first = "FREQ=YEARLY;BYWEEKNO=52;BYDAY=SA,SU", datetime(2011, 1, 1, 9, tzinfo=UTC)
    assert ours(rule, first, 30) == ["2011-01-01", "2011-01-02"]
    assert dateutils(rule, first, 30) == []


def test_the_first_week_of_a_year_counted_from_its_end_reaches_into_december() -> None:
    """31 December 2001 is in week 1 of 2002, its 52nd from the end; dateutil leaves it out."""
    rule, first = "FREQ=YEARLY;BYWEEKNO=-52;BYDAY=MO", datetime(2001, 12, 1, 9, tzinfo=UTC)
    assert ours(rule, first, 35) == ["2001-12-31"]
    assert dateutils(rule, first, 35) == []
