"""A calendar in memory, naively: what the API is held against, and nothing of ours is used in it.

A series is a list of wall clocks. A wall clock becomes an instant only to be compared or shown.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from functools import cached_property, lru_cache
from typing import Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from dateutil import rrule

# All that starts before this instant is stored, and known to the model; nothing beyond it is.
KNOWN_UNTIL: Final = datetime(2030, 6, 1, tzinfo=UTC)
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
EXCLUDED: Final[Mapping[str, Any]] = {"excluded": True}
TIMES: Final = ("start_time", "end_time")
_FREQUENCIES: Final[Mapping[str, Literal[1, 2, 3]]] = {
    "DAILY": rrule.DAILY,
    "WEEKLY": rrule.WEEKLY,
    "MONTHLY": rrule.MONTHLY,
}
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)

Own = Mapping[str, Any]
Fields = Mapping[str, Any]


def instant(clock: datetime, zone: str) -> datetime:
    """Return when a clock in the zone shows this; the first time, or as if it had not jumped."""
    return clock.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def shown(moment: datetime, zone: str) -> datetime:
    """Return what a clock in the zone shows."""
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)


def is_plain(clock: datetime, zone: str) -> bool:
    """Tell whether clocks in the zone show this once: not in a gap, not in an overlap."""
    second = clock.replace(tzinfo=ZoneInfo(zone), fold=1).astimezone(UTC)
    return instant(clock, zone) == second and shown(second, zone) == clock


def rfc3339(moment: datetime) -> str:
    """Write an instant in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Rule:
    """A rule that has its start; `until` is its last wall clock, or None, written `slack` later."""

    frequency: str
    interval: int = 1
    weekdays: tuple[int, ...] = ()
    week_start: int = 0
    month_day: int | None = None
    nth: int | None = None
    count: int | None = None
    until: datetime | None = None
    slack: timedelta = timedelta()

    def text(self, *, zone: str, all_day: bool) -> str:
        """Write it as clients do."""
        parts = [f"FREQ={self.frequency}"]
        if self.interval > 1:
            parts.append(f"INTERVAL={self.interval}")
        if self.weekdays:
            names = [f"{self.nth or ''}{WEEKDAYS[day]}" for day in self.weekdays]
            parts.append("BYDAY=" + ",".join(names))
        if self.month_day is not None:
            parts.append(f"BYMONTHDAY={self.month_day}")
        if self.count is not None:
            parts.append(f"COUNT={self.count}")
        if self.until is not None:
            last = instant(self.until, zone)
            parts.append(
                f"UNTIL={self.until:%Y%m%d}" if all_day else f"UNTIL={last:%Y%m%dT%H%M%SZ}"
            )
        return "RRULE:" + ";".join(parts)

    def clocks(self, start: datetime) -> Sequence[datetime]:
        """Return its wall clocks from `start` on."""
        return _clocks(self, start)

    def has(self, start: datetime, other: datetime) -> bool:
        """Tell whether the rule, which has `start`, also has `other`, before it or after it."""
        endless = replace(self, count=None, until=None)
        first, second = sorted((start, datetime.combine(other.date(), start.time())))
        return second in _clocks(endless, first) and first in _clocks(endless, first)

    def shifted(self, days: int) -> "Rule":
        """Return the rule `days` later."""
        weekly = self.frequency == "WEEKLY" and self.interval > 1 and len(self.weekdays) > 1
        return replace(
            self,
            weekdays=tuple(sorted((day + days) % 7 for day in self.weekdays)),
            week_start=(self.week_start + days) % 7 if weekly else self.week_start,
            month_day=None if self.month_day is None else self.month_day + days,
        )


@lru_cache(maxsize=4096)
def _clocks(rule: Rule, start: datetime) -> tuple[datetime, ...]:
    found = rrule.rrule(
        _FREQUENCIES[rule.frequency],
        dtstart=start,
        interval=rule.interval,
        wkst=rrule.weekday(rule.week_start),
        byweekday=[rrule.weekday(day, rule.nth) for day in rule.weekdays] or None,
        bymonthday=rule.month_day,
        count=rule.count,
        until=rule.until,
    )
    end = KNOWN_UNTIL.replace(tzinfo=None) + 2 * _DAY
    clocks: list[datetime] = []
    for clock in found:
        if clock > end:
            break
        clocks.append(clock)
    return tuple(clocks)


