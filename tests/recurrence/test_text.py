"""What people read instead of a pattern: every part has its words, none goes unsaid."""

import random
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from eventmanager.recurrence import InvalidRecurrence, describe, parse
from eventmanager.recurrence.series import rule_starts

# A Wednesday: what a rule leaves out comes from here.
START = datetime(2025, 12, 24, 9, tzinfo=UTC)
GREENWICH = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
CPU_LIMIT_S = 0.02
LONGEST = 500
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
Parts = dict[str, str]


def listed(numbers: range) -> str:
    """Return numbers as a BY part wants them."""
    return ",".join(map(str, numbers))


def text_of(pattern: str, start: datetime = START, zone: ZoneInfo = GREENWICH) -> str:
    """Return the text of a pattern, which `parse` must accept first."""
    parse(pattern, start=start, end=start + timedelta(hours=1), time_zone=zone)
    return describe(pattern, start=start, time_zone=zone)


WORKDAYS = "BYDAY=MO,TU,WE,TH,FR"
WEEK = "BYDAY=MO,TU,WE,TH,FR,SA,SU"

RULES: list[tuple[str, str]] = [
    # DAILY: every other part limits.
    ("FREQ=DAILY", "every day"),
    ("RRULE:FREQ=DAILY;INTERVAL=1;WKST=SU", "every day"),
    ("FREQ=DAILY;INTERVAL=3", "every 3 days"),
    ("FREQ=DAILY;INTERVAL=1000", "every 1,000 days"),
    (f"FREQ=DAILY;{WORKDAYS}", "every weekday"),
    (f"FREQ=DAILY;{WEEK}", "every day"),
    ("FREQ=DAILY;BYDAY=WE,MO", "every Monday and Wednesday"),
    (f"FREQ=DAILY;INTERVAL=2;{WORKDAYS}", "every 2 days, only on weekdays"),
    ("FREQ=DAILY;INTERVAL=2;BYDAY=SA,SU", "every 2 days, only on Saturday and Sunday"),
    (f"FREQ=DAILY;INTERVAL=2;{WEEK}", "every 2 days"),
    ("FREQ=DAILY;BYMONTH=2,1", "every day in January and February"),
    ("FREQ=DAILY;INTERVAL=3;BYMONTH=1", "every 3 days, only in January"),
    (f"FREQ=DAILY;BYMONTH={listed(range(1, 13))}", "every day"),
    ("FREQ=DAILY;BYMONTHDAY=15", "every day that falls on the 15th of the month"),
    (
        "FREQ=DAILY;BYMONTHDAY=1,-1;BYDAY=FR;BYMONTH=5",
        "every Friday that falls on the 1st or the last day of the month in May",
    ),
    (
        "FREQ=DAILY;INTERVAL=2;BYMONTHDAY=13;BYDAY=FR;BYMONTH=5",
        "every 2 days, only on Friday that falls on the 13th of the month, only in May",
    ),
    (
        f"FREQ=DAILY;INTERVAL=2;BYMONTHDAY=1;{WEEK}",
        "every 2 days, only on the 1st of the month",
    ),
    # Times of day, in any frequency.
    ("FREQ=DAILY;BYHOUR=17,9", "every day at 09:00 and 17:00"),
    ("FREQ=DAILY;BYMINUTE=0,30", "every day at 09:00 and 09:30"),
    ("FREQ=DAILY;BYHOUR=9,10;BYMINUTE=5", "every day at 09:05 and 10:05"),
    ("FREQ=DAILY;BYSECOND=0,15", "every day at 09:00:00 and 09:00:15"),
    ("FREQ=DAILY;BYHOUR=7;BYMONTH=3", "every day at 07:00 in March"),
    ("FREQ=DAILY;INTERVAL=2;BYHOUR=7;BYDAY=MO", "every 2 days at 07:00, only on Monday"),
    ("FREQ=WEEKLY;BYDAY=MO;BYHOUR=8", "every week on Monday at 08:00"),
    ("FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=8", "every month on the 1st at 08:00"),
    ("FREQ=YEARLY;BYHOUR=8", "every year on 24 December at 08:00"),
    (
        f"FREQ=DAILY;BYHOUR={listed(range(24))};BYMINUTE=0",
        "every day at 00:00, 01:00, 02:00, 03:00, 04:00, 05:00, 06:00, 07:00, 08:00 and 15 more",
    ),
    # WEEKLY.
    ("FREQ=WEEKLY", "every week on Wednesday"),
    ("FREQ=WEEKLY;INTERVAL=2", "every 2 weeks on Wednesday"),
    ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", "every 2 weeks on Tuesday"),
    ("FREQ=WEEKLY;BYDAY=MO,WE", "every week on Monday and Wednesday"),
    ("FREQ=WEEKLY;BYDAY=SU,SA,FR", "every week on Friday, Saturday and Sunday"),
    (f"FREQ=WEEKLY;{WORKDAYS}", "every weekday"),
    (f"FREQ=WEEKLY;INTERVAL=2;{WORKDAYS}", "every 2 weeks on weekdays"),
    (f"FREQ=WEEKLY;{WEEK}", "every day"),
    (f"FREQ=WEEKLY;INTERVAL=2;{WEEK}", "every 2 weeks on every day"),
    ("FREQ=WEEKLY;BYDAY=MO;BYMONTH=6,7,8", "every week on Monday in June, July and August"),
    ("FREQ=WEEKLY;INTERVAL=2;BYMONTH=6", "every 2 weeks on Wednesday, only in June"),
    # WKST is said where it moves a weekday to another week, and nowhere else.
    ("FREQ=WEEKLY;BYDAY=MO,SU;WKST=SU", "every week on Monday and Sunday"),
    ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE;WKST=SU", "every 2 weeks on Monday and Wednesday"),
    (
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=SU",
        "every 2 weeks on Tuesday and Sunday, with weeks starting on Sunday",
    ),
    (
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;WKST=TU",
        "every 2 weeks on Monday, with weeks starting on Tuesday",
    ),
    (
        "FREQ=WEEKLY;BYDAY=MO,SU;BYSETPOS=1;WKST=SU",
        "every week on Monday and Sunday, only the first of these each week, "
        "with weeks starting on Sunday",
    ),
    (
        "FREQ=YEARLY;BYWEEKNO=1;WKST=SU",
        "every year in week 1 on Wednesday, with weeks starting on Sunday",
    ),
    # MONTHLY by the day of the month.
    ("FREQ=MONTHLY", "every month on the 24th"),
    ("FREQ=MONTHLY;INTERVAL=2;BYMONTHDAY=15", "every 2 months on the 15th"),
    ("FREQ=MONTHLY;BYMONTHDAY=1,2,3,11", "every month on the 1st to the 3rd and the 11th"),
    ("FREQ=MONTHLY;BYMONTHDAY=21,22", "every month on the 21st and the 22nd"),
    ("FREQ=MONTHLY;BYMONTHDAY=12,13,23", "every month on the 12th, the 13th and the 23rd"),
    ("FREQ=MONTHLY;BYMONTHDAY=-1", "every month on the last day"),
    ("FREQ=MONTHLY;BYMONTHDAY=-2", "every month on the second-to-last day"),
    ("FREQ=MONTHLY;BYMONTHDAY=-11", "every month on the 11th-to-last day"),
    ("FREQ=MONTHLY;BYMONTHDAY=-1,15", "every month on the 15th and the last day"),
    ("FREQ=MONTHLY;BYMONTHDAY=15;BYMONTH=1,6", "every month on the 15th, only in January and June"),
    (
        f"FREQ=MONTHLY;BYMONTHDAY={listed(range(1, 32, 2))}",
        "every month on the 1st, the 3rd, the 5th, the 7th, the 9th, the 11th and 10 more",
    ),
    # MONTHLY by weekdays.
    ("FREQ=MONTHLY;BYDAY=-1FR", "every month on the last Friday"),
    ("FREQ=MONTHLY;BYDAY=3MO,1MO", "every month on the first and third Monday"),
    ("FREQ=MONTHLY;BYDAY=-2SU,2SU", "every month on the second and second-to-last Sunday"),
    ("FREQ=MONTHLY;BYDAY=1MO,-1FR", "every month on the first Monday and the last Friday"),
    ("FREQ=MONTHLY;BYDAY=1MO,FR", "every month on the first Monday and every Friday"),
    ("FREQ=MONTHLY;BYDAY=MO,FR", "every month on every Monday and Friday"),
    (f"FREQ=MONTHLY;{WORKDAYS}", "every month on every weekday"),
    (f"FREQ=MONTHLY;{WEEK}", "every month on every day"),
    ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "every month on every Friday that falls on the 13th"),
    (
        "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=8,9,10,11,12,13,14,-1",
        "every month on every Saturday that falls on the 8th to the 14th or the last day",
    ),
    # BYSETPOS: as people say it where that is true, else spelled out.
    (f"FREQ=MONTHLY;{WORKDAYS};BYSETPOS=-1", "every month on the last weekday"),
    (f"FREQ=MONTHLY;{WORKDAYS};BYSETPOS=1,-1", "every month on the first and last weekday"),
    (f"FREQ=MONTHLY;{WEEK};BYSETPOS=-2", "every month on the second-to-last day"),
    ("FREQ=MONTHLY;BYDAY=SU,SA;BYSETPOS=2", "every month on the second Saturday or Sunday"),
    ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=4", "every month on the fourth Monday"),
    (f"FREQ=MONTHLY;{WORKDAYS};BYSETPOS=-1;BYHOUR=17", "every month on the last weekday at 17:00"),
    (
        f"FREQ=MONTHLY;{WORKDAYS};BYSETPOS=-1;BYHOUR=9,17",
        "every month on every weekday at 09:00 and 17:00, only the last of these each month",
    ),
    (
        "FREQ=MONTHLY;BYMONTHDAY=13,14,15;BYDAY=MO,FR;BYSETPOS=-1",
        "every month on every Monday and Friday that falls on the 13th to the 15th, "
        "only the last of these each month",
    ),
    (
        "FREQ=MONTHLY;BYDAY=1MO,FR;BYSETPOS=2",
        "every month on the first Monday and every Friday, only the second of these each month",
    ),
    (
        "FREQ=DAILY;BYHOUR=9,12,17;BYSETPOS=1,-1",
        "every day at 09:00, 12:00 and 17:00, only the first and the last of these each day",
    ),
    (
        "FREQ=WEEKLY;BYDAY=MO,WE;BYSETPOS=1",
        "every week on Monday and Wednesday, only the first of these each week",
    ),
    (f"FREQ=YEARLY;{WORKDAYS};BYSETPOS=-1", "every year on the last weekday of the year"),
    (
        f"FREQ=YEARLY;BYMONTH=11;{WORKDAYS};BYSETPOS=-1",
        "every year on the last weekday of November",
    ),
    (
        f"FREQ=YEARLY;BYMONTH=6,12;{WORKDAYS};BYSETPOS=-1",
        "every year on every weekday of June and December, only the last of these each year",
    ),
    # YEARLY by the day of the month.
    ("FREQ=YEARLY", "every year on 24 December"),
    ("FREQ=YEARLY;INTERVAL=4", "every 4 years on 24 December"),
    ("FREQ=YEARLY;BYMONTH=3", "every year on 24 March"),
    ("FREQ=YEARLY;BYMONTH=3,6", "every year on the 24th of March and June"),
    ("FREQ=YEARLY;BYMONTHDAY=15", "every year on the 15th of every month"),
    (f"FREQ=YEARLY;BYMONTH={listed(range(1, 13))}", "every year on the 24th of every month"),
    ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "every year on 29 February"),
    ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1", "every year on the last day of February"),
    ("FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24,26", "every year on the 24th and the 26th of December"),
    # YEARLY by weekdays, whose numbers count within the month only with BYMONTH.
    ("FREQ=YEARLY;BYMONTH=11;BYDAY=4TH", "every year on the fourth Thursday of November"),
    ("FREQ=YEARLY;BYMONTH=1,6;BYDAY=1MO", "every year on the first Monday of January and June"),
    ("FREQ=YEARLY;BYDAY=20MO", "every year on the 20th Monday of the year"),
    ("FREQ=YEARLY;BYDAY=-1MO,SU", "every year on the last Monday and every Sunday of the year"),
    ("FREQ=YEARLY;BYDAY=MO", "every year on every Monday"),
    ("FREQ=YEARLY;BYMONTH=3;BYDAY=MO", "every year on every Monday of March"),
    (
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
        "every 4 years on every Tuesday of November that falls on the 2nd to the 8th of the month",
    ),
    # YEARLY by weeks and by days of the year.
    ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "every year in week 20 on Monday"),
    ("FREQ=YEARLY;BYWEEKNO=20", "every year in week 20 on Wednesday"),
    (f"FREQ=YEARLY;BYWEEKNO=20;{WORKDAYS}", "every year in week 20 on weekdays"),
    (f"FREQ=YEARLY;BYWEEKNO=20;{WEEK}", "every year in week 20 on every day"),
    ("FREQ=YEARLY;BYWEEKNO=-1", "every year in the last week of the year on Wednesday"),
    (
        "FREQ=YEARLY;BYWEEKNO=1,2,3,-2;BYDAY=MO;BYMONTH=1",
        "every year in week 1 to week 3 and the second-to-last week of the year on Monday, "
        "only in January",
    ),
    (
        "FREQ=YEARLY;BYWEEKNO=20;BYMONTHDAY=15",
        "every year in week 20 on the 15th of the month",
    ),
    ("FREQ=YEARLY;BYYEARDAY=100", "every year on day 100"),
    ("FREQ=YEARLY;BYYEARDAY=200,100", "every year on day 100 and day 200"),
    ("FREQ=YEARLY;BYYEARDAY=-1", "every year on the last day of the year"),
    ("FREQ=YEARLY;BYYEARDAY=1,-100", "every year on day 1 and the 100th-to-last day of the year"),
    ("FREQ=YEARLY;BYYEARDAY=100;BYMONTH=4", "every year on day 100, only in April"),
    (
        "FREQ=YEARLY;BYWEEKNO=15;BYYEARDAY=100,101",
        "every year in week 15 on day 100 and day 101",
    ),
    (
        "FREQ=YEARLY;BYYEARDAY=100,101;BYDAY=FR;BYMONTHDAY=10",
        "every year on every Friday that falls on the 10th of the month and on day 100 or day 101",
    ),
    # COUNT and UNTIL.
    ("FREQ=DAILY;COUNT=1", "every day, once"),
    ("FREQ=DAILY;COUNT=10", "every day, 10 times"),
    ("FREQ=DAILY;COUNT=1000000", "every day, 1,000,000 times"),
    ("FREQ=DAILY;UNTIL=20270301", "every day, until 1 March 2027"),
    ("FREQ=DAILY;UNTIL=99991231T235959Z", "every day, until 31 December 9999"),
    (
        "freq=monthly;byday=-1fr;until=20270301T000000Z;",
        "every month on the last Friday, until 1 March 2027",
    ),
    # On such a day the date alone would promise an occurrence that UNTIL cuts off.
    ("FREQ=DAILY;UNTIL=20270301T090000Z", "every day, until 1 March 2027"),
    ("FREQ=DAILY;UNTIL=20270301T085959Z", "every day, until 1 March 2027 at 08:59:59"),
    (
        "FREQ=DAILY;BYHOUR=9,17;UNTIL=20270301T120000Z",
        "every day at 09:00 and 17:00, until 1 March 2027 at 12:00",
    ),
]

