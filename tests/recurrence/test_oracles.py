"""The engine against two others on random rules: dateutil, and a slow one that reads the RFC aloud.

dateutil is known to leave RFC 5545 in four places (see test_deviations.py); rules that fall there
are judged by the slow engine alone. Both compare wall clocks, so every zone can be asked.
"""

import random
import warnings
from bisect import bisect_left
from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr

from eventmanager.recurrence import InvalidRecurrence, expand, parse

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
Parts = dict[str, str]


def random_parts(chance: random.Random) -> Parts:
    """Make a rule that RFC 5545 allows; it may never occur."""

    def some(numbers: list[int], most: int) -> str:
        return ",".join(str(number) for number in chance.sample(numbers, chance.randint(1, most)))

    def either_side(high: int) -> list[int]:
        return [number for number in range(-high, high + 1) if number]

    frequency = chance.choice(("DAILY", "WEEKLY", "MONTHLY", "YEARLY"))
    yearly = frequency == "YEARLY"
    numbered = frequency in {"MONTHLY", "YEARLY"}
    parts = {"FREQ": frequency}
    options = [
        (0.5, "INTERVAL", str(chance.choice((1, 2, 3, 4, 5, 7, 10, 13)))),
        (0.3, "WKST", chance.choice(WEEKDAYS)),
        (0.3, "BYMONTH", some(list(range(1, 13)), 5)),
        (0.25 * yearly, "BYWEEKNO", some(either_side(53), 4)),
        (0.25 * yearly, "BYYEARDAY", some(either_side(366), 20)),
        (0.35 * (frequency != "WEEKLY"), "BYMONTHDAY", some(either_side(31), 8)),
        (0.4, "BYDAY", ",".join(chance.sample(WEEKDAYS, chance.randint(1, 5)))),
        (0.2, "BYHOUR", some(list(range(24)), 3)),
        (0.2, "BYMINUTE", some(list(range(60)), 3)),
        (0.1, "BYSECOND", some(list(range(60)), 2)),
    ]
    parts |= {name: value for odds, name, value in options if chance.random() < odds}
    if numbered and "BYWEEKNO" not in parts and chance.random() < 0.3:
        high = 5 if frequency == "MONTHLY" or "BYMONTH" in parts else 52
        days = [chance.choice(either_side(high)) for _ in range(chance.randint(1, 4))]
        plain = chance.random() < 0.2
        parts["BYDAY"] = ",".join(f"{day}{chance.choice(WEEKDAYS)}" for day in days)
        parts["BYDAY"] += "," + chance.choice(WEEKDAYS) if plain else ""
    if any(name.startswith("BY") for name in parts) and chance.random() < 0.3:
        parts["BYSETPOS"] = some(either_side(chance.choice((3, 12, 366))), 4)
    if chance.random() < 0.3:
        parts["COUNT"] = str(chance.randint(1, 40))
    return parts


def deviates(parts: Parts) -> bool:
    """Return whether dateutil is known to leave RFC 5545 on this rule."""
    days = parts.get("BYDAY", "").split(",")
    # The days of January that belong to last year's week 52 or 53 are where it miscounts weeks.
    return (
        ("BYWEEKNO" in parts and not {"BYDAY", "BYMONTHDAY", "BYYEARDAY"} & parts.keys())
        or (parts["FREQ"] == "WEEKLY" and "BYSETPOS" in parts)
        or len({len(day) > 2 for day in days}) > 1
        or any(abs(week) >= 52 for week in numbers(parts, "BYWEEKNO"))
    )


def dateutil_says(parts: Parts, start: datetime, end: datetime) -> list[datetime]:
    """Expand with dateutil; `start` and `end` are naive wall clocks."""
    rule = ";".join(f"{name}={value}" for name, value in parts.items())
    with warnings.catch_warnings():
        # COUNT with UNTIL is deprecated there, but it is the only way to bound what is left.
        warnings.simplefilter("ignore", DeprecationWarning)
        found = rrulestr(f"{rule};UNTIL={end:%Y%m%dT%H%M%S}", dtstart=start)
        return [item for item in found if item < end]


