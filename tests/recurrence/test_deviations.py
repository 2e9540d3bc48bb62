"""Where dateutil and rrule-temporal leave RFC 5545 and we do not, with the dates the RFC asks for.

Each test also states what they answer, so that we hear of it when an upgrade brings them home.
`oracle/deviations.py` says of any rule whether it falls in one of these places.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr

from eventmanager.recurrence import expand, parse
from tests import npm
from tests.recurrence.oracle import engines
from tests.recurrence.oracle.cases import Case
from tests.recurrence.oracle.deviations import (
    Deviation,
    lost_day,
    plain_and_numbered_weekdays,
    time_that_no_clock_shows,
    week_of_two_years,
    yearly_days_not_limited,
    zone_that_changes_back_soon,
)


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


def test_a_day_that_a_zone_left_out_is_a_day_to_dateutil() -> None:
    """Samoa went from 29 to 31 December 2011; the dates of dateutil have no zone (3.3.10)."""
    samoan = case("FREQ=DAILY;COUNT=3", "2011-12-29", "Pacific/Apia")
    assert [f"{day:%d}" for day in engines.ours(samoan)] == ["29", "31"]
    assert [f"{day:%d}" for day in engines.dateutils(samoan)] == ["29", "30", "31"]
    assert lost_day(samoan, engines.ours(samoan), engines.dateutils(samoan))


def case(rule: str, start: str, zone: str) -> Case:
    """Make a case of six years from a local start; a start without a time is all-day."""
    clock = datetime.fromisoformat(start)
    return Case(
        parts=dict(part.split("=") for part in rule.split(";")),
        start=clock,
        zone=ZoneInfo(zone),
        all_day="T" not in start,
        rdates=(),
        exdates=(),
        since=clock.replace(tzinfo=UTC) - timedelta(days=2),
        before=clock.replace(tzinfo=UTC) + timedelta(days=2_200),
    )


def local(asked: Case, starts: list[datetime]) -> list[str]:
    """Return starts as the clocks of the zone of a case show them."""
    zone = UTC if asked.all_day else asked.zone
    return [f"{start.astimezone(zone):%Y-%m-%dT%H:%M}" for start in starts]


# An rrule-temporal deviation, an example of it, the dates that we give and those that it gives.
TEMPORAL: list[tuple[Deviation, Case, list[str], list[str]]] = [
    (
        time_that_no_clock_shows,
        case("FREQ=DAILY;COUNT=3", "2025-03-29T02:30", "Europe/Berlin"),
        ["2025-03-29T02:30", "2025-03-30T03:30", "2025-03-31T02:30"],
        ["2025-03-29T02:30", "2025-03-31T02:30", "2025-04-01T02:30"],
    ),
    (
        # The Sunday of the change is not in its set, so every place after it is one day later.
        time_that_no_clock_shows,
        case("FREQ=MONTHLY;BYDAY=SA,SU;BYSETPOS=-2;COUNT=1", "2025-03-01T02:30", "Europe/Berlin"),
        ["2025-03-29T02:30"],
        ["2025-03-23T02:30"],
    ),
    (
        plain_and_numbered_weekdays,
        case("FREQ=YEARLY;BYDAY=2MO,WE;COUNT=3", "2025-01-01T09:00", "UTC"),
        ["2025-01-01T09:00", "2025-01-08T09:00", "2025-01-13T09:00"],
        ["2025-01-13T09:00", "2026-01-12T09:00", "2027-01-11T09:00"],
    ),
    (
        yearly_days_not_limited,
        case("FREQ=YEARLY;BYYEARDAY=1,2,3;BYDAY=MO;COUNT=2", "2025-01-01T09:00", "UTC"),
        ["2028-01-03T09:00", "2029-01-01T09:00"],
        ["2025-01-01T09:00", "2025-01-02T09:00"],
    ),
    (
        yearly_days_not_limited,
        case("FREQ=YEARLY;BYWEEKNO=20;BYMONTHDAY=12;COUNT=2", "2025-01-06T09:00", "UTC"),
        ["2025-05-12T09:00", "2026-05-12T09:00"],
        ["2025-05-12T09:00", "2026-05-11T09:00"],
    ),
    (
        # The last of the three days of week 1 of 2026 that are in 2025, or that week's Sunday.
        week_of_two_years,
        case("FREQ=YEARLY;BYWEEKNO=1;BYDAY=MO,SU;BYSETPOS=-1;COUNT=1", "2025-06-02T09:00", "UTC"),
        ["2025-12-29T09:00"],
        ["2026-01-04T09:00"],
    ),
    (
        # Monday of week 1 of 2026 is in 2025, and every second year is an odd one here.
        week_of_two_years,
        case("FREQ=YEARLY;INTERVAL=2;BYWEEKNO=1;BYDAY=MO;COUNT=1", "2025-06-02T09:00", "UTC"),
        ["2025-12-29T09:00"],
        ["2027-01-04T09:00"],
    ),
    (
        zone_that_changes_back_soon,
        case("FREQ=DAILY;COUNT=1", "2019-06-08T09:30", "Africa/Casablanca"),
        ["2019-06-08T09:30"],
        ["2019-06-08T08:30"],
    ),
    (
        lost_day,
        case("FREQ=DAILY;COUNT=3", "2011-12-29", "Pacific/Apia"),
        ["2011-12-29T00:00", "2011-12-31T00:00"],
        ["2011-12-29T00:00", "2011-12-30T00:00", "2011-12-31T00:00"],
    ),
]


@pytest.mark.timeout(npm.INSTALL_SECONDS + 60)
@pytest.mark.parametrize(("explains", "asked", "expected", "other"), TEMPORAL)
def test_rrule_temporal_leaves_the_rfc_here(
    explains: Deviation, asked: Case, expected: list[str], other: list[str]
) -> None:
    """What it answers instead is said at each deviation, and so is the section that rules."""
    node = npm.node()
    if node is None:
        pytest.skip("Node.js (node and npm) is not installed: rrule-temporal was not asked")
    npm.install(engines.HERE)
    mine, (theirs,) = engines.ours(asked), engines.rrule_temporals(node, [asked])
    assert isinstance(theirs, list)
    assert local(asked, mine) == expected
    assert local(asked, theirs) == other
    assert explains(asked, mine, theirs)
