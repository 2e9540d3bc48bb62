"""The calendar as it was, for those who may read it now."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from eventmanager.core.database import Database, Query
from eventmanager.core.time import rfc3339
from eventmanager.events.schemas import EventRead, OccurrenceRead
from tests.conftest import User
from tests.events.conftest import meeting, share
from tests.events.test_lists import follow

MARCH = {"start": "2027-03-01", "end": "2027-04-01"}
_FREE = {"transparency": "transparent"}
_SERIES = {
    "title": "Series",
    "start_time": "2027-03-08T09:00:00",
    "end_time": "2027-03-08T09:30:00",
    "time_zone": "Europe/Berlin",
    "recurrence_pattern": "FREQ=WEEKLY;BYDAY=MO",
    **_FREE,
}


async def create(user: User, **fields: Any) -> str:
    """Create an event on 10 March that takes up no time; return its address."""
    answer = await user.client.post(
        "/api/events", json={**meeting("10:00", "11:00"), **_FREE, **fields}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.headers["Location"])


async def ok(user: User, method: str, url: str, **kwargs: Any) -> Any:
    """Ask, and return what is answered."""
    answer = await user.client.request(method, url, **kwargs)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


async def occurrences(user: User, **params: Any) -> list[dict[str, Any]]:
    """Return what takes place in March 2027."""
    return list(await ok(user, "GET", "/api/occurrences", params=MARCH | params))


def now() -> str:
    """Return the present instant."""
    return rfc3339(datetime.now(UTC))


def without_permissions(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event as its version has it."""
    return {
        name: value for name, value in event.items() if name not in {"permissions", "reminders"}
    }


async def test_the_calendar_is_as_it_was_at_each_moment_of_a_history(alice: User) -> None:
    """Renames, moves, single occurrences, deletion and restoration, in all three views.

    What was answered at a moment is answered for that moment later on.
    """
    series = await ok(alice, "POST", "/api/events", json=_SERIES)
    url = f"/api/events/{series['id']}"
    other = await create(alice, title="Other")
    of_series = f"{url}/occurrences"
    acts: list[tuple[str, str, dict[str, Any]]] = [
        ("PATCH", url, {"json": {"title": "Renamed"}}),
        ("PATCH", f"{of_series}/2027-03-15T08:00:00Z", {"json": {"title": "Own"}}),
        ("DELETE", f"{of_series}/2027-03-22T08:00:00Z", {}),
        (
            "PATCH",
            # It is in March only because it was moved there.
            f"{of_series}/2027-04-05T07:00:00Z",
            {"json": {"start_time": "2027-03-31T20:00:00Z", "end_time": "2027-04-01T20:00:00Z"}},
        ),
        (
            "PATCH",
            url,
            {"json": {"start_time": "2027-03-09T09:00:00", "end_time": "2027-03-09T10:00:00"}},
        ),
        ("PATCH", other, {"json": {"start_time": "2027-03-01", "end_time": "2027-03-03"}}),
        ("DELETE", url, {}),
        ("PATCH", other, {"json": {"time_zone": "Pacific/Auckland", "status": "cancelled"}}),
        ("POST", f"{url}/restore", {}),
        (
            "PATCH",
            f"{of_series}/2027-03-16T08:00:00Z",
            {"params": {"scope": "following"}, "json": {"title": "Half"}},
        ),
        # The half stands beside it.
        ("POST", f"{url}/rollback/1", {"params": {"on_conflict": "allow"}}),
    ]
    seen = []
    for method, path, kwargs in [("GET", other, {}), *acts]:
        await ok(alice, method, path, **kwargs)
        answer = await alice.client.get(url)
        seen.append(
            (
                now(),
                answer.json() if answer.is_success else None,
                await ok(alice, "GET", "/api/events"),
                await occurrences(alice),
            )
        )
    assert len({str(item) for _, *item in seen}) == len(seen)
    for at, event, events, agenda in seen:
        answer = await alice.client.get(url, params={"as_of": at})
        assert answer.status_code == (200 if event else 404)
        if event:
            assert answer.json() == event
            assert answer.headers["ETag"] == f'"{event["version"]}"'
        assert await ok(alice, "GET", "/api/events", params={"as_of": at}) == events
        assert await occurrences(alice, as_of=at) == agenda