DATES: list[tuple[str, str]] = [
    ("FREQ=DAILY\nRDATE:20260505T090000Z", "every day, and also on 5 May 2026"),
    (
        "FREQ=DAILY;UNTIL=20260501\nRDATE:20260505T090000Z,20260507T090000Z",
        "every day, until 1 May 2026, and also on 5 May 2026 and 7 May 2026",
    ),
    (
        "FREQ=WEEKLY\nRDATE:" + ",".join(f"2026050{day}T090000" for day in range(1, 5)),
        "every week on Wednesday, and on 4 other dates",
    ),
    ("FREQ=DAILY\nEXDATE:20260505T090000Z", "every day, except on 5 May 2026"),
    (
        "FREQ=DAILY\nEXDATE:20260505T090000\nEXDATE:20260505T090000Z",
        "every day, except on 5 May 2026",
    ),
    (
        "FREQ=DAILY\nEXDATE:20260507T090000,20260506T090000\nEXDATE:20260505T090000",
        "every day, except on 5 May 2026, 6 May 2026 and 7 May 2026",
    ),
    (
        "FREQ=DAILY\nEXDATE:" + ",".join(f"2026050{day}T090000" for day in range(1, 5)),
        "every day, except on 4 dates",
    ),
    (
        "FREQ=DAILY;COUNT=5\nRDATE:20260505T090000\nEXDATE:20251225T090000",
        "every day, 5 times, and also on 5 May 2026, except on 25 December 2025",
    ),
    # EXDATE wins over RDATE.
    (
        "FREQ=DAILY\nRDATE:20260505T090000\nEXDATE:20260505T090000",
        "every day, except on 5 May 2026",
    ),
    # A date is no longer enough where days have more than one time.
    (
        "FREQ=DAILY;BYHOUR=9,17\nEXDATE:20260505T090000",
        "every day at 09:00 and 17:00, except on 5 May 2026 at 09:00",
    ),
    (
        "FREQ=DAILY\nRDATE:20260505T140015\nEXDATE:20260505T090000",
        "every day, and also on 5 May 2026 at 14:00:15, except on 5 May 2026 at 09:00",
    ),
    (
        "FREQ=DAILY\nEXDATE:" + ",".join(f"20260505T{hour}0000" for hour in range(10, 14)),
        "every day, except on 4 occasions",
    ),
    # Without a rule, DTSTART is the first date.
    ("RDATE:20260505T090000", "on 24 December 2025 and 5 May 2026"),
    ("RDATE:20251224T090000Z", "on 24 December 2025"),
    ("RDATE:20260505T140000", "on 24 December 2025 at 09:00 and 5 May 2026 at 14:00"),
    ("RDATE:20260505T090000\nEXDATE:20251224T090000", "on 5 May 2026"),
    ("RDATE:" + ",".join(f"202605{day}T090000" for day in range(10, 21)), "on 12 dates"),
]


