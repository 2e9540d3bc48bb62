"""A series cut in two or moved keeps its slots: none is lost, doubled, or back from exclusion."""

import random
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from zoneinfo import ZoneInfo

import pytest

from eventmanager.recurrence import (
    MAX_LENGTH,
    Anchor,
    Drag,
    Halves,
    InvalidRecurrence,
    expand,
    move,
    split,
)
from eventmanager.recurrence.anchors import series_at
from eventmanager.recurrence.rule import parse_rule
from eventmanager.recurrence.series import rule_starts
from eventmanager.recurrence.writing import write_rule

BERLIN, NEW_YORK, NUUK = map(ZoneInfo, ("Europe/Berlin", "America/New_York", "America/Nuuk"))
APIA, GREENWICH = ZoneInfo("Pacific/Apia"), ZoneInfo("UTC")
ZONES = (GREENWICH, BERLIN, NEW_YORK, NUUK, APIA, ZoneInfo("Australia/Lord_Howe"))
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
SIX_YEARS = timedelta(days=2192)
CPU_LIMIT_S = 0.5


def at(local: str, zone: ZoneInfo = BERLIN) -> Anchor:
    """Return the anchor at a local time, or of an all-day series at a local date."""
    naive = datetime.fromisoformat(local)
    return Anchor(naive.replace(tzinfo=zone).astimezone(UTC), zone, all_day="T" not in local)


def instant(local: str, zone: ZoneInfo = BERLIN) -> datetime:
    """Return the instant of a local time or date."""
    return at(local, zone).start


def slots(
    pattern: str, anchor: Anchor, *, since: timedelta = SIX_YEARS, until: timedelta = SIX_YEARS
) -> list[datetime]:
    """Return the slots around the anchor, six years either way unless told otherwise."""
    series = series_at(pattern, anchor)
    start, end = anchor.start - since, anchor.start + until
    return [found.start for found in expand(series, start=start, end=end)]


def local(found: list[datetime], zone: ZoneInfo = BERLIN) -> list[str]:
    """Return what the clock shows at each slot."""
    return [f"{slot.astimezone(zone):%Y-%m-%dT%H:%M}" for slot in found]


def assert_halves(pattern: str, anchor: Anchor, cut: datetime) -> Halves:
    """Assert that the halves have the old slots between them, and return them."""
    old = slots(pattern, anchor)
    halves = split(pattern, anchor=anchor, at=cut)
    rest = Anchor(halves.after_start, anchor.time_zone, anchor.all_day)
    window = (anchor.start - SIX_YEARS, anchor.start + SIX_YEARS)
    assert slots(halves.before, anchor) == [slot for slot in old if slot < cut]
    after = expand(series_at(halves.after, rest), start=window[0], end=window[1])
    assert [found.start for found in after] == [slot for slot in old if slot >= cut]
    return halves


# Writing rules.


@pytest.mark.parametrize(
    ("rule", "written"),
    [
        ("interval=1;freq=daily;wkst=mo", "FREQ=DAILY"),
        (
            "BYDAY=WE,MO;FREQ=WEEKLY;WKST=SU;INTERVAL=2",
            "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=MO,WE",
        ),
        (
            "BYSETPOS=-1;BYDAY=-1FR,+2MO;BYMONTHDAY=-1,3;BYMONTH=3,1;FREQ=YEARLY;COUNT=3",
            "FREQ=YEARLY;COUNT=3;BYMONTH=1,3;BYMONTHDAY=-1,3;BYDAY=-1FR,2MO;BYSETPOS=-1",
        ),
        ("FREQ=DAILY;BYHOUR=9;UNTIL=20260102", "FREQ=DAILY;UNTIL=20260102;BYHOUR=9"),
        ("FREQ=DAILY;UNTIL=20260102T030405", "FREQ=DAILY;UNTIL=20260102T030405"),
        ("FREQ=DAILY;UNTIL=20260102T030405Z", "FREQ=DAILY;UNTIL=20260102T030405Z"),
        (
            "FREQ=YEARLY;BYWEEKNO=20,-1;BYYEARDAY=200;BYSECOND=5;BYMINUTE=4",
            "FREQ=YEARLY;BYWEEKNO=-1,20;BYYEARDAY=200;BYMINUTE=4;BYSECOND=5",
        ),
    ],
)
def test_a_rule_is_written_in_one_order_and_read_back_the_same(rule: str, written: str) -> None:
    """Two rules that mean the same read the same."""
    assert write_rule(parse_rule(rule)) == written
    assert parse_rule(written) == parse_rule(rule)


# Cutting.

WEEKLY = at("2026-03-02T09:00")  # a Monday


