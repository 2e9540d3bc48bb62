"""Changing and deleting many events at once."""

from typing import Any

import pytest

from eventmanager.events.schemas import BulkResult
from tests.conftest import User
from tests.events.conftest import Body, meeting, share

URL = "/api/events/batch"


async def three(user: User) -> list[str]:
    """Create three events, at eight, nine and ten."""
    hours = [(f"{hour:02}:00", f"{hour:02}:30") for hour in (8, 9, 10)]
    batch = {"events": [meeting(start, end, title=f"At {start}") for start, end in hours]}
    answer = await user.client.post(URL, json=batch)
    assert answer.status_code == 201, answer.text
    return [event["id"] for event in answer.json()]


async def send(user: User, method: str, body: Body, **params: Any) -> Any:
    """Ask for a bulk change."""
    return await user.client.request(method, URL, json=body, params=params)


async def titles(user: User) -> list[str]:
    """Return the titles of a user's events."""
    return [event["title"] for event in (await user.client.get("/api/events")).json()]


async def test_many_are_changed_alike(alice: User) -> None:
    """By their ids: one answer for each, in their order."""
    ids = await three(alice)
    answer = await send(alice, "PATCH", {"ids": ids[::-1], "changes": {"location": "Roof"}})
    assert answer.status_code == 200, answer.text
    results = answer.json()
    for result in results:
        BulkResult.model_validate(result)
    assert [result["id"] for result in results] == ids[::-1]
    assert {result["event"]["location"] for result in results} == {"Roof"}
    assert {result["status"] for result in results} == {200}
    assert {result["event"]["version"] for result in results} == {2}


async def test_a_filter_names_them_as_the_list_does(alice: User) -> None:
    """Words, role and window; a filter without a condition would mean everything."""
    await three(alice)
    body = {"filter": {"q": "at"}, "changes": {"title": "Renamed"}}
    window = {"start": "2027-03-10T08:15:00Z", "end": "2027-03-10T09:15:00Z"}
    answer = await send(alice, "PATCH", body | {"filter": {"q": "at"} | window})
    assert len(answer.json()) == 2
    assert sorted(await titles(alice)) == ["At 10:00", "Renamed", "Renamed"]
    unclear: list[Body] = [{}, {"filter": {}}, {"ids": [], "filter": {"q": "x"}}]
    for selection in unclear:
        refused = await send(alice, "PATCH", selection | {"changes": {"title": "X"}})
        assert refused.status_code == 422, selection
    none = await send(alice, "DELETE", {"filter": {"q": "nothing"}})
    assert (none.status_code, none.json()) == (200, [])


async def test_all_or_none(alice: User, bob: User) -> None:
    """The first refusal takes everything back and says whose it was."""
    ids = await three(alice)
    [foreign, *_] = await three(bob)
    changes = {"title": "Renamed"}
    refused = await send(alice, "PATCH", {"ids": [*ids, foreign], "changes": changes})
    assert (refused.status_code, refused.json()["event_id"]) == (403, foreign)
    onto = {"start_time": "2027-03-10T12:00:00Z", "end_time": "2027-03-10T13:00:00Z"}
    clash = await send(alice, "PATCH", {"ids": ids, "changes": onto})
    assert (clash.status_code, clash.json()["event_id"]) == (409, ids[1])
    assert (await send(alice, "DELETE", {"ids": [*ids, foreign]})).status_code == 403
    assert sorted(await titles(alice)) == ["At 08:00", "At 09:00", "At 10:00"]
    assert (await send(alice, "DELETE", {"ids": ids})).status_code == 200
    assert await titles(alice) == []
    assert len((await alice.client.get("/api/events?deleted=true")).json()) == 3


async def test_each_by_itself_has_a_result_of_its_own(alice: User, bob: User) -> None:
    """207: what could be done is done, and the rest says why not."""
    ids = await three(alice)
    [foreign, *_] = await three(bob)
    absent = "00000000-0000-0000-0000-000000000000"
    onto = {"start_time": "2027-03-10T12:00:00Z", "end_time": "2027-03-10T13:00:00Z"}
    answer = await send(
        alice, "PATCH", {"ids": [*ids[:2], foreign, absent], "changes": onto}, atomic=False
    )
    assert answer.status_code == 207
    results = answer.json()
    assert [result["status"] for result in results] == [200, 409, 403, 404]
    assert results[1]["problem"]["code"] == "time_conflict"
    assert results[1]["problem"]["total"] == 1
    deleted = await send(alice, "DELETE", {"ids": [ids[0], foreign]}, atomic=False)
    assert [result["status"] for result in deleted.json()] == [204, 403]
    assert sorted(await titles(alice)) == ["At 09:00", "At 10:00"]


async def test_roles_are_those_of_each_event(alice: User, bob: User) -> None:
    """Editors change, and only Owners delete."""
    ids = await three(alice)
    for event_id, role in zip(ids, ("Editor", "Viewer", "Owner"), strict=True):
        await share(alice, event_id, bob, role)
    changed = await send(bob, "PATCH", {"ids": ids, "changes": {"title": "Bob"}}, atomic=False)
    assert [result["status"] for result in changed.json()] == [200, 403, 200]
    deleted = await send(bob, "DELETE", {"ids": ids}, atomic=False)
    assert [result["status"] for result in deleted.json()] == [403, 403, 204]


async def test_a_bulk_change_can_be_tried_out_and_sent_again(alice: User) -> None:
    """A dry run changes nothing; a key does it once, all or none."""
    ids = await three(alice)
    body = {"ids": ids, "changes": {"title": "Renamed"}}
    dry = await send(alice, "PATCH", body, dry_run=True)
    assert {result["event"]["title"] for result in dry.json()} == {"Renamed"}
    assert "Renamed" not in await titles(alice)
    key = {"Idempotency-Key": "bulk"}
    first = await alice.client.patch(URL, json=body, headers=key)
    again = await alice.client.patch(URL, json=body, headers=key)
    assert first.content == again.content
    refused = await alice.client.patch(URL, json=body, headers=key, params={"atomic": False})
    assert refused.json()["detail"][0]["type"] == "key_needs_atomic"


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_an_id_that_is_named_twice_is_done_once(alice: User, method: str) -> None:
    """A list put together by a program may hold one twice."""
    [event_id, *_] = await three(alice)
    body = {"ids": [event_id, event_id]} | (
        {"changes": {"title": "X"}} if method == "PATCH" else {}
    )
    answer = await send(alice, method, body)
    assert answer.status_code == 200
    assert len(answer.json()) == 1