@pytest.mark.parametrize(("rule", "text"), RULES, ids=[rule for rule, _ in RULES])
def test_a_rule_reads_as_people_say_it(rule: str, text: str) -> None:
    """Who cannot read RFC 5545 still sees when an event takes place."""
    assert text_of(rule) == text


@pytest.mark.parametrize(("pattern", "text"), DATES, ids=[text for _, text in DATES])
def test_single_dates_are_listed_up_to_three(pattern: str, text: str) -> None:
    """Dates that a rule gains and loses are part of when an event takes place."""
    assert text_of(pattern) == text


@pytest.mark.parametrize(
    ("until", "zone", "shown"),
    [
        ("20270301T045959Z", NEW_YORK, "28 February 2027"),
        ("20270301T050000Z", NEW_YORK, "1 March 2027 at 00:00"),
        ("20270228T225959Z", BERLIN, "28 February 2027"),
        ("20270228T230000Z", BERLIN, "1 March 2027 at 00:00"),
        ("20270301", NEW_YORK, "1 March 2027"),
        ("20270301T235959", BERLIN, "1 March 2027"),
        ("20270301T080000", BERLIN, "1 March 2027 at 08:00"),
        ("22001231T235959Z", BERLIN, "1 January 2201 at 00:59:59"),
    ],
)
def test_until_is_a_date_of_the_zone_of_the_event(until: str, zone: ZoneInfo, shown: str) -> None:
    """UNTIL is written in UTC, which is often another day than the one people mean."""
    start = datetime(2026, 1, 7, 9, tzinfo=zone)
    assert text_of(f"FREQ=DAILY;UNTIL={until}", start, zone) == f"every day, until {shown}"