async def test_an_event_is_what_its_last_version_until_then_says(alice: User) -> None:
    """From the instant of a version on, not before."""
    url = await create(alice)
    await ok(alice, "PATCH", url, json={"title": "Second"})
    first, second = await ok(alice, "GET", f"{url}/history")
    written = datetime.fromisoformat(second["timestamp"])
    for at, version in ((written, second), (written - timedelta(microseconds=1), first)):
        found = await ok(alice, "GET", url, params={"as_of": at.isoformat()})
        assert without_permissions(found) == version["data"]
        EventRead.model_validate(found)
    before = datetime.fromisoformat(first["timestamp"]) - timedelta(microseconds=1)
    answer = await alice.client.get(url, params={"as_of": before.isoformat()})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    tag = {"If-None-Match": '"1"'}
    params = {"as_of": first["timestamp"]}
    assert (await alice.client.get(url, params=params, headers=tag)).status_code == 304


async def test_rights_are_those_of_now(alice: User, bob: User) -> None:
    """Who got access later sees what was before; who lost it sees nothing, nor in any list."""
    url = await create(alice, title="First")
    at = now()
    await ok(alice, "PATCH", url, json={"title": "Second"})
    await share(alice, url.rpartition("/")[2], bob, "Viewer")
    past = {"as_of": at}
    found = await ok(bob, "GET", url, params=past)
    assert found["title"] == "First"
    assert found["permissions"] == (await ok(bob, "GET", url))["permissions"]
    assert await ok(bob, "GET", "/api/events", params=past) == [found]
    assert [item["title"] for item in await occurrences(bob, as_of=at)] == ["First"]
    for role, count in (("Viewer", 1), ("Owner", 0)):
        listed = await ok(bob, "GET", "/api/events", params=past | {"role": role})
        assert len(listed) == count

    await ok(alice, "DELETE", f"{url}/permissions/{bob.id}")
    assert (await bob.client.get(url, params=past)).status_code == 403
    assert await ok(bob, "GET", "/api/events", params=past) == []
    assert await occurrences(bob, as_of=at) == []


async def test_what_is_deleted_now_is_in_no_past(alice: User) -> None:
    """404, and not in the lists, until it is restored."""
    url = await create(alice)
    at = now()
    await ok(alice, "DELETE", url)
    assert (await alice.client.get(url, params={"as_of": at})).status_code == 404
    assert await ok(alice, "GET", "/api/events", params={"as_of": at}) == []
    assert await occurrences(alice, as_of=at) == []
    gone = now()
    await ok(alice, "POST", f"{url}/restore")
    assert len(await occurrences(alice, as_of=at)) == 1
    assert await ok(alice, "GET", "/api/events", params={"as_of": gone}) == []
    assert await occurrences(alice, as_of=gone) == []
    assert (await alice.client.get(url, params={"as_of": gone})).status_code == 404


async def test_the_future_and_what_does_not_go_together_are_422(alice: User) -> None:
    """With a reason in each case."""
    url = await create(alice)
    at = now()
    for path in (url, "/api/events", "/api/occurrences?start=2027-03-01&end=2027-04-01"):
        sep = "&" if "?" in path else "?"
        answer = await alice.client.get(f"{path}{sep}as_of=2100-01-01")
        assert (answer.status_code, answer.json()["detail"][0]["type"]) == (
            422,
            "as_of_in_the_future",
        )
        assert (await alice.client.get(f"{path}{sep}as_of=yesterday")).status_code == 422
    for params in ({"q": "x"}, {"deleted": "true"}, MARCH):
        answer = await alice.client.get("/api/events", params={**params, "as_of": at})
        assert (answer.status_code, answer.json()["detail"][0]["type"]) == (
            422,
            "filters_of_the_past",
        )
    long = {"start": "2027-03-02", "end": "2028-03-03", "as_of": at}
    answer = await alice.client.get("/api/occurrences", params=long)
    assert (answer.status_code, answer.json()["code"]) == (422, "window_too_long")
    assert answer.json()["detail"][0]["ctx"]["limit_days"] == 366
    await ok(alice, "GET", "/api/occurrences", params=long | {"end": "2028-03-02"})
    far = {"start": "2100-01-01", "end": "2100-02-01", "as_of": at}
    answer = await alice.client.get("/api/occurrences", params=far)
    assert (answer.status_code, answer.json()["code"]) == (422, "window_too_far")