@pytest.mark.parametrize(
    ("pattern", "cut", "before", "after"),
    [
        (
            "FREQ=WEEKLY",
            "2026-03-16T09:00",
            "FREQ=WEEKLY;UNTIL=20260309T080000Z",
            "FREQ=WEEKLY",
        ),
        (
            "RRULE:FREQ=WEEKLY;COUNT=10",
            "2026-03-16T09:00",
            "RRULE:FREQ=WEEKLY;UNTIL=20260309T080000Z",
            "RRULE:FREQ=WEEKLY;COUNT=8",
        ),
        # What need not change stays as it was written.
        (
            "wkst=mo;freq=weekly;until=20260601",
            "2026-03-16T09:00",
            "FREQ=WEEKLY;UNTIL=20260309T080000Z",
            "wkst=mo;freq=weekly;until=20260601",
        ),
        # Each date is in the half it belongs to, also if the rule has no such slot.
        (
            "FREQ=WEEKLY\nEXDATE:20260309T090000,20260323T090000\nRDATE:20260310T100000",
            "2026-03-16T09:00",
            "FREQ=WEEKLY;UNTIL=20260309T080000Z\nRDATE:20260310T090000Z\nEXDATE:20260309T080000Z",
            "FREQ=WEEKLY\nEXDATE:20260323T080000Z",
        ),
        # EXDATE does not count for COUNT.
        (
            "FREQ=WEEKLY;COUNT=4\nEXDATE:20260309T080000Z",
            "2026-03-16T09:00",
            "FREQ=WEEKLY;UNTIL=20260309T080000Z\nEXDATE:20260309T080000Z",
            "FREQ=WEEKLY;COUNT=2",
        ),
        # Every other week stays the same other week, though the cut is not on its first day.
        (
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR",
            "2026-03-20T09:00",
            "FREQ=WEEKLY;INTERVAL=2;UNTIL=20260316T080000Z;BYDAY=MO,FR",
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR",
        ),
    ],
)
def test_a_series_is_cut_at_a_slot(pattern: str, cut: str, before: str, after: str) -> None:
    """The first half ends one second before the cut, the other begins there."""
    halves = assert_halves(pattern, WEEKLY, instant(cut))
    assert halves == Halves(before, after, instant(cut))


def test_an_all_day_series_is_cut_between_days() -> None:
    """UNTIL and the dates are dates, as the event has no time of day."""
    anchor, cut = at("2026-11-30"), instant("2026-12-02")
    pattern = "FREQ=DAILY;COUNT=5\nEXDATE;VALUE=DATE:20261201,20261203"
    halves = assert_halves(pattern, anchor, cut)
    assert halves.before == "FREQ=DAILY;UNTIL=20261201\nEXDATE;VALUE=DATE:20261201"
    assert halves.after == "FREQ=DAILY;COUNT=3\nEXDATE;VALUE=DATE:20261203"


def test_a_cut_at_an_rdate_begins_the_rule_at_its_next_own_slot() -> None:
    """The weekday and time of the rule are its own, not those of the extra date."""
    pattern = "FREQ=WEEKLY;COUNT=4\nRDATE:20260311T170000"
    halves = assert_halves(pattern, WEEKLY, instant("2026-03-11T17:00"))
    assert halves.before == "FREQ=WEEKLY;UNTIL=20260309T080000Z"
    assert halves.after == "FREQ=WEEKLY;COUNT=2\nRDATE:20260311T160000Z"
    assert halves.after_start == instant("2026-03-16T09:00")


def test_a_cut_at_an_rdate_after_the_rule_leaves_the_rule_whole() -> None:
    """COUNT is not given up for an UNTIL that would let the rule go on."""
    pattern = "FREQ=WEEKLY;COUNT=2\nRDATE:20260401T090000,20260501T090000"
    halves = assert_halves(pattern, WEEKLY, instant("2026-04-01T09:00"))
    assert halves.before == "FREQ=WEEKLY;COUNT=2"
    assert halves.after == "RDATE:20260401T070000Z,20260501T070000Z"
    assert halves.after_start == instant("2026-04-01T09:00")


def test_dates_without_a_rule_are_shared_out() -> None:
    """DTSTART is one of the dates of such a series, and stays so on its side only."""
    pattern = "RDATE:20260201T090000,20260401T090000,20260501T090000"
    assert_halves(pattern, WEEKLY, instant("2026-05-01T09:00"))
    early = assert_halves(pattern, WEEKLY, WEEKLY.start)
    assert early.before == "RDATE:20260201T080000Z\nEXDATE:20260302T080000Z"
    assert early.after == "RDATE:20260302T080000Z,20260401T070000Z,20260501T070000Z"


