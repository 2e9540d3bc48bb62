"""The log of an event's grants, and what the audit log says of them."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest

from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Query
from tests.conftest import MakeUser, User
from tests.events.conftest import meeting
from tests.sharing.conftest import audited, create, grant, id_of, log, share

# Each change of a grant, with how many entries the audit log got in the same transaction.
_TOGETHER = Query(
    "SELECT c.operation, (SELECT count(*) FROM audit_log a WHERE a.xmin = c.transaction_id::xid"
    " AND a.event_id = c.event_id AND a.subject_id = c.user_id AND a.details->>'role' = c.role"
    " AND a.user_id = c.changed_by AND a.at = c.changed_at) AS entries"
    " FROM grant_changes c WHERE c.event_id = $1 ORDER BY c.id",
    ("event_id",),
)


def done(entries: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Return of each entry what was done to whom, the role, and by whom."""
    return [(e["operation"], e["user_id"], e["role"], e["changed_by"]) for e in entries]


async def test_the_log_begins_with_the_owner(alice: User, event: str) -> None:
    """The role that comes with an event is there, as of the event's first version."""
    [version] = (await alice.client.get(f"{event}/history")).json()
    [entry] = await log(alice, event)
    at = datetime.fromisoformat(entry.pop("changed_at"))
    assert at == datetime.fromisoformat(version["timestamp"])
    assert entry == {
        "id": version["id"],
        "event_id": version["event_id"],
        "user_id": str(alice.id),
        "operation": "grant",
        "role": "Owner",
        "changed_by": str(alice.id),
    }


async def test_every_change_is_in_the_log_once_and_in_order(
    alice: User, bob: User, make_user: MakeUser, event: str
) -> None:
    """Those of one request too, in the order of that request; leaving is one as well."""
    carol, dave = await make_user(), await make_user()
    before = datetime.now(UTC)
    await share(alice, event, grant(dave), grant(bob, "Editor"), grant(carol))
    await alice.client.put(f"{event}/permissions/{bob.id}", json={"role": "Owner"})
    await alice.client.put(f"{event}/permissions/{bob.id}", json={"role": "Owner"})
    await bob.client.delete(f"{event}/permissions/{carol.id}")
    await dave.client.delete(f"{event}/permissions/{dave.id}")
    entries = await log(alice, event)
    a, b, c, d = (str(user.id) for user in (alice, bob, carol, dave))
    assert done(entries) == [
        ("grant", a, "Owner", a),
        ("grant", d, "Viewer", a),
        ("grant", b, "Editor", a),
        ("grant", c, "Viewer", a),
        ("update", b, "Owner", a),
        ("revoke", c, "Viewer", b),
        ("revoke", d, "Viewer", d),
    ]
    assert {entry["event_id"] for entry in entries} == {str(id_of(event))}
    ids = [UUID(entry["id"]) for entry in entries]
    assert ids == sorted(set(ids))
    assert all(entry["changed_at"].endswith("Z") for entry in entries)
    moments = [datetime.fromisoformat(entry["changed_at"]) for entry in entries]
    assert moments == sorted(moments)
    assert before <= moments[1] <= datetime.now(UTC)


async def test_a_user_who_is_shared_with_anew_is_in_the_log_twice(
    alice: User, bob: User, event: str
) -> None:
    """What was done stays, whatever is done next."""
    await share(alice, event, grant(bob))
    await alice.client.delete(f"{event}/permissions/{bob.id}")
    await share(alice, event, grant(bob, "Editor"))
    changes = [(operation, role) for operation, _, role, _ in done(await log(bob, event))]
    assert changes == [
        ("grant", "Owner"),
        ("grant", "Viewer"),
        ("revoke", "Viewer"),
        ("grant", "Editor"),
    ]


