"""Changing and deleting events, and who may."""

import asyncio
import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from eventmanager.core.database import Database, Query
from tests.conftest import MakeUser, User
from tests.events.conftest import meeting, share

_VERSIONS = Query(
    "SELECT version, operation, data, changed_by FROM versions WHERE event_id = $1 ORDER BY 1",
    ("event_id",),
)
_MESSAGES = Query(
    "SELECT recipients, initiator_id, type FROM messages WHERE event_id = $1 ORDER BY position",
    ("event_id",),
)
_BUSY = Query("SELECT count(*) FROM occurrences WHERE event_id = $1", ("event_id",))


async def rows(database: Database, statement: Query, event: dict[str, Any]) -> list[Any]:
    """Run a statement about an event."""
    async with database.reading() as read:
        return await read.all(statement, event_id=UUID(event["id"]))


async def create(user: User, **fields: Any) -> dict[str, Any]:
    """Create a meeting from 10 to 11."""
    answer = await user.client.post("/api/events", json=meeting("10:00", "11:00", **fields))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def put(user: User, event: dict[str, Any], **fields: Any) -> httpx.Response:
    """Change fields of an event."""
    return await user.client.put(f"/api/events/{event['id']}", json=fields)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_only_what_was_sent_changes(alice: User, method: str) -> None:
    """A client that knows one field does not wipe out the others."""
    event = await create(alice, description="Keep me", location="Room 1")
    url = f"/api/events/{event['id']}"
    answer = await alice.client.request(method, url, json={"title": "New", "location": None})
    assert answer.status_code == 200
    changed = answer.json()
    assert changed["updated_at"] > event["updated_at"]
    expected = event | {"title": "New", "location": None, "version": 2}
    assert changed | {"updated_at": ""} == expected | {"updated_at": ""}
    assert answer.headers["ETag"] == '"2"'
    assert (await alice.client.get(url)).json() == changed


async def test_every_change_is_a_version_of_its_author(alice: User, database: Database) -> None:
    """Creation, edit, move and deletion are versions 1 to 4, each the state after it."""
    event = await create(alice)
    await put(alice, event, title="Renamed")
    await put(alice, event, start_time="2027-03-10T12:00:00Z", end_time="2027-03-10T13:00:00Z")
    await alice.client.delete(f"/api/events/{event['id']}")
    versions = await rows(database, _VERSIONS, event)
    assert [row["version"] for row in versions] == [1, 2, 3, 4]
    assert [row["operation"] for row in versions] == ["create", "update", "update", "delete"]
    assert {row["changed_by"] for row in versions} == {alice.id}
    states = [json.loads(row["data"]) for row in versions]
    assert [state["title"] for state in states] == ["Meeting", "Renamed", "Renamed", "Renamed"]
    assert [state["start_time"][11:13] for state in states] == ["10", "10", "12", "12"]
    assert all("permissions" not in state for state in states)


async def test_a_change_of_nothing_makes_no_version(alice: User) -> None:
    """An empty body answers the event as it is."""
    event = await create(alice)
    assert (await put(alice, event)).json() == event


async def test_a_moved_event_frees_its_old_time(alice: User) -> None:
    """And takes the new one."""
    event = await create(alice)
    moved = await put(
        alice, event, start_time="2027-03-10T12:00:00Z", end_time="2027-03-10T13:00:00Z"
    )
    assert moved.status_code == 200
    assert (await alice.client.post("/api/events", json=meeting("10:00", "11:00"))).is_success
    again = await alice.client.post("/api/events", json=meeting("12:30", "12:45"))
    assert again.status_code == 409


async def test_a_move_onto_busy_time_changes_nothing(alice: User, database: Database) -> None:
    """409 with both intervals, and the event stays as it was."""
    other = (await alice.client.post("/api/events", json=meeting("12:00", "13:00"))).json()
    event = await create(alice)
    answer = await put(alice, event, end_time="2027-03-10T12:30:00Z")
    assert answer.status_code == 409
    assert answer.json()["conflicts"] == [
        {
            "requested": {
                "recurrence_id": "2027-03-10T10:00:00Z",
                "start_time": "2027-03-10T10:00:00Z",
                "end_time": "2027-03-10T12:30:00Z",
            },
            "existing": {
                "event_id": other["id"],
                "title": "Meeting",
                "recurrence_id": "2027-03-10T12:00:00Z",
                "start_time": "2027-03-10T12:00:00Z",
                "end_time": "2027-03-10T13:00:00Z",
            },
        }
    ]
    assert (await alice.client.get(f"/api/events/{event['id']}")).json() == event
    assert len(await rows(database, _VERSIONS, event)) == 1


