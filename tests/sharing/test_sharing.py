"""Granting, changing and revoking roles."""

import asyncio
from uuid import UUID, uuid4

import pytest

from eventmanager.core.database import Database, Query
from tests.conftest import MakeUser, User
from tests.sharing.conftest import create, id_of, share

_MESSAGES = Query(
    "SELECT recipient_id, type, data->>'user_id' AS user_id, data->>'role' AS role"
    " FROM messages, unnest(recipients) AS recipient_id"
    " WHERE event_id = $1 AND recipient_id <> initiator_id ORDER BY position",
    ("event_id",),
)


async def told(database: Database, event: str) -> list[tuple[UUID, str, str, str]]:
    """Return who was told what: recipient, type, user and role."""
    async with database.reading() as read:
        rows = await read.all(_MESSAGES, event_id=id_of(event))
    return [(row["recipient_id"], row["type"], row["user_id"], row["role"]) for row in rows]


async def test_users_are_named_by_id_username_or_email(
    alice: User, bob: User, make_user: MakeUser
) -> None:
    """All in one request, in any letter case, and the answer has them in that order."""
    carol, dave = await make_user(), await make_user()
    event = await create(alice)
    shares = [
        {"email": carol.email.upper(), "role": "Viewer"},
        {"user_id": str(bob.id), "role": "Editor"},
        {"username": dave.username.upper(), "role": "Owner"},
    ]
    answer = await alice.client.post(f"{event}/share", json=shares)
    assert answer.status_code == 201
    assert answer.json() == [
        {"user_id": str(carol.id), "role": "Viewer"},
        {"user_id": str(bob.id), "role": "Editor"},
        {"user_id": str(dave.id), "role": "Owner"},
    ]
    for reader in (alice, bob, carol, dave):
        listed = (await reader.client.get(f"{event}/permissions")).json()
        assert len(listed) == 4
        assert listed[0] == {"user_id": str(alice.id), "role": "Owner"}
        assert (await reader.client.get(event)).json()["permissions"] == listed


async def test_all_are_granted_or_none(alice: User, bob: User) -> None:
    """An unknown user, named by its place, or a second grant leaves the event as it was."""
    event = await create(alice)
    stranger = {"user_id": str(uuid4()), "role": "Viewer"}
    to_bob = {"user_id": str(bob.id), "role": "Editor"}
    unknown = await alice.client.post(f"{event}/share", json=[to_bob, stranger])
    assert (unknown.status_code, unknown.json()["index"]) == (404, 1)
    assert await share(alice, event, to_bob, to_bob | {"role": "Viewer"}) == 409
    assert len((await alice.client.get(f"{event}/permissions")).json()) == 1
    assert await share(alice, event, to_bob) == 201
    again = await alice.client.post(f"{event}/share", json=[to_bob])
    assert (again.status_code, again.json()["code"]) == (409, "duplicate_grant")


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        [{"role": "Viewer"}],
        [{"user_id": "x", "role": "Viewer"}],
        [{"username": "a", "email": "b@example.com", "role": "Viewer"}],
        [{"username": "a", "role": "Boss"}],
        [{"username": "a", "role": "owner"}],
        [{"username": "a"}],
        [{"username": "a", "role": "Viewer", "owner_id": "me"}],
        [{"username": "\x00", "role": "Viewer"}],
    ],
)
async def test_what_names_nobody_is_refused(alice: User, body: object) -> None:
    """422, before anything is looked up."""
    event = await create(alice)
    assert (await alice.client.post(f"{event}/share", json=body)).status_code == 422


async def test_a_role_can_be_changed_and_taken_away(
    alice: User, bob: User, database: Database
) -> None:
    """With effect on the next request, and without a version of the event."""
    event = await create(alice)
    theirs = f"{event}/permissions/{bob.id}"
    await share(alice, event, {"user_id": str(bob.id), "role": "Editor"})
    lowered = await alice.client.put(theirs, json={"role": "Viewer"})
    assert (lowered.status_code, lowered.json()) == (
        200,
        {"user_id": str(bob.id), "role": "Viewer"},
    )
    assert (await bob.client.put(event, json={"title": "No"})).status_code == 403
    assert (await alice.client.delete(theirs)).status_code == 204
    assert (await bob.client.get(event)).status_code == 403
    for method, body in (("DELETE", None), ("PUT", {"role": "Viewer"})):
        assert (await alice.client.request(method, theirs, json=body)).status_code == 404
    assert (await alice.client.get(event)).json()["version"] == 1
    assert await told(database, event) == [
        (bob.id, "permission_granted", str(bob.id), "Editor"),
        (bob.id, "permission_updated", str(bob.id), "Viewer"),
        (bob.id, "permission_revoked", str(bob.id), "Viewer"),
    ]


