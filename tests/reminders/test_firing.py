"""Reminders are told once, in time, of the occurrences as they are then."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import orjson
import pytest

from eventmanager.core.database import Database, Transaction, query
from eventmanager.core.time import rfc3339
from eventmanager.messages import facts
from eventmanager.reminders import queries, service, words
from tests.conftest import User
from tests.events.conftest import share
from tests.reminders.conftest import (
    SOON,
    Look,
    changed,
    event,
    minutes,
    moved,
    reminded,
    told,
)

DAILY = "FREQ=DAILY;COUNT=5"
A_DAY = timedelta(days=1)
BLINK = timedelta(milliseconds=1)


def starts(found: list[dict[str, Any]]) -> list[str]:
    """Return when what the user was reminded of starts."""
    return [item["start_time"] for item in found]


async def test_a_reminder_is_told_when_it_is_due(alice: User, look: Look) -> None:
    """Not before, and with all that a client shows without asking again."""
    created = await event(alice, 10, location="Zoom", time_zone="Europe/Berlin")
    await look(SOON - minutes(10) - BLINK)
    assert await reminded(alice) == []
    await look(SOON - minutes(10))
    [item] = [
        item
        for item in (await alice.client.get("/api/notifications")).json()
        if item["type"] == "reminder"
    ]
    assert item["event_id"] == created["id"]
    assert item["initiator_id"] is None
    clock = SOON.astimezone(ZoneInfo("Europe/Berlin"))
    said = f"starts in 10 minutes ({clock:%Y-%m-%d %H:%M} Europe/Berlin)"
    assert item["message"] == f"\u201cStandup\u201d {said}."
    assert item["data"].keys() == facts.Reminder.model_fields.keys()
    facts.Reminder.model_validate(item["data"])
    assert item["data"] == {
        "title": "Standup",
        "recurrence_id": created["start_time"],
        "start_time": created["start_time"],
        "end_time": created["end_time"],
        "time_zone": "Europe/Berlin",
        "all_day": False,
        "location": "Zoom",
        "minutes_before": 10,
        "due_at": rfc3339(SOON - minutes(10)),
        "when": said,
    }


async def test_it_is_told_once(alice: User, look: Look) -> None:
    """However often and late anybody looks."""
    await event(alice, 10)
    for after in (0, 0, 1, 10, 60, 2000):
        await look(SOON - minutes(10) + minutes(after))
    assert len(await reminded(alice)) == 1


async def test_each_occurrence_has_its_own(alice: User, look: Look) -> None:
    """A series is a reminder each time, with several in the order in which they are due."""
    created = await event(alice, 10, 60, recurrence_pattern=DAILY)
    for hour in range(0, 24 * 6, 6):
        await look(SOON - minutes(90) + timedelta(hours=hour))
    found = await reminded(alice)
    expected = [SOON + number * A_DAY for number in range(5) for _ in range(2)]
    assert starts(found) == [rfc3339(start) for start in expected]
    assert [item["minutes_before"] for item in found] == [60, 10] * 5
    assert found[0]["recurrence_id"] == created["start_time"]


async def test_readers_who_are_told_the_same_share_a_message(
    alice: User, bob: User, look: Look
) -> None:
    """A meeting of a thousand is a row, not a thousand; who wants another time gets another."""
    created = await event(alice, 10)
    await share(alice, created["id"], bob, "Viewer")
    await changed(bob, created["id"], reminders=told(10, 5))
    await look(SOON - minutes(10))
    await look(SOON - minutes(5))
    assert [item["minutes_before"] for item in await reminded(alice)] == [10]
    assert [item["minutes_before"] for item in await reminded(bob)] == [10, 5]
    ids = []
    for user in (alice, bob):
        items = (await user.client.get("/api/notifications")).json()
        ids.append(next(item["id"] for item in items if item["type"] == "reminder"))
    assert ids[0] == ids[1]


async def test_what_was_missed_is_told_late_and_once(alice: User, look: Look) -> None:
    """After an hour without any process one still hears of the meeting; after days it is past."""
    await event(alice, 10, title="Missed")
    await event(alice, 10, title="Long past", at=SOON - minutes(60))
    await look(SOON + minutes(50))
    await look(SOON + minutes(51))
    found = await reminded(alice)
    assert [item["title"] for item in found] == ["Long past", "Missed"]
    assert [item["when"].partition(" (")[0] for item in found] == [
        "started 1 hour 50 minutes ago",
        "started 50 minutes ago",
    ]
    await event(alice, 10, title="Forgotten")
    await look(SOON + A_DAY)
    assert len(await reminded(alice)) == 2


async def test_an_event_that_is_almost_now_is_not_reminded_of(alice: User, look: Look) -> None:
    """Who creates a meeting five minutes ahead knows that it is in five minutes."""
    now = datetime.now(UTC)
    await event(alice, 10, 1, at=now + minutes(5))
    await look(now + minutes(1))
    assert await reminded(alice) == []
    await look(now + minutes(4.5))
    assert [item["minutes_before"] for item in await reminded(alice)] == [1]


async def test_it_follows_a_move(alice: User, look: Look) -> None:
    """Earlier or later, the reminder comes before the new time only."""
    created = await event(alice, 10)
    later = SOON + minutes(120)
    await moved(alice, created["id"], later)
    await look(SOON)
    assert await reminded(alice) == []
    earlier = SOON + minutes(30)
    await moved(alice, created["id"], earlier)
    await look(earlier - minutes(10))
    await look(later)
    assert starts(await reminded(alice)) == [rfc3339(earlier)]


async def test_a_move_to_where_it_would_have_been_due_tells_nothing(
    alice: User, look: Look
) -> None:
    """Nobody wants to be told of five minutes from now what they have just moved there."""
    created = await event(alice, 10)
    await look(SOON - minutes(120))
    await moved(alice, created["id"], SOON - minutes(115))
    await look(SOON - minutes(119))
    await look(SOON)
    assert await reminded(alice) == []


async def test_a_move_to_and_fro_tells_nothing_again(alice: User, look: Look) -> None:
    """What was told was told."""
    created = await event(alice, 10)
    await look(SOON - minutes(9))
    for start in (SOON + minutes(90), SOON):
        await moved(alice, created["id"], start)
        await look(SOON - minutes(8))
    await look(SOON + minutes(90))
    assert len(await reminded(alice)) == 1
    await moved(alice, created["id"], SOON + minutes(120))
    await look(SOON + minutes(110))
    assert len(await reminded(alice)) == 2


async def test_what_becomes_due_while_a_move_is_committed_is_told(alice: User, look: Look) -> None:
    """Between the last look and the next there is always a moment in which a change lands."""
    created = await event(alice, 10)
    await look(SOON - minutes(60))
    start = SOON - minutes(50) + timedelta(seconds=2)
    await moved(alice, created["id"], start)
    await look(SOON - minutes(60) + timedelta(seconds=5))
    assert starts(await reminded(alice)) == [rfc3339(start)]


@pytest.mark.parametrize("change", ["moved", "restored", "on again"])
async def test_a_change_while_nobody_looks_is_no_reason_to_forget(
    alice: User, look: Look, change: str
) -> None:
    """What becomes due in the minutes after it is told when somebody looks again."""
    now = datetime.now(UTC)
    soon = now + minutes(15)
    created = await event(alice, 10, at=soon + minutes(60) if change == "moved" else soon)
    path = f"/api/events/{created['id']}"
    if change == "restored":
        assert (await alice.client.delete(path)).status_code == 204
    elif change == "on again":
        await changed(alice, created["id"], status="cancelled")
    await look(now + minutes(1))
    if change == "moved":
        await moved(alice, created["id"], soon)
    elif change == "restored":
        assert (await alice.client.post(f"{path}/restore")).status_code == 200
    else:
        await changed(alice, created["id"], status="confirmed")
    await look(now + minutes(12))
    assert starts(await reminded(alice)) == [rfc3339(soon)]


async def test_a_move_just_after_an_outage_keeps_what_was_missed(alice: User, look: Look) -> None:
    """That another occurrence was moved is no reason not to tell of this one."""
    created = await event(alice, 10, recurrence_pattern=DAILY)
    await look(SOON - minutes(30))
    second = f"/occurrences/{rfc3339(SOON + A_DAY)}"
    await moved(alice, created["id"], SOON + A_DAY + minutes(60), second)
    await look(SOON + minutes(20))
    assert starts(await reminded(alice)) == [rfc3339(SOON)]


async def test_one_occurrence_that_is_moved_cancelled_or_deleted(alice: User, look: Look) -> None:
    """Each is reminded of where it is, or not at all, with the texts of its own."""
    created = await event(alice, 10, recurrence_pattern=DAILY)
    slots = [rfc3339(SOON + number * A_DAY) for number in range(5)]
    earlier = SOON + A_DAY - minutes(90)
    await moved(alice, created["id"], earlier, f"/occurrences/{slots[1]}")
    await changed(alice, created["id"], f"/occurrences/{slots[1]}", title="Earlier")
    await changed(alice, created["id"], f"/occurrences/{slots[2]}", status="cancelled")
    path = f"/api/events/{created['id']}/occurrences/{slots[3]}"
    assert (await alice.client.delete(path)).status_code == 204
    for hour in range(0, 24 * 6, 6):
        await look(SOON - minutes(60) + timedelta(hours=hour))
    found = await reminded(alice)
    assert starts(found) == [slots[0], rfc3339(earlier), slots[4]]
    assert [item["title"] for item in found] == ["Standup", "Earlier", "Standup"]
    assert found[1]["recurrence_id"] == slots[1]


async def test_a_cancelled_event_is_silent_until_it_is_on_again(alice: User, look: Look) -> None:
    """A series that is called off and on again goes on being told of."""
    created = await event(alice, 10, recurrence_pattern=DAILY)
    await changed(alice, created["id"], status="cancelled")
    await look(SOON)
    assert await reminded(alice) == []
    await changed(alice, created["id"], status="tentative")
    await look(SOON + A_DAY)
    assert starts(await reminded(alice)) == [rfc3339(SOON + A_DAY)]


async def test_a_deleted_event_is_silent_until_it_is_restored(
    alice: User, bob: User, look: Look
) -> None:
    """Each reader's reminders come back from the bin with it."""
    created = await event(alice, 10, recurrence_pattern=DAILY)
    await share(alice, created["id"], bob, "Viewer")
    await changed(bob, created["id"], reminders=told(20))
    path = f"/api/events/{created['id']}"
    assert (await alice.client.delete(path)).status_code == 204
    await look(SOON)
    assert await reminded(alice) == await reminded(bob) == []
    assert (await alice.client.post(f"{path}/restore")).status_code == 200
    await look(SOON + minutes(1))
    assert await reminded(alice) == await reminded(bob) == []
    await look(SOON + A_DAY)
    assert starts(await reminded(alice)) == starts(await reminded(bob)) == [rfc3339(SOON + A_DAY)]


