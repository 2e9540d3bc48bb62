"""Stored occurrences reach as far as anybody looks, and clashes are seen that far."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from structlog.testing import capture_logs

from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Query
from eventmanager.core.errors import Unavailable
from eventmanager.core.ids import UserId
from eventmanager.core.time import rfc3339
from eventmanager.events.upkeep import TASKS
from eventmanager.scheduling.service import others_go_on
from tests.conftest import MakeUser, MovableClock, User, register, started
from tests.events.conftest import share

_, EXTEND = TASKS

BERLIN = ZoneInfo("Europe/Berlin")
_STORED = Query(
    "SELECT count(*), max(start_time) FROM occurrences WHERE owner_id = $1", ("owner_id",)
)


def in_years(years: int, *, month: int = 7, day: int = 1) -> datetime:
    """Return a midnight UTC some years from now."""
    return datetime(datetime.now(UTC).year + years, month, day, tzinfo=UTC)


def standup(**fields: Any) -> dict[str, Any]:
    """Return an endless daily series at nine in Berlin, beginning next year."""
    day = in_years(1, month=1).date()
    return {
        "title": "Standup",
        "start_time": f"{day}T09:00:00",
        "end_time": f"{day}T09:15:00",
        "time_zone": "Europe/Berlin",
        "recurrence_pattern": "RRULE:FREQ=DAILY",
        **fields,
    }


async def agenda(user: User, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Return what takes place in a window."""
    window = {"start": rfc3339(start), "end": rfc3339(end)}
    answer = await user.client.get("/api/occurrences", params=window)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


async def book(user: User, body: dict[str, Any]) -> int:
    """Create an event and return the status."""
    return (await user.client.post("/api/events", json=body)).status_code


@pytest.mark.parametrize("years", [1, 3, 5, 8])
@pytest.mark.parametrize("month", [3, 7, 10])
async def test_an_endless_series_is_there_in_years_to_come(
    alice: User, years: int, month: int
) -> None:
    """At nine on Berlin's clock each day, through both changes of the year."""
    assert await book(alice, standup()) == 201
    start = in_years(years, month=month)
    found = await agenda(alice, start, start + timedelta(days=31))
    days = [start.date() + timedelta(days=n) for n in range(31)]
    expected = [datetime(d.year, d.month, d.day, 9, tzinfo=BERLIN).astimezone(UTC) for d in days]
    assert [item["start_time"] for item in found] == [rfc3339(instant) for instant in expected]


async def test_a_window_beyond_ten_years_is_refused(alice: User) -> None:
    """With the furthest instant that may be asked for."""
    start = in_years(20)
    for path in ("/api/occurrences", "/api/events"):
        window = {"start": rfc3339(start), "end": rfc3339(start + timedelta(days=1))}
        answer = await alice.client.get(path, params=window)
        assert (answer.status_code, answer.json()["code"]) == (422, "window_too_far")
        assert answer.json()["detail"][0]["ctx"]["limit"] < rfc3339(start)


async def test_two_years_are_stored_at_first_and_more_on_demand(
    alice: User, database: Database
) -> None:
    """A write costs two years of rows; only who looks further pays for more."""
    await book(alice, standup())

    async def stored() -> tuple[int, datetime]:
        async with database.reading() as read:
            row = await read.first(_STORED, owner_id=alice.id)
        assert row is not None
        return row[0], row[1]

    count, last = await stored()
    assert 700 < count < 1200
    assert last < in_years(4)
    await agenda(alice, in_years(6), in_years(6) + timedelta(days=1))
    _, last = await stored()
    assert last > in_years(6)


async def test_who_may_read_no_series_of_an_owner_makes_nobody_store_them(
    alice: User, bob: User, database: Database
) -> None:
    """A share needs no consent, and series that the reader never sees must not make it slow."""
    series = (await alice.client.post("/api/events", json=standup())).json()
    day = in_years(1).replace(hour=12)
    single = {
        "title": "Dentist",
        "start_time": rfc3339(day),
        "end_time": rfc3339(day + timedelta(hours=1)),
    }
    event = (await alice.client.post("/api/events", json=single)).json()
    far = in_years(6)
    for event_id, days in ((event["id"], 0), (series["id"], 1)):
        await share(alice, event_id, bob, "Viewer")
        assert len(await agenda(bob, far, far + timedelta(days=1))) == days
        async with database.reading() as read:
            row = await read.first(_STORED, owner_id=alice.id)
        assert row is not None
        assert (row["max"] > far) == bool(days)