@pytest.mark.parametrize(
    ("pattern", "cut"),
    [
        # The rule's first slot is the cut, and only an RDATE comes before it.
        ("FREQ=WEEKLY\nRDATE:20260201T090000", "2026-03-02T09:00"),
        # The first slot is excluded, so the second is the first.
        ("FREQ=WEEKLY\nEXDATE:20260302T090000", "2026-03-16T09:00"),
        ("FREQ=WEEKLY\nEXDATE:20260302T090000\nRDATE:20260303T090000", "2026-03-09T09:00"),
        # DTSTART is no slot of the rule.
        ("FREQ=WEEKLY;BYDAY=TU", "2026-03-10T09:00"),
        ("FREQ=WEEKLY;BYDAY=TU\nRDATE:20260201T090000", "2026-03-03T09:00"),
        # All that the rule has left is excluded, and a slot at the cut is twice there.
        ("FREQ=WEEKLY;COUNT=3\nEXDATE:20260316T090000\nRDATE:20260311T090000", "2026-03-11T09:00"),
        ("FREQ=WEEKLY\nRDATE:20260316T090000", "2026-03-16T09:00"),
        # The set of BYSETPOS is that of the whole month or week, though the half begins within.
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1,-1", "2026-04-30T09:00"),
        ("FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=SU,MO,SA;BYSETPOS=1,-1", "2026-03-21T09:00"),
        ("FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=2,15,-1", "2026-08-15T09:00"),
        ("FREQ=YEARLY;INTERVAL=2;BYWEEKNO=1,10,53", "2028-03-06T09:00"),
        ("FREQ=DAILY;INTERVAL=3;BYHOUR=9,21", "2026-03-05T21:00"),
    ],
)
def test_both_halves_have_the_old_slots(pattern: str, cut: str) -> None:
    """Odd starts and odd ends of a series are cut like any other."""
    assert_halves(pattern, WEEKLY, instant(cut))


@pytest.mark.parametrize("pattern", ["FREQ=DAILY", "FREQ=DAILY;COUNT=4", "FREQ=WEEKLY;BYDAY=SA,SU"])
def test_a_cut_in_a_gap_keeps_the_wall_clock_of_the_rule(pattern: str) -> None:
    """02:30 is read as 03:30 on that day alone; the days after are at 02:30 again."""
    halves = assert_halves(pattern, at("2026-03-28T02:30"), cut := instant("2026-03-29T03:30"))
    assert halves.after_start == cut
    assert "BYHOUR=2;BYMINUTE=30;BYSECOND=0\nRDATE:20260329T013000Z" in halves.after


@pytest.mark.parametrize(
    ("pattern", "start", "cut", "zone"),
    [
        # Nuuk's gap is the last hour of Saturday, so 23:30 is read as 00:30 on Sunday.
        ("FREQ=WEEKLY", "2026-03-21T23:30", "2026-03-29T00:30", NUUK),
        ("FREQ=DAILY;INTERVAL=2;COUNT=9", "2026-03-26T23:30", "2026-03-29T00:30", NUUK),
        ("FREQ=MONTHLY;BYMONTH=3;INTERVAL=1", "2025-03-28T23:30", "2026-03-29T00:30", NUUK),
        # 02:45 in the gap comes after 03:15, and COUNT counts it before.
        (
            "FREQ=DAILY;BYMONTH=3;BYHOUR=2,3;BYMINUTE=15,45",
            "2026-03-28T02:15",
            "2026-03-29T03:15",
            BERLIN,
        ),
        (
            "FREQ=DAILY;BYHOUR=2,3;BYMINUTE=15,45;COUNT=6",
            "2026-03-28T02:15",
            "2026-03-29T03:45",
            BERLIN,
        ),
        # Every slot is in a gap.
        ("FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU", "2026-03-29T02:30", "2028-03-26T03:30", BERLIN),
        # Apia had no 30 December 2011.
        ("FREQ=DAILY;INTERVAL=2", "2011-12-26T10:00", "2011-12-31T10:00", APIA),
        ("FREQ=DAILY", "2011-12-26", "2011-12-31", APIA),
    ],
)
def test_a_cut_where_the_clock_jumps_loses_nothing(
    pattern: str, start: str, cut: str, zone: ZoneInfo
) -> None:
    """A slot may be on another day than its rule says, and out of order."""
    assert_halves(pattern, at(start, zone), instant(cut, zone))


def test_a_start_with_a_fraction_of_a_second_is_cut_cleanly() -> None:
    """UNTIL has no fraction, so the second of the cut is still before it."""
    anchor = Anchor(WEEKLY.start + timedelta(microseconds=250_000), BERLIN, all_day=False)
    for pattern, cut in (
        ("FREQ=WEEKLY", anchor.start + timedelta(days=14)),
        ("FREQ=WEEKLY\nRDATE:20260309T090001", instant("2026-03-09T09:00:01")),
    ):
        assert_halves(pattern, anchor, cut)


