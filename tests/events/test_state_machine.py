"""Whatever is done to a calendar, in whatever order, it is what a naive model of it says it is.

`STATE_MACHINE_EXAMPLES` and `STATE_MACHINE_STEPS` make a longer run of it.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any, Final

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, note
from hypothesis import event as seen
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from eventmanager.core import logging
from eventmanager.core.config import Settings
from tests.conftest import MovableClock, User, register, started
from tests.events import model
from tests.events.model import EXCLUDED, Calendar, Edited, Entry, Event, Pattern, Place, Rule

EXAMPLES: Final = int(os.environ.get("STATE_MACHINE_EXAMPLES", "12"))
STEPS: Final = int(os.environ.get("STATE_MACHINE_STEPS", "25"))
SEEDED: Final = "STATE_MACHINE_EXAMPLES" not in os.environ
# What fails is made shorter only on demand, as that takes minutes.
SHRINKS: Final = "STATE_MACHINE_SHRINK" in os.environ
EVENTS_MAX: Final = 7
NOW: Final = datetime(2026, 12, 1, 12, tzinfo=UTC)
# Events begin in these bounds, so that none is checked further than `KNOWN_UNTIL`.
EARLIEST: Final = datetime(2026, 12, 10)  # noqa: DTZ001, a wall clock
LATEST: Final = datetime(2028, 5, 1)  # noqa: DTZ001
# Few enough occurrences to be asked for in small pages.
WEEK: Final = {"start": "2027-03-28T01:00:00Z", "end": "2027-04-02T08:30:00Z"}
WINDOW: Final = {"start": "2026-11-01T00:00:00Z", "end": model.rfc3339(model.KNOWN_UNTIL)}
SHOWN: Final = ("start_time", "end_time", "title", "status", "transparency", "is_override")

Json = dict[str, Any]
Query = Mapping[str, str]
Draw = st.DataObject
NOTHING: Final[Query] = {}


# --- What is done ---------------------------------------------------------------------------------

zones = st.sampled_from(
    [
        "Europe/Berlin",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Santiago",
        "Asia/Kolkata",
        "UTC",
    ]
)
# Around the changes of the clocks in these zones, so that events meet each other there.
days = st.sampled_from(
    [
        datetime(2027, *first) + timedelta(days=n)  # noqa: DTZ001
        for first in ((3, 12), (3, 26), (4, 1), (9, 2), (10, 29))
        for n in range(5)
    ]
)
clocks = ["00:00", "00:15", "01:30", "02:00", "02:15", "02:30", "09:00", "09:30", "10:00", "13:45"]
times_of_day = st.sampled_from([time.fromisoformat(clock) for clock in [*clocks, "23:30"]])
lengths = st.sampled_from(
    [timedelta(minutes=n) for n in (15, 30, 30, 45, 60, 60, 90, 300, 26 * 60, 48 * 60)]
)
numbers_of_days = st.sampled_from([timedelta(days=n) for n in (1, 1, 1, 2)])
statuses = st.sampled_from(["confirmed", "confirmed", "tentative", "cancelled"])
transparencies = st.sampled_from(["opaque", "opaque", "opaque", "transparent"])
titles = st.sampled_from(["one", "two", "three"])
hours = st.sampled_from([timedelta(minutes=n) for n in (-90, -60, -30, 30, 60, 90, 240)])
whole_days = st.sampled_from([timedelta(days=n) for n in (-7, -2, -1, 1, 2, 3, 7)])


@st.composite
def places(draw: st.DrawFn) -> Place:
    """Somewhere an event may begin."""
    zone, day = draw(zones), draw(days)
    if draw(st.integers(0, 5)) == 0:
        return Place(day, draw(numbers_of_days), zone, all_day=True)
    clock = datetime.combine(day, draw(times_of_day))
    if not model.is_plain(clock, zone):
        clock = day + timedelta(hours=12)
    return Place(clock, draw(lengths), zone, all_day=False)


@st.composite
def rules_from(draw: st.DrawFn, start: datetime) -> Rule:
    """A rule that has its start."""
    kinds = ["daily", "weekly", "weekly", "weekdays", "weekdays", "monthly", "monthly", "nth"]
    kind = draw(st.sampled_from(kinds))
    interval = draw(st.sampled_from([1, 1, 1, 2, 3]))
    if kind == "daily":
        found = Rule("DAILY", interval)
    elif kind == "weekly":
        found = Rule("WEEKLY", interval)
    elif kind == "weekdays":
        others = draw(st.sets(st.integers(0, 6), max_size=2))
        found = Rule("WEEKLY", interval, weekdays=tuple(sorted({start.weekday(), *others})))
    elif kind == "nth" or start.day > 28:
        number = (start.day + 6) // 7
        number = -1 if number == 5 else number
        found = Rule("MONTHLY", interval, weekdays=(start.weekday(),), nth=number)
        if found.clocks(start)[0] != start:
            found = Rule("WEEKLY", interval)
    else:
        named = draw(st.booleans())
        found = Rule("MONTHLY", interval, month_day=start.day if named else None)
    limit = draw(st.sampled_from(["count", "count", "until", "until", "endless"]))
    length = draw(st.integers(1, 8))
    if limit == "count":
        return replace(found, count=length)
    if limit == "until":
        slack = timedelta(hours=draw(st.sampled_from([0, 0, 1])))
        return replace(found, until=found.clocks(start)[length - 1], slack=slack)
    return found


@st.composite
def patterns_from(draw: st.DrawFn, place: Place) -> Pattern:
    """A pattern for a series that begins at a place; few have dates beside their rule."""
    ruled = draw(rules_from(place.start))
    rdates: set[datetime] = set()
    exdates: set[datetime] = set()
    if draw(st.integers(0, 3)) == 0:
        for _ in range(draw(st.integers(1, 2))):
            clock = place.start + draw(whole_days) * 3
            if not place.all_day:
                clock = clock.replace(hour=12, minute=0)
            rdates.add(clock)
    if draw(st.integers(0, 3)) == 0:
        exdates.add(draw(st.sampled_from(ruled.clocks(place.start)[:4])))
    if not {*ruled.clocks(place.start), *rdates} - exdates:
        exdates = set()
    return Pattern(ruled, frozenset(rdates), frozenset(exdates))


class Machine(RuleBasedStateMachine):
    """A user who does things, and the model of the calendar that this makes."""

    portal: BlockingPortal
    app: FastAPI

    def __init__(self) -> None:
        super().__init__()
        self.user: User = self.portal.call(register, self.app)
        self.calendar = Calendar()
        self.ids: list[str] = []
        self.touched: set[int] = set()
        self._look_far_ahead()

    def teardown(self) -> None:
        """Close the client."""
        self.portal.call(self.user.client.aclose)

    # --- Rules ---

    @precondition(lambda self: len(self.calendar.entries) < EVENTS_MAX)
    @rule(data=st.data(), place=places())
    def create(self, data: Draw, place: Place) -> None:
        """Make an event, or a series."""
        recurs = data.draw(st.integers(0, 3), "recurs") > 0
        event = Event(
            number=len(self.calendar.entries),
            title=data.draw(titles),
            start=place.start,
            length=place.length,
            zone=place.zone,
            all_day=place.all_day,
            pattern=data.draw(patterns_from(place)) if recurs else None,
            status=data.draw(statuses),
            transparency=data.draw(transparencies),
        )
        body = self._place(data, place) | {"title": event.title, "time_zone": event.zone}
        body |= {"status": event.status, "transparency": event.transparency}
        if event.pattern is not None:
            body["recurrence_pattern"] = self._pattern(event.pattern, place)
        answer = self._write(data, "POST", "", body, edited=Edited((event,)), ok=201)
        if answer is not None:
            self.ids.append(answer["id"])
            self.calendar.entries.append(Entry([event]))
            self._judge_event(answer, event)

    @precondition(lambda self: self.calendar.live())
    @rule(data=st.data())
    def change(self, data: Draw) -> None:
        """Change an event as a whole."""
        entry = self._one(data)
        event = entry.event
        fields = self._fields(data)
        body: Json = dict(fields)
        edited = Edited((event,))
        kinds = ["texts", "texts", "move", "shift", "pattern", "place", "zone", "end"]
        kind = data.draw(st.sampled_from(kinds), "kind")
        if kind == "texts" and not fields:
            return
        if kind in {"move", "shift", "place", "zone"}:
            to = self._new_place(data, event, event.start, kind)
            if to is None:
                return
            pattern = None
            if kind == "place" and data.draw(st.booleans(), "with a pattern"):
                pattern = data.draw(patterns_from(to))
                body["recurrence_pattern"] = self._pattern(pattern, to)
            elif not _movable(event, to):
                return
            edited = model.moved(event, to, pattern)
            if kind == "zone":
                body["time_zone"] = to.zone
            else:
                body |= self._place(data, to)
                if to.zone != event.zone:
                    body["time_zone"] = to.zone
        elif kind == "pattern":
            pattern = data.draw(patterns_from(model.place_of(event)))
            if event.start not in _rule(pattern).clocks(event.start):
                return
            body["recurrence_pattern"] = self._pattern(pattern, model.place_of(event))
            edited = model.revised(event, {}, pattern)
        elif kind == "end":
            body["recurrence_pattern"] = None
            edited = model.ended(event)
        self._edit(data, entry, "PATCH", "", body, model.revised(edited.events[0], fields), edited)

    @precondition(lambda self: self._series())
    @rule(data=st.data())
    def change_this(self, data: Draw) -> None:
        """Change one occurrence."""
        entry, clock = self._slot(data)
        event = entry.event
        fields: Json = self._fields(data)
        kind = data.draw(st.sampled_from(["texts", "move", "shift", "sibling"]), "kind")
        if kind == "texts" and not fields:
            return
        if kind in {"move", "shift"}:
            to = self._new_place(data, event, clock, kind)
            if to is None:
                return
            fields |= self._instants(to)
        elif kind == "sibling":
            other = event.occurrence(data.draw(st.sampled_from(event.clocks()[:6])))
            fields |= {"start_time": event.written(other.start)}
            fields |= {"end_time": event.written(other.end)}
        path = f"/occurrences/{event.name(clock)}"
        if event.overrides.get(clock) == EXCLUDED:
            self._refused(entry, "PATCH", path, fields)
            return
        changed = model.with_own(event, clock, fields)
        self._edit_this(data, entry, "PATCH", path, fields, changed, clock)

    @precondition(lambda self: self._series())
    @rule(data=st.data(), scope=st.sampled_from(["following", "following", "all"]))
    def change_more(self, data: Draw, scope: str) -> None:
        """Change an occurrence and the following ones, or all."""
        entry, clock = self._slot(data)
        event = entry.event
        fields = self._fields(data)
        body: Json = dict(fields)
        kinds = ["texts", "texts", "move", "shift", "zone", "pattern"]
        kind = data.draw(st.sampled_from(kinds), "kind")
        moves = kind in {"move", "shift", "zone"}
        to = self._new_place(data, event, clock, kind) if moves else None
        if (moves and to is None) or (kind == "texts" and not fields):
            return
        if to is not None:
            body |= {"time_zone": to.zone} if kind == "zone" else self._place(data, to)
        path = f"/occurrences/{event.name(clock)}"
        if event.overrides.get(clock) == EXCLUDED:
            self._refused(entry, "PATCH", path, body, {"scope": scope})
            return
        split = scope == "following" and clock != event.clocks()[0]
        before, rest = model.halves(event, clock) if split else (None, event)
        pattern = None
        if kind == "pattern":
            pattern = data.draw(patterns_from(model.place_of(rest)))
            body["recurrence_pattern"] = self._pattern(pattern, model.place_of(rest))
        rest = model.without_said(rest, clock, said=set(fields), times=kind in {"move", "shift"})
        edited = Edited((rest,))
        if to is not None:
            start = rest.start + (to.start - clock)
            there = replace(to, start=start)
            if not _movable(rest, there) or not model.is_plain(start, to.zone):
                return
            edited = model.moved(rest, there, dragged=clock)
        elif pattern is not None:
            edited = model.revised(rest, {}, pattern)
        if not edited.events:
            self._refused(entry, "PATCH", path, body, {"scope": scope}, status=422)
            return
        whole = model.revised(edited.events[0], fields)
        if before is None:
            self._edit(data, entry, "PATCH", path, body, whole, edited, {"scope": scope})
            return
        after = replace(whole.events[0], number=len(self.calendar.entries))
        if len(self.calendar.entries) >= 2 * EVENTS_MAX:
            return
        both = Edited((before, after), edited.dropped)
        query = {"scope": scope}
        answer = self._write(data, "PATCH", path, body, edited=both, entry=entry, query=query)
        if answer is not None:
            self._now(entry, before)
            self.ids.append(answer["id"])
            self.calendar.entries.append(Entry([after]))
            entry.halves.append((len(entry.versions), self.calendar.entries[-1]))
            self._judge_event(answer, after, edited.dropped)
            assert answer["split_from"] == self.ids[event.number]

    @precondition(lambda self: self._series())
    @rule(data=st.data(), scope=st.sampled_from(["this", "this", "following", "all"]))
    def delete_occurrence(self, data: Draw, scope: str) -> None:
        """Delete one occurrence, or it and the following ones, or all."""
        entry, clock = self._slot(data)
        event = entry.event
        path = f"/occurrences/{event.name(clock)}"
        if event.overrides.get(clock) == EXCLUDED:
            self._refused(entry, "DELETE", path, None, {"scope": scope})
            return
        deletes = scope == "all" or (scope == "following" and clock == event.clocks()[0])
        changed = event
        if scope == "this":
            changed = model.excluded(event, clock)
        elif not deletes:
            changed, _ = model.halves(event, clock)
        self._delete(data, entry, path, changed, bins=deletes, query={"scope": scope})

    @precondition(lambda self: self._series())
    @rule(data=st.data())
    def reset(self, data: Draw) -> None:
        """Make an occurrence what its series says."""
        entry, clock = self._slot(data, own=True)
        changed = model.reset(entry.event, clock)
        path = f"/occurrences/{entry.event.name(clock)}/reset"
        self._edit_this(data, entry, "POST", path, None, changed, clock)

    @precondition(lambda self: self.calendar.live())
    @rule(data=st.data())
    def roll_back(self, data: Draw) -> None:
        """Bring an earlier version back."""
        entry = self._one(data)
        number = data.draw(st.integers(1, len(entry.versions)), "version")
        past = Edited((entry.versions[number - 1],))
        twice = entry.stands_after(number)
        self._edit(data, entry, "POST", f"/rollback/{number}", None, past, twice=twice)

    @precondition(lambda self: self.calendar.live())
    @rule(data=st.data())
    def delete(self, data: Draw) -> None:
        """Delete an event."""
        entry = self._one(data)
        self._delete(data, entry, "", entry.event, bins=True)

    @precondition(lambda self: any(entry.deleted for entry in self.calendar.entries))
    @rule(data=st.data())
    def restore(self, data: Draw) -> None:
        """Bring an event back from the bin."""
        gone = [entry for entry in self.calendar.entries if entry.deleted]
        entry = gone[data.draw(st.integers(0, len(gone) - 1), "which")]
        self._edit(data, entry, "POST", "/restore", None, Edited((entry.event,)))

    # --- The judgement ---

    @invariant()
    def agree(self) -> None:
        """Compare all that the API lists with the model."""
        meant = self.calendar.occurrences()
        self._judge_agenda(meant, WINDOW | {"limit": "1000"})
        self._judge_conflicts(meant, WINDOW | {"limit": "200"})
        if self.touched:
            self._judge_agenda(meant, WEEK | {"limit": "2"})
            self._judge_conflicts(meant, WEEK | {"limit": "3"})
        for number in self.touched:
            entry = self.calendar.entries[number]
            answer = self._ask("GET", f"/api/events/{self.ids[number]}/history?limit=200")
            if entry.deleted:
                assert answer.status_code == 404, answer.text
            else:
                found = [version["version"] for version in answer.json()]
                assert found == list(range(1, len(entry.versions) + 1))
                event = self._ask("GET", f"/api/events/{self.ids[number]}").json()
                self._judge_event(event, entry.event)
        self.touched.clear()

    def _judge_agenda(self, meant: list[model.Occurrence], window: dict[str, str]) -> None:
        expected = sorted(
            (self.ids[item.event], item.name, *self._texts(item)) for item in _within(window, meant)
        )
        listed = self._pages("/api/occurrences", window)
        order = [item["start_time"] for item in listed if "T" in item["start_time"]]
        assert order == sorted(order)
        found = sorted(
            (item["event_id"], item["recurrence_id"], *(item[name] for name in SHOWN))
            for item in listed
        )
        if found != expected:
            missing = [self._nameless(item) for item in expected if item not in found]
            surplus = [self._nameless(item) for item in found if item not in expected]
            raise AssertionError(f"missing {missing[:6]}, surplus {surplus[:6]}")

    def _texts(self, item: model.Occurrence) -> tuple[Any, ...]:
        event = self.calendar.entries[item.event].event
        times = (event.written(item.start), event.written(item.end))
        return (*times, item.title, item.status, item.transparency, item.is_override)

    def _nameless(self, item: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self.ids.index(item[0]), *item[1:])

    def _judge_conflicts(self, meant: list[model.Occurrence], window: dict[str, str]) -> None:
        expected = model.clashes(_within(window, meant))
        if len(expected) > 5 * int(window["limit"]):
            return
        listed = self._pages("/api/conflicts", window)
        found = {
            frozenset(
                (self.ids.index(side["event_id"]), datetime.fromisoformat(side["recurrence_id"]))
                for side in pair.values()
            )
            for pair in listed
        }
        assert len(found) == len(listed)
        assert found == expected, (found - expected, expected - found)

    def _judge_event(self, answer: Json, event: Event, dropped: list[str] | None = None) -> None:
        entry = self.calendar.entries[event.number]
        assert answer["version"] == len(entry.versions)
        assert answer["overrides"] == event.named_overrides()
        assert answer.get("dropped_overrides", []) == (dropped or [])
        assert answer["time_zone"] == event.zone
        assert answer["all_day"] == event.all_day
        assert answer["is_recurring"] == (event.pattern is not None)
        texts = ("title", "status", "transparency")
        assert [answer[name] for name in texts] == [getattr(event, name) for name in texts]
        assert answer["start_time"] == event.name(event.start)
        assert answer["end_time"] == event.written(event.end_of(event.start))

    # --- Requests ---

    def _edit(
        self,
        data: Draw,
        entry: Entry,
        method: str,
        path: str,
        body: Json | None,
        edited: Edited,
        moved: Edited | None = None,
        query: Query = NOTHING,
        *,
        twice: bool = False,
    ) -> None:
        """Change a whole event; what its move has dropped is named."""
        dropped = moved.dropped if moved else []
        [event] = edited.events
        answer = self._write(
            data, method, path, body, edited=edited, entry=entry, query=query, twice=twice
        )
        if answer is not None:
            self._now(entry, event)
            entry.deleted = False
            self._judge_event(answer, event, dropped)

    def _edit_this(
        self,
        data: Draw,
        entry: Entry,
        method: str,
        path: str,
        body: Json | None,
        changed: Event,
        clock: datetime,
    ) -> None:
        edited = Edited((changed,))
        answer = self._write(data, method, path, body, edited=edited, entry=entry)
        if answer is None:
            return
        if changed.overrides != entry.event.overrides:
            self._now(entry, changed)
        item = changed.occurrence(clock)
        assert answer["recurrence_id"] == item.name
        assert tuple(answer[name] for name in SHOWN) == self._texts(item)

    def _delete(
        self,
        data: Draw,
        entry: Entry,
        path: str,
        changed: Event,
        *,
        bins: bool,
        query: Query = NOTHING,
    ) -> None:
        number = entry.event.number
        where = f"/api/events/{self.ids[number]}{path}"
        if data.draw(st.integers(0, 5), "dry") == 0:
            answer = self._ask("DELETE", where, query={**query, "dry_run": "true"})
            assert answer.status_code == 204, answer.text
            self.touched.add(number)
            self.agree()
        answer = self._ask("DELETE", where, query=query)
        assert answer.status_code == 204, answer.text
        self._now(entry, changed)
        entry.deleted = bins

    def _write(
        self,
        data: Draw,
        method: str,
        path: str,
        body: Json | None,
        *,
        edited: Edited,
        entry: Entry | None = None,
        ok: int = 200,
        query: Query = NOTHING,
        twice: bool = False,
    ) -> Json | None:
        """Make a write, perhaps a dry one before it; return the answer unless it was refused.

        It is refused if the event would clash, and if it would take place `twice`.
        """
        number = entry.event.number if entry is not None else None
        where = "/api/events" if number is None else f"/api/events/{self.ids[number]}"
        allow = data.draw(st.integers(0, 3), "allow") == 0
        if allow:
            query = {**query, "on_conflict": "allow"}
        clashes = self.calendar.refuses(
            edited.events, number=None if entry is None or entry.deleted else number
        )
        code = "time_conflict" if clashes else "second_half_stands"
        expected = 409 if not allow and (twice or clashes) else ok
        if not all(event.occurs() for event in edited.events):
            expected = 422
        if number is not None:
            self.touched.add(number)
        if data.draw(st.integers(0, 5), "dry") == 0:
            answer = self._ask(method, where + path, body, query={**query, "dry_run": "true"})
            self._judge_status(answer, expected, code)
            self.agree()
            if number is not None:
                self.touched.add(number)
        answer = self._ask(method, where + path, body, query=query)
        self._judge_status(answer, expected, code)
        written: Json = answer.json()
        return written if expected == ok else None

    def _judge_status(self, answer: httpx.Response, expected: int, code: str) -> None:
        assert answer.status_code == expected, answer.text
        if expected == 409:
            assert answer.json()["code"] == code

    def _refused(
        self,
        entry: Entry,
        method: str,
        path: str,
        body: Json | None,
        query: Query = NOTHING,
        *,
        status: int = 404,
    ) -> None:
        """Ask for a change of an occurrence that was deleted, or that its series cannot follow."""
        number = entry.event.number
        answer = self._ask(method, f"/api/events/{self.ids[number]}{path}", body, query=query)
        assert answer.status_code == status, answer.text
        self.touched.add(number)

    def _now(self, entry: Entry, event: Event) -> None:
        entry.versions.append(event)

    def _ask(
        self, method: str, path: str, body: Json | None = None, *, query: Query = NOTHING
    ) -> httpx.Response:
        client = self.user.client
        ask = partial(client.request, method, path, json=body, params=dict(query) or None)
        answer: httpx.Response = self.portal.call(ask)
        if method != "GET":
            seen(f"{method} {query.get('scope', '')} {answer.status_code}")
            self._note(f"> {method} {path} {query} {body} -> {answer.status_code}")
        return answer

    def _note(self, text: str) -> None:
        """Keep a line for the case that this fails, events by their numbers."""
        for number, event_id in enumerate(self.ids):
            text = text.replace(event_id, f"#{number}")
        note(text)

    def _pages(self, path: str, query: dict[str, str]) -> list[Json]:
        answer = self._ask("GET", path, query=query)
        found: list[Json] = []
        while True:
            assert answer.status_code == 200, answer.text
            found += answer.json()
            following = answer.links.get("next", {}).get("url")
            if following is None:
                return found
            answer = self._ask("GET", following)

    def _look_far_ahead(self) -> None:
        """Let the owner's time be stored up to `KNOWN_UNTIL`, so that clashes are seen so far."""
        body: Json = {"title": "endless", "recurrence_pattern": "FREQ=YEARLY"}
        body |= {"start_time": "2027-01-01", "end_time": "2027-01-02"}
        event_id = self._ask("POST", "/api/events", body).json()["id"]
        start, end = model.KNOWN_UNTIL - timedelta(days=12), model.KNOWN_UNTIL - timedelta(days=10)
        window = {"start": model.rfc3339(start), "end": model.rfc3339(end)}
        assert self._ask("GET", "/api/occurrences", query=window).status_code == 200
        assert self._ask("DELETE", f"/api/events/{event_id}").status_code == 204

    # --- Choices ---

    def _series(self) -> list[Entry]:
        """Return the events that have a slot to be edited."""
        return [
            entry
            for entry in self.calendar.live()
            if entry.event.pattern is not None and entry.event.clocks()
        ]

    def _one(self, data: Draw) -> Entry:
        live = self.calendar.live()
        return live[data.draw(st.integers(0, len(live) - 1), "which")]

    def _slot(self, data: Draw, *, own: bool = False) -> tuple[Entry, datetime]:
        """Choose an occurrence of a series; with `own`, rather one with an override."""
        series = self._series()
        entry = series[data.draw(st.integers(0, len(series) - 1), "which")]
        clocks = [clock for clock in entry.event.clocks()[:7] if EARLIEST < clock < LATEST]
        clocks = clocks or entry.event.clocks()[:1]
        if own:
            clocks = sorted(entry.event.overrides) or clocks
        return entry, clocks[data.draw(st.integers(0, len(clocks) - 1), "slot")]

    def _fields(self, data: Draw) -> dict[str, str]:
        """Choose texts, or what decides about being busy, to be changed."""
        strategies = {"title": titles, "status": statuses, "transparency": transparencies}
        names = data.draw(st.sets(st.sampled_from(sorted(strategies)), max_size=2), "fields")
        return {name: data.draw(strategies[name], name) for name in sorted(names)}

    def _new_place(self, data: Draw, event: Event, clock: datetime, kind: str) -> Place | None:
        """Choose where an occurrence at `clock` is to go; None if that is beside the point."""
        length, zone, all_day = event.length, event.zone, event.all_day
        if kind == "zone":
            zone = data.draw(zones)
            to = model.shown(model.instant(clock, event.zone), zone)
            place = Place(clock if all_day else to, length, zone, all_day)
        elif kind == "place":
            place = data.draw(places())
        else:
            delta = data.draw(whole_days if kind == "shift" or all_day else hours)
            if data.draw(st.integers(0, 3), "another length") == 0:
                length = data.draw(numbers_of_days if all_day else lengths)
            place = Place(clock + delta, length, zone, all_day)
        plain = model.is_plain(clock, event.zone) and model.is_plain(event.start, event.zone)
        if not event.all_day and not plain:
            return None
        if not place.all_day and not model.is_plain(place.start, place.zone):
            return None
        return place if EARLIEST < place.start < LATEST else None

    def _place(self, data: Draw, place: Place) -> Json:
        """Write times as a client does: as dates, as instants, or the start on the wall clock."""
        written: Json = self._instants(place)
        if not place.all_day and data.draw(st.booleans(), "on the wall clock"):
            written["start_time"] = place.start.isoformat()
        return written

    def _instants(self, place: Place) -> dict[str, str]:
        if place.all_day:
            times = (place.start, place.start + place.length)
            return dict(zip(model.TIMES, (f"{day:%Y-%m-%d}" for day in times), strict=True))
        start = model.instant(place.start, place.zone)
        return {
            "start_time": model.rfc3339(start),
            "end_time": model.rfc3339(start + place.length),
        }

    def _pattern(self, pattern: Pattern, place: Place) -> str:
        return pattern.text(zone=place.zone, all_day=place.all_day)