async def test_what_is_refused_is_in_no_log(
    alice: User, bob: User, make_user: MakeUser, event: str, database: Database
) -> None:
    """Whether the role is too low, a user unknown, a grant doubled, or an Owner the last."""
    carol = await make_user()
    await share(alice, event, grant(bob, "Editor"))
    mine, bobs, carols = (f"{event}/permissions/{user.id}" for user in (alice, bob, carol))
    stale = {"If-Match": '"stale"'}
    refused = [
        await bob.client.post(f"{event}/share", json=[grant(carol)]),
        await bob.client.delete(mine),
        await alice.client.post(f"{event}/share", json=[grant(carol), grant(bob)]),
        await alice.client.post(f"{event}/share", json=[grant(carol), grant(carol)]),
        await alice.client.post(
            f"{event}/share", json=[grant(carol), {"user_id": str(uuid4()), "role": "Viewer"}]
        ),
        await alice.client.put(mine, json={"role": "Viewer"}),
        await alice.client.delete(mine),
        await alice.client.put(carols, json={"role": "Viewer"}),
        await alice.client.delete(carols),
        await alice.client.post(f"{event}/share", json=[grant(carol)], headers=stale),
        await alice.client.put(bobs, json={"role": "Viewer"}, headers=stale),
        await alice.client.delete(bobs, headers=stale),
    ]
    statuses = [answer.status_code for answer in refused]
    assert statuses == [403, 403, 409, 409, 404, 409, 409, 404, 404, 412, 412, 412]
    assert len(await log(alice, event)) == 2
    assert [row["act"] for row in await audited(database, event)] == ["permission_granted"]


async def test_of_many_at_once_only_those_that_succeed_are_logged(
    alice: User, bob: User, event: str, database: Database
) -> None:
    """Twenty requests for one grant, then twenty for its end."""
    await asyncio.gather(*(share(alice, event, grant(bob)) for _ in range(20)))
    url = f"{event}/permissions/{bob.id}"
    await asyncio.gather(*(alice.client.delete(url) for _ in range(20)))
    changes = [(operation, user) for operation, user, _, _ in done(await log(alice, event))]
    assert changes[1:] == [("grant", str(bob.id)), ("revoke", str(bob.id))]
    acts = [row["act"] for row in await audited(database, event)]
    assert acts == ["permission_granted", "permission_revoked"]


async def test_readers_and_nobody_else_read_the_log(
    alice: User, bob: User, make_user: MakeUser, anonymous: httpx.AsyncClient, event: str
) -> None:
    """A Viewer may; who has left may not any more; to nobody is a deleted event's log there."""
    carol = await make_user()
    url = f"{event}/permissions/history"
    await share(alice, event, grant(bob), grant(carol, "Editor"))
    for reader in (alice, bob, carol):
        assert len(await log(reader, event)) == 3
    await bob.client.delete(f"{event}/permissions/{bob.id}")
    (first, *_) = (await alice.client.get(url, params={"limit": 1})).links.values()
    for path in (url, first["url"]):
        assert (await bob.client.get(path)).status_code == 403
        assert (await anonymous.get(path)).status_code == 401
    assert (await bob.client.get(url)).json()["code"] == "role_too_low"
    await alice.client.delete(event)
    for reader in (alice, bob, carol):
        for path in (url, f"/api/events/{uuid4()}/permissions/history"):
            assert (await reader.client.get(path)).status_code == 404
    await alice.client.post(f"{event}/restore")
    assert len(await log(alice, event)) == 4


async def test_the_log_is_read_page_by_page(
    alice: User, bob: User, event: str, make_user: MakeUser
) -> None:
    """Each entry once, though more are written meanwhile; a full last page has no `Link`."""
    carol = await make_user()
    roles = ("Editor", "Viewer")
    await share(alice, event, grant(bob))
    for number in range(4):
        await alice.client.put(f"{event}/permissions/{bob.id}", json={"role": roles[number % 2]})
    path = f"{event}/permissions/history?limit=2"
    pages: list[list[dict[str, Any]]] = []
    while path:
        answer = await bob.client.get(path)
        pages.append(answer.json())
        path = answer.links.get("next", {}).get("url", "")
        if len(pages) == 1:
            await share(alice, event, grant(carol))
            await alice.client.delete(f"{event}/permissions/{carol.id}")
    assert [len(page) for page in pages] == [2, 2, 2, 2]
    assert [entry for page in pages for entry in page] == await log(alice, event)


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=x", "cursor=W10"])
async def test_a_page_that_cannot_be_is_refused(alice: User, event: str, query: str) -> None:
    """422, as for any list."""
    answer = await alice.client.get(f"{event}/permissions/history?{query}")
    assert answer.status_code == 422