def test_what_a_rule_leaves_out_is_the_day_in_the_zone_of_the_event() -> None:
    """It is Wednesday evening in New York while the instant is Thursday's in UTC."""
    start = datetime(2026, 1, 1, 3, tzinfo=UTC)
    assert text_of("FREQ=WEEKLY", start, NEW_YORK) == "every week on Wednesday"
    assert text_of("FREQ=YEARLY", start, NEW_YORK) == "every year on 31 December"
    assert text_of("FREQ=DAILY;BYMINUTE=30", start, NEW_YORK) == "every day at 22:30"


def test_until_before_a_time_moved_by_daylight_saving_says_its_clock() -> None:
    """Half past two becomes half past three on this day, and so comes after UNTIL."""
    start = datetime(2026, 1, 7, 2, 30, tzinfo=BERLIN)
    text = text_of("FREQ=DAILY;UNTIL=20270328T010000Z", start, BERLIN)
    assert text == "every day, until 28 March 2027 at 03:00"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("FREQ=DAILY;UNTIL=20270301", "every day, until 1 March 2027"),
        ("FREQ=DAILY;UNTIL=20270301T000000Z", "every day, until 1 March 2027"),
        ("FREQ=YEARLY", "every year on 8 January"),
        ("RDATE;VALUE=DATE:20260505", "on 8 January 2026 and 5 May 2026"),
        ("FREQ=DAILY\nEXDATE;VALUE=DATE:20260505", "every day, except on 5 May 2026"),
    ],
)
def test_an_all_day_event_has_dates_only(pattern: str, text: str) -> None:
    """A time of day would mean nothing here, and its days are those of the zone."""
    start = datetime(2026, 1, 8, tzinfo=BERLIN)
    end = start + timedelta(days=1)
    parse(pattern, start=start, end=end, time_zone=BERLIN, all_day=True)
    assert describe(pattern, start=start, time_zone=BERLIN, all_day=True) == text