def test_only_a_slot_that_is_not_the_first_can_be_cut_at() -> None:
    """A half without slots would be no series."""
    for cut in ("2026-03-02T09:00", "2026-03-10T09:00", "2027-03-01T10:00"):
        with pytest.raises(ValueError, match="cut"):
            split("FREQ=WEEKLY", anchor=WEEKLY, at=instant(cut))


# Moving.


@pytest.mark.parametrize(
    ("pattern", "new", "moved"),
    [
        # Another time of day: the dates stay, and all that names a slot goes along.
        ("wkst=mo;freq=weekly", "2026-03-02T10:30", "wkst=mo;freq=weekly"),
        (
            "FREQ=WEEKLY;BYHOUR=9;BYMINUTE=0",
            "2026-03-02T10:30",
            "FREQ=WEEKLY;BYHOUR=10;BYMINUTE=30",
        ),
        (
            "FREQ=DAILY;UNTIL=20260401T070000Z",
            "2026-03-02T10:00",
            "FREQ=DAILY;UNTIL=20260401T080000Z",
        ),
        ("FREQ=DAILY;UNTIL=20260401", "2026-03-02T10:00", "FREQ=DAILY;UNTIL=20260401"),
        (
            "rrule:freq=weekly\nEXDATE;TZID=Europe/Berlin:20260330T090000",
            "2026-03-02T10:00",
            "rrule:freq=weekly\nEXDATE:20260330T080000Z",
        ),
        # BYHOUR has two values, but BYMINUTE comes from the start.
        ("FREQ=DAILY;BYHOUR=9,15", "2026-03-02T09:30", "FREQ=DAILY;BYHOUR=9,15"),
        # Another day that the rule has: its days stay, and so do the dates.
        (
            "FREQ=WEEKLY;BYDAY=WE,MO\nEXDATE:20260309T090000",
            "2026-03-04T09:00",
            "FREQ=WEEKLY;BYDAY=WE,MO\nEXDATE:20260309T090000",
        ),
        (
            "FREQ=WEEKLY;UNTIL=20260401T070000Z",
            "2026-03-09T09:00",
            "FREQ=WEEKLY;UNTIL=20260401T070000Z",
        ),
        # Another day: the weekdays shift, and the week with them where it is a unit.
        ("FREQ=WEEKLY;BYDAY=MO,SU", "2026-03-03T09:00", "FREQ=WEEKLY;BYDAY=MO,TU"),
        (
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,SU",
            "2026-03-03T09:00",
            "FREQ=WEEKLY;INTERVAL=2;WKST=TU;BYDAY=MO,TU",
        ),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", "2026-03-09T09:00", "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO"),
        (
            "FREQ=DAILY;BYDAY=MO,FR;COUNT=9\nEXDATE:20260306T090000",
            "2026-03-01T09:00",
            "FREQ=DAILY;COUNT=9;BYDAY=TH,SU\nEXDATE:20260305T080000Z",
        ),
        # Numbers of days are counted from the side they were counted from.
        ("FREQ=MONTHLY;BYMONTHDAY=2", "2026-03-05T09:00", "FREQ=MONTHLY;BYMONTHDAY=5"),
        ("FREQ=MONTHLY;BYMONTHDAY=2,16", "2026-03-05T09:00", "FREQ=MONTHLY;BYMONTHDAY=5,19"),
        ("FREQ=MONTHLY;BYMONTHDAY=-30", "2026-03-03T09:00", "FREQ=MONTHLY;BYMONTHDAY=-29"),
        ("FREQ=MONTHLY;BYDAY=1MO", "2026-03-10T09:00", "FREQ=MONTHLY;BYDAY=2TU"),
        ("FREQ=MONTHLY;BYDAY=-5MO", "2026-03-26T09:00", "FREQ=MONTHLY;BYDAY=-1TH"),
        (
            "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=1",
            "2026-03-03T09:00",
            "FREQ=MONTHLY;BYDAY=TU;BYSETPOS=1",
        ),
        ("FREQ=YEARLY;BYMONTH=3;BYDAY=1MO", "2026-04-14T09:00", "FREQ=YEARLY;BYMONTH=4;BYDAY=2TU"),
        ("FREQ=YEARLY;BYDAY=9MO", "2026-03-10T09:00", "FREQ=YEARLY;BYDAY=10TU"),
        ("FREQ=YEARLY;BYYEARDAY=61", "2026-03-03T09:00", "FREQ=YEARLY;BYYEARDAY=62"),
        (
            "FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=2",
            "2026-05-20T09:00",
            "FREQ=YEARLY;BYMONTH=5;BYMONTHDAY=20",
        ),
        ("FREQ=YEARLY", "2026-05-20T09:00", "FREQ=YEARLY"),
        # A start that was beside the rule tells nothing about the rule.
        ("FREQ=WEEKLY;BYDAY=TU;BYHOUR=14", "2026-03-04T10:00", "FREQ=WEEKLY;BYDAY=TU;BYHOUR=14"),
        # Dates alone all shift.
        ("RDATE:20260401T090000", "2026-03-03T10:00", "RDATE:20260402T080000Z"),
        # To all-day there is no time of day, and dates are dates.
        (
            "FREQ=DAILY;BYHOUR=9;UNTIL=20260401T070000Z\nEXDATE:20260310T080000Z",
            "2026-03-02",
            "FREQ=DAILY;UNTIL=20260401\nEXDATE;VALUE=DATE:20260310",
        ),
        ("FREQ=DAILY;UNTIL=20260401T065959Z", "2026-03-02", "FREQ=DAILY;UNTIL=20260331"),
        (
            "FREQ=WEEKLY;BYDAY=MO;UNTIL=99991231T235959Z",
            "2026-03-03",
            "FREQ=WEEKLY;UNTIL=99991231T235959Z;BYDAY=TU",
        ),
    ],
)
def test_a_series_moves_with_its_start(pattern: str, new: str, moved: str) -> None:
    """Each part follows in its own way; what need not change stays as it was written."""
    found = move(pattern, old=WEEKLY, new=at(new))
    assert found.pattern == moved
    series_at(found.pattern, at(new))


