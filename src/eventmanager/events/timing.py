"""PURE: reads when an event is meant to take place, and refuses what makes no sense."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from eventmanager.core.errors import Invalid
from eventmanager.core.time import zone
from eventmanager.recurrence import Anchor, InvalidRecurrence, Series, describe, parse
from eventmanager.scheduling.plan import Overrides, Plan, cap

Loc = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """When an event takes place, checked: instants in UTC, and dates if it is all-day."""

    start_time: datetime
    end_time: datetime
    time_zone: str
    start_date: date | None
    end_date: date | None
    recurrence_pattern: str | None
    series: Series | None
    loc: Loc

    @property
    def all_day(self) -> bool:
        """Whether the event is made of whole days."""
        return self.start_date is not None

    @property
    def anchor(self) -> Anchor:
        """What a recurrence pattern is read from."""
        return Anchor(self.start_time, zone(self.time_zone), self.all_day)

    @property
    def recurrence_text(self) -> str | None:
        """The recurrence pattern in words."""
        if self.recurrence_pattern is None:
            return None
        return describe(
            self.recurrence_pattern,
            start=self.start_time,
            time_zone=zone(self.time_zone),
            all_day=self.all_day,
        )

    def plan(
        self, *, busy: bool, now: datetime, overrides: Overrides, admitted: bool = False
    ) -> Plan:
        """Work out the occurrences; raises `Invalid` when there are too many, or too far ahead.

        A series that was `admitted` before may have grown since.
        """
        if self.series is None:
            return Plan.once(start=self.start_time, end=self.end_time, busy=busy, now=now)
        if self.start_time > cap(now) and not admitted:
            raise Invalid(
                "A series may begin at most ten years from now",
                loc=(*self.loc, "start_time"),
                type="start_too_far",
            )
        try:
            return Plan.recurring(
                self.series, busy=busy, now=now, overrides=overrides, admitted=admitted
            )
        except InvalidRecurrence as error:
            raise invalid_rrule(error, self.loc) from error


def read_timing(
    *,
    start: datetime | date,
    end: datetime | date,
    time_zone: str,
    all_day: bool | None,
    recurrence_pattern: str | None,
    loc: Loc = ("body",),
) -> Timing:
    """Return the timing that these fields of an event mean.

    Times without an offset are wall clock in `time_zone`; dates make an all-day event, whose end is
    the day after the last. Raises `Invalid` with the `loc` of the field that is wrong; the given
    `loc` is where in the request the event stands.
    """
    zone_info = zone(time_zone)
    dates = not isinstance(start, datetime) and not isinstance(end, datetime)
    if all_day is None:
        all_day = dates
    first: date | None = None
    last: date | None = None
    if all_day:
        first = _as_date(start, (*loc, "start_time"), zone_info)
        last = _as_date(end, (*loc, "end_time"), zone_info)
        start_time, end_time = _midnight(first, zone_info), _midnight(last, zone_info)
    else:
        start_time = _as_instant(start, (*loc, "start_time"), zone_info)
        end_time = _as_instant(end, (*loc, "end_time"), zone_info)
    if end_time <= start_time:
        raise Invalid(
            "end_time must be after start_time", loc=(*loc, "end_time"), type="invalid_time_order"
        )
    series = None
    if recurrence_pattern is not None:
        try:
            series = parse(
                recurrence_pattern,
                start=start_time,
                end=end_time,
                time_zone=zone_info,
                all_day=all_day,
            )
        except InvalidRecurrence as error:
            raise invalid_rrule(error, loc) from error
    return Timing(start_time, end_time, time_zone, first, last, recurrence_pattern, series, loc)


def instant_named(moment: datetime | date, *, time_zone: str) -> datetime:
    """Return the instant in UTC of a time, or of the start of a date, that a client wrote."""
    zone_info = zone(time_zone)
    if not isinstance(moment, datetime):
        return _midnight(moment, zone_info)
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone_info)).astimezone(UTC)


def invalid_rrule(error: InvalidRecurrence, loc: Loc = ("body",)) -> Invalid:
    """Return the refusal of a pattern, with the reason."""
    return Invalid(
        "recurrence_pattern must be a valid RRULE string",
        loc=(*loc, "recurrence_pattern"),
        type="invalid_rrule",
        reason=error.reason,
    )


def _as_instant(value: datetime | date, loc: Loc, zone_info: ZoneInfo) -> datetime:
    """Read a time; one in a gap or overlap of local time is read as RFC 5545, 3.3.5 says."""
    if not isinstance(value, datetime):
        raise Invalid(
            f"{loc[-1]} must be a date-time unless all_day is true",
            loc=loc,
            type="date_without_time",
        )
    aware = value if value.tzinfo else value.replace(tzinfo=zone_info)
    return aware.astimezone(UTC)


def _as_date(value: datetime | date, loc: Loc, zone_info: ZoneInfo) -> date:
    """Read a date; a date-time is taken for one only if it is midnight in the event's zone."""
    if not isinstance(value, datetime):
        return value
    local = value.astimezone(zone_info) if value.tzinfo else value
    if local.time() != time.min:
        raise Invalid(
            f"{loc[-1]} of an all-day event must be a date, such as 2026-05-23",
            loc=loc,
            type="time_without_date",
        )
    return local.date()


def _midnight(day: date, zone_info: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, zone_info).astimezone(UTC)