async def test_who_has_no_access_any_more_is_not_reminded(
    alice: User, bob: User, look: Look
) -> None:
    """A revoked reader must not learn where the event has gone."""
    created = await event(alice, 10)
    await share(alice, created["id"], bob, "Viewer")
    await changed(bob, created["id"], reminders=told(10))
    await alice.client.delete(f"/api/events/{created['id']}/permissions/{bob.id}")
    await look(SOON)
    assert len(await reminded(alice)) == 1
    assert await reminded(bob) == []


async def test_a_disabled_user_is_not_reminded(alice: User, look: Look, database: Database) -> None:
    """Nobody reads it, and the email would go on arriving."""
    created = await event(alice, 10)
    set_active = query("UPDATE users SET is_active = CAST(:on AS boolean) WHERE id = :id")
    async with database.reading() as read:
        await read.first(set_active, on=False, id=alice.id)
    await look(SOON)
    async with database.reading() as read:
        await read.first(set_active, on=True, id=alice.id)
    assert created["reminders"] == told(10)
    assert await reminded(alice) == []


async def test_clocks_that_change_are_followed(alice: User, look: Look) -> None:
    """At 09:00 in Berlin is at 08:00 UTC in winter and at 07:00 UTC in summer."""
    saturday = datetime(2027, 3, 27, 8, tzinfo=UTC)
    await event(
        alice, 30, at=saturday, time_zone="Europe/Berlin", recurrence_pattern="FREQ=DAILY;COUNT=3"
    )
    await look(saturday - A_DAY)
    for day, hour in enumerate((7, 6, 6)):
        due = datetime(2027, 3, 27 + day, hour, 30, tzinfo=UTC)
        await look(due - BLINK)
        assert len(await reminded(alice)) == day
        await look(due)
        assert len(await reminded(alice)) == day + 1


