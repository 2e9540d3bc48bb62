"""Where other engines leave RFC 5545 and we do not; `test_deviations.py` pins each by an example.

Each function says whether it explains why an engine answers `theirs` where we answer `ours`. None
excuses us: whatever the others say, our answer must be what the letter of the RFC gives.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from tests.recurrence.oracle.cases import Case, Parts
from tests.recurrence.oracle.engines import numbers, the_letters

Answer = Sequence[datetime]
Deviation = Callable[[Case, Answer, Answer], bool]


def explanation(
    case: Case, ours: Answer, theirs: Answer, deviations: Sequence[Deviation]
) -> str | None:
    """Return the name of the first deviation that explains the difference, if any does."""
    for explains in deviations:
        if explains(case, ours, theirs):
            return explains.__name__
    return None


def week_without_a_day(case: Case, _ours: Answer, _theirs: Answer) -> bool:
    """BYWEEKNO alone: dateutil takes all seven days of the week.

    What a rule leaves out comes from DTSTART (3.3.10), so it is on the weekday of DTSTART.
    """
    return "BYWEEKNO" in case.parts and not {"BYDAY", "BYMONTHDAY", "BYYEARDAY"} & case.parts.keys()


def plain_and_numbered_weekdays(case: Case, _ours: Answer, _theirs: Answer) -> bool:
    """BYDAY=1MO,FR: dateutil wants a day to be both, rrule-temporal drops the FR of a YEARLY rule.

    BYDAY is a list of days, each with or without a number (3.3.10), and a list is a union.
    """
    return len({len(day) > 2 for day in _weekdays(case.parts)}) == 2


def weekly_set_cut_at_dtstart(case: Case, _ours: Answer, _theirs: Answer) -> bool:
    """WEEKLY with BYSETPOS: dateutil begins the set of the first week at DTSTART.

    BYSETPOS counts in the set of one interval (3.3.10), and that is the whole week, as in all other
    frequencies, where dateutil counts so, too.
    """
    return case.parts["FREQ"] == "WEEKLY" and "BYSETPOS" in case.parts


def week_52_or_more(case: Case, ours: Answer, theirs: Answer) -> bool:
    """BYWEEKNO of 52 and more, either way: dateutil miscounts weeks that reach over 1 January.

    Weeks are those of ISO 8601, with WKST (3.3.10). COUNT and BYSETPOS carry the error further.
    """
    if not any(abs(week) >= 52 for week in numbers(case.parts, "BYWEEKNO")):
        return False
    days = {(start + timedelta(hours=14)).date() for start in set(ours) ^ set(theirs)}
    days |= {(start - timedelta(hours=14)).date() for start in set(ours) ^ set(theirs)}
    near = all((day.month, day.day // 8) in {(1, 0), (1, 1), (12, 2), (12, 3)} for day in days)
    return near or bool({"COUNT", "BYSETPOS"} & case.parts.keys())


def time_that_no_clock_shows(case: Case, _ours: Answer, theirs: Answer) -> bool:
    """A time in a DST gap: rrule-temporal leaves the occurrence out, and COUNT does not count it.

    RFC 5545 3.3.10 says both: that an instance at a nonexistent local time is ignored, and, later,
    that it is read as any DATE-TIME (3.3.5), with the offset before the gap. We keep the second:
    a daily meeting at 02:30 takes place on the day of the change, too, at 03:30.
    """
    return not case.all_day and list(theirs) == the_letters(case, only_shown=True)


def lost_day(case: Case, ours: Answer, theirs: Answer) -> bool:
    """All-day, on a day that its zone left out: both others show it, as their dates have no zone.

    Pacific/Apia had no 30 December 2011; "an invalid date is ignored" (3.3.10).
    """
    extra = set(theirs) - set(ours)
    return case.all_day and bool(extra) and all(_is_lost(case, start) for start in extra)


def yearly_days_not_limited(case: Case, _ours: Answer, _theirs: Answer) -> bool:
    """YEARLY with two parts of days: rrule-temporal lets one win, or joins both.

    It drops BYMONTHDAY beside BYWEEKNO, BYYEARDAY or a numbered BYDAY, and BYDAY beside BYYEARDAY;
    it joins BYWEEKNO to BYYEARDAY, and BYYEARDAY to a numbered BYDAY. By RFC 5545 3.3.10 every part
    is applied to what those before it left; Note 2 of its table says so of BYDAY.
    """
    given = {"BYWEEKNO", "BYYEARDAY", "BYMONTHDAY"} & case.parts.keys()
    days = _weekdays(case.parts)
    numbered = any(len(day) > 2 for day in days)
    return case.parts["FREQ"] == "YEARLY" and (
        len(given) > 1
        or ("BYYEARDAY" in given and bool(days))
        or ("BYMONTHDAY" in given and numbered)
    )


def week_of_two_years(case: Case, _ours: Answer, _theirs: Answer) -> bool:
    """YEARLY with BYWEEKNO: rrule-temporal gives all days of a week to the year that numbers it.

    RFC 5545 does not say to which year's recurrence the days belong that a week has beyond 1
    January. We and dateutil let every day belong to its own year, which BYSETPOS and INTERVAL see.
    """
    return "BYWEEKNO" in case.parts and bool({"BYSETPOS", "INTERVAL"} & case.parts.keys())


def zone_that_changes_back_soon(case: Case, ours: Answer, theirs: Answer) -> bool:
    """A zone that changes its offset twice within weeks: rrule-temporal overlooks both changes.

    Morocco leaves its summer time for the month of Ramadan. Node knows; it is the copy of Temporal
    in rrule-temporal that looks for changes in longer steps. TZID rules (RFC 5545, 3.2.19).
    """
    return any(_changes_back_soon(case, start) for start in set(ours) ^ set(theirs))


DATEUTIL: tuple[Deviation, ...] = (
    lost_day,
    week_without_a_day,
    plain_and_numbered_weekdays,
    weekly_set_cut_at_dtstart,
    week_52_or_more,
)
RRULE_TEMPORAL: tuple[Deviation, ...] = (
    lost_day,
    time_that_no_clock_shows,
    plain_and_numbered_weekdays,
    yearly_days_not_limited,
    week_of_two_years,
    zone_that_changes_back_soon,
)


def _weekdays(parts: Parts) -> list[str]:
    return parts["BYDAY"].split(",") if "BYDAY" in parts else []


def _is_lost(case: Case, start: datetime) -> bool:
    return case.skips(start.replace(tzinfo=None))


def _changes_back_soon(case: Case, around: datetime) -> bool:
    """Return whether the zone changes its offset twice within 60 days of an instant."""
    days = [around + timedelta(days=day) for day in range(-60, 61)]
    offsets = [day.astimezone(case.zone).utcoffset() for day in days]
    changes = [now != before for before, now in pairwise(offsets)]
    return sum(changes) > 1