async def test_what_is_stored_on_the_way_to_a_far_window_is_kept(
    alice: User, database: Database, database_url: str
) -> None:
    """Very much takes longer than a request may: the next one goes on from there."""
    await book(alice, standup())
    limit = in_years(6)
    connection = await asyncpg.connect(database_url)
    # A time that cannot be reached stands for one that takes too long to be reached.
    await connection.execute(
        f"ALTER TABLE timelines ADD CONSTRAINT too_far CHECK"
        f" (owner_id <> '{alice.id}' OR stored_until < '{limit}')"
    )
    try:
        window = {"start": rfc3339(in_years(8)), "end": rfc3339(in_years(8, day=2))}
        answer = await alice.client.get("/api/occurrences", params=window)
    finally:
        await connection.execute("ALTER TABLE timelines DROP CONSTRAINT too_far")
        await connection.close()
    assert answer.status_code == 500
    async with database.reading() as read:
        row = await read.first(_STORED, owner_id=alice.id)
    assert row is not None
    assert limit - timedelta(days=400) < row["max"] < limit


@pytest.mark.parametrize("years", [1, 6, 9])
async def test_a_clash_years_ahead_is_refused_at_write_time(alice: User, years: int) -> None:
    """A single event onto a series that began long before, in summer and in winter."""
    await book(alice, standup())
    for month, hour in ((1, 8), (7, 7)):
        day = in_years(years, month=month, day=15)
        taken = {
            "title": "Dentist",
            "start_time": rfc3339(day.replace(hour=hour, minute=10)),
            "end_time": rfc3339(day.replace(hour=hour, minute=20)),
        }
        assert await book(alice, taken) == 409
        free = taken | {
            "start_time": rfc3339(day.replace(hour=hour, minute=15)),
            "end_time": rfc3339(day.replace(hour=hour, minute=59)),
        }
        assert await book(alice, free) == 201


@pytest.mark.parametrize("years", [1, 6, 9])
async def test_a_series_onto_an_event_years_ahead_is_refused(alice: User, years: int) -> None:
    """The other way round: the single event was first."""
    day = in_years(years).replace(hour=7)
    dentist = {
        "title": "Dentist",
        "start_time": rfc3339(day),
        "end_time": rfc3339(day + timedelta(minutes=5)),
    }
    assert await book(alice, dentist) == 201
    answer = await alice.client.post("/api/events", json=standup())
    assert answer.status_code == 409
    assert answer.json()["conflicts"][0]["requested"]["start_time"] == rfc3339(day)


async def test_a_series_that_begins_years_ahead_is_checked(alice: User) -> None:
    """Against what is endless since today."""
    await book(alice, standup())
    day = in_years(6).date()
    later = standup(start_time=f"{day}T09:10:00", end_time=f"{day}T09:20:00")
    assert await book(alice, later) == 409


async def test_a_series_may_not_overlap_itself(alice: User) -> None:
    """Two of its own occurrences are two busy times of one owner."""
    day = in_years(1).date()
    night = {"title": "Watch", "start_time": f"{day}T00:00:00Z", "recurrence_pattern": "FREQ=DAILY"}
    long = await alice.client.post(
        "/api/events", json=night | {"end_time": f"{day + timedelta(days=1)}T00:00:01Z"}
    )
    assert (long.status_code, long.json()["code"]) == (409, "time_conflict")
    full = night | {"end_time": f"{day + timedelta(days=1)}T00:00:00Z"}
    assert await book(alice, full) == 201