async def test_beyond_the_end_of_the_log_is_an_empty_page(
    alice: User, bob: User, event: str
) -> None:
    """For a reader; a stranger is refused there too."""
    other = await create(bob)
    await share(bob, other, grant(alice))
    (link, *_) = (
        await bob.client.get(f"{other}/permissions/history", params={"limit": 1})
    ).links.values()
    cursor = httpx.URL(link["url"]).params["cursor"]
    url = f"{event}/permissions/history"
    beyond = await alice.client.get(url, params={"cursor": cursor})
    assert (beyond.status_code, beyond.json()) == (200, [])
    assert (await bob.client.get(url, params={"cursor": cursor})).status_code == 403


async def test_the_log_of_a_second_half_begins_with_all_roles_of_the_first(
    alice: User, bob: User, make_user: MakeUser
) -> None:
    """By whom the series was split, at that moment; what is changed later is in its own log."""
    others = [await make_user() for _ in range(5)]
    series = meeting(
        "12:00", "12:30", recurrence_pattern="FREQ=DAILY;COUNT=4", transparency="transparent"
    )
    event = str((await alice.client.post("/api/events", json=series)).headers["Location"])
    await share(alice, event, grant(bob, "Editor"))
    for user in others:
        await share(alice, event, grant(user))
    split = await bob.client.patch(
        f"{event}/occurrences/2027-03-12T12:00:00Z?scope=following", json={"title": "Second"}
    )
    assert split.json()["split_from"] == str(id_of(event))
    second = f"/api/events/{split.json()['id']}"
    entries = await log(bob, second)
    roles = [(str(alice.id), "Owner"), (str(bob.id), "Editor")]
    roles += [(str(user.id), "Viewer") for user in others]
    assert done(entries) == [("grant", user, role, str(bob.id)) for user, role in roles]
    moments = {datetime.fromisoformat(entry["changed_at"]) for entry in entries}
    assert moments == {datetime.fromisoformat(split.json()["created_at"])}
    assert len({UUID(entry["id"]) for entry in entries if UUID(entry["id"]).version == 7}) == 7
    await alice.client.delete(f"{second}/permissions/{bob.id}")
    assert done(await log(alice, second))[7:] == [("revoke", str(bob.id), "Editor", str(alice.id))]
    assert len(await log(alice, event)) == 7


async def test_every_change_is_in_the_audit_log_too(
    alice: User, bob: User, event: str, database: Database, settings: Settings
) -> None:
    """With who did it to whom, the role and the request, as a row and as a line."""
    await share(alice, event, grant(bob, "Editor"))
    await alice.client.put(f"{event}/permissions/{bob.id}", json={"role": "Viewer"})
    await alice.client.put(f"{event}/permissions/{bob.id}", json={"role": "Viewer"})
    left = await bob.client.delete(f"{event}/permissions/{bob.id}")
    rows = await audited(database, event)
    assert all(row["address"] for row in rows)
    assert rows[-1]["request_id"] == left.headers["X-Request-ID"]
    acts = [
        ("permission_granted", alice.id, bob.id, "Editor"),
        ("permission_updated", alice.id, bob.id, "Viewer"),
        ("permission_revoked", bob.id, bob.id, "Viewer"),
    ]
    assert [
        (row["act"], row["user_id"], row["subject_id"], orjson.loads(row["details"])["role"])
        for row in rows
    ] == acts
    written = (settings.log_dir / "audit.log").read_text().splitlines()
    lines = [orjson.loads(line) for line in written if str(id_of(event)) in line]
    assert [
        (line["event"], UUID(line["user_id"]), UUID(line["subject_id"]), line["role"])
        for line in lines
        if line["event"].startswith("permission")
    ] == acts


async def test_change_and_audit_are_one_transaction(
    alice: User, bob: User, make_user: MakeUser, event: str, database: Database
) -> None:
    """Neither is ever there without the other, so that the audit log can be trusted."""
    carol = await make_user()
    await share(alice, event, grant(bob), grant(carol))
    await alice.client.put(f"{event}/permissions/{bob.id}", json={"role": "Editor"})
    await alice.client.delete(f"{event}/permissions/{bob.id}")
    async with database.reading() as read:
        rows = await read.all(_TOGETHER, event_id=id_of(event))
    assert [tuple(row) for row in rows] == [
        ("grant", 1),
        ("grant", 1),
        ("update", 1),
        ("revoke", 1),
    ]