def test_a_series_that_does_not_move_stays_byte_for_byte() -> None:
    """A PUT with the same times does not rewrite what the client wrote."""
    pattern = " freq=weekly;interval=1 \r\n\r\nexdate:20260309T090000"
    found = move(pattern, old=WEEKLY, new=at("2026-03-02T09:00"))
    assert found.pattern == pattern
    assert found.slot(instant("2026-03-16T09:00")) == instant("2026-03-16T09:00")


def test_an_all_day_series_gets_a_time_of_day() -> None:
    """Excluded and last days become excluded and last times."""
    pattern = "FREQ=DAILY;UNTIL=20260401\nEXDATE;VALUE=DATE:20260330"
    found = move(pattern, old=at("2026-03-02"), new=at("2026-03-02T09:00"))
    assert found.pattern == "FREQ=DAILY;UNTIL=20260401T070000Z\nEXDATE:20260330T070000Z"
    assert found.slot(instant("2026-03-29")) == instant("2026-03-29T09:00")


def test_another_zone_keeps_the_wall_clock_that_the_start_has_there() -> None:
    """09:00 in Berlin moved to 09:00 in New York is at 09:00 there on every date."""
    new = at("2026-03-02T09:00", NEW_YORK)
    found = move("FREQ=WEEKLY\nEXDATE:20260316T080000Z", old=WEEKLY, new=new)
    assert found.pattern == "FREQ=WEEKLY\nEXDATE:20260316T130000Z"
    assert found.slot(instant("2026-03-30T09:00")) == instant("2026-03-30T09:00", NEW_YORK)


def test_wall_clocks_in_lines_need_no_rewriting_for_another_zone() -> None:
    """EXDATE without an offset is read in the zone of the event, whichever it is."""
    pattern = "FREQ=WEEKLY;UNTIL=20260401T090000\nEXDATE:20260316T090000"
    assert move(pattern, old=WEEKLY, new=at("2026-03-02T09:00", NEW_YORK)).pattern == pattern


def test_a_slot_in_a_gap_moves_from_the_wall_clock_of_its_rule() -> None:
    """The 03:30 that stands for 02:30 goes to 10:00 like the others, not to 11:00."""
    old, new = at("2026-03-28T02:30"), at("2026-03-28T10:00")
    found = move("FREQ=DAILY;COUNT=3\nEXDATE:20260329T033000", old=old, new=new)
    assert local(slots(found.pattern, new)) == ["2026-03-28T10:00", "2026-03-30T10:00"]
    assert found.slot(instant("2026-03-29T03:30")) == instant("2026-03-29T10:00")


def test_a_half_that_begins_in_a_gap_moves_as_a_whole() -> None:
    """Cut in the gap and moved to ten, every slot of the half is at ten."""
    halves = split(
        "FREQ=DAILY;COUNT=4", anchor=at("2026-03-28T02:30"), at=instant("2026-03-29T03:30")
    )
    rest, new = Anchor(halves.after_start, BERLIN, all_day=False), at("2026-03-29T10:00")
    found = move(halves.after, old=rest, new=new)
    assert local(slots(found.pattern, new)) == [
        "2026-03-29T10:00",
        "2026-03-30T10:00",
        "2026-03-31T10:00",
    ]


