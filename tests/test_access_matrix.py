"""Every route, asked by everybody: who gets which status."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import User, client_of, register
from tests.events.conftest import share

PEOPLE = ("anonymous", "stranger", "viewer", "editor", "owner", "revoked")
NOWHERE = "00000000-0000-0000-0000-000000000000"
_slots = itertools.count()


@dataclass(frozen=True)
class Route:
    """A request and the status for each of the people, in their order."""

    method: str
    path: str
    statuses: tuple[int, ...]
    body: Any = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


_GRANT = [{"username": "{other}", "role": "Viewer"}]
_READ = (401, 403, 200, 200, 200, 403)
_EDIT = (401, 403, 403, 200, 200, 403)

OF_AN_EVENT = [
    Route("GET", "/api/events/{id}", _READ),
    Route("PUT", "/api/events/{id}", _EDIT, {"title": "New"}),
    Route("PATCH", "/api/events/{id}", _EDIT, {"title": "New"}),
    Route("PUT", "/api/events/{id}", _EDIT, {"status": "cancelled"}),
    Route("PUT", "/api/events/{id}", _EDIT, {}),
    Route("PUT", "/api/events/{id}?base_version=1", _EDIT, {"title": "New"}),
    Route("PATCH", "/api/events/{id}?base_version=1", _EDIT, {"title": "New"}),
    Route(
        "PATCH",
        "/api/events/{id}?base_version=9",
        (401, 403, 403, 422, 422, 403),
        {"title": "New"},
    ),
    Route("PATCH", "/api/events/batch", _EDIT, {"ids": ["{id}"], "changes": {"title": "New"}}),
    Route("DELETE", "/api/events/batch", (401, 403, 403, 403, 200, 403), {"ids": ["{id}"]}),
    Route("GET", "/api/events/{id}?as_of=2020-01-01T00:00:00Z", (401, 403, 404, 404, 404, 403)),
    Route("DELETE", "/api/events/{id}", (401, 403, 403, 403, 204, 403)),
    Route("POST", "/api/events/{id}/share", (401, 403, 403, 403, 201, 403), _GRANT),
    Route("GET", "/api/events/{id}/permissions", _READ),
    Route("GET", "/api/events/{id}/permissions/history", _READ),
    Route(
        "PUT",
        "/api/events/{id}/permissions/{viewer}",
        (401, 403, 403, 403, 200, 403),
        {"role": "Editor"},
    ),
    Route("DELETE", "/api/events/{id}/permissions/{editor}", (401, 403, 403, 204, 204, 403)),
    Route("DELETE", "/api/events/{id}/permissions/{viewer}", (401, 403, 204, 403, 204, 403)),
    Route("DELETE", "/api/events/{id}/permissions/{owner}", (401, 403, 403, 403, 409, 403)),
    Route(
        "PUT",
        "/api/events/{id}/permissions/{owner}",
        (401, 403, 403, 403, 409, 403),
        {"role": "Viewer"},
    ),
    Route(
        "PUT",
        "/api/events/{id}/permissions/{other}",
        (401, 403, 403, 403, 404, 403),
        {"role": "Viewer"},
    ),
    Route("DELETE", "/api/events/{id}/permissions/{other}", (401, 403, 403, 403, 404, 403)),
    Route("GET", "/api/events/{id}/history", _READ),
    Route("GET", "/api/events/{id}/history?changed_by={other}", _READ),
    Route("GET", "/api/events/{id}/history/1", _READ),
    Route("GET", "/api/events/{id}/history/9", (401, 403, 404, 404, 404, 403)),
    Route("GET", "/api/events/{id}/diff/1/1", _READ),
    Route("GET", "/api/events/{id}/diff/1/9", (401, 403, 404, 404, 404, 403)),
    Route("GET", "/api/events/{id}/diff/1/current", _READ),
    Route("GET", "/api/events/{id}/blame", _READ),
    # There is but the creation to take back.
    Route("POST", "/api/events/{id}/undo", (401, 403, 403, 409, 409, 403)),
    Route("POST", "/api/events/{id}/undo?version=9", (401, 403, 403, 404, 404, 403)),
    Route("POST", "/api/events/{id}/rollback/1", _EDIT),
    Route("POST", "/api/events/{id}/rollback/9", (401, 403, 403, 404, 404, 403)),
]

# A series of three days that takes up no time; its second occurrence goes by this name.
_SERIES = {
    "title": "Series",
    "start_time": "2030-01-01T09:00:00Z",
    "end_time": "2030-01-01T09:30:00Z",
    "recurrence_pattern": "FREQ=DAILY;COUNT=3",
    "transparency": "transparent",
}
_OCCURRENCES = "/api/events/{id}/occurrences"
_SECOND = f"{_OCCURRENCES}/2030-01-02T09:00:00Z"
_ABSENT = f"{_OCCURRENCES}/2030-01-02T10:00:00Z"
_TAKE_OUT = (401, 403, 403, 204, 204, 403)
_NOT_THERE = (401, 403, 403, 404, 404, 403)

OF_A_SERIES = [
    Route("GET", _OCCURRENCES, _READ),
    Route("GET", _SECOND, _READ),
    Route("GET", _ABSENT, (401, 403, 404, 404, 404, 403)),
    Route("PATCH", _SECOND, _EDIT, {"title": "New"}),
    Route("PATCH", _SECOND, _EDIT, {}),
    Route("PATCH", f"{_SECOND}?dry_run=true", _EDIT, {"title": "New"}),
    Route("PATCH", f"{_SECOND}?scope=following", _EDIT, {"title": "New"}),
    Route("PATCH", f"{_SECOND}?scope=all", _EDIT, {"title": "New"}),
    Route("PATCH", _ABSENT, _NOT_THERE, {"title": "New"}),
    Route("DELETE", _SECOND, _TAKE_OUT),
    Route("DELETE", f"{_SECOND}?scope=following", _TAKE_OUT),
    Route("DELETE", f"{_SECOND}?scope=all", (401, 403, 403, 403, 204, 403)),
    Route("DELETE", f"{_SECOND}?scope=all&dry_run=true", (401, 403, 403, 403, 204, 403)),
    # To delete from the first occurrence on is to delete the event.
    Route(
        "DELETE",
        f"{_OCCURRENCES}/2030-01-01T09:00:00Z?scope=following",
        (401, 403, 403, 403, 204, 403),
    ),
    Route("DELETE", _ABSENT, _NOT_THERE),
    Route("POST", f"{_SECOND}/reset", _EDIT),
    Route("POST", f"{_ABSENT}/reset", _NOT_THERE),
]

RESTORE = Route("POST", "/api/events/{id}/restore", (401, 404, 404, 404, 200, 404))
UNDO = Route("POST", "/api/events/{id}/undo", _EDIT)

_FOR_GOOD = "/api/events/{id}?permanent=true"
DELETE_FOR_GOOD = Route("DELETE", _FOR_GOOD, (401, 403, 403, 403, 204, 403))
DELETE_FROM_THE_BIN = Route("DELETE", _FOR_GOOD, (401, 404, 404, 404, 204, 404))

_SIGNED_IN = (401, 200, 200, 200, 200, 200)
_ADMIN_ONLY = (401, 403, 403, 403, 403, 403)
_ANYBODY = (200,) * 6

_WINDOW = {"start": "2027-01-01T00:00:00Z", "end": "2027-02-01T00:00:00Z"}
_SEARCH = {"users": [NOWHERE], "duration": 30, "window": _WINDOW}

OF_NOTHING = [
    Route("POST", "/api/events", (401, 201, 201, 201, 201, 201), "an event"),
    Route("POST", "/api/events/batch", (401, 201, 201, 201, 201, 201), "a batch"),
    Route(
        "PATCH",
        "/api/events/batch?atomic=false",
        (401, 207, 207, 207, 207, 207),
        {"ids": [NOWHERE], "changes": {"title": "New"}},
    ),
    Route(
        "DELETE",
        "/api/events/batch?atomic=false",
        (401, 207, 207, 207, 207, 207),
        {"ids": [NOWHERE]},
    ),
    Route(
        "PATCH",
        "/api/events/batch",
        _SIGNED_IN,
        {"filter": {"q": "nonesuch"}, "changes": {"title": "New"}},
    ),
    Route("DELETE", "/api/events/batch", _SIGNED_IN, {"filter": {"q": "nonesuch"}}),
    Route("DELETE", "/api/events/batch", (401, 422, 422, 422, 422, 422), {"filter": {}}),
    Route("GET", "/api/events", _SIGNED_IN),
    Route("GET", "/api/events?as_of=2026-01-01T00:00:00Z", _SIGNED_IN),
    Route("GET", "/api/events?deleted=true", _SIGNED_IN),
    Route("GET", "/api/occurrences?start=2027-01-01&end=2027-02-01", _SIGNED_IN),
    Route("GET", "/api/conflicts?start=2027-01-01&end=2027-02-01", _SIGNED_IN),
    Route("GET", "/api/sync", _SIGNED_IN),
    Route("GET", "/api/sync?sync_token=nonsense", (401, 422, 422, 422, 422, 422)),
    Route("GET", "/api/notifications", _SIGNED_IN),
    Route("GET", "/api/notifications?after=nonsense", (401, 422, 422, 422, 422, 422)),
    Route("GET", "/api/notifications/stream?after=nonsense", (401, 422, 422, 422, 422, 422)),
    Route("GET", "/api/notifications/unread", _SIGNED_IN),
    Route(
        "POST",
        "/api/notifications/read",
        (401, 422, 422, 422, 422, 422),
        {"cursor": "nonsense"},
    ),
    Route("GET", "/api/me/audit", _SIGNED_IN),
    Route("GET", "/me", _SIGNED_IN),
    Route("GET", "/api/me", _SIGNED_IN),
    Route("PATCH", "/api/me", _SIGNED_IN, {"free_busy": "everyone"}),
    Route("POST", "/api/freebusy", _SIGNED_IN, {"users": [NOWHERE], **_WINDOW}),
    Route("POST", "/api/availability", (401, 404, 404, 404, 404, 404), _SEARCH),
    Route("GET", "/api/auth/sessions", _SIGNED_IN),
    Route("DELETE", f"/api/auth/sessions/{NOWHERE}", (401, 404, 404, 404, 404, 404)),
    Route("POST", "/api/auth/refresh", _SIGNED_IN),
    Route("POST", "/api/auth/ws-ticket", (401, 201, 201, 201, 201, 201)),
    Route("GET", "/admin-area", _ADMIN_ONLY),
    Route("GET", "/api/admin/users", _ADMIN_ONLY),
    Route("PATCH", f"/api/admin/users/{NOWHERE}", _ADMIN_ONLY, {"is_active": False}),
    Route("GET", "/api/admin/audit", _ADMIN_ONLY),
    Route("GET", f"/api/admin/audit?user_id={NOWHERE}", _ADMIN_ONLY),
    Route("GET", "/health", _ANYBODY),
    Route("GET", "/health/live", _ANYBODY),
    Route("GET", "/health/ready", _ANYBODY),
    Route("GET", "/docs", _ANYBODY),
    Route("GET", "/redoc", _ANYBODY),
    Route("GET", "/openapi.json", _ANYBODY),
]


def slot() -> dict[str, str]:
    """Return the body of an event at a time that no other test here uses."""
    start = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(hours=next(_slots))
    end = start + timedelta(minutes=30)
    return {"title": "Meeting", "start_time": start.isoformat(), "end_time": end.isoformat()}


@pytest.fixture(scope="module")
async def people(app: FastAPI) -> AsyncIterator[dict[str, User]]:
    """Everybody who is signed in, and one more whom nothing is shared with."""
    everybody = {name: await register(app) for name in (*PEOPLE[1:], "other")}
    yield everybody
    for user in everybody.values():
        await user.client.aclose()


async def make_event(people: dict[str, User], body: dict[str, str] | None = None) -> str:
    """Create an event with its Viewer, its Editor, and one whose role was taken away."""
    owner = people["owner"]
    event_id = str((await owner.client.post("/api/events", json=body or slot())).json()["id"])
    for name, role in (("viewer", "Viewer"), ("editor", "Editor"), ("revoked", "Editor")):
        await share(owner, event_id, people[name], role)
    await owner.client.delete(f"/api/events/{event_id}/permissions/{people['revoked'].id}")
    return event_id


async def ask(
    app: FastAPI, people: dict[str, User], person: str, route: Route, event_id: str = ""
) -> httpx.Response:
    """Send a request as a person."""
    ids = {name: str(user.id) for name, user in people.items()}
    path = route.path.format(id=event_id, **ids)
    body: Any = route.body
    if body == "an event":
        body = slot()
    elif body == "a batch":
        body = {"events": [slot()]}
    elif body == _GRANT:
        body = [{"username": people["other"].username, "role": "Viewer"}]
    elif isinstance(body, dict) and body.get("ids") == ["{id}"]:
        body = body | {"ids": [event_id]}
    if person != "anonymous":
        return await people[person].client.request(route.method, path, json=body)
    async with client_of(app) as client:
        return await client.request(route.method, path, json=body)


@pytest.mark.parametrize("route", OF_AN_EVENT, ids=str)
@pytest.mark.parametrize("person", PEOPLE)
async def test_who_may_do_what_with_an_event(
    app: FastAPI, people: dict[str, User], person: str, route: Route
) -> None:
    """As the description's table of roles says, in every cell."""
    answer = await ask(app, people, person, route, await make_event(people))
    assert answer.status_code == route.statuses[PEOPLE.index(person)], answer.text