async def test_events_of_any_length_are_found(alice: User) -> None:
    """From a minute to seven years: what touches clashes, what merely meets does not."""
    begin = in_years(1)
    lengths = [timedelta(minutes=1), timedelta(days=1), timedelta(days=20), timedelta(days=500)]
    for length in [*lengths, timedelta(days=2_500)]:
        body = {"title": "Long", "start_time": rfc3339(begin), "end_time": rfc3339(begin + length)}
        created = await alice.client.post("/api/events", json=body)
        assert created.status_code == 201
        end = begin + length
        moment = timedelta(seconds=1)
        for start, stop, status in (
            (end - moment, end, 409),
            (begin, begin + moment, 409),
            (begin - moment, end + moment, 409),
            (end, end + moment, 201),
            (begin - moment, begin, 201),
        ):
            probe = {"title": "Probe", "start_time": rfc3339(start), "end_time": rfc3339(stop)}
            answer = await alice.client.post("/api/events", json=probe)
            assert answer.status_code == status, (length, start, stop)
            if status == 201:
                await alice.client.delete(answer.headers["Location"])
        await alice.client.delete(created.headers["Location"])


async def test_with_the_clock_ten_years_on_an_endless_series_is_still_there(
    settings: Settings,
) -> None:
    """A series never fades away as the years pass, and still refuses what clashes."""
    clock = MovableClock()
    async with started(settings, clock=clock) as app:
        user = await register(app)
        assert await book(user, standup()) == 201
        clock.offset = timedelta(days=3653)
        token = await user.client.post(
            "/api/auth/login",
            json={"username": user.username, "password": "correct horse battery staple"},
        )
        user.client.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
        for years in (10, 12, 19):
            start = in_years(years)
            found = await agenda(user, start, start + timedelta(days=7))
            assert [item["start_time"][11:] for item in found] == ["07:00:00Z"] * 7
        taken = {
            "title": "Dentist",
            "start_time": rfc3339(in_years(11).replace(hour=7)),
            "end_time": rfc3339(in_years(11).replace(hour=8)),
        }
        assert await book(user, taken) == 409
        await user.client.aclose()


async def test_a_dense_series_is_extended_without_end(alice: User) -> None:
    """The limit of 5,000 occurrences is for one write; looking ahead never meets it."""
    day = in_years(1).date()
    pills = {
        "title": "Pills",
        "start_time": f"{day}T06:00:00Z",
        "end_time": f"{day}T06:01:00Z",
        "recurrence_pattern": "FREQ=DAILY;BYHOUR=6,12,18,22",
    }
    assert await book(alice, pills) == 201
    start = in_years(9)
    assert len(await agenda(alice, start, start + timedelta(days=3))) == 12


async def test_too_many_occurrences_are_refused_with_the_reason(alice: User) -> None:
    """More than 5,000 up to the horizon: the client learns what to do."""
    day = in_years(1).date()
    dense = {
        "title": "Pulse",
        "start_time": f"{day}T06:00:00Z",
        "end_time": f"{day}T06:00:01Z",
        "recurrence_pattern": "FREQ=DAILY;BYMINUTE=0,10,20,30,40,50;BYHOUR=1,2,3,4",
    }
    answer = await alice.client.post("/api/events", json=dense)
    assert answer.status_code == 422
    detail = answer.json()["detail"][0]
    assert detail["type"] == "invalid_rrule"
    assert "5,000" in detail["ctx"]["reason"]


def hourly_later(**fields: Any) -> dict[str, Any]:
    """Return a series of one evening next year, and three years after that of every hour."""
    day = in_years(1, month=12, day=31).date()
    months, hours = (",".join(map(str, numbers)) for numbers in (range(1, 13), range(24)))
    return {
        "title": "Pulse",
        "start_time": f"{day}T23:00:00Z",
        "end_time": f"{day}T23:30:00Z",
        "recurrence_pattern": f"FREQ=YEARLY;INTERVAL=3;BYMONTH={months}"
        f";BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR={hours};BYMINUTE=0",
        **fields,
    }