async def test_an_event_does_not_clash_with_itself(alice: User) -> None:
    """It may be moved by less than its own length."""
    event = await create(alice)
    assert (await put(alice, event, start_time="2027-03-10T10:30:00Z")).status_code == 200


@pytest.mark.parametrize("freed", [{"status": "cancelled"}, {"transparency": "transparent"}])
async def test_what_is_not_busy_blocks_nobody(alice: User, freed: dict[str, str]) -> None:
    """And can't come back onto time that was taken meanwhile."""
    event = await create(alice)
    assert (await put(alice, event, **freed)).status_code == 200
    await create(alice)
    back = await put(alice, event, status="confirmed", transparency="opaque")
    assert back.status_code == 409


async def test_a_change_of_zone_moves_a_series_and_is_checked(alice: User) -> None:
    """The wall clock of a series changes with its zone, on every one of its days."""
    series = await create(
        alice, recurrence_pattern="FREQ=DAILY;COUNT=30", time_zone="Europe/Berlin"
    )
    summer = {"start_time": "2027-04-01T10:15:00Z", "end_time": "2027-04-01T10:30:00Z"}
    await alice.client.post("/api/events", json={"title": "After Berlin's change"} | summer)
    # In Berlin the series is at 09:00 UTC once summer time begins; in UTC it stays at 10:00.
    answer = await put(alice, series, time_zone="UTC")
    assert answer.status_code == 409
    assert answer.json()["total"] == 1


async def test_a_series_becomes_a_single_event_and_back(alice: User, database: Database) -> None:
    """Its occurrences follow."""
    event = await create(alice, recurrence_pattern="FREQ=DAILY;COUNT=5")
    assert (await rows(database, _BUSY, event))[0][0] == 5
    single = await put(alice, event, is_recurring=False)
    assert (single.json()["is_recurring"], single.json()["recurrence_pattern"]) == (False, None)
    assert (await rows(database, _BUSY, event))[0][0] == 1
    again = await put(alice, event, recurrence_pattern="FREQ=WEEKLY;COUNT=3")
    assert again.json()["is_recurring"] is True
    assert (await rows(database, _BUSY, event))[0][0] == 3


async def test_an_event_becomes_all_day_and_back(alice: User) -> None:
    """New times say which it is."""
    event = await create(alice)
    whole = await put(alice, event, start_time="2027-03-10", end_time="2027-03-11")
    assert (whole.json()["all_day"], whole.json()["start_time"]) == (True, "2027-03-10")
    timed = {"start_time": "2027-03-10T08:00:00Z", "end_time": "2027-03-10T09:00:00Z"}
    assert (await put(alice, event, **timed)).json()["all_day"] is False


@pytest.mark.parametrize("field", ["title", "start_time", "time_zone", "status", "transparency"])
async def test_what_an_event_must_have_cannot_be_cleared(alice: User, field: str) -> None:
    """Null is not "leave it"."""
    event = await create(alice)
    answer = await put(alice, event, **{field: None})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]


async def test_an_editor_changes_and_a_viewer_does_not(
    alice: User, bob: User, make_user: MakeUser, database: Database
) -> None:
    """A refused change leaves no version and no message."""
    carol = await make_user()
    event = await create(alice)
    await share(alice, event["id"], bob, "Editor")
    await share(alice, event["id"], carol, "Viewer")
    assert (await put(bob, event, title="Bob's")).status_code == 200
    moved = await put(bob, event, end_time="2027-03-10T11:30:00Z")
    assert moved.status_code == 200
    for fields in ({"title": "Carol's"}, {"end_time": "2027-03-10T12:00:00Z"}):
        refused = await put(carol, event, **fields)
        assert (refused.status_code, refused.json()["code"]) == (403, "role_too_low")
    assert (await carol.client.get(f"/api/events/{event['id']}")).json()["title"] == "Bob's"
    versions = await rows(database, _VERSIONS, event)
    assert [row["changed_by"] for row in versions] == [alice.id, bob.id, bob.id]
    messages = await rows(database, _MESSAGES, event)
    messages = [row for row in messages if row["type"] == "event_updated"]
    assert {row["initiator_id"] for row in messages} == {bob.id}
    assert len(messages) == 2
    assert all({*row["recipients"]} == {alice.id, bob.id, carol.id} for row in messages)


async def test_an_editors_move_is_checked_against_the_owners_time(alice: User, bob: User) -> None:
    """Not against the Editor's; and a title that the Editor may not read is withheld."""
    await bob.client.post("/api/events", json=meeting("12:00", "13:00"))
    secret = meeting("14:00", "15:00", title="Doctor")
    await alice.client.post("/api/events", json=secret)
    event = await create(alice)
    await share(alice, event["id"], bob, "Editor")
    onto_bobs = {"start_time": "2027-03-10T12:00:00Z", "end_time": "2027-03-10T13:00:00Z"}
    assert (await put(bob, event, **onto_bobs)).status_code == 200
    answer = await put(bob, event, end_time="2027-03-10T14:30:00Z")
    assert answer.status_code == 409
    assert answer.json()["conflicts"][0]["existing"]["title"] is None
    assert "Doctor" not in answer.text


