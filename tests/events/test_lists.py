"""Listing events and what takes place in a window."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from eventmanager.events.schemas import EventRead, OccurrenceRead
from tests.conftest import User
from tests.events.conftest import meeting, share


async def fill(user: User, count: int) -> list[str]:
    """Create so many events, one a day from 2027-01-01, and return their ids in that order."""
    first = datetime(2027, 1, 1, 9, tzinfo=UTC)
    events = [
        {
            "title": f"Day {n}",
            "start_time": (first + timedelta(days=n)).isoformat(),
            "end_time": (first + timedelta(days=n, hours=1)).isoformat(),
        }
        for n in range(count)
    ]
    shuffled = events[1::2] + events[::2]
    answer = await user.client.post("/api/events/batch", json={"events": shuffled})
    created = sorted(answer.json(), key=lambda event: str(event["start_time"]))
    return [event["id"] for event in created]


async def ids(user: User, **params: Any) -> list[str]:
    """Return the ids of a list."""
    answer = await user.client.get("/api/events", params=params)
    assert answer.status_code == 200, answer.text
    return [event["id"] for event in answer.json()]


async def follow(client: httpx.AsyncClient, url: str) -> list[list[dict[str, Any]]]:
    """Return all pages of a list, by its Link headers."""
    pages: list[list[dict[str, Any]]] = []
    while url:
        answer = await client.get(url)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        url = answer.links.get("next", {}).get("url", "")
    return pages


async def test_events_come_by_start_time_in_pages(alice: User) -> None:
    """`skip` and `limit` as described; 20 items unless asked otherwise."""
    all_ids = await fill(alice, 45)
    assert await ids(alice) == all_ids[:20]
    assert await ids(alice, skip=40, limit=200) == all_ids[40:]
    assert await ids(alice, skip=3, limit=4) == all_ids[3:7]


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 201}, {"skip": -1}, {"limit": "x"}])
async def test_a_list_has_a_limit(alice: User, params: dict[str, Any]) -> None:
    """Nobody asks for everything at once."""
    assert (await alice.client.get("/api/events", params=params)).status_code == 422


async def test_following_the_links_gives_each_event_once(alice: User) -> None:
    """Even when events are created and deleted meanwhile, and whatever the first `skip`."""
    all_ids = await fill(alice, 25)
    pages = await follow(alice.client, "/api/events?limit=10&skip=1")
    assert [len(page) for page in pages] == [10, 10, 4]
    assert [event["id"] for page in pages for event in page] == all_ids[1:]
    for event in pages[0]:
        EventRead.model_validate(event)


@pytest.mark.parametrize("cursor", ["x", "AAAA", "W10", "bnVsbA", "WzEsMl0", "é"])
async def test_a_cursor_that_is_not_ours_is_refused(alice: User, cursor: str) -> None:
    """422, for either list."""
    for path in ("/api/events", "/api/occurrences?start=2027-01-01&end=2027-02-01"):
        answer = await alice.client.get(path, params={"cursor": cursor})
        if "occurrences" in path:
            answer = await alice.client.get(f"{path}&cursor={cursor}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


async def test_words_are_found_in_title_description_and_location(alice: User) -> None:
    """Full text: words in any order, phrases, exclusions, any letter case."""
    bodies = [
        meeting("09:00", "10:00", title="Quarterly budget review"),
        meeting("10:00", "11:00", title="Lunch", description="We review the Budget"),
        meeting("11:00", "12:00", title="Call", location="Budget room"),
        meeting("12:00", "13:00", title="Unrelated"),
    ]
    answer = await alice.client.post("/api/events/batch", json={"events": bodies})
    first, second, third, _ = [event["id"] for event in answer.json()]
    assert await ids(alice, q="budget") == [first, second, third]
    assert await ids(alice, q="review budget") == [first, second]
    assert await ids(alice, q='"budget review"') == [first]
    assert await ids(alice, q="budget -room") == [first, second]
    for odd in ("'", "&|!", "a" * 200, "\\", "%"):
        assert await ids(alice, q=odd) == []


async def test_a_reader_sees_what_is_shared_and_nothing_else(alice: User, bob: User) -> None:
    """In the list, the search and the agenda alike; `role` narrows it."""
    mine = (await alice.client.post("/api/events", json=meeting("09:00", "10:00"))).json()["id"]
    (await alice.client.post("/api/events", json=meeting("10:00", "11:00"))).json()
    own = (await bob.client.post("/api/events", json=meeting("09:00", "10:00"))).json()["id"]
    assert await ids(bob) == [own]
    await share(alice, mine, bob, "Viewer")
    assert sorted(await ids(bob)) == sorted([mine, own])
    assert sorted(await ids(bob, q="meeting")) == sorted([mine, own])
    assert await ids(bob, role="Viewer") == [mine]
    assert await ids(bob, role="Owner") == [own]
    assert await ids(bob, role="Editor") == []
    window = {"start": "2027-03-10T00:00:00Z", "end": "2027-03-11T00:00:00Z"}
    assert sorted(await ids(bob, **window)) == sorted([mine, own])
    found = (await bob.client.get("/api/occurrences", params=window)).json()
    assert {item["event_id"] for item in found} == {mine, own}


async def test_a_window_keeps_events_that_touch_it(alice: User) -> None:
    """By occurrence, not by first start: half-open, also for series and long events."""
    series = meeting("09:00", "10:00", recurrence_pattern="FREQ=WEEKLY")
    created = (await alice.client.post("/api/events", json=series)).json()["id"]
    for start, end, found in (
        ("2027-03-17T09:30:00Z", "2027-03-17T09:31:00Z", True),
        ("2027-03-17T08:00:00Z", "2027-03-17T09:00:00Z", False),
        ("2027-03-17T10:00:00Z", "2027-03-17T11:00:00Z", False),
        ("2027-03-18T00:00:00Z", "2027-03-24T00:00:00Z", False),
        ("2033-03-16T00:00:00Z", "2033-03-17T00:00:00Z", True),
    ):
        assert (await ids(alice, start=start, end=end) == [created]) is found, (start, end)


@pytest.mark.parametrize(
    ("params", "loc"),
    [
        ({"start": "2027-03-10T00:00:00Z"}, "end"),
        ({"end": "2027-03-10T00:00:00Z"}, "start"),
        ({"start": "2027-03-10T00:00:00Z", "end": "2027-03-10T00:00:00Z"}, "end"),
        ({"start": "yesterday", "end": "2027-03-10T00:00:00Z"}, "start"),
    ],
)
async def test_half_a_window_is_refused(alice: User, params: dict[str, str], loc: str) -> None:
    """Start and end go together, in this order."""
    for path in ("/api/events", "/api/occurrences"):
        answer = await alice.client.get(path, params=params)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["query", loc]


async def test_a_window_may_be_written_as_people_write_it(alice: User) -> None:
    """Dates, other offsets, and an unescaped plus all mean what they say."""
    await alice.client.post("/api/events", json=meeting("09:00", "10:00"))
    for query in (
        "start=2027-03-10&end=2027-03-11",
        "start=2027-03-10T10:00:00%2B02:00&end=2027-03-10T12:00:00%2B02:00",
        "start=2027-03-10T10:00:00+01:00&end=2027-03-10T11:00:00+01:00",
    ):
        answer = await alice.client.get(f"/api/occurrences?{query}")
        assert len(answer.json()) == 1, answer.text


async def test_the_agenda_pages_by_key(alice: User) -> None:
    """Occurrences of several series, in order, each once; the shape is the documented one."""
    for hour, rule in ((9, "FREQ=DAILY"), (11, "FREQ=WEEKLY;BYDAY=MO,WE"), (13, "FREQ=MONTHLY")):
        body = meeting(f"{hour:02}:00", f"{hour:02}:30", recurrence_pattern=rule)
        assert (await alice.client.post("/api/events", json=body)).status_code == 201
    url = "/api/occurrences?start=2027-03-10&end=2027-05-10&limit=7"
    pages = await follow(alice.client, url)
    items = [item for page in pages for item in page]
    whole = (await alice.client.get(url.replace("limit=7", "limit=1000"))).json()
    assert items == whole
    assert len(items) == 61 + 17 + 2
    assert [item["start_time"] for item in items] == sorted(item["start_time"] for item in items)
    for item in items:
        assert item["recurrence_id"] == item["start_time"]
        OccurrenceRead.model_validate(item)


async def test_all_day_occurrences_are_dates(alice: User) -> None:
    """In the event's own zone, also where a day is 23 hours long."""
    body = {
        "title": "Holiday",
        "start_time": "2027-03-27",
        "end_time": "2027-03-28",
        "time_zone": "Europe/Berlin",
        "recurrence_pattern": "FREQ=DAILY;COUNT=3",
    }
    assert (await alice.client.post("/api/events", json=body)).status_code == 201
    answer = await alice.client.get("/api/occurrences?start=2027-03-01&end=2027-04-01")
    assert [(item["start_time"], item["end_time"]) for item in answer.json()] == [
        ("2027-03-27", "2027-03-28"),
        ("2027-03-28", "2027-03-29"),
        ("2027-03-29", "2027-03-30"),
    ]