def _within(window: Query, items: list[model.Occurrence]) -> list[model.Occurrence]:
    """Return those that touch a window."""
    start, end = (datetime.fromisoformat(window[name]) for name in ("start", "end"))
    return [item for item in items if item.start < end and item.end > start]


def _rule(pattern: Pattern) -> Rule:
    assert pattern.rule is not None
    return pattern.rule


def _movable(event: Event, to: Place) -> bool:
    """Tell whether it is decided where the slots of a series go when it begins there."""
    if event.pattern is None or event.pattern.rule is None:
        return True
    moving = event.pattern.rule
    days = (to.start.date() - event.start.date()).days
    if event.start not in moving.clocks(event.start):
        return False
    if not days or moving.frequency != "MONTHLY":
        return True
    return moving.nth is None and 1 <= to.start.day <= 28 and to.start.month == event.start.month


@pytest.fixture
def machine(settings: Settings) -> Iterator[type[Machine]]:
    """A machine with an application in a thread of its own, whose clock stands in December 2026."""
    logging.configure(settings.log_dir, level="INFO", stdout=False)
    clock = MovableClock()
    clock.offset = NOW - clock.now()
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(started(settings, clock=clock)) as app,
    ):
        # Hypothesis takes a class and no arguments.
        yield type("Machine", (Machine,), {"portal": portal, "app": app})


@pytest.mark.timeout(120 if SEEDED else 0)
def test_a_calendar_is_always_what_a_simple_model_says(machine: type[Machine]) -> None:
    """The same occurrences, the same clashes and the same refusals, whatever was done before."""
    run_state_machine_as_test(machine, settings=_how_long())


def _how_long() -> hypothesis_settings:
    return hypothesis_settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=SEEDED,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, *([Phase.shrink] if SHRINKS else [])],
        print_blob=False,
    )