@pytest.mark.parametrize("route", OF_A_SERIES, ids=str)
@pytest.mark.parametrize("person", PEOPLE)
async def test_who_may_do_what_with_a_series(
    app: FastAPI, people: dict[str, User], person: str, route: Route
) -> None:
    """A part of a series is its Editors' to change, the whole of it only its Owner's to delete."""
    answer = await ask(app, people, person, route, await make_event(people, _SERIES))
    assert answer.status_code == route.statuses[PEOPLE.index(person)], answer.text


@pytest.mark.parametrize("person", PEOPLE)
async def test_who_may_restore_an_event(app: FastAPI, people: dict[str, User], person: str) -> None:
    """Only the Owner has it in the bin; to all others it is as absent as it was."""
    event_id = await make_event(people)
    await people["owner"].client.delete(f"/api/events/{event_id}")
    answer = await ask(app, people, person, RESTORE, event_id)
    assert answer.status_code == RESTORE.statuses[PEOPLE.index(person)], answer.text


@pytest.mark.parametrize("person", PEOPLE)
async def test_what_is_not_deleted_is_restored_by_nobody(
    app: FastAPI, people: dict[str, User], person: str
) -> None:
    """Whoever asks, and whether or not they may read it, it is not in their bin."""
    answer = await ask(app, people, person, RESTORE, await make_event(people))
    assert answer.status_code == (401 if person == "anonymous" else 404), answer.text