@dataclass(frozen=True)
class Pattern:
    """When a series takes place; dates without a rule are all there is."""

    rule: Rule | None
    rdates: frozenset[datetime] = frozenset()
    exdates: frozenset[datetime] = frozenset()

    def text(self, *, zone: str, all_day: bool) -> str:
        """Write it as clients do."""
        form = "%Y%m%d" if all_day else "%Y%m%dT%H%M%S"
        prefix = ";VALUE=DATE:" if all_day else ":"
        lines = [] if self.rule is None else [self.rule.text(zone=zone, all_day=all_day)]
        for name, dates in (("RDATE", self.rdates), ("EXDATE", self.exdates)):
            if dates:
                written = ",".join(clock.strftime(form) for clock in sorted(dates))
                lines.append(f"{name}{prefix}{written}")
        return "\n".join(lines)

    def clocks(self, start: datetime) -> list[datetime]:
        """Return the wall clocks of all its slots."""
        ruled = [] if self.rule is None else self.rule.clocks(start)
        return sorted({*ruled, *self.rdates} - self.exdates)


class Occurrence(NamedTuple):
    """What the API is to list."""

    event: int
    name: str
    slot: datetime
    start: datetime
    end: datetime
    title: str
    status: str
    transparency: str
    is_override: bool

    @property
    def busy(self) -> bool:
        """Whether it takes up time."""
        return self.status != "cancelled" and self.transparency == "opaque"


@dataclass(frozen=True)
class Event:
    """An event as one of its versions has it: `length` is elapsed time, or days if it is all-day.

    `start` and the keys of `overrides` are wall clocks.
    """

    number: int
    title: str
    start: datetime
    length: timedelta
    zone: str
    all_day: bool
    pattern: Pattern | None
    status: str = "confirmed"
    transparency: str = "opaque"
    overrides: Mapping[datetime, Own] = field(default_factory=dict)

    def clocks(self) -> list[datetime]:
        """Return the wall clocks of its slots, the first one first."""
        return self._clocks

    @cached_property
    def _clocks(self) -> list[datetime]:
        if self.pattern is None:
            return [self.start]
        slots = {instant(clock, self.zone): clock for clock in self.pattern.clocks(self.start)}
        return [clock for at, clock in sorted(slots.items()) if at < KNOWN_UNTIL]

    def occurs(self) -> bool:
        """Tell whether it is an event at all: a rule that has ended before it began is refused."""
        rule = self.pattern.rule if self.pattern else None
        return bool(self.clocks()) and (rule is None or bool(rule.clocks(self.start)))

    def end_of(self, clock: datetime) -> datetime:
        """Return the instant at which a slot ends by its series."""
        if self.all_day:
            return instant(clock + self.length, self.zone)
        return instant(clock, self.zone) + self.length

    def name(self, clock: datetime) -> str:
        """Return how clients name a slot."""
        return self.written(instant(clock, self.zone))

    def written(self, moment: datetime) -> str:
        """Write an instant of the event."""
        if self.all_day:
            return shown(moment, self.zone).date().isoformat()
        return rfc3339(moment)

    def read(self, text: str) -> datetime:
        """Read an instant of the event."""
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else instant(moment, self.zone)

    def as_series(self, clock: datetime) -> dict[str, Any]:
        """Return the fields of a slot as its series has them."""
        return {
            "title": self.title,
            "start_time": self.name(clock),
            "end_time": self.written(self.end_of(clock)),
            "status": self.status,
            "transparency": self.transparency,
        }

    def occurrence(self, clock: datetime) -> Occurrence:
        """Return the occurrence of a slot."""
        own = self.overrides.get(clock, {})
        fields = self.as_series(clock) | dict(own)
        start, end = (self.read(fields[name]) for name in TIMES)
        texts = (fields["title"], fields["status"], fields["transparency"])
        slot = instant(clock, self.zone)
        return Occurrence(self.number, self.name(clock), slot, start, end, *texts, bool(own))

    def occurrences(self) -> list[Occurrence]:
        """Return all that takes place."""
        return self._occurrences

    @cached_property
    def _occurrences(self) -> list[Occurrence]:
        there = (clock for clock in self.clocks() if self.overrides.get(clock) != EXCLUDED)
        return [self.occurrence(clock) for clock in there]

    def named_overrides(self) -> dict[str, dict[str, Any]]:
        """Return the overrides as clients read them."""
        return {self.name(clock): dict(own) for clock, own in self.overrides.items()}


# --- What an edit makes of an event ---------------------------------------------------------------


class Edited(NamedTuple):
    """Events after an edit, none if it is refused, and the old names of overrides it dropped."""

    events: tuple[Event, ...]
    dropped: list[str] = []  # noqa: RUF012, a default of a tuple that nobody changes


