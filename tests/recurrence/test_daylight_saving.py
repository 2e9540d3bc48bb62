"""A series stays on the wall clock of its zone, through every way a zone moves its clock."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from eventmanager.recurrence import Series, expand, parse


def daily(zone: str, first: str, *, hours: float = 1, rule: str = "FREQ=DAILY") -> Series:
    """Read a series of `rule` from the wall clock `first` in `zone`."""
    start = datetime.fromisoformat(first).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return parse(rule, start=start, end=start + timedelta(hours=hours), time_zone=ZoneInfo(zone))


def starts(series: Series, days: int) -> list[str]:
    """Return the starts in the `days` after the start of the series, in UTC."""
    found = expand(series, start=series.start, end=series.start + timedelta(days=days))
    assert all(item.start == item.recurrence_id for item in found)
    assert all(item.end - item.start == series.duration for item in found)
    return [f"{item.start:%Y-%m-%dT%H:%M}" for item in found]


@pytest.mark.parametrize(
    ("zone", "first", "expected"),
    [
        # 30 March 2025 has no 02:30 in Berlin: read at +01:00 it is 03:30 summer time.
        (
            "Europe/Berlin",
            "2025-03-29T02:30",
            ["2025-03-29T01:30", "2025-03-30T01:30", "2025-03-31T00:30"],
        ),
        (
            "America/New_York",
            "2025-03-08T02:30",
            ["2025-03-08T07:30", "2025-03-09T07:30", "2025-03-10T06:30"],
        ),
        # Lord Howe moves by half an hour: 02:15 on 5 October 2025 is read at +10:30.
        (
            "Australia/Lord_Howe",
            "2025-10-04T02:15",
            ["2025-10-03T15:45", "2025-10-04T15:45", "2025-10-05T15:15"],
        ),
    ],
)
def test_a_time_in_a_gap_is_read_with_the_offset_before_it(
    zone: str, first: str, expected: list[str]
) -> None:
    """RFC 5545 3.3.5: the meeting is late once, it does not disappear."""
    assert starts(daily(zone, first), 3)[:3] == expected


@pytest.mark.parametrize(
    ("zone", "first", "expected"),
    [
        (
            "Europe/Berlin",
            "2025-10-25T02:30",
            ["2025-10-25T00:30", "2025-10-26T00:30", "2025-10-27T01:30"],
        ),
        (
            "America/New_York",
            "2025-11-01T01:30",
            ["2025-11-01T05:30", "2025-11-02T05:30", "2025-11-03T06:30"],
        ),
        (
            "Australia/Lord_Howe",
            "2025-04-05T01:45",
            ["2025-04-04T14:45", "2025-04-05T14:45", "2025-04-06T15:15"],
        ),
    ],
)
def test_a_time_in_an_overlap_is_the_first_of_the_two(
    zone: str, first: str, expected: list[str]
) -> None:
    """RFC 5545 3.3.5: a time that comes twice is the earlier one."""
    found = starts(daily(zone, first), 4)
    assert found[:3] == expected


def test_a_series_that_starts_in_the_second_of_two_hours_starts_there() -> None:
    """The instant the user gave is an occurrence, though its wall clock alone means another."""
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=berlin)
    end = start.astimezone(UTC) + timedelta(hours=1)
    series = parse("FREQ=YEARLY", start=start, end=end, time_zone=berlin)
    found = expand(series, start=datetime(2025, 10, 1, tzinfo=UTC), end=start + timedelta(days=400))
    assert [f"{item.start:%Y-%m-%dT%H:%M}" for item in found] == [
        "2025-10-26T01:30",
        "2026-10-26T01:30",
    ]


def test_nothing_starts_before_the_second_of_two_hours_in_which_a_series_starts() -> None:
    """The times of day after DTSTART are in the second hour, too."""
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2025, 10, 26, 2, 15, fold=1, tzinfo=berlin)
    series = parse(
        "FREQ=DAILY;BYHOUR=2;BYMINUTE=0,15,45;COUNT=3",
        start=start,
        end=start.astimezone(UTC) + timedelta(minutes=10),
        time_zone=berlin,
    )
    assert starts(series, 3) == ["2025-10-26T01:15", "2025-10-26T01:45", "2025-10-27T01:00"]


def test_wall_clocks_in_lines_mean_the_second_hour_of_a_series_that_starts_in_it() -> None:
    """EXDATE as other calendars write it, without an offset, still finds the first occurrence."""
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=berlin)
    for pattern, count in (
        ("FREQ=DAILY;COUNT=2\nEXDATE:20251026T023000", 1),
        ("FREQ=DAILY;UNTIL=20251026T023000", 1),
        ("RDATE:20251026T023000,20251027T023000", 2),
    ):
        series = parse(pattern, start=start, end=start, time_zone=berlin)
        assert len(starts(series, 9)) == count


def test_two_wall_clocks_that_are_one_instant_are_one_occurrence() -> None:
    """On the day of the gap 02:30 is read as 03:30: nobody is booked twice for that."""
    series = daily("Europe/Berlin", "2025-03-30T01:30", rule="FREQ=DAILY;BYHOUR=2,3;BYMINUTE=30")
    assert starts(series, 1) == ["2025-03-30T01:30"]


def test_times_in_a_gap_stay_in_order() -> None:
    """02:45 read before the gap comes after 03:15, which the wall clock would not tell."""
    series = daily("Europe/Berlin", "2025-03-30T01:00", rule="FREQ=DAILY;BYHOUR=2,3;BYMINUTE=15,45")
    assert starts(series, 1)[:2] == ["2025-03-30T01:15", "2025-03-30T01:45"]
    whole = starts(series, 3)
    assert whole == sorted(whole)


def test_a_day_that_a_zone_skipped_is_read_with_the_offset_before() -> None:
    """Apia had no 30 December 2011: its 10:00 is the 10:00 of the 31st, and there once."""
    found = starts(daily("Pacific/Apia", "2011-12-28T10:00"), 4)
    assert found == [
        "2011-12-28T20:00",
        "2011-12-29T20:00",
        "2011-12-30T20:00",
        "2011-12-31T20:00",
    ]


def all_day(zone: str, first: str, rule: str, *, days: int = 1) -> Series:
    """Read an all-day series of `days` from the date `first`."""
    begin = datetime.fromisoformat(first)
    return parse(
        rule,
        start=begin.replace(tzinfo=ZoneInfo(zone)),
        end=(begin + timedelta(days=days)).replace(tzinfo=ZoneInfo(zone)),
        time_zone=ZoneInfo(zone),
        all_day=True,
    )


def dates(series: Series, days: int) -> list[tuple[str, str]]:
    """Return the local starts and ends in the `days` after the start of the series."""
    found = expand(series, start=series.start, end=series.start + timedelta(days=days))
    return [
        (
            f"{item.start.astimezone(series.time_zone):%m-%dT%H}",
            f"{item.end.astimezone(series.time_zone):%m-%dT%H}",
        )
        for item in found
    ]


def test_an_all_day_occurrence_keeps_its_days_not_its_hours() -> None:
    """A day of 23 hours is a whole day; elapsed time would end it at one in the morning."""
    series = all_day("Europe/Berlin", "2025-03-28", "FREQ=DAILY;INTERVAL=2;COUNT=2", days=2)
    assert dates(series, 10) == [("03-28T00", "03-30T00"), ("03-30T00", "04-01T00")]


def test_an_all_day_occurrence_begins_when_its_day_begins() -> None:
    """Beirut's summer time begins at midnight, so 30 March 2025 begins at 01:00."""
    series = all_day("Asia/Beirut", "2025-03-29", "FREQ=DAILY;COUNT=3")
    assert dates(series, 10) == [
        ("03-29T00", "03-30T01"),
        ("03-30T01", "03-31T00"),
        ("03-31T00", "04-01T00"),
    ]