def rfc_says(parts: Parts, start: datetime, end: datetime) -> list[datetime]:
    """Expand by the letter of RFC 5545 3.3.10: test every day of every period, then BYSETPOS."""
    clocks = sorted(
        time(hour, minute, second)
        for hour in numbers(parts, "BYHOUR") or [start.hour]
        for minute in numbers(parts, "BYMINUTE") or [start.minute]
        for second in numbers(parts, "BYSECOND") or [start.second]
    )
    found: list[datetime] = []
    for period in periods(parts, start.date(), end.date()):
        chosen = [
            datetime.combine(day, clock)
            for day in period
            if matches(parts, start.date(), day)
            for clock in clocks
        ]
        if "BYSETPOS" in parts:
            places = {
                place - 1 if place > 0 else len(chosen) + place
                for place in numbers(parts, "BYSETPOS")
            }
            chosen = [item for place, item in enumerate(chosen) if place in places]
        found += [item for item in chosen if item >= start]
    return [item for item in found[: int(parts.get("COUNT", len(found)))] if item < end]


def numbers(parts: Parts, name: str) -> list[int]:
    """Return the numbers of a part, none if it is absent."""
    return [int(item) for item in parts[name].split(",")] if name in parts else []


def periods(parts: Parts, start: date, end: date) -> Iterator[list[date]]:
    """Yield all days of each period of the rule that begins by `end`."""
    interval = int(parts.get("INTERVAL", 1))
    frequency = parts["FREQ"]
    origin = start
    if frequency == "WEEKLY":
        origin -= timedelta((start.weekday() - WEEKDAYS.index(parts.get("WKST", "MO"))) % 7)
    step = 0
    while True:
        if frequency == "YEARLY":
            begin = date(start.year + step, 1, 1)
            after = date(begin.year + 1, 1, 1)
        elif frequency == "MONTHLY":
            year, month = divmod(start.year * 12 + start.month - 1 + step, 12)
            begin = date(year, month + 1, 1)
            after = begin + timedelta(monthrange(year, month + 1)[1])
        else:
            length = 7 if frequency == "WEEKLY" else 1
            begin = origin + timedelta(length * step)
            after = begin + timedelta(length)
        if begin > end:
            return
        yield [begin + timedelta(day) for day in range((after - begin).days)]
        step += interval


def matches(parts: Parts, start: date, day: date) -> bool:
    """Return whether `day` passes every BY part, or DTSTART's own day where they leave it open."""
    length = monthrange(day.year, day.month)[1]
    year_day = day.timetuple().tm_yday
    year_length = date(day.year, 12, 31).timetuple().tm_yday
    month_days, year_days = numbers(parts, "BYMONTHDAY"), numbers(parts, "BYYEARDAY")
    frequency = parts["FREQ"]
    given = {"BYMONTHDAY", "BYYEARDAY", "BYDAY"} & parts.keys()
    implied = True
    if not given and (frequency == "WEEKLY" or "BYWEEKNO" in parts):
        implied = day.weekday() == start.weekday()
    elif not given and frequency in {"MONTHLY", "YEARLY"}:
        any_month = frequency == "MONTHLY" or "BYMONTH" in parts
        implied = day.day == start.day and (any_month or day.month == start.month)
    return (
        implied
        and day.month in (numbers(parts, "BYMONTH") or [day.month])
        and (not month_days or day.day in month_days or day.day - length - 1 in month_days)
        and (not year_days or year_day in year_days or year_day - year_length - 1 in year_days)
        and ("BYWEEKNO" not in parts or in_weeks(parts, day))
        and ("BYDAY" not in parts or on_weekdays(parts, day))
    )


def in_weeks(parts: Parts, day: date) -> bool:
    """Return whether the week of `day`, counted in the year that holds most of it, is listed."""
    into = (day.weekday() - WEEKDAYS.index(parts.get("WKST", "MO"))) % 7
    middle = day + timedelta(3 - into)
    week = (middle.timetuple().tm_yday + 6) // 7
    last = middle
    while (last + timedelta(7)).year == middle.year:
        last += timedelta(7)
    weeks = (last.timetuple().tm_yday + 6) // 7
    return bool({week, week - weeks - 1} & set(numbers(parts, "BYWEEKNO")))