async def test_a_rule_that_is_dense_only_later_is_refused(alice: User) -> None:
    """On every way to give an event a rule; only its first two years would be worked out now."""
    dense = hourly_later()
    pattern = {"recurrence_pattern": dense["recurrence_pattern"]}
    single = dense | {"recurrence_pattern": None}
    url = (await alice.client.post("/api/events", json=single)).headers["Location"]
    last = in_years(1, month=12, day=31).replace(hour=23)
    daily = standup(start_time=rfc3339(last - timedelta(days=1)), transparency="transparent")
    daily |= {"end_time": rfc3339(last), "time_zone": "UTC"}
    series = (await alice.client.post("/api/events", json=daily)).headers["Location"]
    second = f"{series}/occurrences/{rfc3339(last)}"
    moved = pattern | {name: single[name] for name in ("start_time", "end_time")}
    for answer in (
        await alice.client.post("/api/events", json=dense),
        await alice.client.post("/api/events/batch", json={"events": [dense]}),
        await alice.client.put(url, json=dense),
        await alice.client.patch(url, json=pattern),
        await alice.client.patch(series, json=pattern),
        await alice.client.patch(series, json=moved),
        await alice.client.patch(second, params={"scope": "following"}, json=pattern),
        await alice.client.patch(second, params={"scope": "all"}, json=pattern),
    ):
        assert answer.status_code == 422, answer.text
        detail = answer.json()["detail"][0]
        assert detail["type"] == "invalid_rrule"
        assert "more than 5,000 occurrences in the year" in detail["ctx"]["reason"]


async def store_rule(database_url: str, event_id: str, pattern: str) -> None:
    """Give an event a rule that would be refused today."""
    connection = await asyncpg.connect(database_url)
    for table, key in (("events", "id"), ("series", "event_id")):
        await connection.execute(
            f"UPDATE {table} SET recurrence_pattern = $1 WHERE {key} = $2", pattern, UUID(event_id)
        )
    await connection.close()


async def test_a_dense_rule_of_before_is_read_and_booked_around(
    alice: User, bob: User, database_url: str
) -> None:
    """A rule that was stored before such are refused is a nuisance, and an error for nobody."""
    dense = hourly_later()
    sparse = dense | {"recurrence_pattern": "FREQ=YEARLY;INTERVAL=3"}
    event = (await alice.client.post("/api/events", json=sparse)).json()
    await store_rule(database_url, event["id"], dense["recurrence_pattern"])
    await share(alice, event["id"], bob, "Viewer")
    day = in_years(4, month=3)
    for user in (bob, alice):
        assert len(await agenda(user, day, day + timedelta(days=2))) == 48
    window = {"start": rfc3339(day), "end": rfc3339(day + timedelta(days=1))}
    asked = {"users": [alice.username], **window}
    [busy] = (await alice.client.post("/api/freebusy", json=asked)).json()["users"]
    assert len(busy["busy"]) == 24
    far = in_years(7, month=3)
    for minute, status in ((29, 409), (30, 201)):
        single = {
            "title": "Dentist",
            "start_time": rfc3339(far.replace(minute=minute)),
            "end_time": rfc3339(far.replace(minute=59)),
        }
        assert await book(alice, single) == status
    renamed = await alice.client.patch(f"/api/events/{event['id']}", json={"title": "Still mine"})
    assert renamed.status_code == 200


async def test_one_owner_whose_rule_cannot_be_read_stops_nobody_else(
    alice: User, make_user: MakeUser, database: Database, database_url: str
) -> None:
    """Neither the task, which takes owners one after the other, nor who looks at the calendar."""
    owners = sorted([await make_user() for _ in range(3)], key=lambda owner: owner.id)
    for owner in owners:
        event = (await owner.client.post("/api/events", json=standup())).json()
        await share(owner, event["id"], alice, "Viewer")
        if owner is owners[1]:
            await store_rule(database_url, event["id"], "FREQ=SOMETIMES")
    start = in_years(3)
    with capture_logs() as logs:
        assert len(await agenda(alice, start, start + timedelta(days=1))) == 2
        await EXTEND.run(database, in_years(2))
    told = [entry for entry in logs if entry["event"] == "horizon_not_extended"]
    assert [entry["owner_id"] for entry in told] == [str(owners[1].id)] * 2
    async with database.reading() as read:
        rows = [await read.first(_STORED, owner_id=owner.id) for owner in owners]
    reached = [row is not None and row["max"] > in_years(4) for row in rows]
    assert reached == [True, False, True]


def test_a_statement_that_takes_too_long_is_its_owners_and_a_database_away_is_nobodys() -> None:
    """Else an owner of very many would stop the task, or an outage be logged for everybody."""
    owner = UserId(UUID(int=1))
    with others_go_on("horizon_not_extended", owner_id=owner):
        raise Unavailable from asyncpg.QueryCanceledError()
    with (
        pytest.raises(Unavailable),
        others_go_on("horizon_not_extended", owner_id=owner),
    ):
        raise Unavailable from OSError()
