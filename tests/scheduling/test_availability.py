"""The best times to meet: free for all, in everybody's working hours, or else who is missing."""

import random
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from fastapi import FastAPI

from eventmanager.core.config import Settings
from eventmanager.core.time import rfc3339
from eventmanager.scheduling.availability import Found, Meeting, Slot, find_slots, found_in
from eventmanager.scheduling.working_hours import (
    Stretch,
    WorkingHours,
    merged,
    open_stretches,
)
from tests.conftest import User, register, started, timed

# A Monday.
NOW = datetime(2027, 1, 4, 8, 7, 30, tzinfo=UTC)
NOBODY = "00000000-0000-0000-0000-000000000000"
BERLIN = {"time_zone": "Europe/Berlin", "start": "09:00", "end": "17:00"}
NEW_YORK = {"time_zone": "America/New_York", "start": "09:00", "end": "17:00"}


class StoppedClock:
    """It is always the same moment."""

    def now(self) -> datetime:
        """Return it."""
        return NOW


@pytest.fixture(scope="module")
async def then(settings: Settings) -> AsyncIterator[FastAPI]:
    """An application for which it is that Monday."""
    async with started(settings, clock=StoppedClock()) as app:
        yield app


@pytest.fixture
async def ann(then: FastAPI) -> AsyncIterator[User]:
    """Somebody."""
    user = await register(then)
    yield user
    await user.client.aclose()


@pytest.fixture
async def ben(then: FastAPI) -> AsyncIterator[User]:
    """Somebody else."""
    user = await register(then)
    yield user
    await user.client.aclose()


@pytest.fixture
async def cat(then: FastAPI) -> AsyncIterator[User]:
    """A third person."""
    user = await register(then)
    yield user
    await user.client.aclose()


def at(clock: str, day: str = "2027-01-06") -> str:
    """Return an instant by its time in UTC; the day is a Wednesday."""
    return f"{day}T{clock}:00Z"


def between(start: str, end: str, day: str = "2027-01-06") -> dict[str, str]:
    """Return a window within a day."""
    return {"start": at(start, day), "end": at(end, day)}


async def take(user: User, *times: tuple[str, str]) -> None:
    """Make a user busy on that Wednesday."""
    for start, end in times:
        body = {"title": "Secret", "start_time": at(start), "end_time": at(end)}
        assert (await user.client.post("/api/events", json=body)).status_code == 201


async def ask(caller: User, users: Sequence[Any], /, **fields: Any) -> httpx.Response:
    """Look for a time for some users."""
    names = [str(user.id) if isinstance(user, User) else user for user in users]
    optional = [str(user.id) for user in fields.pop("optional", ())]
    body = {
        "users": names,
        "optional_users": optional,
        "duration": 30,
        "window": between("09:00", "12:00"),
    }
    return await caller.client.post("/api/availability", json=body | fields)