async def test_only_an_owner_deletes(alice: User, bob: User) -> None:
    """An Editor may not, and then it is gone for everybody."""
    event = await create(alice)
    url = f"/api/events/{event['id']}"
    assert (await bob.client.delete(url)).status_code == 403
    await share(alice, event["id"], bob, "Editor")
    assert (await bob.client.delete(url)).status_code == 403
    assert (await alice.client.delete(url)).status_code == 204
    for user in (alice, bob):
        assert (await user.client.get(url)).status_code == 404
        assert (await user.client.delete(url)).status_code == 404
        assert (await put(user, event, title="Ghost")).status_code == 404
        assert (await user.client.get("/api/events")).json() == []


async def test_a_deleted_event_frees_its_time_and_tells_its_readers(
    alice: User, bob: User, database: Database
) -> None:
    """The slot can be booked at once; the message is for those who could read it."""
    event = await create(alice, recurrence_pattern="FREQ=DAILY;COUNT=3")
    await share(alice, event["id"], bob, "Viewer")
    await alice.client.delete(f"/api/events/{event['id']}")
    await create(alice)
    message = (await rows(database, _MESSAGES, event))[-1]
    assert message["type"] == "event_deleted"
    assert {*message["recipients"]} == {alice.id, bob.id}


async def test_a_stranger_gets_403_and_an_unknown_id_404(alice: User, bob: User) -> None:
    """As the description says: known but not allowed, against not there."""
    event = await create(alice)
    nowhere = "/api/events/00000000-0000-0000-0000-000000000000"
    for method, body in (("GET", None), ("PUT", {"title": "x"}), ("PATCH", {}), ("DELETE", None)):
        mine = await bob.client.request(method, f"/api/events/{event['id']}", json=body)
        assert mine.status_code == 403, method
        unknown = await bob.client.request(method, nowhere, json=body)
        assert unknown.status_code == 404, method
    malformed = await bob.client.get("/api/events/not-a-uuid")
    assert malformed.status_code == 422


@pytest.mark.parametrize("fields", [{"title": "New"}, {"end_time": "2027-03-10T11:30:00Z"}, {}])
async def test_a_stale_if_match_is_refused(alice: User, fields: dict[str, str]) -> None:
    """The client learns the current version and has changed nothing; `*` and lists pass."""
    event = await create(alice)
    url = f"/api/events/{event['id']}"
    await alice.client.put(url, json={"title": "First"})
    for tag in ('"1"', 'W/"2"', "nonsense"):
        stale = await alice.client.put(url, json=fields, headers={"If-Match": tag})
        assert (stale.status_code, stale.json()["current_version"]) == (412, 2), tag
    assert (await alice.client.delete(url, headers={"If-Match": '"1"'})).status_code == 412
    for tag in ('"1", "2"', "*"):
        current = (await alice.client.get(url)).headers["ETag"]
        passed = await alice.client.put(
            url, json=fields, headers={"If-Match": tag if tag == "*" else f'"9", {current}'}
        )
        assert passed.status_code == 200


async def test_if_none_match_saves_the_body(alice: User) -> None:
    """A client that has the version is told so, in all forms of RFC 9110."""
    event = await create(alice)
    url = f"/api/events/{event['id']}"
    for tag in ('"1"', 'W/"1"', '"7", "1"', "*"):
        answer = await alice.client.get(url, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.content) == (304, b""), tag
    assert (await alice.client.get(url, headers={"If-None-Match": '"2"'})).status_code == 200


async def test_concurrent_edits_make_versions_without_a_gap(
    alice: User, database: Database
) -> None:
    """Each acknowledged edit, of texts or of times, is in exactly one version."""
    event = await create(alice)
    edits = [
        {"title": f"Title {n}"} if n % 2 else {"end_time": f"2027-03-10T11:{n:02}:00Z"}
        for n in range(40)
    ]
    answers = await asyncio.gather(*(put(alice, event, **edit) for edit in edits))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json()["version"] for answer in answers) == list(range(2, 42))
    versions = await rows(database, _VERSIONS, event)
    assert [row["version"] for row in versions] == list(range(1, 42))
    now = (await alice.client.get(f"/api/events/{event['id']}")).json()
    del now["permissions"], now["reminders"]
    assert json.loads(versions[-1]["data"]) == now
