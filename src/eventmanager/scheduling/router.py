"""The HTTP surface of scheduling: when people are busy, and when they could all meet."""

from typing import Any, Final

import orjson
from fastapi import APIRouter, Response

from eventmanager.accounts.access import CurrentUser
from eventmanager.core.http import Db, Now, errors, json_bytes, json_value
from eventmanager.core.time import rfc3339
from eventmanager.scheduling import finding, freebusy
from eventmanager.scheduling.availability import Meeting
from eventmanager.scheduling.schemas import (
    AvailabilityQuery,
    AvailabilityRead,
    FreeBusyQuery,
    FreeBusyRead,
)

router = APIRouter(prefix="/api", tags=["free/busy"])

_MINUTE: Final = 60


@router.post(
    "/freebusy",
    summary="Ask when people are busy",
    response_model=FreeBusyRead,
    responses=errors(401, 413, 422),
)
async def ask_free_busy(asked: FreeBusyQuery, caller: CurrentUser, db: Db, now: Now) -> Response:
    """Return when up to 100 users are busy in up to 366 days: never with what.

    Each user decides who may ask (`free_busy` of `PATCH /api/me`); about oneself one always may.
    About whom there is no answer, `error` says why.
    """
    window = freebusy.window_of(asked.start, asked.end, loc=("body", "end"), now=now)
    users = await freebusy.free_busy(
        db, caller_id=caller.user_id, names=asked.users, window=window, now=now
    )
    head = orjson.dumps({"start": rfc3339(window.start), "end": rfc3339(window.end)})
    return json_bytes(head[:-1] + b',"users":[' + b",".join(map(_user, users)) + b"]}")


@router.post(
    "/availability",
    summary="Find a time to meet",
    response_model=AvailabilityRead,
    responses=errors(
        401,
        403,
        404,
        413,
        422,
        _403="`free_busy_hidden`: `users` names who does not let the caller ask",
        _404="There is no such user: `users` says which",
    ),
)
async def find_a_time(asked: AvailabilityQuery, caller: CurrentUser, db: Db, now: Now) -> Response:
    """Return the best times at which all `users` are free, none of them in the past.

    Where there is none, the times at which the fewest are missing, and who they are.
    """
    found, slots = await finding.find_a_time(
        db,
        caller_id=caller.user_id,
        required=asked.users,
        optional=asked.optional_users,
        window=freebusy.window_of(
            asked.window.start, asked.window.end, loc=("body", "window", "end"), now=now
        ),
        meeting=Meeting(
            duration=asked.duration * _MINUTE,
            step=asked.step * _MINUTE,
            buffer=asked.buffer * _MINUTE,
        ),
        working_hours=[hours.plain() for hours in asked.working_hours],
        limit=asked.limit,
        now=now,
    )
    return json_value({"found": found, "slots": [_slot(slot) for slot in slots]})


def _user(user: freebusy.FreeBusy) -> bytes:
    # The intervals are JSON already, and may be many.
    told = {"user": user.name, "user_id": user.user_id, "error": user.error}
    head = orjson.dumps(told, default=str)
    return head[:-1] + b',"busy":' + (b"null" if user.busy is None else user.busy) + b"}"


def _slot(slot: finding.FoundSlot) -> dict[str, Any]:
    return {
        "start_time": slot.start,
        "end_time": slot.end,
        "missing": slot.missing,
        "missing_optional": slot.missing_optional,
    }