def random_parts(chance: random.Random) -> Parts:
    """Make a rule that RFC 5545 allows; it may never occur."""

    def some(low: int, high: int, most: int) -> str:
        numbers = [number for number in range(low, high + 1) if number or low == 0]
        return ",".join(map(str, chance.sample(numbers, chance.randint(1, most))))

    def weekday() -> str:
        return chance.choice(WEEKDAYS)

    frequency = chance.choice(("DAILY", "WEEKLY", "MONTHLY", "YEARLY"))
    yearly, weekly = frequency == "YEARLY", frequency == "WEEKLY"
    counted = ",".join(some(-5, 5, 1) + weekday() for _ in range(chance.randint(1, 4)))
    options = [
        (0.5, "INTERVAL", str(chance.choice((1, 2, 3, 10)))),
        (0.4, "WKST", weekday()),
        (0.3, "BYMONTH", some(1, 12, 12)),
        (0.3 * yearly, "BYWEEKNO", some(-53, 53, 4)),
        (0.3 * yearly, "BYYEARDAY", some(-366, 366, 20)),
        (0.4 * (not weekly), "BYMONTHDAY", some(-31, 31, 8)),
        (0.4, "BYDAY", ",".join(chance.sample(WEEKDAYS, chance.randint(1, 7)))),
        (0.2, "BYHOUR", some(0, 23, 3)),
        (0.2, "BYMINUTE", some(0, 59, 3)),
        (0.1, "BYSECOND", some(0, 59, 2)),
        (0.2, "COUNT", some(1, 40, 1)),
        (0.2, "UNTIL", f"202{chance.randint(6, 9)}0{chance.randint(1, 9)}15T090000Z"),
    ]
    parts = {name: value for odds, name, value in options if chance.random() < odds}
    if "COUNT" in parts:
        parts.pop("UNTIL", None)
    if frequency in {"MONTHLY", "YEARLY"} and "BYWEEKNO" not in parts and chance.random() < 0.3:
        parts["BYDAY"] = f"{counted},{weekday()}" if chance.random() < 0.2 else counted
    if any(name.startswith("BY") for name in parts) and chance.random() < 0.3:
        parts["BYSETPOS"] = some(*chance.choice(((-3, 3), (-366, 366))), 4)
    return {"FREQ": frequency} | parts