def on_weekdays(parts: Parts, day: date) -> bool:
    """Return whether BYDAY lists the weekday of `day`, or its place in the month or the year."""
    first, last = date(day.year, 1, 1), date(day.year, 12, 31)
    if parts["FREQ"] == "MONTHLY" or "BYMONTH" in parts:
        first = day.replace(day=1)
        last = day.replace(day=monthrange(day.year, day.month)[1])
    name = WEEKDAYS[day.weekday()]
    forward, backward = (day - first).days // 7 + 1, (last - day).days // 7 + 1
    listed = {item.removeprefix("+") for item in parts["BYDAY"].split(",")}
    return bool({name, f"{forward}{name}", f"-{backward}{name}"} & listed)


def engine_says(parts: Parts, start: datetime, end: datetime, zone: ZoneInfo) -> list[datetime]:
    """Expand with our engine; a rule that never occurs gives nothing."""
    rule = ";".join(f"{name}={value}" for name, value in parts.items())
    begin, after = start.replace(tzinfo=zone), end.replace(tzinfo=zone)
    try:
        series = parse(rule, start=begin, end=begin + timedelta(hours=1), time_zone=zone)
    except InvalidRecurrence as error:
        if "never occurs" not in error.reason:
            raise
        return []
    return [found.start for found in expand(series, start=begin, end=after)]


def drawn(seed: int) -> tuple[Parts, datetime, datetime, ZoneInfo]:
    """Draw a rule, a start, an end of the window and a zone; wall clocks are naive."""
    chance = random.Random(seed)
    parts = random_parts(chance)
    day = date(chance.randint(1970, 2090), chance.randint(1, 12), chance.randint(1, 28))
    start = datetime.combine(day, time(4)) + timedelta(minutes=chance.randint(0, 1199))
    end = start + timedelta(days=chance.choice((100, 400, 1100)))
    return parts, start, end, ZoneInfo(chance.choice(ZONES))


def on_time_line(clocks: list[datetime], zone: ZoneInfo) -> list[datetime]:
    """Read naive wall clocks in `zone`, as PEP 495 does with fold=0."""
    return sorted({clock.replace(tzinfo=zone).astimezone(UTC) for clock in clocks})


@pytest.mark.parametrize("batch", range(15))
def test_random_rules_expand_as_dateutil_expands_them(batch: int) -> None:
    """1,500 rules agree with an engine that many calendars already use."""
    compared = 0
    for seed in range(batch * 100, batch * 100 + 100):
        parts, start, end, zone = drawn(seed)
        if deviates(parts):
            continue
        mine = engine_says(parts, start, end, zone)
        if not mine:
            # dateutil would search to the year 9999; the slow engine below judges these.
            continue
        theirs = on_time_line(dateutil_says(parts, start, end), zone)
        cut = bisect_left(theirs, end.replace(tzinfo=zone).astimezone(UTC))
        assert mine == theirs[:cut], (seed, parts, start)
        compared += 1
    assert compared > 40


@pytest.mark.parametrize("batch", range(12))
def test_random_rules_expand_by_the_letter_of_the_rfc(batch: int) -> None:
    """1,200 rules, those dateutil gets wrong and those that never occur among them."""
    for seed in range(batch * 100, batch * 100 + 100):
        parts, start, end, zone = drawn(50_000 + seed)
        end = min(end, start + timedelta(days=400))
        theirs = on_time_line(rfc_says(parts, start, end), zone)
        cut = bisect_left(theirs, end.replace(tzinfo=zone).astimezone(UTC))
        assert engine_says(parts, start, end, zone) == theirs[:cut], (seed, parts, start)


@pytest.mark.parametrize("seed", range(60))
def test_a_window_shows_the_same_as_the_whole(seed: int) -> None:
    """Jumping to a window never loses, adds or moves an occurrence."""
    parts, start, end, zone = drawn(90_000 + seed)
    rule = ";".join(f"{name}={value}" for name, value in parts.items())
    begin = start.replace(tzinfo=zone)
    try:
        series = parse(rule, start=begin, end=begin + timedelta(hours=1), time_zone=zone)
    except InvalidRecurrence:
        return
    whole = expand(series, start=begin, end=end.replace(tzinfo=zone))
    pieces = []
    edge = begin.astimezone(UTC)
    chance = random.Random(seed)
    while edge < end.replace(tzinfo=zone):
        after = min(edge + timedelta(hours=chance.randint(1, 2_000)), end.replace(tzinfo=zone))
        pieces += expand(series, start=edge, end=after)
        edge = after.astimezone(UTC)
    assert pieces == whole