async def test_the_role_that_a_user_has_already_is_no_change(
    alice: User, bob: User, database: Database
) -> None:
    """It is answered like one, and nobody is told."""
    event = await create(alice)
    await share(alice, event, {"user_id": str(bob.id), "role": "Editor"})
    same = await alice.client.put(f"{event}/permissions/{bob.id}", json={"role": "Editor"})
    assert (same.status_code, same.json()["role"]) == (200, "Editor")
    assert [row[1] for row in await told(database, event)] == ["permission_granted"]


async def test_every_other_reader_hears_of_a_grant(
    alice: User, bob: User, make_user: MakeUser, database: Database
) -> None:
    """And the one who made it does not."""
    carol = await make_user()
    event = await create(alice)
    await share(alice, event, {"user_id": str(bob.id), "role": "Viewer"})
    await share(alice, event, {"user_id": str(carol.id), "role": "Viewer"})
    granted = [row for row in await told(database, event) if row[2] == str(carol.id)]
    assert {row[0] for row in granted} == {bob.id, carol.id}


async def test_only_an_owner_shares(alice: User, bob: User, make_user: MakeUser) -> None:
    """An Editor may change the event, not who shares it; a co-Owner may."""
    carol = await make_user()
    event = await create(alice)
    to_carol = {"user_id": str(carol.id), "role": "Viewer"}
    assert await share(bob, event, to_carol) == 403
    await share(alice, event, {"user_id": str(bob.id), "role": "Editor"})
    assert await share(bob, event, to_carol) == 403
    for method, body in (("PUT", {"role": "Viewer"}), ("DELETE", None)):
        url = f"{event}/permissions/{alice.id}"
        assert (await bob.client.request(method, url, json=body)).status_code == 403
    await alice.client.put(f"{event}/permissions/{bob.id}", json={"role": "Owner"})
    assert await share(bob, event, to_carol) == 201


async def test_anybody_may_leave(alice: User, bob: User) -> None:
    """A Viewer gives up their own role."""
    event = await create(alice)
    await share(alice, event, {"user_id": str(bob.id), "role": "Viewer"})
    assert (await bob.client.delete(f"{event}/permissions/{bob.id}")).status_code == 204
    assert (await bob.client.get(event)).status_code == 403


async def test_the_last_owner_stays(alice: User, bob: User) -> None:
    """Neither lowered nor removed, until somebody else is Owner."""
    event = await create(alice)
    mine = f"{event}/permissions/{alice.id}"
    await share(alice, event, {"user_id": str(bob.id), "role": "Editor"})
    for answer in (
        await alice.client.put(mine, json={"role": "Editor"}),
        await alice.client.delete(mine),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "last_owner")
    assert (await alice.client.put(mine, json={"role": "Owner"})).status_code == 200
    await alice.client.put(f"{event}/permissions/{bob.id}", json={"role": "Owner"})
    assert (await alice.client.delete(mine)).status_code == 204
    assert (await alice.client.get(event)).status_code == 403


async def test_two_owners_who_remove_each_other_do_not_both_succeed(alice: User, bob: User) -> None:
    """Grants of one event change one by one, so one Owner is always left."""
    for _ in range(10):
        event = await create(alice)
        await share(alice, event, {"user_id": str(bob.id), "role": "Owner"})
        answers = await asyncio.gather(
            alice.client.delete(f"{event}/permissions/{bob.id}"),
            bob.client.delete(f"{event}/permissions/{alice.id}"),
        )
        assert sorted(answer.status_code for answer in answers) == [204, 403]
        left = alice if answers[0].status_code == 204 else bob
        assert (await left.client.delete(event)).status_code == 204


async def test_the_same_grant_twenty_times_at_once_is_made_once(alice: User, bob: User) -> None:
    """One 201, the others 409."""
    event = await create(alice)
    to_bob = {"user_id": str(bob.id), "role": "Viewer"}
    statuses = await asyncio.gather(*(share(alice, event, to_bob) for _ in range(20)))
    assert sorted(statuses) == [201] + [409] * 19
