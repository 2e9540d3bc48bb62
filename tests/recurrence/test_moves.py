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
    Halves,
    InvalidRecurrence,
    expand,
    move,
    parse,
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
        ("BYDAY=WE,MO;FREQ=WEEKLY;WKST=SU;INTERVAL=2", "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=MO,WE"),
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
            "FREQ=WEEKLY;UNTIL=20260316T075959Z",
            "FREQ=WEEKLY",
        ),
        (
            "RRULE:FREQ=WEEKLY;COUNT=10",
            "2026-03-16T09:00",
            "RRULE:FREQ=WEEKLY;UNTIL=20260316T075959Z",
            "RRULE:FREQ=WEEKLY;COUNT=8",
        ),
        # What need not change stays as it was written.
        (
            "wkst=mo;freq=weekly;until=20260601",
            "2026-03-16T09:00",
            "FREQ=WEEKLY;UNTIL=20260316T075959Z",
            "wkst=mo;freq=weekly;until=20260601",
        ),
        # Each date is in the half it belongs to, also if the rule has no such slot.
        (
            "FREQ=WEEKLY\nEXDATE:20260309T090000,20260323T090000\nRDATE:20260310T100000",
            "2026-03-16T09:00",
            "FREQ=WEEKLY;UNTIL=20260316T075959Z\nRDATE:20260310T090000Z\nEXDATE:20260309T080000Z",
            "FREQ=WEEKLY\nEXDATE:20260323T080000Z",
        ),
        # EXDATE does not count for COUNT.
        (
            "FREQ=WEEKLY;COUNT=4\nEXDATE:20260309T080000Z",
            "2026-03-16T09:00",
            "FREQ=WEEKLY;UNTIL=20260316T075959Z\nEXDATE:20260309T080000Z",
            "FREQ=WEEKLY;COUNT=2",
        ),
        # Every other week stays the same other week, though the cut is not on its first day.
        (
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR",
            "2026-03-20T09:00",
            "FREQ=WEEKLY;INTERVAL=2;UNTIL=20260320T075959Z;BYDAY=MO,FR",
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
    assert halves.before == "FREQ=WEEKLY;UNTIL=20260311T155959Z"
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


@pytest.mark.parametrize("pattern", ["FREQ=DAILY", "FREQ=DAILY;COUNT=4", "FREQ=WEEKLY;BYDAY=SU,MO"])
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
        ("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=15,45", "2026-03-28T02:15", "2026-03-29T03:15", BERLIN),
        ("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=15,45;COUNT=6", "2026-03-28T02:15", "2026-03-29T03:45", BERLIN),
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