async def search(caller: User, users: Sequence[Any], /, **fields: Any) -> dict[str, Any]:
    """Return what was found."""
    answer = await ask(caller, users, **fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def starts(found: dict[str, Any]) -> list[str]:
    """Return when the slots begin, in UTC."""
    return [slot["start_time"][11:16] for slot in found["slots"]]


async def test_a_slot_is_free_for_all(ann: User, ben: User) -> None:
    """The earliest first, and nothing is said about what anybody does."""
    await take(ann, ("09:00", "10:00"))
    await take(ben, ("10:30", "11:00"))
    answer = await ask(ann, [ann, ben])
    assert answer.json()["slots"][0] == {
        "start_time": at("10:00"),
        "end_time": at("10:30"),
        "missing": [],
        "missing_optional": [],
    }
    assert answer.json()["found"] == "all"
    assert starts(answer.json()) == ["10:00", "11:00", "11:15", "11:30"]
    assert "Secret" not in answer.text


async def test_at_most_as_many_slots_as_asked_for(ann: User) -> None:
    """The earliest of them; ten unless said otherwise."""
    assert starts(await search(ann, [ann], limit=2)) == ["09:00", "09:15"]
    assert len((await search(ann, [ann], step=5))["slots"]) == 10
    assert len((await search(ann, [ann], step=1, limit=100))["slots"]) == 100


async def test_a_buffer_is_free_on_both_sides(ann: User) -> None:
    """Also where what is in the way lies outside the window."""
    await take(ann, ("08:00", "08:55"), ("10:00", "10:15"), ("12:05", "13:00"))
    found = await search(ann, [ann], buffer=10, step=5, limit=100)
    assert starts(found)[0] == "09:05"
    assert "09:20" in starts(found)
    assert not {"09:25", "10:20"} & set(starts(found))
    assert "10:25" in starts(found)
    assert starts(found)[-1] == "11:25"


async def test_slots_begin_at_multiples_of_the_step(ann: User) -> None:
    """Wherever the window begins."""
    window = between("09:07", "11:00")
    assert starts(await search(ann, [ann], window=window)) == [
        *("09:15", "09:30", "09:45", "10:00", "10:15", "10:30")
    ]
    assert starts(await search(ann, [ann], window=window, step=60)) == ["10:00"]
    assert starts(await search(ann, [ann], window=window, step=30)) == ["09:30", "10:00", "10:30"]


@pytest.mark.parametrize(
    ("duration", "minutes"),
    [
        (1, 1),
        (45, 45),
        ("PT45M", 45),
        ("PT1H30M", 90),
        ("PT120S", 2),
        ("P1D", 1440),
        ("PT24H", 1440),
    ],
)
async def test_a_duration_is_minutes_or_iso_8601(ann: User, duration: object, minutes: int) -> None:
    """As is handy for the client."""
    window = {"start": at("00:00"), "end": at("00:00", "2027-01-08")}
    slot = (await search(ann, [ann], duration=duration, window=window))["slots"][0]
    assert slot["end_time"] == rfc3339(
        datetime.fromisoformat(slot["start_time"]) + timedelta(minutes=minutes)
    )


@pytest.mark.parametrize(
    "duration",
    [0, -5, 1441, 1.5, True, None, "", "P", "PT", "45", "PT45", "PT30S", "P2D", "P1M", "-PT5M", []],
)
async def test_another_duration_is_refused(ann: User, duration: object) -> None:
    """With where it stands."""
    answer = await ask(ann, [ann], duration=duration)
    assert answer.status_code == 422
    [detail] = answer.json()["detail"]
    assert (detail["loc"], detail["type"]) == (["body", "duration"], "invalid_duration")


@pytest.mark.parametrize(
    "fields",
    [
        {"step": 0},
        {"step": 1441},
        {"step": "15"},
        {"buffer": -1},
        {"limit": 0},
        {"limit": 101},
        {"users": []},
        {"users": ["x"] * 101},
        {"optional_users": ["x"] * 101},
        {"working_hours": [BERLIN] * 51},
        {"working_hours": [BERLIN | {"time_zone": "Mars/Olympus"}]},
        {"working_hours": [BERLIN | {"days": []}]},
        {"working_hours": [BERLIN | {"days": ["mo"]}]},
        {"working_hours": [BERLIN | {"start": "24:00"}]},
        {"working_hours": [BERLIN | {"start": "9:00"}]},
        {"working_hours": [BERLIN | {"end": "24:01"}]},
        {"window": {"start": "2027-01-06T00:00:00Z"}},
        {"colour": "red"},
    ],
    ids="-".join,
)
async def test_what_makes_no_sense_is_refused(ann: User, fields: dict[str, Any]) -> None:
    """Never guessed at, never an internal error."""
    answer = await ask(ann, [ann], **fields)
    assert answer.status_code == 422, answer.text


async def test_working_hours_in_two_zones_are_where_both_work(ann: User) -> None:
    """From 15:00 to 17:00 in Berlin it is 9:00 to 11:00 in New York, on weekdays."""
    # From Saturday to Wednesday.
    window = {"start": "2027-01-09T00:00:00Z", "end": "2027-01-13T00:00:00Z"}
    found = await search(
        ann, [ann], window=window, working_hours=[BERLIN, NEW_YORK], duration=60, step=30
    )
    assert [slot["start_time"] for slot in found["slots"]] == [
        f"2027-01-{day}T{clock}:00Z" for day in (11, 12) for clock in ("14:00", "14:30", "15:00")
    ]


async def test_between_the_changes_of_the_clocks_they_share_an_hour_more(ann: User) -> None:
    """New York changes two weeks before Berlin does."""
    hours = [BERLIN, NEW_YORK]
    for day, first in (("2027-03-10", "14:00"), ("2027-03-17", "13:00"), ("2027-03-31", "13:00")):
        window = between("00:00", "23:00", day)
        found = await search(ann, [ann], window=window, working_hours=hours, step=60, duration=60)
        assert starts(found)[0] == first
        last = {"2027-03-10": "15:00", "2027-03-17": "15:00", "2027-03-31": "14:00"}[day]
        assert starts(found)[-1] == last


async def test_hours_in_one_zone_add_up(ann: User) -> None:
    """A meeting may span two that touch, and not the break between two that do not."""
    morning = {"time_zone": "UTC", "start": "09:00", "end": "10:00"}
    late = {"time_zone": "UTC", "start": "10:00", "end": "11:00"}
    noon = {"time_zone": "UTC", "start": "11:15", "end": "12:00"}
    hours = [noon, late, morning]
    found = await search(ann, [ann], working_hours=hours, duration=45)
    assert starts(found) == ["09:00", "09:15", "09:30", "09:45", "10:00", "10:15", "11:15"]


async def test_hours_may_go_past_midnight(ann: User) -> None:
    """They belong to the day on which they begin."""
    night = {"time_zone": "UTC", "days": ["FR"], "start": "22:00", "end": "02:00"}
    window = {"start": "2027-01-07T00:00:00Z", "end": "2027-01-12T00:00:00Z"}
    found = await search(
        ann, [ann], window=window, working_hours=[night], step=60, duration=60, limit=100
    )
    assert [slot["start_time"] for slot in found["slots"]] == [
        "2027-01-08T22:00:00Z",
        "2027-01-08T23:00:00Z",
        "2027-01-09T00:00:00Z",
        "2027-01-09T01:00:00Z",
    ]
    # Also where the window begins in the middle of the night.
    window["start"] = "2027-01-09T00:30:00Z"
    found = await search(ann, [ann], window=window, working_hours=[night], step=60, duration=60)
    assert starts(found) == ["01:00"]


async def test_where_nobody_is_free_for_all_the_best_are_named_with_who_is_missing(
    ann: User, ben: User, cat: User
) -> None:
    """First where one is missing, then where two are."""
    await take(ann, ("09:00", "11:00"))
    await take(ben, ("10:00", "12:00"))
    await take(cat, ("09:00", "12:00"))
    found = await search(ann, [ann, ben, cat], duration=60, step=60)
    assert found["found"] == "partial"
    assert [(slot["start_time"], slot["missing"]) for slot in found["slots"]] == [
        (at("09:00"), [str(ann.id), str(cat.id)]),
        (at("11:00"), [str(ben.id), str(cat.id)]),
    ]
    found = await search(ann, [ann, ben], duration=60, step=60)
    assert [slot["missing"] for slot in found["slots"]] == [[str(ann.id)], [str(ben.id)]]


async def test_as_soon_as_there_is_a_slot_for_all_no_other_is_named(ann: User, ben: User) -> None:
    """However few there are."""
    await take(ann, ("09:00", "11:30"))
    found = await search(ann, [ann, ben])
    assert (found["found"], starts(found)) == ("all", ["11:30"])


async def test_optional_people_decide_among_slots_for_all(ann: User, ben: User, cat: User) -> None:
    """First where they can come, then earlier; they never rule a slot out."""
    await take(ben, ("09:00", "10:00"))
    await take(cat, ("09:00", "11:00"))
    found = await search(ann, [ann], optional=[ben, cat], duration=60, step=60)
    assert found["found"] == "all"
    assert [(slot["start_time"], slot["missing_optional"]) for slot in found["slots"]] == [
        (at("11:00"), []),
        (at("10:00"), [str(cat.id)]),
        (at("09:00"), [str(ben.id), str(cat.id)]),
    ]


async def test_none_where_nobody_is_free(ann: User, ben: User) -> None:
    """An optional person alone is no meeting."""
    await take(ann, ("09:00", "12:00"))
    assert await search(ann, [ann], optional=[ben]) == {"found": "none", "slots": []}


@pytest.mark.parametrize(
    "fields",
    [
        {"window": between("09:00", "09:29")},
        {"window": between("09:00", "12:00", "2027-01-09"), "working_hours": [BERLIN]},
        {"window": between("09:00", "12:00", "2027-01-03")},
    ],
    ids=["too short", "Saturday", "past"],
)
async def test_none_where_there_is_no_time_at_all(ann: User, fields: dict[str, Any]) -> None:
    """Too short a window, nobody at work, or all of it past."""
    assert await search(ann, [ann], **fields) == {"found": "none", "slots": []}


async def test_what_is_past_is_passed_over(ann: User) -> None:
    """It is 8:07:30: the next start is 8:08, or 8:15."""
    window = between("00:00", "12:00", "2027-01-04")
    assert starts(await search(ann, [ann], window=window))[0] == "08:15"
    assert starts(await search(ann, [ann], window=window, step=1))[0] == "08:08"


async def test_seconds_count(ann: User) -> None:
    """Busy until a moment after ten is not free at ten."""
    body = {
        "title": "Countdown",
        "start_time": "2027-01-06T09:29:59.500Z",
        "end_time": "2027-01-06T10:00:00.500Z",
    }
    assert (await ann.client.post("/api/events", json=body)).status_code == 201
    assert starts(await search(ann, [ann], step=30)) == ["10:30", "11:00", "11:30"]


async def test_who_is_named_twice_counts_once(ann: User, ben: User) -> None:
    """Whoever is required somewhere is required."""
    await take(ann, ("09:00", "12:00"))
    found = await search(ben, [ben, ann.username, ann.email.upper()], optional=[ann, ben])
    assert found["found"] == "partial"
    assert found["slots"][0]["missing"] == [str(ann.id)]
    assert found["slots"][0]["missing_optional"] == []


async def test_unknown_people_are_named(ann: User) -> None:
    """All of them at once."""
    answer = await ask(ann, [ann, "nobody.at.all"], optional_users=[NOBODY])
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["users"] == ["nobody.at.all", NOBODY]


async def test_who_does_not_let_others_ask_is_named(ann: User, ben: User, cat: User) -> None:
    """Required or optional; they themselves may look for a time."""
    for user, who in ((ben, "nobody"), (cat, "shared")):
        assert (await user.client.patch("/api/me", json={"free_busy": who})).status_code == 200
    answer = await ask(ann, [ann, ben.username], optional_users=[cat.email])
    assert (answer.status_code, answer.json()["code"]) == (403, "free_busy_hidden")
    assert answer.json()["users"] == [ben.username, cat.email]
    assert (await search(ben, [ben, ann]))["found"] == "all"


async def test_eight_years_ahead_an_endless_series_is_in_the_way(ann: User, ben: User) -> None:
    """Nobody has looked so far before: what is not stored yet is busy, too."""
    standup = {
        "title": "Standup",
        "start_time": "2027-06-01T09:00:00",
        "end_time": "2027-06-01T10:00:00",
        "time_zone": "Europe/Berlin",
        "recurrence_pattern": "RRULE:FREQ=DAILY",
    }
    assert (await ann.client.post("/api/events", json=standup)).status_code == 201
    window = between("06:00", "10:00", "2035-07-02")
    assert starts(await search(ben, [ann], window=window, step=60)) == ["06:00", "08:00", "09:00"]


async def test_a_year_in_steps_of_five_minutes_is_not_too_much(ann: User) -> None:
    """In smaller ones it is; the client learns what to do."""
    window = {"start": "2027-02-01T00:00:00Z", "end": "2028-02-02T00:00:00Z"}
    found = await search(ann, [ann], window=window, step=5, duration=1)
    assert found["slots"][0]["start_time"] == window["start"]
    answer = await ask(ann, [ann], window=window, step=4)
    assert answer.status_code == 422
    [detail] = answer.json()["detail"]
    assert (detail["loc"], detail["type"]) == (["body", "step"], "too_many_starts")
    # Of a shorter window each minute may be tried.
    window["end"] = "2027-04-01T00:00:00Z"
    assert (await ask(ann, [ann], window=window, step=1)).status_code == 200


@pytest.mark.parametrize(
    ("start", "end", "kind"),
    [
        ("2027-02-01T00:00:00Z", "2028-02-02T00:00:01Z", "window_too_long"),
        ("2037-01-03T00:00:00Z", "2037-01-05T00:00:00Z", "window_too_far"),
        ("2027-02-01T00:00:00Z", "2027-02-01T00:00:00Z", "invalid_time_order"),
    ],
)
async def test_a_window_that_cannot_be_is_refused(
    ann: User, start: str, end: str, kind: str
) -> None:
    """With what is wrong about it, and where."""
    answer = await ask(ann, [ann], window={"start": start, "end": end})
    assert answer.status_code == 422
    [detail] = answer.json()["detail"]
    assert (detail["loc"], detail["type"]) == (["body", "window", "end"], kind)


# From here on: the pure parts.

EVERY_DAY = frozenset(range(7))


def seconds(text: str) -> int:
    """Return an instant as seconds since the epoch."""
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(
    ("day", "start", "end", "expected"),
    [
        # The clocks go from 2:00 to 3:00: 2:30 is 3:30.
        ("2027-03-28", "01:00", "05:00", ("00:00", "03:00")),
        ("2027-03-28", "02:30", "05:00", ("01:30", "03:00")),
        ("2027-03-28", "01:00", "02:30", ("00:00", "01:30")),
        ("2027-03-28", "02:30", "03:15", None),
        ("2027-03-28", "02:15", "02:45", ("01:15", "01:45")),
        ("2027-03-28", "00:00", "24:00", ("23:00-", "22:00")),
        # They go from 3:00 back to 2:00: 2:30 is the first one.
        ("2027-10-31", "01:00", "05:00", ("23:00-", "04:00")),
        ("2027-10-31", "02:30", "05:00", ("00:30", "04:00")),
        ("2027-10-31", "01:00", "02:30", ("23:00-", "00:30")),
        ("2027-10-31", "00:00", "00:00", ("22:00-", "23:00")),
    ],
)
def test_hours_on_a_day_when_the_clocks_change(
    day: str, start: str, end: str, expected: tuple[str, str] | None
) -> None:
    """As RFC 5545, 3.3.5 reads times that are skipped or come twice; expected is in UTC."""

    def minutes(clock: str) -> int:
        return int(clock[:2]) * 60 + int(clock[3:])

    def instant(clock: str) -> int:
        moment = seconds(f"{day}T{clock.rstrip('-')}:00Z")
        return moment - 86_400 if clock.endswith("-") else moment

    weekday = frozenset({datetime.fromisoformat(day).weekday()})
    hours = WorkingHours(ZoneInfo("Europe/Berlin"), weekday, minutes(start), minutes(end))
    noon = seconds(f"{day}T12:00:00Z")
    found = open_stretches([hours], start=noon - 2 * 86_400, end=noon + 2 * 86_400)
    assert found == ([] if expected is None else [(instant(expected[0]), instant(expected[1]))])


def test_days_without_a_break_are_one_stretch() -> None:
    """Hours around the clock are no hours at all, also where midnight is skipped."""
    start, end = seconds("2027-03-01T10:00:00Z"), seconds("2027-12-01T11:00:00Z")
    for name in ("Europe/Berlin", "Africa/Cairo", "America/Santiago", "Asia/Beirut", "UTC"):
        hours = WorkingHours(ZoneInfo(name), EVERY_DAY, 0, 24 * 60)
        assert open_stretches([hours], start=start, end=end) == [(start, end)]


def brute_force(
    meeting: Meeting,
    stretches: Sequence[Stretch],
    required: Sequence[Sequence[Stretch]],
    optional: Sequence[Sequence[Stretch]],
    limit: int,
) -> list[Slot]:
    """Do what `find_slots` does, start by start and interval by interval."""

    def who(people: Sequence[Sequence[Stretch]], start: int) -> tuple[int, ...]:
        begin, end = start - meeting.buffer, start + meeting.duration + meeting.buffer
        return tuple(
            number
            for number, busy in enumerate(people)
            if any(one < end and other > begin for one, other in busy)
        )

    slots = [
        Slot(start, start + meeting.duration, who(required, start), who(optional, start))
        for one, other in stretches
        for start in range(one, other - meeting.duration + 1)
        if start % meeting.step == 0
    ]
    slots = [slot for slot in slots if len(slot.missing) < len(required)]
    if any(not slot.missing for slot in slots):
        slots = [slot for slot in slots if not slot.missing]
    slots.sort(key=lambda slot: (len(slot.missing), len(slot.missing_optional), slot.start))
    return slots[:limit]


@pytest.mark.parametrize("seed", range(400))
def test_it_finds_what_trying_everything_finds(seed: int) -> None:
    """On small calendars of all kinds: crowded, empty, overlapping, of odd steps and buffers."""
    choose = random.Random(seed)
    origin = choose.choice([0, 1_000_003])

    def intervals(count: int, longest: int) -> list[Stretch]:
        begins = sorted(origin + choose.randrange(-40, 240) for _ in range(count))
        return [(begin, begin + choose.randint(1, longest)) for begin in begins]

    meeting = Meeting(
        duration=choose.randint(1, 40), step=choose.randint(1, 17), buffer=choose.randrange(12)
    )
    longest = choose.choice([4, 30, 120])
    arguments: Any = {
        "stretches": merged(intervals(choose.randrange(5), 120)),
        "required": [intervals(choose.randrange(8), longest) for _ in range(choose.randint(1, 4))],
        "optional": [intervals(choose.randrange(8), longest) for _ in range(choose.randrange(4))],
        "limit": choose.choice([1, 3, 10, 1000]),
    }
    found = find_slots(meeting, **arguments)
    assert found == brute_force(meeting, **arguments)
    expected = Found.PARTIAL if found and found[0].missing else Found.ALL
    assert found_in(found) is (expected if found else Found.NONE)


@timed
def test_a_hundred_full_calendars_of_a_year_are_quick() -> None:
    """200,000 intervals and 105,000 starts; it takes a sixth of a second here."""
    choose = random.Random(7)
    start = seconds("2027-01-01T00:00:00Z")
    minutes = 365 * 24 * 60

    def calendar() -> list[Stretch]:
        begins = sorted(start + choose.randrange(minutes) * 60 for _ in range(2_000))
        return [(begin, begin + choose.choice([15, 30, 60]) * 60) for begin in begins]

    calendars = [calendar() for _ in range(100)]
    hours = [
        WorkingHours(ZoneInfo(name), frozenset(range(5)), 9 * 60, 17 * 60)
        for name in ("Europe/Berlin", "America/New_York")
    ]
    began = time.perf_counter()
    slots = find_slots(
        Meeting(duration=45 * 60, step=5 * 60, buffer=5 * 60),
        stretches=open_stretches(hours, start=start, end=start + minutes * 60),
        required=calendars[:90],
        optional=calendars[90:],
        limit=100,
    )
    assert time.perf_counter() - began < 2
    assert len(slots) == 100
