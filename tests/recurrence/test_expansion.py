"""Windows, RDATE and EXDATE, all-day values, the limits, and the end of a series."""

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from eventmanager.recurrence import (
    MAX_OCCURRENCES,
    InvalidRecurrence,
    Occurrence,
    Series,
    expand,
    is_finished,
    parse,
)

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2025, 1, 15, 9, tzinfo=BERLIN)
FOREVER = datetime.max.replace(tzinfo=UTC)


def series_of(pattern: str) -> Series:
    """Read a pattern for an hour from 09:00 in Berlin (08:00 UTC), 15 January 2025."""
    return parse(pattern, start=START, end=START + timedelta(hours=1), time_zone=BERLIN)


def holiday(pattern: str, *, days: int = 1) -> Series:
    """Read a pattern for all of 15 January 2025 in Berlin."""
    start = datetime(2025, 1, 15, tzinfo=BERLIN)
    end = start + timedelta(days=days)
    return parse(pattern, start=start, end=end, time_zone=BERLIN, all_day=True)


def days(series: Series, end: datetime = FOREVER) -> list[str]:
    """Return the local dates of all occurrences before `end`."""
    found = expand(series, start=datetime.min.replace(tzinfo=UTC), end=end)
    return [f"{item.start.astimezone(BERLIN):%Y-%m-%d}" for item in found]


def test_an_occurrence_is_named_by_its_start_and_told_in_utc() -> None:
    """Overrides find their occurrence by this name, whatever zone the reader lives in."""
    (found,) = expand(series_of("FREQ=DAILY;COUNT=1"), start=START, end=FOREVER)
    start = datetime(2025, 1, 15, 8, tzinfo=UTC)
    assert found == Occurrence(start, start, start + timedelta(hours=1))
    assert {found.recurrence_id.tzinfo, found.start.tzinfo, found.end.tzinfo} == {UTC}


def test_a_window_has_its_start_and_not_its_end() -> None:
    """Windows side by side show every occurrence once."""
    series = series_of("FREQ=DAILY")
    found = expand(series, start=START + timedelta(days=1), end=START + timedelta(days=3))
    assert [item.start for item in found] == [START + timedelta(days=day) for day in (1, 2)]


def test_an_empty_or_backward_window_has_nothing() -> None:
    """No error: there is just nothing between."""
    series = series_of("FREQ=DAILY")
    assert expand(series, start=START, end=START) == []
    assert expand(series, start=START + timedelta(days=9), end=START) == []


def test_a_naive_bound_is_refused() -> None:
    """Read in the zone of the host, it would mean something else on every machine."""
    with pytest.raises(ValueError, match="aware"):
        expand(series_of("FREQ=DAILY"), start=START.replace(tzinfo=None), end=FOREVER)


def test_dtstart_is_no_occurrence_unless_the_rule_matches_it() -> None:
    """15 January 2025 is a Wednesday; COUNT counts Mondays."""
    assert days(series_of("FREQ=WEEKLY;BYDAY=MO;COUNT=2")) == ["2025-01-20", "2025-01-27"]


def test_count_counts_before_exdate_removes() -> None:
    """RFC 5545 3.3.10: an excluded instance is not made up for."""
    series = series_of("RRULE:FREQ=DAILY;COUNT=3\nEXDATE:20250116T090000")
    assert days(series) == ["2025-01-15", "2025-01-17"]


def test_rdates_without_a_rule_are_joined_by_dtstart() -> None:
    """RFC 5545 3.8.5.2: DTSTART is the first of them."""
    series = series_of("RDATE:20250301T090000,20250201T090000")
    assert days(series) == ["2025-01-15", "2025-02-01", "2025-03-01"]


def test_rdates_join_a_rule_and_a_repeated_one_counts_once() -> None:
    """A date named twice is one occurrence."""
    series = series_of(
        "RRULE:FREQ=DAILY;COUNT=2\r\nRDATE:20250116T090000,20250120T090000\r\n"
        "RDATE;TZID=America/New_York:20250120T030000\r\n"
    )
    assert days(series) == ["2025-01-15", "2025-01-16", "2025-01-20"]