def test_an_excluded_second_monday_is_an_excluded_second_tuesday() -> None:
    """They are one day apart in most months, and six days back where a month begins on Tuesday."""
    old, new = at("2026-08-10T09:00"), at("2026-08-11T09:00")
    pattern = "FREQ=MONTHLY;BYDAY=2MO;UNTIL=20261214T080000Z\nEXDATE:20260914T090000"
    found = move(pattern, old=old, new=new)
    assert "BYDAY=2TU" in found.pattern
    assert found.slot(instant("2026-12-14T09:00")) == instant("2026-12-08T09:00")
    assert local(slots(found.pattern, new)) == [
        "2026-08-11T09:00",
        "2026-10-13T09:00",
        "2026-11-10T09:00",
        "2026-12-08T09:00",
    ]


def test_the_last_occurrence_stays_the_last_where_it_moves_further_than_the_start() -> None:
    """UNTIL a day earlier would be before the second Monday of December, six days later."""
    old, new = at("2026-08-11T09:00"), at("2026-08-10T09:00")
    found = move("FREQ=MONTHLY;BYDAY=2TU;UNTIL=20261208T080000Z", old=old, new=new)
    assert local(slots(found.pattern, new))[-2:] == ["2026-11-09T09:00", "2026-12-14T09:00"]


def test_the_last_friday_becomes_the_last_thursday() -> None:
    """It is counted from the end, as it was, unless the new start is in another week."""
    old = at("2026-03-27T09:00")
    for new, day in (("2026-03-26T09:00", "-1TH"), ("2026-03-24T09:00", "-2TU")):
        assert move("FREQ=MONTHLY;BYDAY=-1FR", old=old, new=at(new)).pattern.endswith(day)
    last = move("FREQ=MONTHLY;BYMONTHDAY=-1", old=at("2026-01-31"), new=at("2026-01-30"))
    assert last.pattern == "FREQ=MONTHLY;BYMONTHDAY=-2"
    assert last.slot(instant("2026-02-28")) == instant("2026-02-27")


@pytest.mark.parametrize(
    ("pattern", "old", "new"),
    [
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "2026-03-31T09:00", "2026-03-30T09:00"),
        ("FREQ=DAILY;BYHOUR=9,15", "2026-03-02T09:00", "2026-03-02T10:00"),
        ("FREQ=DAILY;BYHOUR=9,15", "2026-03-02T09:00", "2026-03-02"),
        ("FREQ=MONTHLY;BYDAY=1MO,3MO", "2026-03-02T09:00", "2026-03-03T09:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=2,30", "2026-03-02T09:00", "2026-03-10T09:00"),
    ],
)
def test_a_rule_that_cannot_follow_is_refused(pattern: str, old: str, new: str) -> None:
    """Nobody can say what the last workday is a day earlier: the client must."""
    with pytest.raises(InvalidRecurrence) as refused:
        move(pattern, old=at(old), new=at(new))
    assert "send a recurrence_pattern together with the new start" in refused.value.reason


@pytest.mark.parametrize(
    ("pattern", "new", "slot", "to"),
    [
        # The start goes to another day of the rule, so the slots stay.
        ("FREQ=WEEKLY;BYDAY=MO,WE", "2026-03-04T09:00", "2026-03-09T09:00", "2026-03-11T09:00"),
        # The slot goes elsewhere than the start, and to no slot.
        ("FREQ=MONTHLY;BYDAY=1MO", "2026-03-03T09:00", "2026-06-01T09:00", "2026-06-03T09:00"),
        ("FREQ=MONTHLY", "2026-03-30T09:00", "2027-02-02T09:00", "2027-03-02T09:00"),
        # Not even the start may be put on a date that is left out.
        (
            "FREQ=DAILY;BYDAY=MO,TU\nEXDATE:20260303T090000",
            "2026-03-03T09:00",
            "2026-03-02T09:00",
            "2026-03-03T09:00",
        ),
    ],
)
def test_a_series_that_would_leave_what_it_is_dragged_by_is_refused(
    pattern: str, new: str, slot: str, to: str
) -> None:
    """Who drags a slot wants it there; moved by its start alone, the series may go there."""
    with pytest.raises(InvalidRecurrence) as refused:
        move(pattern, old=WEEKLY, new=at(new), dragged=Drag(instant(slot), instant(to)))
    assert "send scope=following" in refused.value.reason
    move(pattern, old=WEEKLY, new=at(new))