async def test_an_all_day_event_counts_from_its_midnight(alice: User, look: Look) -> None:
    """The day begins where the event is, and people read a day and not a time."""
    await event(
        alice,
        60,
        start_time="2027-06-02",
        end_time="2027-06-03",
        time_zone="America/New_York",
        title="Holiday",
    )
    midnight = datetime(2027, 6, 2, 4, tzinfo=UTC)
    await look(midnight - minutes(60) - BLINK)
    assert await reminded(alice) == []
    await look(midnight - minutes(60))
    [found] = await reminded(alice)
    assert (found["recurrence_id"], found["start_time"]) == ("2027-06-02", "2027-06-02")
    assert found["when"] == "starts in 1 hour (2027-06-02)"


async def test_another_time_zone_moves_the_reminder(alice: User, look: Look) -> None:
    """A series that is moved to another zone is reminded of on its new wall clock."""
    start = datetime(2027, 6, 7, 9, tzinfo=UTC)
    created = await event(alice, 10, at=start, recurrence_pattern="FREQ=DAILY;COUNT=2")
    await changed(
        alice,
        created["id"],
        start_time="2027-06-07T09:00:00",
        end_time="2027-06-07T10:00:00",
        time_zone="Europe/Berlin",
    )
    await look(start - minutes(131))
    assert await reminded(alice) == []
    await look(start - minutes(130))
    await look(start)
    assert starts(await reminded(alice)) == ["2027-06-07T07:00:00Z"]