def written(parts: Parts) -> str:
    """Return parts as a rule."""
    return ";".join(f"{name}={value}" for name, value in parts.items())


@pytest.mark.parametrize("batch", range(4))
def test_any_rule_has_a_text_of_one_short_line(batch: int) -> None:
    """A list of events has one line for it, whatever people have imported."""
    for seed in range(batch * 250, batch * 250 + 250):
        chance = random.Random(seed)
        parts = random_parts(chance)
        start = START + timedelta(minutes=chance.randrange(1_000_000))
        zone = chance.choice((GREENWICH, BERLIN, NEW_YORK))
        text = describe(written(parts), start=start, time_zone=zone)
        assert text == " ".join(text.split()), (seed, text)
        assert text.startswith("every "), (seed, text)
        assert len(text) <= LONGEST, (seed, text)


def changed(parts: Parts, chance: random.Random) -> Parts:
    """Return a rule with one part dropped, taken from another rule, or shortened by a value."""
    name = chance.choice([name for name in parts if name != "FREQ"])
    values = parts[name].split(",")
    if len(values) > 1 and chance.random() < 0.5:
        return parts | {name: ",".join(values[1:])}
    other = random_parts(chance)
    if name in other and chance.random() < 0.5:
        return parts | {name: other[name]}
    return {key: value for key, value in parts.items() if key != name}