@pytest.mark.parametrize("person", PEOPLE)
async def test_who_may_take_a_change_back(
    app: FastAPI, people: dict[str, User], person: str
) -> None:
    """Whoever may change the event, even what somebody else has changed."""
    event_id = await make_event(people)
    await people["editor"].client.patch(f"/api/events/{event_id}", json={"title": "New"})
    answer = await ask(app, people, person, UNDO, event_id)
    assert answer.status_code == UNDO.statuses[PEOPLE.index(person)], answer.text


@pytest.mark.parametrize("deleted", [False, True], ids=["there", "in the bin"])
@pytest.mark.parametrize("person", PEOPLE)
async def test_who_may_delete_an_event_for_good(
    app: FastAPI, people: dict[str, User], person: str, deleted: bool
) -> None:
    """Only its Owner, who alone has it in the bin; for all others it stays where it is."""
    route, owner = DELETE_FROM_THE_BIN if deleted else DELETE_FOR_GOOD, people["owner"]
    event_id = await make_event(people)
    if deleted:
        await owner.client.delete(f"/api/events/{event_id}")
    answer = await ask(app, people, person, route, event_id)
    assert answer.status_code == route.statuses[PEOPLE.index(person)], answer.text
    await owner.client.delete(f"/api/events/{event_id}")
    restored = await owner.client.post(f"/api/events/{event_id}/restore")
    assert restored.status_code == (404 if person == "owner" else 200), restored.text