async def test_a_split_tells_of_each_occurrence_once(alice: User, look: Look) -> None:
    """The halves share their past: neither repeats it, and neither half loses an occurrence."""
    created = await event(alice, 10, recurrence_pattern=DAILY)
    await look(SOON + A_DAY)
    third = rfc3339(SOON + 2 * A_DAY)
    path = f"/api/events/{created['id']}/occurrences/{third}"
    answer = await alice.client.patch(path, params={"scope": "following"}, json={"title": "Later"})
    assert answer.status_code == 200, answer.text
    for day in range(1, 6):
        await look(SOON + day * A_DAY + minutes(1))
    found = await reminded(alice)
    # The first day was over when anybody looked first.
    assert starts(found) == [rfc3339(SOON + number * A_DAY) for number in range(1, 5)]
    assert [item["title"] for item in found] == ["Standup", "Later", "Later", "Later"]


async def test_new_reminders_look_ahead_only(alice: User, look: Look) -> None:
    """One that stays in a new list knows what it has told; one that comes tells what is to come."""
    created = await event(alice, 10)
    await look(SOON - minutes(10))
    await changed(alice, created["id"], reminders=told(10, 5))
    await look(SOON - minutes(9))
    assert [item["minutes_before"] for item in await reminded(alice)] == [10]
    await look(SOON - minutes(5))
    assert [item["minutes_before"] for item in await reminded(alice)] == [10, 5]


async def test_many_at_once_are_told_once_each(
    alice: User, database_url: str, database: Database
) -> None:
    """Several processes share a rush of reminders out, and none is told twice or lost."""
    count = 220
    body = {
        "title": "Rush",
        "start_time": rfc3339(SOON),
        "end_time": rfc3339(SOON + minutes(5)),
        "transparency": "transparent",
        "reminders": told(1, 2, 3, 4, 5),
    }
    answer = await alice.client.post("/api/events/batch", json={"events": [body] * count})
    assert answer.status_code == 201, answer.text

    async def process() -> None:
        async with Database.connect(database_url, pool_size=1) as own:
            while await service.remind(own, SOON, emails_per_hour=1):
                pass

    await asyncio.gather(*(process() for _ in range(5)))
    while await service.remind(database, SOON + minutes(1), emails_per_hour=1):
        pass
    rows = []
    statement = query("SELECT event_id, data FROM messages WHERE type = 'reminder'")
    async with database.reading() as read:
        rows = await read.all(statement)
    ids = {item["id"] for item in answer.json()}
    told_of = Counter(
        (str(row["event_id"]), orjson.loads(row["data"])["minutes_before"])
        for row in rows
        if str(row["event_id"]) in ids
    )
    assert len(told_of) == 5 * count
    assert set(told_of.values()) == {1}