def test_an_all_day_series_may_start_on_a_day_without_midnight() -> None:
    """The first day begins at 01:00 there, the others at midnight."""
    series = all_day("Asia/Beirut", "2025-03-30", "FREQ=DAILY;COUNT=2")
    assert dates(series, 10) == [("03-30T01", "03-31T00"), ("03-31T00", "04-01T00")]


def test_a_day_that_a_zone_skipped_is_no_all_day_occurrence() -> None:
    """Apia's 30 December 2011 never began, so it cannot be taken."""
    series = all_day("Pacific/Apia", "2011-12-28", "FREQ=DAILY;COUNT=5")
    assert dates(series, 10) == [
        ("12-28T00", "12-29T00"),
        ("12-29T00", "12-31T00"),
        ("12-31T00", "01-01T00"),
        ("01-01T00", "01-02T00"),
    ]


def test_until_is_an_instant_not_a_wall_clock() -> None:
    """09:00 in Berlin is 07:00 UTC in summer: UNTIL at 07:00 UTC still has that day."""
    for until, count in (("20250703T070000Z", 3), ("20250703T065959Z", 2)):
        series = daily("Europe/Berlin", "2025-07-01T09:00", rule=f"FREQ=DAILY;UNTIL={until}")
        assert len(starts(series, 30)) == count