def test_a_pattern_that_would_grow_too_long_is_refused() -> None:
    """Dates that share a line with no offset grow by one character each."""
    days = [f"{date(2026, 3, 9) + timedelta(weeks=week):%Y%m%d}T090000" for week in range(247)]
    pattern = "FREQ=WEEKLY\nEXDATE:" + ",".join(days)
    assert len(pattern) <= MAX_LENGTH
    for change in (
        lambda: move(pattern, old=WEEKLY, new=at("2026-03-02T10:00")),
        lambda: split(pattern, anchor=WEEKLY, at=instant("2031-12-01T09:00")),
    ):
        with pytest.raises(InvalidRecurrence, match=r"4,\d\d\d characters"):
            change()


# Random series.


def random_series(chance: random.Random) -> tuple[str, Anchor]:
    """Draw a pattern that `parse` accepts, which starts at a slot of its rule."""
    while True:
        all_day = chance.random() < 0.3
        zone = chance.choice(ZONES)
        parts = random_rule(chance, all_day=all_day)
        day = date(chance.choice((2011, 2024)), 1, 1) + timedelta(days=chance.randrange(366))
        time_of_day = clock() if all_day else clock(chance.choice((0, 2, 9, 23)), 30)
        start = datetime.combine(day, time_of_day, tzinfo=zone).astimezone(UTC)
        try:
            series = series_at(parts, Anchor(start, zone, all_day))
            first = next(rule_starts(series, start=start, end=start + SIX_YEARS), None)
            if first is None:
                continue
            anchor = Anchor(first, zone, all_day)
            pattern = with_lines(chance, parts, anchor)
            series_at(pattern, anchor)
        except InvalidRecurrence:
            continue
        return pattern, anchor


def random_rule(chance: random.Random, *, all_day: bool) -> str:
    """Make a rule with some of the parts that its frequency may have."""
    frequency = chance.choice(("DAILY", "WEEKLY", "MONTHLY", "YEARLY"))
    by_month = chance.random() < 0.2
    plain = ",".join(chance.sample(WEEKDAYS, chance.randint(1, 3)))
    numbered = ",".join(f"{chance.choice((1, 2, 4, -1, -2))}{day}" for day in plain.split(","))
    days = chance.sample([*range(1, 32), -1, -2, -15], chance.randint(1, 4))
    months = chance.sample(range(1, 13), 4)
    options = [
        (0.5, f"INTERVAL={chance.choice((2, 3, 5))}"),
        (0.3, f"WKST={chance.choice(WEEKDAYS)}"),
        (by_month, f"BYMONTH={','.join(map(str, months))}"),
        (0.3 * (frequency != "WEEKLY"), f"BYMONTHDAY={','.join(map(str, days))}"),
        (0.3 * (frequency == "YEARLY"), "BYYEARDAY=1,60,100,-1,-60"),
        (0.5, f"BYDAY={numbered if frequency in {'MONTHLY', 'YEARLY'} else plain}"),
        (0.2 * (not all_day), "BYHOUR=2,9"),
        (0.3 * (not all_day), "BYMINUTE=30,45"),
    ]
    parts = [f"FREQ={frequency}", *(part for odds, part in options if chance.random() < odds)]
    if any(part.startswith("BY") for part in parts) and chance.random() < 0.2:
        parts.append("BYSETPOS=1,-1")
    if chance.random() < 0.4:
        parts.append(f"COUNT={chance.randint(2, 60)}")
    return ";".join(parts)


def with_lines(chance: random.Random, rule: str, anchor: Anchor) -> str:
    """Add UNTIL, EXDATE and RDATE to some rules."""
    form = "%Y%m%d" if anchor.all_day else "%Y%m%dT%H%M%S"
    shown = [f"{slot.astimezone(anchor.time_zone):{form}}" for slot in slots(rule, anchor)]
    if "COUNT" not in rule and chance.random() < 0.5:
        rule += f";UNTIL={chance.choice(shown)}"
    lines = [rule]
    if chance.random() < 0.4:
        lines.append("EXDATE:" + ",".join(chance.sample(shown, min(len(shown), 4))))
    if chance.random() < 0.4:
        begin = anchor.start.astimezone(anchor.time_zone)
        extra = [begin + timedelta(days=chance.randint(-300, 1_000)) for _ in range(3)]
        lines.append("RDATE:" + ",".join(f"{found:{form}}" for found in extra))
    return "\n".join(lines)


@pytest.mark.parametrize("batch", range(4))
def test_random_series_are_cut_without_loss(batch: int) -> None:
    """800 series in zones that jump, cut anywhere: the halves have exactly the old slots."""
    for seed in range(batch * 100, batch * 100 + 100):
        chance = random.Random(seed)
        pattern, anchor = random_series(chance)
        later = slots(pattern, anchor)[1:]
        if later:
            assert_halves(pattern, anchor, chance.choice(later))


