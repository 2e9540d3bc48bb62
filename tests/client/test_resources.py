"""What one can do with events, through both kinds of client, against a real server."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from eventmanager.client import (
    AsyncClient,
    Client,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
)
from eventmanager.client.events import ShareWith
from eventmanager.client.models import Event, Occurrence
from eventmanager.core.config import Settings
from tests.client.conftest import options
from tests.conftest import User
from tests.realtime.conftest import Worker, worker

NINE = datetime(2027, 4, 5, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def test_an_event_lives_and_dies(client: AsyncClient) -> None:
    """Created, read, changed, compared, brought back, deleted and restored, typed throughout."""
    made = await client.events.create(title="Lunch", start_time=NINE, end_time=NINE + HOUR)
    assert (made.title, made.start_time, made.version) == ("Lunch", NINE, 1)
    assert (await client.me()).id == made.owner_id == made.permissions[0].user_id
    later = await client.events.update(made.id, if_version=1, title="Late lunch")
    assert (later.version, await client.events.get(made.id)) == (2, later)
    difference = await client.events.diff(made.id, 1)
    changes = {change.field: (change.before, change.after) for change in difference.changes}
    assert changes["title"] == ("Lunch", "Late lunch")
    assert (await client.events.blame(made.id))["title"].version == 2
    assert (await client.events.undo(made.id)).title == "Lunch"
    assert (await client.events.rollback(made.id, 2)).title == "Late lunch"
    assert (await anext(client.events.history(made.id))).operation == "create"
    assert (await client.events.version(made.id, 1)).data["title"] == "Lunch"
    await client.events.delete(made.id)
    with pytest.raises(NotFound):
        await client.events.get(made.id)
    assert [event.id async for event in client.events.list(deleted=True)] == [made.id]
    assert (await client.events.restore(made.id)).id == made.id


async def test_the_client_that_waits_does_the_same(waiting: Client) -> None:
    """One description of what can be done serves both."""

    def flow() -> None:
        with waiting as client:
            made = client.events.create(title="Lunch", start_time=NINE, end_time=NINE + HOUR)
            assert client.events.update(made.id, title="Dinner").version == 2
            many = client.events.create_many(
                [
                    {"title": f"{day}", "start_time": start, "end_time": start + HOUR}
                    for day in range(1, 8)
                    for start in [NINE + timedelta(days=day)]
                ]
            )
            listed = list(client.events.list(page_size=3))
            assert [event.title for event in listed] == ["Dinner", *"1234567"]
            with pytest.raises(Conflict):
                client.events.create(title="Clash", start_time=NINE, end_time=NINE + HOUR)
            client.events.delete(many[0].id)
            synced = client.sync()
            assert {event.id for event in synced.changed} == {made.id, *(e.id for e in many[1:])}
            client.events.delete(many[1].id)
            assert client.sync(synced.sync_token).removed == [many[1].id]

    await asyncio.to_thread(flow)


async def test_lists_go_through_all_pages(client: AsyncClient) -> None:
    """Each is asked for when it is needed, by the link of the one before."""
    starts = [NINE + timedelta(days=day) for day in range(8)]
    await client.events.create_many(
        [{"title": "Run", "start_time": at, "end_time": at + HOUR} for at in starts]
    )
    found = [event.start_time async for event in client.events.list(q="run", page_size=3)]
    assert found == starts
    agenda = client.occurrences.list(starts[1], starts[6], page_size=2)
    assert [occurrence.start_time async for occurrence in agenda] == starts[1:6]


async def test_a_clash_says_with_what(client: AsyncClient) -> None:
    """A user handles the one error, and reads its facts."""
    made = await client.events.create(title="Taken", start_time=NINE, end_time=NINE + HOUR)
    with pytest.raises(Conflict) as caught:
        await client.events.create(title="Clash", start_time=NINE, end_time=NINE + HOUR)
    error = caught.value
    assert (error.status, error.code, error.facts["total"]) == (409, "time_conflict", 1)
    assert error.conflicts[0]["existing"]["event_id"] == str(made.id)
    assert error.request_id
    allowed = await client.events.create(
        title="Clash", start_time=NINE, end_time=NINE + HOUR, on_conflict="allow"
    )
    (clash,) = [pair async for pair in client.clashes(NINE, NINE + HOUR)]
    assert {clash.earlier.event_id, clash.later.event_id} == {made.id, allowed.id}


async def test_each_refusal_is_an_error_of_its_kind(client: AsyncClient, bob: User) -> None:
    """Which says what was wrong, in a value or a sentence."""
    with pytest.raises(Invalid) as caught:
        await client.events.create(title="", start_time=NINE, end_time=NINE)
    assert caught.value.status == 422
    assert isinstance(caught.value.detail, list)
    with pytest.raises(NotFound):
        await client.events.get(uuid4())
    made = await client.events.create(title="Mine", start_time=NINE, end_time=NINE + HOUR)
    await client.events.update(made.id, title="Still mine")
    with pytest.raises(PreconditionFailed) as stale:
        await client.events.update(made.id, if_version=1, title="Yours")
    assert stale.value.facts["current_version"] == 2
    answer = await bob.client.get(f"/api/events/{made.id}")
    assert answer.status_code == 403


async def test_a_dry_run_changes_nothing(client: AsyncClient) -> None:
    """It answers as the write would."""
    planned = await client.events.create(
        title="Maybe", start_time=NINE, end_time=NINE + HOUR, dry_run=True
    )
    assert planned.title == "Maybe"
    assert [event async for event in client.events.list()] == []


async def test_a_key_of_ones_own_does_it_once(client: AsyncClient) -> None:
    """Also across processes, which draw no key alike."""

    async def book() -> Event:
        return await client.events.create(
            title="Once", start_time=NINE, end_time=NINE + HOUR, idempotency_key="mine"
        )

    assert await book() == await book()


async def test_occurrences_are_changed_by_their_names(client: AsyncClient) -> None:
    """The original start, as a datetime or a date, names one in the path."""
    series = await client.events.create(
        title="Standup", start_time=NINE, end_time=NINE + HOUR, recurrence_pattern="FREQ=DAILY"
    )
    second = NINE + timedelta(days=1)
    moved = await client.occurrences.update(
        series.id, second, start_time=second + HOUR, end_time=second + 2 * HOUR
    )
    assert isinstance(moved, Occurrence)
    assert (moved.is_override, moved.recurrence_id) == (True, second)
    assert not (await client.occurrences.reset(series.id, second)).is_override
    rest = await client.occurrences.update_series(series.id, second, "following", title="Other")
    assert (rest.split_from, rest.title) == (series.id, "Other")
    await client.occurrences.delete(series.id, NINE)
    assert [o async for o in client.occurrences.of(series.id, end=NINE + 9 * HOUR)] == []


async def test_dates_stay_dates(client: AsyncClient) -> None:
    """An all-day event has no midnight that a time zone could move."""
    day = date(2027, 5, 1)
    made = await client.events.create(
        title="Holiday",
        start_time=day,
        end_time=day + timedelta(days=1),
        recurrence_pattern="FREQ=DAILY;COUNT=2",
    )
    assert (type(made.start_time), made.start_time, made.all_day) == (date, day, True)
    occurrence = await client.occurrences.get(made.id, day)
    assert (type(occurrence.recurrence_id), occurrence.end_time) == (date, made.end_time)


async def test_an_event_is_shared_and_taken_back(
    here: Worker, client: AsyncClient, bob: User
) -> None:
    """With typed roles; the log of them too."""
    made = await client.events.create(title="Ours", start_time=NINE, end_time=NINE + HOUR)
    (given,) = await client.events.share(made.id, {"username": bob.username, "role": "Viewer"})
    assert (given.user_id, given.role) == (bob.id, "Viewer")
    async with AsyncClient(f"http://127.0.0.1:{here.port}", **options(bob)) as other:
        with pytest.raises(Forbidden):
            await other.events.update(made.id, title="His")
    assert (await client.events.change_role(made.id, bob.id, "Editor")).role == "Editor"
    await client.events.revoke(made.id, bob.id)
    assert len(await client.events.permissions(made.id)) == 1
    log = [change.operation async for change in client.events.permission_history(made.id)]
    assert len(log) == 4


async def test_who_shares_is_changed_as_it_was_seen(
    settings: Settings, alice: User, bob: User
) -> None:
    """Also where the server wants every change to say what it is based on."""
    async with worker(settings.model_copy(update={"require_if_match": True})) as one:
        url = f"http://127.0.0.1:{one.port}"
        async with AsyncClient(url, **options(alice)) as client:
            made = await client.events.create(title="Ours", start_time=NINE, end_time=NINE + HOUR)
            grant: ShareWith = {"user_id": bob.id, "role": "Viewer"}
            with pytest.raises(PreconditionFailed) as caught:
                await client.events.share(made.id, grant)
            assert caught.value.status == 428
            alone = await client.events.permissions(made.id)
            await client.events.share(made.id, grant, if_match=alone.etag)
            both = await client.events.permissions(made.id)
            assert [permission.user_id for permission in both] == [alice.id, bob.id]
            with pytest.raises(PreconditionFailed):
                await client.events.change_role(made.id, bob.id, "Editor", if_match=alone.etag)
            await client.events.change_role(made.id, bob.id, "Editor", if_match=both.etag)
            with pytest.raises(PreconditionFailed):
                await client.events.revoke(made.id, bob.id, if_match=both.etag)
            now = await client.events.permissions(made.id)
            await client.events.revoke(made.id, bob.id, if_match=now.etag)
            assert await client.events.permissions(made.id) == alone


async def test_many_are_changed_at_once(client: AsyncClient) -> None:
    """All or none, by ids or a filter; each by itself if asked for."""
    starts = [NINE + timedelta(days=day) for day in range(3)]
    made = await client.events.create_many(
        [{"title": "Run", "start_time": at, "end_time": at + HOUR} for at in starts]
    )
    changed = await client.events.update_many({"location": "Park"}, where={"q": "run"})
    assert {result.event.location for result in changed if result.event} == {"Park"}
    ids: list[UUID | str] = [made[0].id, uuid4()]
    results = await client.events.delete_many(ids=ids, atomic=False)
    assert sorted(result.status for result in results) == [204, 404]
    with pytest.raises(ValueError, match="idempotency_key"):
        await client.events.delete_many(ids=ids, atomic=False, idempotency_key="mine")
    with pytest.raises(ValueError, match="idempotency_key"):
        await client.events.update_many({}, ids=ids, atomic=False, idempotency_key="mine")


async def test_people_are_asked_when_they_are_free(client: AsyncClient, bob: User) -> None:
    """Naive times and zones, durations and windows as Python has them."""
    await client.events.create(title="Taken", start_time=NINE, end_time=NINE + HOUR)
    me = (await client.me()).username
    asked = await client.free_busy([me, bob.username], NINE - HOUR, NINE + 2 * HOUR)
    assert [[b.start_time for b in user.busy or ()] for user in asked.users] == [[NINE], []]
    found = await client.availability(
        [me, bob.username],
        NINE,
        NINE + 3 * HOUR,
        timedelta(minutes=45),
        limit=1,
        working_hours=[{"time_zone": "UTC", "start": "09:00", "end": "17:00"}],
    )
    assert (found.found, found.slots[0].start_time) == ("all", NINE + HOUR)


async def test_a_duration_is_whole_minutes(client: AsyncClient) -> None:
    """What would be cut off is not asked for."""
    with pytest.raises(ValueError, match="0:45:50 is not whole minutes"):
        await client.availability([], NINE, NINE + HOUR, timedelta(minutes=45, seconds=50))


async def test_a_webhook_is_made_and_looked_after(client: AsyncClient) -> None:
    """Its secret comes once; what was posted can be read and posted again."""
    made = await client.webhooks.create("https://93.184.215.14/events", types=["event_updated"])
    assert made.secret is not None
    assert made.secret not in repr(made)
    assert [webhook.id async for webhook in client.webhooks.list()] == [made.id]
    paused = await client.webhooks.update(made.id, is_active=False, types=None)
    assert (paused.is_active, paused.types, paused.secret) == (False, None, None)
    assert await client.webhooks.get(made.id) == paused
    assert (await client.webhooks.change_secret(made.id)).secret not in {made.secret, None}
    ping = await client.webhooks.test(made.id)
    assert [each.id async for each in client.webhooks.deliveries(made.id)] == [ping.id]
    assert (await client.webhooks.replay(made.id, ping.id)).id == ping.id
    whole = await client.webhooks.delivery(made.id, ping.id)
    assert (whole.type, whole.state) == ("ping", "pending")
    assert whole.body is not None
    await client.webhooks.delete(made.id)
    with pytest.raises(NotFound):
        await client.webhooks.get(made.id)


async def test_reminders_are_the_callers(client: AsyncClient) -> None:
    """Set with the event, and changed like its fields."""
    made = await client.events.create(
        title="Dentist",
        start_time=NINE,
        end_time=NINE + HOUR,
        reminders=[{"minutes_before": 10, "channel": "notification"}],
    )
    assert [reminder.minutes_before for reminder in made.reminders] == [10]
    changed = await client.events.update(made.id, reminders=[])
    assert changed.reminders == []