@pytest.mark.parametrize(
    "line",
    [
        "EXDATE:20250116T090000",
        "EXDATE:20250116T080000Z",
        "EXDATE;TZID=Europe/Berlin:20250116T090000",
        "exdate;value=date-time;tzid=America/New_York:20250116T030000",
        'EXDATE;TZID="Europe/Berlin":20250116T090000',
    ],
)
def test_exdate_removes_an_instant_however_it_is_written(line: str) -> None:
    """Other calendars write UTC, their own zone or none."""
    assert days(series_of(f"FREQ=DAILY;COUNT=2\n{line}")) == ["2025-01-15"]


def test_exdate_removes_an_rdate_and_leaves_others_alone() -> None:
    """An EXDATE that matches nothing is no mistake: the series may have moved."""
    series = series_of("RDATE:20250301T090000\nEXDATE:20250301T090000,20250401T110000")
    assert days(series) == ["2025-01-15"]


def test_all_day_dates_are_local_days() -> None:
    """RDATE and EXDATE name days there, with or without VALUE=DATE."""
    series = holiday("FREQ=DAILY;COUNT=3\nEXDATE;VALUE=DATE:20250116\nRDATE:20250701", days=2)
    assert days(series) == ["2025-01-15", "2025-01-17", "2025-07-01"]
    last = expand(series, start=START, end=FOREVER)[-1]
    assert last.end == datetime(2025, 7, 3, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("until", "count"),
    [
        ("20250117", 3),
        ("20250117T090000", 3),
        ("20250117T085959", 2),
        ("20250117T080000Z", 3),
        ("20250117T075959Z", 2),
    ],
)
def test_until_is_inclusive_in_every_spelling(until: str, count: int) -> None:
    """A date holds the whole local day, a time without Z is on the wall clock."""
    assert len(days(series_of(f"FREQ=DAILY;UNTIL={until}"))) == count


@pytest.mark.parametrize("until", ["20250117", "20250117T000000Z", "20250117T235959"])
def test_until_of_an_all_day_series_is_a_date(until: str) -> None:
    """Some calendars add a time to it; the date they wrote is what they mean."""
    assert days(holiday(f"FREQ=DAILY;UNTIL={until}"))[-1] == "2025-01-17"


def test_until_beyond_the_last_year_is_no_bound() -> None:
    """Some calendars say "for ever" as the year 9999."""
    assert not is_finished(series_of("FREQ=DAILY;UNTIL=99991231T235959Z"), at=START)


def test_a_series_ends_with_the_year_2200() -> None:
    """Nothing is generated later, and asking for it is no error."""
    assert days(series_of("FREQ=YEARLY"))[-1] == "2200-01-15"
    assert days(series_of("FREQ=DAILY;INTERVAL=30"))[-1] == "2200-12-24"


def test_more_occurrences_than_the_limit_are_refused() -> None:
    """Exactly the limit passes; one more is refused with a way out."""
    end = START + timedelta(days=MAX_OCCURRENCES)
    series = series_of("FREQ=DAILY")
    assert len(expand(series, start=START, end=end)) == MAX_OCCURRENCES
    with pytest.raises(InvalidRecurrence, match=r"more than 5,000 occurrences in the span") as info:
        expand(series, start=START, end=end + timedelta(days=1))
    assert "COUNT or UNTIL" in info.value.reason