def with_own(event: Event, clock: datetime, changes: Fields) -> Event:
    """Give one slot fields of its own; what its series says as well is not its own."""
    series = event.as_series(clock)
    given = series | dict(event.overrides.get(clock, {})) | dict(changes)
    own = {name: value for name, value in given.items() if value != series[name]}
    if own.keys() & set(TIMES):
        own |= {name: given[name] for name in TIMES}
    return _with(event, clock, own)


def excluded(event: Event, clock: datetime) -> Event:
    """Take one slot out."""
    return _with(event, clock, EXCLUDED)


def reset(event: Event, clock: datetime) -> Event:
    """Make one slot what its series says."""
    return _with(event, clock, {})


def _with(event: Event, clock: datetime, own: Own) -> Event:
    others = {key: value for key, value in event.overrides.items() if key != clock}
    return replace(event, overrides=others | {clock: own} if own else others)


def halves(event: Event, at: datetime) -> tuple[Event, Event]:
    """Cut a series at a slot that is not its first."""
    pattern = event.pattern
    assert pattern is not None
    moment = instant(at, event.zone)

    def is_before(clock: datetime) -> bool:
        return instant(clock, event.zone) < moment

    def only(keep: Callable[[datetime], bool], rule: Rule | None) -> Pattern:
        dates = (pattern.rdates, pattern.exdates)
        return Pattern(rule, *(frozenset(filter(keep, clocks)) for clocks in dates))

    def is_after(clock: datetime) -> bool:
        return not is_before(clock)

    start, earlier, later = at, pattern.rule, pattern.rule
    if pattern.rule is not None:
        ruled = pattern.rule.clocks(event.start)
        first = [clock for clock in ruled if is_before(clock)]
        rest = [clock for clock in ruled if is_after(clock) and clock not in pattern.exdates]
        if not first:
            earlier = None
        elif len(first) < len(ruled):
            earlier = replace(pattern.rule, count=None, until=first[-1])
        later = pattern.rule if rest else None
        start = rest[0] if rest else at
        if later and later.count is not None:
            later = replace(later, count=later.count - ruled.index(start))
    overrides = event.overrides
    return (
        replace(
            event,
            pattern=only(is_before, earlier),
            overrides={key: own for key, own in overrides.items() if is_before(key)},
        ),
        replace(
            event,
            start=start,
            pattern=only(is_after, later),
            overrides={key: own for key, own in overrides.items() if is_after(key)},
        ),
    )


def revised(event: Event, fields: Fields, pattern: Pattern | None = None) -> Edited:
    """Change texts, status and transparency, and the pattern if one is sent."""
    event = replace(event, **fields)
    if pattern is None:
        return Edited((event,))
    if event.pattern is None:
        return Edited((replace(event, pattern=pattern),))
    return _without_lost(replace(event, pattern=pattern), {})


def ended(event: Event) -> Edited:
    """Make a series a single event."""
    names = sorted(event.named_overrides())
    return Edited((replace(event, pattern=None, overrides={}),), names)


@dataclass(frozen=True)
class Place:
    """Where an event is to begin, how long it takes, and whether in whole days."""

    start: datetime
    length: timedelta
    zone: str
    all_day: bool


def place_of(event: Event) -> Place:
    """Return where an event begins."""
    return Place(event.start, event.length, event.zone, event.all_day)


def moved(
    event: Event, to: Place, pattern: Pattern | None = None, *, dragged: datetime | None = None
) -> Edited:
    """Move an event, its rule and its overrides; with a new pattern these stay on their day.

    Every day is every day, so a daily series moves by days only if it is dragged as a whole. One
    that is dragged by a slot other than the first has to bring that one as far, or nothing is
    edited.
    """
    there = replace(event, start=to.start, length=to.length, zone=to.zone, all_day=to.all_day)
    old = event.pattern
    if old is None:
        return Edited((replace(there, pattern=pattern),))
    if place_of(event) == replace(to, length=event.length):
        return _without_lost(replace(there, pattern=pattern or old), {})
    delta = to.start - event.start
    if pattern is None and old.rule is None:
        rule = None
    elif pattern is not None or (
        old.rule
        and old.rule.has(event.start, to.start)
        and not (dragged and old.rule.frequency == "DAILY" and not old.rule.weekdays)
    ):
        # The rule says itself on which days: only the time of day changes.
        rule = old.rule
        delta -= timedelta(days=(to.start.date() - event.start.date()).days)
    else:
        assert old.rule is not None
        rule = old.rule.shifted((to.start.date() - event.start.date()).days)

    def goes(clock: datetime) -> datetime:
        return datetime.combine((clock + delta).date(), time()) if to.all_day else clock + delta

    if pattern is None:
        if rule is not None and rule.until is not None:
            rule = replace(rule, until=goes(rule.until))
        pattern = Pattern(rule, frozenset(map(goes, old.rdates)), frozenset(map(goes, old.exdates)))
    kept: dict[datetime, Own] = {}
    names: dict[datetime, str] = {}
    lost: list[str] = []
    for clock, own in sorted(event.overrides.items()):
        left = own
        if event.all_day != to.all_day:
            left = {name: value for name, value in own.items() if name not in TIMES}
        if not left or goes(clock) in kept:
            lost.append(event.name(clock))
            continue
        kept[goes(clock)], names[goes(clock)] = left, event.name(clock)
    edited = _without_lost(replace(there, pattern=pattern, overrides=kept), names)
    edited = Edited(edited.events, sorted([*lost, *edited.dropped]))
    if dragged is not None and not _is_there(edited, event, to, dragged=dragged, to=goes(dragged)):
        return Edited(())
    return edited