async def test_what_a_process_was_at_when_it_died_is_told_by_another(
    alice: User, look: Look, database_url: str
) -> None:
    """Locks and marks go with the connection; nothing is half told."""
    await event(alice, 10)
    connection = await asyncpg.connect(database_url)
    await connection.execute("BEGIN")
    taken = await connection.fetch(queries.TAKE.sql, SOON)
    assert len(taken) >= 1
    await look(SOON)
    assert await reminded(alice) == []
    connection.terminate()
    async with asyncio.timeout(20):
        while not await reminded(alice):
            await look(SOON)
            await asyncio.sleep(0.02)
    assert len(await reminded(alice)) == 1


async def test_a_change_and_a_look_at_once_miss_nothing(
    alice: User, look: Look, database: Database, database_url: str
) -> None:
    """A look that can't see a change yet must not take back the mark that the change has left."""
    created = await event(alice, 10)
    earlier = SOON - minutes(60)
    mover = await asyncpg.connect(database_url)
    move = """
        UPDATE occurrences SET start_time = $1, end_time = $2, override = '{"title": "Earlier"}'
        WHERE event_id = $3"""
    moving: asyncio.Task[str] | None = None

    async def look_slowly(tx: Transaction) -> None:
        nonlocal moving
        taken = await tx.all(queries.TAKE, now=SOON - minutes(120))
        assert created["id"] in {str(row["event_id"]) for row in taken}
        moving = asyncio.create_task(
            mover.execute(move, earlier, earlier + minutes(5), created["id"])
        )
        # It waits for this transaction, or else would be done by then.
        await asyncio.wait({moving}, timeout=0.3)
        await tx.all(
            queries.LOOK,
            now=SOON - minutes(120),
            event_ids=[row["event_id"] for row in taken],
            user_ids=[row["user_id"] for row in taken],
            minutes_before=[row["minutes_before"] for row in taken],
            channels=[row["channel"] for row in taken],
        )

    await mover.execute("BEGIN")
    try:
        await database.transaction(look_slowly)
        assert moving is not None
        await asyncio.wait_for(moving, timeout=5)
        await mover.execute("COMMIT")
    finally:
        await mover.close()
    await look(earlier - minutes(10))
    assert starts(await reminded(alice)) == [rfc3339(earlier)]


async def test_an_endless_series_goes_on(alice: User, look: Look) -> None:
    """What is stored of it later is reminded of too."""
    await event(alice, 10, recurrence_pattern="FREQ=DAILY", transparency="transparent")
    await look(SOON - minutes(60))
    far = SOON + 1000 * A_DAY
    window = {"start": rfc3339(far), "end": rfc3339(far + A_DAY)}
    answer = await alice.client.get("/api/occurrences", params=window)
    assert len(answer.json()) == 1
    await look(far - minutes(10))
    assert starts(await reminded(alice))[-1] == rfc3339(far)


async def test_a_huge_series_costs_little(alice: User, look: Look, database: Database) -> None:
    """Five thousand occurrences are found by their index, not read one by one."""
    rule = "FREQ=DAILY;BYHOUR=6,7,8,9,10,11;COUNT=4300"
    created = await event(alice, 1, 2, 3, 4, 5, recurrence_pattern=rule, transparency="transparent")
    [first, *_] = (await alice.client.get(f"/api/events/{created['id']}/occurrences")).json()
    await look(SOON - minutes(150))
    statement = query("""
        SELECT next_at, stale_since FROM reminders WHERE event_id = :event_id ORDER BY next_at
    """)
    async with database.reading() as read:
        rows = await read.all(statement, event_id=created["id"])
    start = datetime.fromisoformat(first["start_time"])
    assert [row["next_at"] for row in rows] == [start - minutes(n) for n in (5, 4, 3, 2, 1)]
    assert [row["stale_since"] for row in rows] == [None] * len(rows)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 minutes"),
        (1, "1 minute"),
        (60, "1 hour"),
        (90, "1 hour 30 minutes"),
        (1440, "1 day"),
        (2881, "2 days 1 minute"),
        (40_320, "28 days"),
    ],
)
def test_durations_are_said_in_words(count: int, said: str) -> None:
    """Nobody counts 40,320 minutes."""
    assert words.duration(count) == said
