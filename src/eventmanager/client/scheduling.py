"""PURE. What else a client can ask: who it is, what clashes, when people are free, what is new."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TypedDict

from eventmanager.client.calls import Call, When, get, many, one
from eventmanager.client.models import Availability, Clash, FreeBusy, Profile, SyncPage
from eventmanager.client.surface import Act, Listing, Resource, Sender_co


class WorkingHours(TypedDict, total=False):
    """Hours on the wall clock of a zone: `{"time_zone": ..., "start": "09:00", "end": "17:00"}`."""

    time_zone: str
    days: Sequence[str]
    start: str
    end: str


def sync_pages(sync_token: str | None = None, *, page_size: int = 100) -> Call[list[SyncPage]]:
    """Return the call for one page after the other of what has changed since a token."""
    read = one(SyncPage)
    return get("/api/sync", lambda answer: [read(answer)], sync_token=sync_token, limit=page_size)


def _me() -> Call[Profile]:
    """Return who the client is signed in as."""
    return get("/api/me", one(Profile))


def _clashes(start: When, end: When, *, page_size: int = 50) -> Call[list[Clash]]:
    """Go through the pairs of the caller's busy occurrences that overlap in a window."""
    return get("/api/conflicts", many(Clash), start=start, end=end, limit=page_size)


def _free_busy(users: Sequence[str], start: When, end: When) -> Call[FreeBusy]:
    """Return when users are busy, each by id, username or email; never with what."""
    body = {"users": list(users), "start": start, "end": end}
    return Call("POST", "/api/freebusy", one(FreeBusy), body=body, repeatable=True)


def _availability(
    users: Sequence[str],
    start: When,
    end: When,
    duration: timedelta,
    *,
    optional_users: Sequence[str] = (),
    working_hours: Sequence[WorkingHours] = (),
    step: timedelta = timedelta(minutes=15),
    buffer: timedelta = timedelta(),
    limit: int = 10,
) -> Call[Availability]:
    """Return the best times in a window at which all users are free for so long.

    `duration`, `step` and `buffer` are whole minutes.
    """
    body = {
        "users": list(users),
        "optional_users": list(optional_users),
        "duration": _minutes(duration),
        "window": {"start": start, "end": end},
        "working_hours": list(working_hours),
        "step": _minutes(step),
        "buffer": _minutes(buffer),
        "limit": limit,
    }
    return Call("POST", "/api/availability", one(Availability), body=body, repeatable=True)


def _minutes(duration: timedelta) -> int:
    minutes, odd = divmod(duration, timedelta(minutes=1))
    if odd:
        raise ValueError(f"{duration} is not whole minutes")
    return minutes


class Scheduling(Resource[Sender_co]):
    """What is asked of a client itself."""

    me = Act(_me)
    clashes = Listing(_clashes)
    free_busy = Act(_free_busy)
    availability = Act(_availability)