def _is_there(
    edited: Edited, event: Event, place: Place, *, dragged: datetime, to: datetime
) -> bool:
    """Tell whether the slot by which a series was dragged went where it was put, and is there."""
    put = dragged + (place.start - event.start)
    put = datetime.combine(put.date(), time()) if place.all_day else put
    if to != put and dragged != event.start:
        return False
    [after] = edited.events
    # In another zone, a slot keeps the times that its occurrence has of its own.
    own = after.overrides.get(put, {}) if place.zone == event.zone else {}
    return put in after.clocks() and not own.keys() & {"excluded", *TIMES}


def _without_lost(event: Event, names: Mapping[datetime, str]) -> Edited:
    """Drop the overrides that have no slot."""
    slots = set(event.clocks())
    kept = {clock: own for clock, own in event.overrides.items() if clock in slots}
    dropped = [
        names.get(clock) or event.name(clock) for clock in event.overrides.keys() - kept.keys()
    ]
    return Edited((replace(event, overrides=kept),), sorted(dropped))


def without_said(event: Event, clock: datetime, *, said: set[str], times: bool) -> Event:
    """Take from one slot what a change of its series says of it, too."""
    gone = said | (set(TIMES) if times else set())
    own = event.overrides.get(clock, {})
    return _with(event, clock, {name: value for name, value in own.items() if name not in gone})


# --- The calendar ---------------------------------------------------------------------------------


@dataclass
class Entry:
    """An event's versions, the last of which it is, and whether it is in the bin.

    `halves` are those that were split from it, each by which version.
    """

    versions: list[Event]
    deleted: bool = False
    halves: list[tuple[int, "Entry"]] = field(default_factory=list)

    @property
    def event(self) -> Event:
        """The event as it is."""
        return self.versions[-1]

    def stands_after(self, version: int) -> bool:
        """Tell whether anything stands that was split from it after a version."""
        later = [half for number, half in self.halves if number > version]
        return any(not half.deleted or half.stands_after(0) for half in later)


class Calendar:
    """All events of one owner, by number."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def live(self) -> list[Entry]:
        """Return those that are not in the bin."""
        return [entry for entry in self.entries if not entry.deleted]

    def occurrences(self) -> list[Occurrence]:
        """Return all that takes place."""
        return [item for entry in self.live() for item in entry.event.occurrences()]

    def refuses(self, events: Sequence[Event], *, number: int | None) -> bool:
        """Tell whether these would clash anew if they came instead of the event `number`."""
        others = [item for entry in self.live() for item in entry.event.occurrences() if item.busy]
        held = Counter((item.start, item.end) for item in others if item.event == number)
        standing = [item for item in others if item.event != number]
        wanted = [item for event in events for item in event.occurrences() if item.busy]
        fresh: set[int] = set()
        for index, item in enumerate(wanted):
            if held[item.start, item.end]:
                held[item.start, item.end] -= 1
            else:
                fresh.add(index)
        numbered = [(item.start, item.end, index in fresh) for index, item in enumerate(wanted)]
        numbered += [(item.start, item.end, False) for item in standing]
        return any(a[2] or b[2] for a, b in overlapping(numbered))


def clashes(occurrences: Sequence[Occurrence]) -> set[frozenset[tuple[int, datetime]]]:
    """Return all pairs of busy ones that overlap; each is known by its event and its slot."""
    busy = [(item.start, item.end, (item.event, item.slot)) for item in occurrences if item.busy]
    return {frozenset((one[2], other[2])) for one, other in overlapping(busy)}


def overlapping(items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield all pairs of (start, end, ...) that intersect."""
    ordered = sorted(items, key=lambda item: (item[0], item[1]))
    for index, one in enumerate(ordered):
        for other in ordered[index + 1 :]:
            if other[0] >= one[1]:
                break
            yield one, other
