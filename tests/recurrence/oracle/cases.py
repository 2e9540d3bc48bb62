"""Random cases for every engine: a rule that RFC 5545 allows, a start, a zone, dates, a window."""

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
# Half hours (Lord Howe), odd minutes (St. John's), no DST but an odd offset (Kathmandu), changes at
# midnight (Sao Paulo, Beirut, Azores), negative summer time (Dublin, Casablanca), lost days (Apia).
ZONES = (
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Atlantic/Azores",
    "Africa/Casablanca",
    "Pacific/Apia",
)
# Their rules for the far future are settled enough that two copies of the zone data agree on them.
SETTLED = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
Parts = dict[str, str]


@dataclass(frozen=True)
class Case:
    """A series and a window; wall clocks are naive, `since` and `before` are instants in UTC."""

    parts: Parts
    start: datetime
    zone: ZoneInfo
    all_day: bool
    rdates: tuple[datetime, ...]
    exdates: tuple[datetime, ...]
    since: datetime
    before: datetime

    @property
    def rule(self) -> str:
        """The rule as text."""
        return ";".join(f"{name}={value}" for name, value in self.parts.items())

    def instant(self, clock: datetime) -> datetime:
        """Read a wall clock: in a gap with the offset before it, in an overlap the first (3.3.5).

        The days of an all-day series are compared as days, so that each is its midnight in UTC.
        """
        return clock.replace(tzinfo=UTC if self.all_day else self.zone).astimezone(UTC)

    def skips(self, clock: datetime) -> bool:
        """Return whether no clock of the zone ever showed this; of a day, whether it was lost."""
        return _skipped(clock, self.zone, all_day=self.all_day)


def drawn(seed: int) -> Case:
    """Draw a case; the same seed gives the same case for ever."""
    chance = random.Random(seed)
    parts = random_parts(chance)
    far = chance.random() < 0.15
    zone = ZoneInfo(chance.choice(SETTLED if far else ZONES))
    all_day = chance.random() < 0.15
    if all_day:
        parts = {k: v for k, v in parts.items() if k not in {"BYHOUR", "BYMINUTE", "BYSECOND"}}
        if not any(name.startswith("BY") for name in parts.keys() - {"BYSETPOS"}):
            parts.pop("BYSETPOS", None)
    start = _start(chance, zone, far=far)
    if all_day:
        start = datetime.combine(start, time())
    # A DTSTART that no clock shows is the business of other tests.
    while _skipped(start, zone, all_day=all_day):
        start -= timedelta(days=1)
    length = timedelta(days=chance.choice((100, 400, 1100)))
    if "COUNT" not in parts and chance.random() < 0.3:
        parts["UNTIL"] = _until(chance, start, zone, length, all_day=all_day)
    base = start.replace(tzinfo=UTC if all_day else zone).astimezone(UTC)
    return Case(
        parts=parts,
        start=start,
        zone=zone,
        all_day=all_day,
        rdates=_dates(chance, start, zone, all_day=all_day),
        exdates=_dates(chance, start, zone, all_day=all_day),
        since=base - timedelta(days=30),
        before=base + length,
    )


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


def _start(chance: random.Random, zone: ZoneInfo, *, far: bool) -> datetime:
    """Draw DTSTART: often around a change of the offset, at its very time, or around a new year."""
    kind = chance.random()
    changes = _changes(zone)
    near = timedelta(days=chance.randint(-3, 1))
    if kind < 0.4 and changes and not far:
        return chance.choice(changes) + near + timedelta(minutes=chance.randint(-15, 60))
    hour = chance.choice((0, 1, 2, 2, 3, 23)) if kind < 0.7 else chance.randrange(24)
    clock = time(hour, chance.choice((0, 15, 30, 59, chance.randrange(60))))
    years = (2025, 2090) if far else (1976, 2021)
    day = date(chance.randint(*years), chance.randint(1, 12), chance.randint(1, 28))
    if kind > 0.8:
        day = day.replace(month=1, day=1) + 3 * near
    return datetime.combine(day, clock)


def _until(
    chance: random.Random, start: datetime, zone: ZoneInfo, length: timedelta, *, all_day: bool
) -> str:
    """Draw an UNTIL: at the clock of DTSTART or a second from it, as UTC, or a date if all-day."""
    day = start + timedelta(days=chance.randint(0, length.days))
    if all_day:
        return f"{day:%Y%m%d}"
    instant = day.replace(tzinfo=zone).astimezone(UTC) + timedelta(seconds=chance.randint(-1, 1))
    return f"{max(instant, start.replace(tzinfo=zone).astimezone(UTC)):%Y%m%dT%H%M%SZ}"


def _dates(
    chance: random.Random, start: datetime, zone: ZoneInfo, *, all_day: bool
) -> tuple[datetime, ...]:
    """Draw the dates of an RDATE or EXDATE line, mostly none, at the clock of DTSTART."""
    if chance.random() < 0.75:
        return ()
    days = sorted(chance.sample(range(1, 90), chance.randint(1, 12)))
    dates = [start + timedelta(days=day) for day in days]
    return tuple(item for item in dates if not _skipped(item, zone, all_day=all_day))


def _skipped(clock: datetime, zone: ZoneInfo, *, all_day: bool) -> bool:
    instant = clock.replace(tzinfo=zone).astimezone(UTC)
    shown = instant.astimezone(zone).replace(tzinfo=None)
    return shown.date() != clock.date() if all_day else shown != clock


@cache
def _changes(zone: ZoneInfo) -> list[datetime]:
    """Return the wall clocks at which the offset of the zone changes, as shown just before."""
    days = [datetime(1976, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(17_000)]
    offsets = [day.astimezone(zone).utcoffset() for day in days]
    return [
        _change_between(days[index - 1], days[index], zone)
        for index in range(1, len(days))
        if offsets[index] != offsets[index - 1]
    ]


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(minutes=1):
        middle = before + (after - before) / 2
        same = middle.astimezone(zone).utcoffset() == offset
        before, after = (middle, after) if same else (before, middle)
    return (before.astimezone(zone).replace(tzinfo=None) + timedelta(minutes=1)).replace(
        second=0, microsecond=0
    )
