"""Creating events, one or many."""

from typing import Any

import httpx
import pytest

from eventmanager.core.database import Database, Query
from eventmanager.events.schemas import EventRead
from tests.conftest import User
from tests.events.conftest import meeting

_COUNT = Query(
    "SELECT (SELECT count(*) FROM events WHERE owner_id = $1),"
    " (SELECT count(*) FROM occurrences WHERE owner_id = $1),"
    " (SELECT count(*) FROM versions WHERE owner_id = $1)",
    ("owner_id",),
)


async def count(database: Database, user: User) -> tuple[int, int, int]:
    """Return how many events, occurrences and versions the user owns."""
    async with database.reading() as read:
        row = await read.first(_COUNT, owner_id=user.id)
    assert row is not None
    return tuple(row)


def only_detail(answer: httpx.Response) -> dict[str, Any]:
    """Return the one item of a 422's `detail`."""
    assert answer.status_code == 422, answer.text
    [item] = answer.json()["detail"]
    return dict(item)


async def test_the_answer_is_the_event(alice: User) -> None:
    """A client needs no second request: id, defaults, version, permissions, ETag and Location."""
    answer = await alice.client.post(
        "/api/events", json=meeting("14:00", "15:00", location="Zoom", description="Weekly sync-up")
    )
    assert answer.status_code == 201
    event = answer.json()
    EventRead.model_validate(event)
    assert answer.headers["ETag"] == '"1"'
    assert answer.headers["Location"] == f"/api/events/{event['id']}"
    assert event | {"id": "", "created_at": "", "updated_at": ""} == {
        "id": "",
        "owner_id": str(alice.id),
        "title": "Meeting",
        "description": "Weekly sync-up",
        "location": "Zoom",
        "start_time": "2027-03-10T14:00:00Z",
        "end_time": "2027-03-10T15:00:00Z",
        "time_zone": "UTC",
        "all_day": False,
        "is_recurring": False,
        "recurrence_pattern": None,
        "recurrence_text": None,
        "overrides": {},
        "split_from": None,
        "status": "confirmed",
        "transparency": "opaque",
        "version": 1,
        "created_at": "",
        "updated_at": "",
        "permissions": [{"user_id": str(alice.id), "role": "Owner"}],
        "reminders": [],
    }
    assert (await alice.client.get(answer.headers["Location"])).content == answer.content


async def test_a_time_without_offset_is_wall_clock_in_the_zone(alice: User) -> None:
    """People say "nine o'clock in Berlin" and mean it."""
    body = {
        "title": "Breakfast",
        "start_time": "2027-07-01T09:00:00",
        "end_time": "2027-07-01T10:00:00",
        "time_zone": "Europe/Berlin",
    }
    event = (await alice.client.post("/api/events", json=body)).json()
    assert (event["start_time"], event["end_time"]) == (
        "2027-07-01T07:00:00Z",
        "2027-07-01T08:00:00Z",
    )


@pytest.mark.parametrize(
    ("local", "instant"),
    [
        ("2027-03-28T02:30:00", "2027-03-28T01:30:00Z"),  # in the gap: read with the offset before
        ("2027-10-31T02:30:00", "2027-10-31T00:30:00Z"),  # twice: the first
    ],
)
async def test_gaps_and_overlaps_follow_rfc_5545(alice: User, local: str, instant: str) -> None:
    """The hour that does not exist, and the one that comes twice (3.3.5)."""
    body = {
        "title": "Night shift",
        "start_time": local,
        "end_time": "2027-12-01T00:00:00Z",
        "time_zone": "Europe/Berlin",
        "transparency": "transparent",
    }
    assert (await alice.client.post("/api/events", json=body)).json()["start_time"] == instant


async def test_dates_make_an_all_day_event(alice: User) -> None:
    """Its values stay dates, and it blocks just those days of its zone."""
    body = {
        "title": "Fair",
        "start_time": "2027-03-28",
        "end_time": "2027-03-30",
        "time_zone": "Europe/Berlin",
    }
    answer = await alice.client.post("/api/events", json=body)
    event = answer.json()
    assert event["all_day"] is True
    assert (event["start_time"], event["end_time"]) == ("2027-03-28", "2027-03-30")
    # The first of these two days is 23 hours long, so the fair ends at 22:00 UTC on the 29th.
    late = {"title": "Late", "end_time": "2027-03-29T23:00:00Z"}
    clash = await alice.client.post(
        "/api/events", json=late | {"start_time": "2027-03-29T21:59:00Z"}
    )
    assert clash.status_code == 409
    free = await alice.client.post(
        "/api/events", json=late | {"start_time": "2027-03-29T22:00:00Z"}
    )
    assert free.status_code == 201