async def test_the_past_comes_in_the_same_pages_as_the_present(alice: User) -> None:
    """Whatever the length of a page: long, short, all-day, in any zone, single and recurring."""
    zones = ("UTC", "Pacific/Auckland", "America/Los_Angeles", "Europe/Berlin")
    bodies: list[dict[str, Any]] = []
    for n, zone in enumerate(zones * 3):
        day = f"2027-03-{1 + n:02}"
        bodies.append(
            {
                **_SERIES,
                "title": f"Series {n}",
                "start_time": f"{day}T23:30:00",
                "end_time": f"2027-03-{2 + n:02}T00:30:00",
                "time_zone": zone,
                "recurrence_pattern": f"FREQ=DAILY;INTERVAL={1 + n % 4}",
            }
        )
        bodies.append(
            {
                "title": f"Days {n}",
                "start_time": f"2027-02-{25 + n % 3:02}" if n % 2 else day,
                "end_time": f"2027-03-{2 + n:02}",
                "time_zone": zone,
                "recurrence_pattern": "FREQ=WEEKLY" if n % 3 == 0 else None,
                **_FREE,
            }
        )
        bodies.append({**meeting("10:00", "10:30"), "title": f"Meeting {n}", **_FREE})
    created = await ok(alice, "POST", "/api/events/batch", json={"events": bodies})
    for n, (name, start, end) in enumerate(
        (("2027-03-01T23:30:00Z", "20T12", "20T13"), ("2027-03-25T23:30:00Z", "02T12", "30T13"))
    ):
        # Across the ends of pages, to and fro.
        await ok(
            alice,
            "PATCH",
            f"/api/events/{created[0]['id']}/occurrences/{name}",
            json={"start_time": f"2027-03-{start}:00:00Z", "end_time": f"2027-03-{end}:00:00Z"},
            headers={"If-Match": f'"{n + 1}"'},
        )
    at = now()
    present = await ok(alice, "GET", "/api/events", params={"limit": 200})
    agenda = await occurrences(alice, limit=1_000)
    assert (len(present), len(agenda)) == (36, 204)
    for event in present:
        await ok(alice, "PATCH", f"/api/events/{event['id']}", json={"title": "Changed"})
    for limit in (1, 7, 200):
        pages = await follow(alice.client, f"/api/events?as_of={at}&limit={limit}")
        assert [event["id"] for page in pages for event in page] == [
            event["id"] for event in present
        ]
        assert {len(page) for page in pages[:-1]} <= {limit}
    found = await ok(alice, "GET", f"/api/events?as_of={at}&skip=5&limit=3")
    assert found == present[5:8]
    window = "start=2027-03-01&end=2027-04-01"
    for limit in (13, 100, 1_000):
        pages = await follow(alice.client, f"/api/occurrences?{window}&as_of={at}&limit={limit}")
        assert [item for page in pages for item in page] == agenda
        assert {len(page) for page in pages[:-1]} <= {limit}
    for item in agenda:
        OccurrenceRead.model_validate(item)


async def test_versions_written_before_overrides_existed_are_read(
    alice: User, database: Database
) -> None:
    """What they lack is filled in."""
    series = await ok(alice, "POST", "/api/events", json=_SERIES)
    url, at = f"/api/events/{series['id']}", now()
    agenda = await occurrences(alice)
    await ok(alice, "PATCH", url, json={"title": "New"})
    strip = Query(
        "UPDATE versions SET data = (data::jsonb"
        " - '{recurrence_text,overrides,split_from}'::text[])::json"
        " WHERE event_id = $1 AND version = 1",
        ("event_id",),
    )
    async with database.reading() as read:
        await read.all(strip, event_id=UUID(series["id"]))
    found = await ok(alice, "GET", url, params={"as_of": at})
    assert found == series | {"recurrence_text": None}
    assert await ok(alice, "GET", "/api/events", params={"as_of": at}) == [found]
    assert await occurrences(alice, as_of=at) == agenda
    assert (await ok(alice, "GET", f"{url}/blame"))["title"]["version"] == 2
    assert (await ok(alice, "GET", f"{url}/history/2"))["summary"] == "title changed"
