"""Writes patterns: rules in one canonical form, dates in UTC, and what did not change as it was."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Final, Literal, TypeAlias

from eventmanager.recurrence.anchors import Anchor
from eventmanager.recurrence.lines import MAX_LENGTH
from eventmanager.recurrence.rule import Rule
from eventmanager.recurrence.values import WEEKDAYS, InvalidRecurrence

LineName: TypeAlias = Literal["RRULE", "RDATE", "EXDATE"]


def write_rule(rule: Rule) -> str:
    """Write the value of an RRULE: FREQ, INTERVAL, COUNT or UNTIL, WKST, then the BY parts.

    INTERVAL=1 and WKST=MO are what RFC 5545 takes anyway, and are left out.
    """
    parts = [f"FREQ={rule.frequency}"]
    if rule.interval != 1:
        parts.append(f"INTERVAL={rule.interval}")
    if rule.count is not None:
        parts.append(f"COUNT={rule.count}")
    if rule.until is not None:
        parts.append(f"UNTIL={_moment(rule.until)}")
    if rule.week_start:
        parts.append(f"WKST={WEEKDAYS[rule.week_start]}")
    days = [f"{day.ordinal or ''}{WEEKDAYS[day.weekday]}" for day in rule.by_day]
    lists: tuple[tuple[str, Iterable[object]], ...] = (
        ("BYMONTH", rule.by_month),
        ("BYWEEKNO", rule.by_week_no),
        ("BYYEARDAY", rule.by_year_day),
        ("BYMONTHDAY", rule.by_month_day),
        ("BYDAY", days),
        ("BYHOUR", rule.by_hour),
        ("BYMINUTE", rule.by_minute),
        ("BYSECOND", rule.by_second),
        ("BYSETPOS", rule.by_set_pos),
    )
    parts += [f"{name}={','.join(map(str, values))}" for name, values in lists if values]
    return ";".join(parts)


def write_dates(name: LineName, slots: Iterable[datetime], anchor: Anchor) -> str:
    """Write slots as one RDATE or EXDATE line: in UTC, or as local dates for an all-day series."""
    found = sorted(slots)
    if anchor.all_day:
        days = [_moment(slot.astimezone(anchor.time_zone).date()) for slot in found]
        return f"{name};VALUE=DATE:{','.join(days)}"
    if any(slot.microsecond for slot in found):
        raise InvalidRecurrence(
            f"{name} can hold whole seconds only, so the dates of this series cannot be written; "
            "give a start without a fraction of a second."
        )
    return f"{name}:{','.join(map(_moment, found))}"


def raw_lines(pattern: str) -> list[tuple[LineName, str]]:
    """Return the lines of a pattern that is known to be good, as written, each with its name."""
    lines: list[tuple[LineName, str]] = []
    for line in pattern.replace("\r\n", "\n").split("\n"):
        text = line.strip(_BLANKS)
        head = text.upper()
        if text:
            is_date = head.startswith(("RDATE", "EXDATE"))
            name: LineName = "RRULE"
            if is_date:
                name = "RDATE" if head.startswith("RDATE") else "EXDATE"
            lines.append((name, text))
    return lines


def rule_line(pattern: str) -> str | None:
    """Return the line that holds the rule of `pattern`, as written, or None."""
    return next((text for name, text in raw_lines(pattern) if name == "RRULE"), None)


def replaced(line: str, rule: Rule) -> str:
    """Return the line of another rule in the style of `line`, with RRULE in front or bare."""
    prefix = "RRULE:" if line.upper().startswith("RRULE:") else ""
    return prefix + write_rule(rule)


def joined(lines: Iterable[str]) -> str:
    """Join lines into a pattern; raise InvalidRecurrence if it grows beyond MAX_LENGTH."""
    pattern = "\n".join(lines)
    if len(pattern) > MAX_LENGTH:
        raise InvalidRecurrence(
            f"With this change the pattern would have {len(pattern):,} characters; it may have at "
            f"most {MAX_LENGTH:,}. Send a shorter recurrence_pattern together with the change."
        )
    return pattern


_BLANKS: Final = " \t\n"


def _moment(moment: date | datetime) -> str:
    if not isinstance(moment, datetime):
        return f"{moment:%Y%m%d}"
    if moment.tzinfo is None:
        return f"{moment:%Y%m%dT%H%M%S}"
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"