def found(parts: Parts) -> list[datetime]:
    """Return the first starts of a rule in the next ten years."""
    end = START + timedelta(hours=1)
    try:
        series = parse(written(parts), start=START, end=end, time_zone=GREENWICH)
    except InvalidRecurrence as error:
        if "never occurs" not in error.reason:
            raise
        return []
    return list(islice(rule_starts(series, start=START, end=START + timedelta(days=3653)), 1_000))


@pytest.mark.parametrize("batch", range(4))
def test_rules_that_differ_do_not_read_the_same(batch: int) -> None:
    """No restriction goes unsaid: where two texts are equal, so are the occurrences."""
    chance = random.Random(batch)
    texts: dict[str, list[Parts]] = defaultdict(list)
    while len(texts) < 600:
        parts = random_parts(chance)
        # Few parts, so that many rules meet in one text.
        kept = {"FREQ", *chance.sample(sorted(parts), min(len(parts), 3))}
        parts = {name: value for name, value in parts.items() if name in kept}
        if len(parts) == 1:
            continue
        for rule in (parts, changed(parts, chance)):
            try:
                text = describe(written(rule), start=START, time_zone=GREENWICH)
            except InvalidRecurrence:
                continue
            # A list that was cut says so, and hides values by intent.
            if " more" not in text and rule not in texts[text]:
                texts[text].append(rule)
    met = [rules for rules in texts.values() if len(rules) > 1]
    assert len(met) > 20
    for first, *others in met:
        for other in others:
            assert found(first) == found(other), (first, other)


EVERY_SECOND = (
    f"BYHOUR={listed(range(24))};BYMINUTE={listed(range(60))};BYSECOND={listed(range(60))}"
)
ODD = f"{listed(range(-365, 0, 9))},{listed(range(1, 366, 9))}"

HOSTILE: dict[str, str] = {
    "every second": f"FREQ=DAILY;{EVERY_SECOND};BYSETPOS={ODD};UNTIL=20300101T000000Z",
    "all year days": f"FREQ=YEARLY;BYYEARDAY={listed(range(-366, 0))},{listed(range(1, 367))}",
    "numbered weekdays": "FREQ=MONTHLY;BYDAY=1MO,"
    + ",".join(f"-{week}{day}" for week in range(1, 54) for day in ("MO", "TU", "WE", "TH", "FR")),
    "dates": "RDATE:" + ",".join(f"{date}T090000" for date in range(20260101, 20260132)),
    "all parts": f"FREQ=YEARLY;BYMONTH={listed(range(1, 12))};BYYEARDAY={ODD};"
    f"BYWEEKNO={listed(range(-53, 0, 2))},{listed(range(1, 54, 2))};WKST=WE;"
    f"BYMONTHDAY={listed(range(-31, 0, 2))},{listed(range(1, 32, 2))};"
    f"BYDAY=MO,TU,WE,TH,FR,SA;{EVERY_SECOND};BYSETPOS={ODD}",
}


@pytest.mark.parametrize("pattern", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_huge_pattern_has_a_short_text_at_little_cost(pattern: str) -> None:
    """Texts are made for every event of a list, so nobody may make one expensive."""
    begin = time.process_time()
    text = describe(pattern, start=START, time_zone=GREENWICH)
    assert time.process_time() - begin < CPU_LIMIT_S
    assert len(text) < 2 * LONGEST


def test_whole_days_have_no_times() -> None:
    """Parts that an all-day series ignores must not be said."""
    start = datetime(2026, 3, 2, tzinfo=UTC)
    said = describe("FREQ=DAILY;BYHOUR=9", start=start, time_zone=ZoneInfo("UTC"), all_day=True)
    assert said == "every day"