@pytest.mark.parametrize(
    ("fields", "loc", "kind"),
    [
        ({"end_time": "2027-03-10T09:00:00Z"}, "end_time", "invalid_time_order"),
        ({"end_time": "2027-03-10T10:00:00Z"}, "end_time", "invalid_time_order"),
        ({"start_time": "2027-02-31T10:00:00Z"}, "start_time", "invalid_time"),
        ({"start_time": "0001-01-01T10:00:00Z"}, "start_time", "invalid_time"),
        ({"start_time": 1770000000}, "start_time", "invalid_time"),
        ({"start_time": "soon"}, "start_time", "invalid_time"),
        ({"start_time": "2027-03-10"}, "start_time", "date_without_time"),
        ({"all_day": True}, "start_time", "time_without_date"),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "invalid_time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone", "invalid_time_zone"),
        ({"title": "  "}, "title", "string_too_short"),
        ({"title": "x" * 256}, "title", "string_too_long"),
        ({"title": "nul \x00"}, "title", "invalid_text"),
        ({"title": None}, "title", "string_type"),
        ({"status": "maybe"}, "status", "enum"),
        ({"owner_id": "someone"}, "owner_id", "extra_forbidden"),
        ({"version": 7}, "version", "extra_forbidden"),
        ({"id": "mine"}, "id", "extra_forbidden"),
        ({"recurrence_pattern": "NOT_A_VALID_RRULE"}, "recurrence_pattern", "invalid_rrule"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_its_place(
    alice: User, database: Database, fields: dict[str, Any], loc: str, kind: str
) -> None:
    """One error that says where and what, and nothing is written."""
    body = meeting("10:00", "11:00") | fields
    detail = only_detail(await alice.client.post("/api/events", json=body))
    assert (detail["loc"], detail["type"]) == (["body", loc], kind)
    assert await count(database, alice) == (0, 0, 0)


async def test_a_bad_recurrence_gives_its_exact_reason(alice: User) -> None:
    """The message is the described one; what to do about it is in `ctx.reason`."""
    body = meeting("10:00", "11:00", is_recurring=True, recurrence_pattern="FREQ=HOURLY")
    detail = only_detail(await alice.client.post("/api/events", json=body))
    assert detail["loc"] == ["body", "recurrence_pattern"]
    assert detail["type"] == "invalid_rrule"
    assert detail["msg"] == "recurrence_pattern must be a valid RRULE string"
    assert "HOURLY" in detail["ctx"]["reason"]


async def test_the_described_message_of_a_wrong_time_order(alice: User) -> None:
    """Clients of the description show this very sentence."""
    detail = only_detail(await alice.client.post("/api/events", json=meeting("11:00", "10:00")))
    assert detail["msg"] == "end_time must be after start_time"


@pytest.mark.parametrize(
    "fields",
    [
        {"is_recurring": True},
        {"is_recurring": False, "recurrence_pattern": "FREQ=DAILY"},
        {"is_recurring": True, "recurrence_pattern": None},
    ],
)
async def test_is_recurring_may_not_contradict_the_pattern(
    alice: User, fields: dict[str, Any]
) -> None:
    """Which of the two was meant can't be guessed."""
    answer = await alice.client.post("/api/events", json=meeting("10:00", "11:00") | fields)
    assert only_detail(answer)["type"] == "recurrence_mismatch"


async def test_a_batch_is_created_in_its_order(alice: User) -> None:
    """The answer's items are those of the request, one for one."""
    events = [meeting(f"{hour:02}:00", f"{hour:02}:30", title=f"At {hour}") for hour in (9, 15, 12)]
    answer = await alice.client.post("/api/events/batch", json={"events": events})
    assert answer.status_code == 201
    assert [event["title"] for event in answer.json()] == ["At 9", "At 15", "At 12"]


async def test_a_batch_stands_or_falls_as_a_whole(alice: User, database: Database) -> None:
    """One invalid item, named by its place, and none is created."""
    events = [meeting("10:00", "11:00"), meeting("13:00", "12:00")]
    detail = only_detail(await alice.client.post("/api/events/batch", json={"events": events}))
    assert detail["loc"] == ["body", "events", 1, "end_time"]
    assert await count(database, alice) == (0, 0, 0)


async def test_a_batch_may_not_clash_with_itself(alice: User, database: Database) -> None:
    """Two items that overlap each other are found before they are stored."""
    events = [
        meeting("10:00", "11:00"),
        meeting("20:00", "21:00"),
        meeting("10:59", "12:00"),
    ]
    answer = await alice.client.post("/api/events/batch", json={"events": events})
    assert answer.status_code == 409
    problem = answer.json()
    assert (problem["code"], problem["total"]) == ("time_conflict", 1)
    [pair] = problem["conflicts"]
    assert (pair["requested"]["index"], pair["existing"]["index"]) == (2, 0)
    assert await count(database, alice) == (0, 0, 0)


async def test_a_batch_of_a_thousand_is_accepted_and_one_more_is_not(alice: User) -> None:
    """The limit is 1,000 items, whatever their size below 8 MiB."""
    events = [
        {
            "title": f"Slot {n}",
            "description": "x" * 5_000,
            "start_time": f"2027-{1 + n // 240:02}-{1 + n % 240 // 10:02}T{n % 10:02}:00:00Z",
            "end_time": f"2027-{1 + n // 240:02}-{1 + n % 240 // 10:02}T{n % 10:02}:30:00Z",
        }
        for n in range(1_001)
    ]
    assert only_detail(await alice.client.post("/api/events/batch", json={"events": events}))
    answer = await alice.client.post("/api/events/batch", json={"events": events[:-1]})
    assert answer.status_code == 201
    assert len({event["id"] for event in answer.json()}) == 1_000


async def test_nobody_creates_without_a_token(anonymous: httpx.AsyncClient) -> None:
    """401, and the answer says how to sign in."""
    answer = await anonymous.post("/api/events", json=meeting("10:00", "11:00"))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Content-Type"] == "application/problem+json"