@pytest.mark.parametrize(
    ("pattern", "last"),
    [
        ("FREQ=DAILY;COUNT=3", "2025-01-17T08:00"),
        ("FREQ=DAILY;UNTIL=20250117T080000Z", "2025-01-17T08:00"),
        ("FREQ=DAILY;UNTIL=20250117T230000Z", "2025-01-17T08:00"),
        ("FREQ=DAILY;COUNT=3\nEXDATE:20250117T080000Z", "2025-01-16T08:00"),
        ("FREQ=DAILY;COUNT=3\nRDATE:20260117T080000Z", "2026-01-17T08:00"),
        ("RDATE:20260117T080000Z\nEXDATE:20260117T080000Z", "2025-01-15T08:00"),
        ("FREQ=YEARLY", "2200-01-15T08:00"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=SU", "2184-02-29T08:00"),
    ],
)
def test_a_series_is_finished_after_its_last_occurrence(pattern: str, last: str) -> None:
    """The task that extends horizons leaves a finished series alone, and no other."""
    moment = datetime.fromisoformat(last).replace(tzinfo=UTC)
    series = series_of(pattern)
    assert not is_finished(series, at=datetime.min.replace(tzinfo=UTC))
    assert not is_finished(series, at=moment)
    assert is_finished(series, at=moment + timedelta(microseconds=1))
    assert is_finished(series, at=FOREVER)


def test_an_endless_series_is_the_same_eight_years_on() -> None:
    """A window far ahead is reached by arithmetic, and lands on the same phase."""
    series = series_of("FREQ=WEEKLY;INTERVAL=3;BYDAY=MO,WE")
    begin = START + timedelta(days=2922)
    far = expand(series, start=begin, end=begin + timedelta(days=60))
    whole = expand(series, start=START, end=begin + timedelta(days=60))
    assert far
    assert far == [item for item in whole if item.start >= begin]


def cpu_ms(pattern: str, begin: int, span: int) -> float:
    """Return the CPU time of parse and expand over `span` days from day `begin`; best of five."""
    best = float("inf")
    for _ in range(5):
        before = time.process_time()
        start = START + timedelta(days=begin)
        expand(series_of(pattern), start=start, end=start + timedelta(days=span))
        best = min(best, time.process_time() - before)
    return best * 1000


@pytest.mark.parametrize(
    ("begin", "span", "limit"), [(0, 730, 10), (0, 3650, 40), (2922, 30, 3), (60_000, 30, 3)]
)
def test_an_endless_daily_series_is_expanded_fast(begin: int, span: int, limit: float) -> None:
    """Bounds are three times what a small machine measures, so that only a real loss trips them."""
    assert cpu_ms("FREQ=DAILY", begin, span) < limit


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        ((1899, 12, 31, 12), (1900, 1, 1, 12), "years 1900 to 2200"),
        ((2201, 1, 1, 12), (2201, 1, 1, 13), "years 1900 to 2200"),
        ((2025, 1, 1, 12), (2025, 1, 1, 11), "ends before it starts"),
        ((2025, 1, 1, 12), (9999, 12, 31, 23), "ends after the year 2200"),
    ],
)
def test_times_that_no_calendar_needs_are_refused(
    start: tuple[int, int, int, int], end: tuple[int, int, int, int], reason: str
) -> None:
    """The reason names the limit."""
    first, after = datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC)
    with pytest.raises(InvalidRecurrence, match=reason):
        parse("FREQ=DAILY", start=first, end=after, time_zone=BERLIN)


@pytest.mark.parametrize("shift", [timedelta(hours=1), timedelta(seconds=-1)])
def test_an_all_day_series_starts_and_ends_at_local_midnight(shift: timedelta) -> None:
    """Midnight in UTC is not midnight in Berlin, a mistake worth an answer."""
    start = datetime(2025, 1, 15, tzinfo=BERLIN)
    end = start + timedelta(days=1)
    for begin, after in ((start + shift, end), (start, end + shift)):
        with pytest.raises(InvalidRecurrence, match="midnight in Europe/Berlin"):
            parse("FREQ=DAILY", start=begin, end=after, time_zone=BERLIN, all_day=True)


def test_the_first_and_last_years_work_in_every_zone() -> None:
    """No conversion leaves Python's calendar at the edges, not even on a far side of the world."""
    for key in ("Pacific/Kiritimati", "Pacific/Niue", "Europe/Berlin"):
        zone = ZoneInfo(key)
        for year in (1900, 2200):
            start = datetime(year, 1, 1, 12, tzinfo=zone)
            series = parse(
                "FREQ=DAILY;COUNT=366", start=start, end=start + timedelta(hours=1), time_zone=zone
            )
            assert len(expand(series, start=start, end=FOREVER)) in (365, 366)