@pytest.mark.parametrize("route", OF_NOTHING, ids=str)
@pytest.mark.parametrize("person", PEOPLE)
async def test_who_may_do_what_besides(
    app: FastAPI, people: dict[str, User], person: str, route: Route
) -> None:
    """What needs a token, what needs an Admin, and what is open."""
    answer = await ask(app, people, person, route)
    assert answer.status_code == route.statuses[PEOPLE.index(person)], answer.text


@pytest.mark.parametrize("route", OF_AN_EVENT + OF_A_SERIES, ids=str)
async def test_an_absent_or_deleted_event_is_404_for_everybody(
    app: FastAPI, people: dict[str, User], route: Route
) -> None:
    """On every route, its Owner included; only who is not signed in hears 401."""
    deleted = await make_event(people)
    await people["owner"].client.delete(f"/api/events/{deleted}")
    for event_id in (deleted, NOWHERE):
        for person in PEOPLE:
            answer = await ask(app, people, person, route, event_id)
            expected = 401 if person == "anonymous" else 404
            assert answer.status_code == expected, (person, answer.text)


async def test_what_a_client_may_not_set_has_no_effect(people: dict[str, User]) -> None:
    """Neither at creation nor later: the request is refused and nothing changes."""
    owner, stranger = people["owner"], people["stranger"]
    event_id = await make_event(people)
    before = (await owner.client.get(f"/api/events/{event_id}")).json()
    for field, value in (
        ("id", NOWHERE),
        ("owner_id", str(stranger.id)),
        ("version", 99),
        ("created_at", "2020-01-01T00:00:00Z"),
        ("permissions", []),
        ("deleted_at", None),
    ):
        for method, path in (("PUT", f"/api/events/{event_id}"), ("POST", "/api/events")):
            body: Any = slot() | {field: value}
            answer = await owner.client.request(method, path, json=body)
            assert answer.status_code == 422, (method, field)
    assert (await owner.client.get(f"/api/events/{event_id}")).json() == before
