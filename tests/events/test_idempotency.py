"""A request that is sent again with its key gets the answer of the first time, and is done once."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from eventmanager.core.config import Settings
from eventmanager.core.idempotency.service import REPLAYED, forget
from tests.conftest import MovableClock, User, register, started
from tests.events.conftest import Body, meeting


async def count(user: User) -> int:
    """Return how many events a user has."""
    return len((await user.client.get("/api/events?limit=200")).json())


def same(first: httpx.Response, second: httpx.Response) -> bool:
    """Tell whether a second answer is the first one, given again."""
    kept = ("etag", "location", "content-type")
    return (
        second.headers.get(REPLAYED) == "true"
        and REPLAYED not in first.headers
        and (first.status_code, first.content) == (second.status_code, second.content)
        and [first.headers.get(name) for name in kept]
        == [second.headers.get(name) for name in kept]
    )


async def test_a_retry_of_every_creating_request_gets_the_first_answer(
    alice: User, bob: User
) -> None:
    """A client that never saw the answer may simply ask again."""
    client = alice.client
    event = (await client.post("/api/events", json=meeting("08:00", "09:00"))).json()
    series = meeting("20:00", "21:00", recurrence_pattern="FREQ=DAILY;COUNT=5")
    url = f"/api/events/{event['id']}"
    daily = f"/api/events/{(await client.post('/api/events', json=series)).json()['id']}"
    await client.patch(url, json={"title": "New"})
    await client.patch(url, json={"title": "Newer"})
    deleted = (await client.post("/api/events", json=meeting("05:00", "06:00"))).json()
    await client.delete(f"/api/events/{deleted['id']}")
    day = f"{daily}/occurrences/2027-03-12T20:00:00Z"
    grant = [{"user_id": str(bob.id), "role": "Viewer"}]
    for number, (method, path, body) in enumerate(
        (
            ("POST", "/api/events", meeting("10:00", "11:00")),
            ("POST", "/api/events/batch", {"events": [meeting("12:00", "13:00")]}),
            ("POST", f"{url}/share", grant),
            ("POST", f"{url}/rollback/1", None),
            ("POST", f"{url}/undo", None),
            ("POST", f"/api/events/{deleted['id']}/restore", None),
            ("PATCH", day, {"title": "Special"}),
            ("POST", f"{day}/reset", None),
            ("PATCH", f"{day}?scope=following", {"title": "Rest"}),
            ("PATCH", url, {"title": "Newest"}),
            ("DELETE", url, None),
        )
    ):
        key = {"Idempotency-Key": f"retry-{number}"}
        first = await client.request(method, path, json=body, headers=key)
        assert first.is_success, (method, path, first.text)
        versions = await count(alice)
        second = await client.request(method, path, json=body, headers=key)
        assert same(first, second), (method, path, second.text, second.headers)
        assert await count(alice) == versions


async def test_the_same_key_for_another_request_is_refused(alice: User) -> None:
    """It can only be a mistake of the client, and must not be answered with something else."""
    key = {"Idempotency-Key": "one"}
    first = await alice.client.post("/api/events", json=meeting("08:00", "09:00"), headers=key)
    assert first.status_code == 201
    for path, body in (
        ("/api/events", meeting("10:00", "11:00")),
        ("/api/events?on_conflict=allow", meeting("08:00", "09:00")),
    ):
        other = await alice.client.post(path, json=body, headers=key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await count(alice) == 1


async def test_a_key_belongs_to_its_user_and_its_route(alice: User, bob: User) -> None:
    """Keys are chosen by clients, who know nothing of each other."""
    key = {"Idempotency-Key": "shared"}
    body = meeting("08:00", "09:00")
    first = await alice.client.post("/api/events", json=body, headers=key)
    theirs = await bob.client.post("/api/events", json=body, headers=key)
    assert first.status_code == theirs.status_code == 201
    assert first.json()["id"] != theirs.json()["id"]
    batch = {"events": [meeting("10:00", "11:00")]}
    assert (await alice.client.post("/api/events/batch", json=batch, headers=key)).is_success


async def test_a_request_that_failed_may_be_sent_again(alice: User) -> None:
    """Nothing was done, so nothing is kept: the conflict may be gone by then."""
    other = (await alice.client.post("/api/events", json=meeting("08:00", "09:00"))).json()
    key = {"Idempotency-Key": "again"}
    body = meeting("08:30", "09:30")
    assert (await alice.client.post("/api/events", json=body, headers=key)).status_code == 409
    await alice.client.delete(f"/api/events/{other['id']}")
    assert (await alice.client.post("/api/events", json=body, headers=key)).status_code == 201


async def test_many_at_once_with_one_key_do_it_once(alice: User) -> None:
    """Each gets the answer, or 409 that it is being worked on; never a second event."""
    key = {"Idempotency-Key": "burst"}
    body = meeting("08:00", "09:00")
    answers = await asyncio.gather(
        *(alice.client.post("/api/events", json=body, headers=key) for _ in range(12))
    )
    codes = {answer.status_code for answer in answers}
    assert 201 in codes
    assert codes <= {201, 409}
    done = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    running = [answer.json() for answer in answers if answer.status_code == 409]
    assert len(done) == 1
    assert {problem["code"] for problem in running} <= {"idempotency_key_in_use"}
    assert await count(alice) == 1


async def test_a_dry_run_uses_up_no_key(alice: User) -> None:
    """Nothing was done that could be repeated."""
    key = {"Idempotency-Key": "dry"}
    body = meeting("08:00", "09:00")
    dry = await alice.client.post("/api/events?dry_run=true", json=body, headers=key)
    assert dry.status_code == 201
    assert (await alice.client.post("/api/events", json=body, headers=key)).status_code == 201
    assert await count(alice) == 1


async def test_a_key_is_good_for_a_day(settings: Settings, database_url: str) -> None:
    """After that it may be used anew, and what was kept is forgotten."""
    clock = MovableClock()
    async with started(settings, clock=clock) as app:
        user = await register(app)
        key = {"Idempotency-Key": "daily"}
        first = await user.client.post("/api/events", json=meeting("08:00", "09:00"), headers=key)
        assert first.status_code == 201
        database = app.state.database
        await forget(database, clock.now())
        again = await user.client.post("/api/events", json=meeting("08:00", "09:00"), headers=key)
        assert again.headers[REPLAYED] == "true"
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'"
            " WHERE user_id = $1",
            user.id,
        )
        other = await user.client.post("/api/events", json=meeting("10:00", "11:00"), headers=key)
        assert other.status_code == 201
        kept = "SELECT count(*) FROM idempotency_keys WHERE user_id = $1"
        assert await connection.fetchval(kept, user.id) == 1
        await connection.execute(
            "UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'"
            " WHERE user_id = $1",
            user.id,
        )
        await forget(database, clock.now())
        assert await connection.fetchval(kept, user.id) == 0
        await connection.close()
        await user.client.aclose()


@pytest.mark.parametrize("key", ["", "two words", "x" * 300])
async def test_a_key_that_cannot_be_kept_is_refused(alice: User, key: str) -> None:
    """Silently ignoring it would do the request twice."""
    body = meeting("08:00", "09:00")
    headers = {"Idempotency-Key": key}
    answer = await alice.client.post("/api/events", json=body, headers=headers)
    assert answer.status_code == 422
    assert await count(alice) == 0


async def test_where_if_match_is_required_a_change_without_it_is_428(
    settings: Settings,
) -> None:
    """A server may insist on it; a merge says by itself what it is based on."""
    strict = settings.model_copy(update={"require_if_match": True})
    async with started(strict) as app:
        user = await register(app)
        event: Body = (await user.client.post("/api/events", json=meeting("08:00", "09:00"))).json()
        url = f"/api/events/{event['id']}"
        requests: list[tuple[str, str, Any]] = [
            ("PUT", url, {"title": "X"}),
            ("PATCH", url, {"title": "X"}),
            ("POST", f"{url}/rollback/1", None),
            ("POST", f"{url}/undo", None),
            ("PATCH", f"{url}/occurrences/2027-03-10T08:00:00Z", {"title": "X"}),
            ("DELETE", f"{url}/occurrences/2027-03-10T08:00:00Z", None),
            ("DELETE", url, None),
        ]
        for method, path, body in requests:
            refused = await user.client.request(method, path, json=body)
            assert (refused.status_code, refused.json()["code"]) == (428, "precondition_required")
        # What can't be merged is not let through by saying so.
        for method, path in (
            ("DELETE", url),
            ("POST", f"{url}/undo"),
            ("POST", f"{url}/rollback/1"),
        ):
            bare = await user.client.request(method, path, params={"base_version": 1})
            assert bare.status_code == 428
        merged = await user.client.patch(url, json={"title": "Y"}, params={"base_version": 1})
        assert merged.status_code == 200
        tagged = await user.client.patch(url, json={"title": "Z"}, headers={"If-Match": '"2"'})
        assert tagged.status_code == 200
        assert (await user.client.get(url)).status_code == 200
        await user.client.aclose()
