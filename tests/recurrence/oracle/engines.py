"""The four engines, each asked the same: the starts of a case in its window, in UTC, ascending.

Ours, dateutil and rrule-temporal read the same iCalendar text. The fourth is slow, and is no more
than RFC 5545 3.3.10 read aloud: every day of every period is tested against every part.
"""

import datetime as dt
import json
import subprocess
import warnings
from calendar import monthrange
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch
from zoneinfo import ZoneInfo

from dateutil import rrule as dateutil_rrule
from dateutil.rrule import rrulestr

from eventmanager.recurrence import InvalidRecurrence, expand, parse
from tests.recurrence.oracle.cases import WEEKDAYS, Case, Parts

HERE = Path(__file__).parent


def ours(case: Case) -> list[datetime]:
    """Expand with our engine; one it refuses as dead has its RDATE lines only."""
    # An all-day event begins where its day does in the zone, which may be after midnight.
    start = case.start.replace(tzinfo=case.zone).astimezone(UTC)
    end = start + timedelta(hours=1)
    if case.all_day:
        after = case.start + timedelta(days=1)
        end = after.replace(tzinfo=case.zone).astimezone(UTC)
    pattern = "\n".join([f"RRULE:{case.rule}", *_date_lines(case, tzid=True)])
    try:
        series = parse(pattern, start=start, end=end, time_zone=case.zone, all_day=case.all_day)
    except InvalidRecurrence as error:
        if "never occurs" not in error.reason:
            raise
        # The refusal says that the rule gives nothing, so the RDATE lines are all there is.
        left = {case.instant(clock) for clock in set(case.rdates) - set(case.exdates)}
        return sorted(start for start in left if case.since <= start < case.before)
    slack = timedelta(days=2 if case.all_day else 0)
    found = list[datetime]()
    edge, last = case.since - slack, case.before + slack
    while edge < last:
        # A few hundred days at a time: nothing may be lost, or doubled, where two windows meet.
        after = min(edge + timedelta(days=200), last)
        found += [item.start for item in expand(series, start=edge, end=after)]
        edge = after
    if case.all_day:
        days = [start.astimezone(case.zone).date() for start in found]
        found = [datetime.combine(day, time(), tzinfo=UTC) for day in days]
    return [start for start in found if case.since <= start < case.before]


def dateutils(case: Case) -> list[datetime]:
    """Expand with dateutil, which leaves the reading of its wall clocks to the caller."""
    rule = case.rule
    if "UNTIL" not in case.parts:
        end = case.before + timedelta(days=2)
        rule += f";UNTIL={end:%Y%m%d}" if case.all_day else f";UNTIL={end:%Y%m%dT%H%M%SZ}"
    text = "\n".join([_dtstart(case), f"RRULE:{rule}", *_date_lines(case, tzid=False)])
    if case.all_day:
        # It knows no dates, only midnights.
        text = text.replace(";VALUE=DATE", "")
    with warnings.catch_warnings():
        # COUNT with UNTIL is deprecated there, but it is the only way to bound what is left.
        warnings.simplefilter("ignore", DeprecationWarning)
        with patch.object(dateutil_rrule, "datetime", _calendar_to(case.before.year + 1)):
            found = list(rrulestr(text, tzids=ZoneInfo, forceset=True))
    starts = {(item if item.tzinfo else item.replace(tzinfo=UTC)).astimezone(UTC) for item in found}
    return sorted(start for start in starts if case.since <= start < case.before)


def rrule_temporals(node: str, cases: Sequence[Case]) -> list[list[datetime] | str]:
    """Expand all cases with rrule-temporal, in one process; a text is an error it gave."""
    asked = []
    for case in cases:
        lines = [_dtstart(case), f"RRULE:{case.rule}", *_date_lines(case, tzid=True)]
        since, before = case.since.timestamp() * 1000, case.before.timestamp() * 1000
        asked.append({"text": "\n".join(lines), "from": since, "to": before})
    done = subprocess.run(
        [node, "answer.mjs"],
        cwd=HERE,
        input="\n".join(map(json.dumps, asked)),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        answer["error"]
        if isinstance(answer, dict)
        else [datetime.fromtimestamp(start / 1000, UTC) for start in answer]
        for answer in answers
    ]


def the_letters(case: Case, *, only_shown: bool = False) -> list[datetime]:
    """Expand by the letter of RFC 5545, on the wall clock, then on the time line.

    `only_shown` takes the other reading of it: a time that no clock shows is ignored, not moved.
    """
    end = case.before.replace(tzinfo=None) + timedelta(days=2)
    left_out = case.skips if only_shown else None
    clocks = instances(case.parts, case.start, end, left_out=left_out)
    starts = {case.instant(clock) for clock in clocks[: int(case.parts.get("COUNT", len(clocks)))]}
    if "UNTIL" in case.parts:
        form = "%Y%m%d" if case.all_day else "%Y%m%dT%H%M%SZ"
        until = datetime.strptime(case.parts["UNTIL"], form).replace(tzinfo=UTC)
        starts = {start for start in starts if start <= until}
    if case.all_day:
        # A day that the zone left out cannot be shown.
        starts = {start for start in starts if not case.skips(start.replace(tzinfo=None))}
    starts |= {case.instant(clock) for clock in case.rdates}
    starts -= {case.instant(clock) for clock in case.exdates}
    return sorted(start for start in starts if case.since <= start < case.before)


def _calendar_to(year: int) -> SimpleNamespace:
    """Return the module `datetime` with an earlier end, or dateutil would search to year 9999."""
    return SimpleNamespace(**{**vars(dt), "MAXYEAR": year})


def _dtstart(case: Case) -> str:
    if case.all_day:
        return f"DTSTART;VALUE=DATE:{case.start:%Y%m%d}"
    return f"DTSTART;TZID={case.zone.key}:{case.start:%Y%m%dT%H%M%S}"


def _date_lines(case: Case, *, tzid: bool) -> Iterator[str]:
    for name, clocks in (("RDATE", case.rdates), ("EXDATE", case.exdates)):
        if not clocks:
            continue
        if case.all_day:
            yield f"{name};VALUE=DATE:" + ",".join(f"{clock:%Y%m%d}" for clock in clocks)
        elif tzid or name == "EXDATE":
            values = ",".join(f"{clock:%Y%m%dT%H%M%S}" for clock in clocks)
            yield f"{name};TZID={case.zone.key}:{values}"
        else:
            # dateutil reads the TZID of an EXDATE, but none of an RDATE.
            values = ",".join(f"{case.instant(clock):%Y%m%dT%H%M%SZ}" for clock in clocks)
            yield f"{name}:{values}"


def instances(
    parts: Parts,
    start: datetime,
    end: datetime,
    *,
    left_out: Callable[[datetime], bool] | None = None,
) -> list[datetime]:
    """Return all wall clocks before `end`, COUNT or not: each period's days, then BYSETPOS."""
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
        if left_out is not None:
            chosen = [clock for clock in chosen if not left_out(clock)]
        if "BYSETPOS" in parts:
            places = {
                place - 1 if place > 0 else len(chosen) + place
                for place in numbers(parts, "BYSETPOS")
            }
            chosen = [item for place, item in enumerate(chosen) if place in places]
        found += [item for item in chosen if item >= start]
    return [item for item in found if item < end]


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
