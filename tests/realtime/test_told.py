"""Who is told what: all readers, but not the session that did it; and what exactly has changed."""

from typing import Any

import httpx
import orjson
from fastapi import FastAPI

from eventmanager.core.database import Database, query
from eventmanager.history.diff import changes
from tests.conftest import PASSWORD, User, client_of
from tests.realtime.conftest import Worker, make_event, share, told

LIST = "/api/notifications"
_CHANGED = query(
    "SELECT CAST(changed_fields(CAST(:before AS jsonb), CAST(:after AS jsonb)) AS json)"
)


async def again(app: FastAPI, user: User) -> User:
    """Sign a user in once more and return them with the new session."""
    client = client_of(app)
    answer = await client.post(
        "/api/auth/login", json={"username": user.username, "password": PASSWORD}
    )
    assert answer.status_code == 200, answer.text
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return User(user.id, user.username, user.email, client)


async def messages(client: httpx.AsyncClient, event_id: str) -> list[dict[str, Any]]:
    """Return the notifications about an event."""
    listed = (await client.get(LIST, params={"limit": 200})).json()
    return [message for message in listed if message["event_id"] == event_id]


async def test_the_users_other_sessions_hear_what_one_session_does(
    app: FastAPI, here: Worker, alice: User
) -> None:
    """A laptop shows what the phone has done; the phone, which knows, is not told."""
    phone, laptop = alice, await again(app, alice)
    async with here.open(phone) as on_phone, here.open(laptop) as on_laptop:
        event_id = await make_event(phone)
        created = await told(on_laptop)
        assert (created["type"], created["event_id"]) == ("event_created", event_id)
        assert created["initiator_id"] == str(alice.id)
        await laptop.client.patch(f"/api/events/{event_id}", json={"title": "Moved"})
        first = await told(on_phone)
        assert (first["type"], first["message"]) == (
            "event_updated",
            "\u201cMoved\u201d was changed.",
        )
    on_phone_now = await messages(phone.client, event_id)
    on_laptop_now = await messages(laptop.client, event_id)
    assert [message["type"] for message in on_phone_now] == ["event_updated"]
    assert [message["type"] for message in on_laptop_now] == ["event_created"]
    await laptop.client.aclose()


async def test_what_a_user_did_is_never_unread(app: FastAPI, alice: User, bob: User) -> None:
    """The badge counts what others did, in whichever session one looks."""
    laptop = await again(app, alice)
    event_id = await make_event(alice)
    await share(alice, event_id, bob, "Editor")
    for client, unread in ((alice.client, 0), (laptop.client, 0), (bob.client, 1)):
        assert (await client.get(f"{LIST}/unread")).json()["unread"] == unread
    await bob.client.patch(f"/api/events/{event_id}", json={"title": "Bob's"})
    for client in (alice.client, laptop.client, bob.client):
        assert (await client.get(f"{LIST}/unread")).json()["unread"] == 1
    await laptop.client.aclose()


async def test_who_leaves_is_told_in_their_other_sessions(
    app: FastAPI, alice: User, bob: User
) -> None:
    """They have no grant any more, and would else keep showing the event."""
    laptop = await again(app, bob)
    event_id = await make_event(alice)
    await share(alice, event_id, bob)
    url = f"/api/events/{event_id}/permissions/{bob.id}"
    assert (await bob.client.delete(url)).status_code == 204
    left = (await messages(laptop.client, event_id))[-1]
    assert (left["type"], left["user_id"]) == ("permission_revoked", str(bob.id))
    await laptop.client.aclose()


async def test_who_was_taken_off_an_event_hears_no_more_of_it(
    here: Worker, alice: User, bob: User
) -> None:
    """On the socket that was open all the time, and from the very next change on."""
    event_id, other = await make_event(alice), await make_event(alice)
    await share(alice, event_id, bob)
    async with here.open(bob) as socket:
        await alice.client.delete(f"/api/events/{event_id}/permissions/{bob.id}")
        await alice.client.patch(f"/api/events/{event_id}", json={"title": "Secret"})
        await share(alice, other, bob)
        heard = [await told(socket), await told(socket)]
    assert [one["type"] for one in heard] == ["permission_revoked", "permission_granted"]
    assert "Secret" not in str(await messages(bob.client, event_id))


async def test_a_message_says_what_has_changed(alice: User, bob: User) -> None:
    """The same as the difference of the versions before and after, so nobody need ask for it."""
    event_id = await make_event(alice, recurrence_pattern="FREQ=DAILY;COUNT=5")
    await share(alice, event_id, bob)
    url = f"/api/events/{event_id}"
    occurrences = (
        await alice.client.get(
            "/api/occurrences",
            params={"start": "2027-02-28T00:00:00Z", "end": "2027-04-30T00:00:00Z"},
        )
    ).json()
    slot = next(one for one in occurrences if one["event_id"] == event_id)["recurrence_id"]
    for answer in (
        await alice.client.patch(url, json={"title": "New", "location": None}),
        await alice.client.patch(url, json={"transparency": "transparent", "description": "x"}),
        await alice.client.patch(f"{url}/occurrences/{slot}", json={"title": "Special"}),
        await alice.client.post(f"{url}/rollback/1"),
        await alice.client.delete(url),
        await alice.client.post(f"{url}/restore"),
    ):
        assert answer.is_success, answer.text
    told_of = [one for one in await messages(bob.client, event_id) if "version" in one["data"]]
    assert [one["data"]["version"] for one in told_of] == [2, 3, 4, 5, 6, 7]
    for one in told_of:
        number = one["data"]["version"]
        diff = (await alice.client.get(f"{url}/diff/{number - 1}/{number}")).json()
        expected = [
            change for change in diff["changes"] if change["field"] not in {"version", "updated_at"}
        ]
        assert one["data"]["changes"] == sorted(expected, key=lambda change: change["field"])
    assert [change["field"] for change in told_of[2]["data"]["changes"]] == [f"overrides/{slot}"]
    assert told_of[2]["data"]["recurrence_id"] == slot


async def test_fields_that_one_side_lacks_are_changes_too(database: Database) -> None:
    """Versions of older releases have fewer fields."""
    before = {"a": 1, "b": None, "c": [1], "overrides": {"x": {"t": 1}, "y": {}}}
    after = {"b": 0, "c": [1], "d": {"e": 2}, "overrides": {"x": {"t": 2}, "z": {}}, "version": 9}
    async with database.reading() as read:
        row = await read.first(
            _CHANGED, before=orjson.dumps(before).decode(), after=orjson.dumps(after).decode()
        )
    assert row is not None
    expected = [change for change in changes(before, after) if change["field"] != "version"]
    assert orjson.loads(row[0]) == sorted(expected, key=lambda change: str(change["field"]))