@pytest.mark.parametrize("batch", range(3))
def test_random_series_keep_their_dates_at_another_time_of_day(batch: int) -> None:
    """Number and dates stay, through COUNT, UNTIL, EXDATE and RDATE, also in another zone."""
    moved = 0
    for seed in range(batch * 100, batch * 100 + 100):
        chance = random.Random(10_000 + seed)
        pattern, old = random_series(chance)
        zone = chance.choice((old.time_zone, BERLIN))
        if old.all_day or APIA in {zone, old.time_zone} or "BYHOUR" in pattern:
            continue
        wall = old.start.astimezone(old.time_zone).replace(tzinfo=zone, fold=0)
        new_hour = wall.replace(hour=chance.randint(4, 20), minute=30)
        if "BYMINUTE" in pattern:
            new_hour = new_hour.replace(minute=wall.minute)
        new = Anchor(new_hour.astimezone(UTC), zone, all_day=False)
        found = move(pattern, old=old, new=new)
        before, after = slots(pattern, old), slots(found.pattern, new)
        assert [found.slot(slot) for slot in before] == after, (seed, pattern)
        if old.time_zone != NUUK:
            assert [text[:10] for text in local(after, zone)] == [
                text[:10] for text in local(before, old.time_zone)
            ]
        moved += 1
    assert moved > 20


@pytest.mark.parametrize("batch", range(4))
def test_random_weekly_series_move_by_whole_days(batch: int) -> None:
    """Every slot is exactly that many local days later or earlier, and there are as many."""
    for seed in range(batch * 100, batch * 100 + 100):
        chance = random.Random(20_000 + seed)
        zone, days = chance.choice(ZONES[:4]), chance.sample(WEEKDAYS, chance.randint(1, 4))
        bound = chance.choice(("", f";COUNT={chance.randint(2, 40)}", ";UNTIL=20260601"))
        rule = f"FREQ=WEEKLY;INTERVAL={chance.randint(1, 3)};WKST={chance.choice(WEEKDAYS)}{bound}"
        monday = datetime(2026, 3, 2 + WEEKDAYS.index(days[0]), 9, 30, tzinfo=zone)
        old = Anchor(monday.astimezone(UTC), zone, all_day=False)
        pattern = f"{rule};BYDAY={','.join(days)}"
        third = slots(pattern, old)[1] if len(slots(pattern, old)) > 2 else None
        if third:
            pattern += f"\nEXDATE:{third:%Y%m%dT%H%M%SZ}"
        shift = chance.randint(-20, 20)
        new = Anchor((monday + timedelta(days=shift)).astimezone(UTC), zone, all_day=False)
        weekday = WEEKDAYS[new.start.astimezone(zone).weekday()]
        if weekday in days and ("INTERVAL=1" in rule or shift % 7):
            # That may be another slot of the rule, whose days then stay.
            continue
        if weekday in days and (shift // 7) % int(rule[21]) == 0:
            continue
        found = move(pattern, old=old, new=new)
        later = [slot.astimezone(zone) + timedelta(days=shift) for slot in slots(pattern, old)]
        expected = [slot.astimezone(UTC) for slot in later]
        assert [found.slot(slot) for slot in slots(pattern, old)] == expected
        assert slots(found.pattern, new)[: len(expected) - 10] == expected[: len(expected) - 10]
        if bound:
            assert slots(found.pattern, new) == expected, (seed, pattern)


# Cost.


@pytest.mark.parametrize(
    "pattern",
    [
        "FREQ=DAILY;COUNT=1000000000",
        f"FREQ=WEEKLY;BYDAY=MO,TU,WE;BYSETPOS={','.join(map(str, range(1, 367)))};COUNT=999999999",
        f"FREQ=YEARLY;BYDAY={','.join(f'{n}MO,-{n}TU' for n in range(1, 54))};UNTIL=22000101",
        f"FREQ=DAILY;COUNT=999999999;BYHOUR={','.join(map(str, range(24)))};BYMINUTE=0,1,2,3,4,5",
        "FREQ=MONTHLY;BYDAY=1MO;UNTIL=22000101\nEXDATE:"
        + ",".join(f"{2027 + n % 170}{n // 170 + 1:02}01T090000" for n in range(200)),
    ],
)
def test_hostile_patterns_stay_cheap(pattern: str) -> None:
    """Neither a far cut nor a move walks the whole series."""
    series = series_at(pattern, WEEKLY)
    far = next(
        rule_starts(series, start=instant("2190-01-01T00:00"), end=instant("2195-01-01T00:00"))
    )
    begun = time.process_time()
    split(pattern, anchor=WEEKLY, at=far)
    for new in ("2026-03-02T09:30", "2026-03-03T09:00"):
        try:
            move(pattern, old=WEEKLY, new=at(new))
        except InvalidRecurrence as error:
            assert "cannot be moved" in error.reason  # noqa: PT017
    assert time.process_time() - begun < CPU_LIMIT_S
