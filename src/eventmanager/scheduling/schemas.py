"""Free/busy and finding a time, as clients write and read them."""

import re
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from eventmanager.core.bodies import Body
from eventmanager.core.time import Instant, ZoneName, zone
from eventmanager.recurrence.values import WEEKDAYS
from eventmanager.scheduling.availability import Found
from eventmanager.scheduling.working_hours import MINUTES_A_DAY, WorkingHours

MAX_USERS: Final = 100
MAX_SLOTS: Final = 100
MAX_WORKING_HOURS: Final = 50

_DURATION: Final = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,4})W)?(?:([0-9]{1,4})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,5})H)?(?:([0-9]{1,5})M)?(?:([0-9]{1,6})S)?)?",
    re.ASCII,
)
_SECONDS: Final = (7 * 24 * 60 * 60, 24 * 60 * 60, 60 * 60, 60, 1)


def _read_duration(value: object) -> int:
    minutes: object = value
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        if match is None:
            raise PydanticCustomError(
                "invalid_duration", "must be whole minutes, or an ISO 8601 duration such as PT45M"
            )
        parts = zip(match.groups(default="0"), _SECONDS, strict=True)
        minutes, odd = divmod(sum(int(count) * seconds for count, seconds in parts), 60)
        if odd:
            raise PydanticCustomError("invalid_duration", "must be whole minutes")
    if not isinstance(minutes, int) or isinstance(minutes, bool):
        raise PydanticCustomError(
            "invalid_duration", "must be whole minutes, or an ISO 8601 duration such as PT45M"
        )
    if not 1 <= minutes <= MINUTES_A_DAY:
        raise PydanticCustomError("invalid_duration", "must be from one minute to 24 hours")
    return minutes


def _without_repeats(days: "list[Weekday]") -> "list[Weekday]":
    return list(dict.fromkeys(days))


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return int(hours) * 60 + int(minutes)


UserName = Annotated[str, StringConstraints(min_length=1, max_length=254, pattern="^[^\\x00]*$")]
Weekday = Literal["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
Duration = Annotated[
    int,
    BeforeValidator(_read_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MINUTES_A_DAY},
                {"type": "string", "format": "duration"},
            ],
            "description": "Whole minutes, or an ISO 8601 duration such as `PT45M`; from one minute"
            " to 24 hours.",
            "examples": [45, "PT45M"],
        }
    ),
]
_WHO: Final = "Each by id, username or email, in any letter case."


class FreeBusyQuery(Body):
    """Whom to ask about, and the window."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "users": ["alice", "grace@example.com"],
                    "start": "2027-06-01T00:00:00Z",
                    "end": "2027-06-08T00:00:00Z",
                }
            ]
        },
    )

    users: Annotated[list[UserName], Field(min_length=1, max_length=MAX_USERS, description=_WHO)]
    start: Annotated[Instant, Field(description="The window's start.")]
    end: Annotated[
        Instant,
        Field(description="Its end: at most 366 days after its start, and ten years from now."),
    ]


class BusyInterval(BaseModel):
    """A stretch of time without a free moment in it."""

    start_time: Annotated[datetime, Field(description="Not before the window's start.")]
    end_time: Annotated[datetime, Field(description="Not after the window's end.")]


class UserFreeBusy(BaseModel):
    """When one user is busy."""

    user: Annotated[str, Field(description="As asked.", examples=["alice"])]
    user_id: Annotated[UUID | None, Field(description="Null where there is no such user.")]
    busy: Annotated[
        list[BusyInterval] | None,
        Field(
            description="In order; what overlaps or touches is one interval. Null with an `error`."
        ),
    ]
    error: Annotated[
        Literal["unknown_user", "not_allowed"] | None,
        Field(description="Why there is no answer about this user, or null."),
    ]


class FreeBusyRead(BaseModel):
    """When some users are busy in a window."""

    start: Annotated[datetime, Field(description="The window's start.")]
    end: Annotated[datetime, Field(description="The window's end.")]
    users: Annotated[list[UserFreeBusy], Field(description="In the order asked, each once.")]


class SearchWindow(Body):
    """The half-open stretch of time to look in."""

    start: Annotated[Instant, Field(description="The earliest start; what is past is passed over.")]
    end: Annotated[
        Instant,
        Field(
            description="The latest end: at most 366 days after `start`, and ten years from now."
        ),
    ]


class ZoneHours(Body):
    """Hours of work on the wall clock of one time zone."""

    time_zone: Annotated[ZoneName, Field(description="IANA name.", examples=["Europe/Berlin"])]
    days: Annotated[
        list[Weekday],
        Field(min_length=1, max_length=20, description="On which days they begin."),
        AfterValidator(_without_repeats),
    ] = ["MO", "TU", "WE", "TH", "FR"]  # noqa: RUF012  # pydantic copies it for each
    start: Annotated[
        str,
        Field(
            pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$",
            description="Wall clock, `HH:MM`.",
            examples=["09:00"],
        ),
    ]
    end: Annotated[
        str,
        Field(
            pattern="^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$",
            description="Wall clock, `HH:MM`. One that is not after `start` is on the next day;"
            " `00:00` and `24:00` are the end of the day.",
            examples=["17:00"],
        ),
    ]

    def plain(self) -> WorkingHours:
        """Return these hours without their wire format."""
        return WorkingHours(
            zone=zone(self.time_zone),
            days=frozenset(WEEKDAYS.index(day) for day in self.days),
            start=_minutes(self.start),
            end=_minutes(self.end),
        )


class AvailabilityQuery(Body):
    """Who is to meet, for how long, and when it would suit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "users": ["alice", "grace@example.com"],
                    "optional_users": [],
                    "duration": 45,
                    "window": {"start": "2027-06-01T00:00:00Z", "end": "2027-06-08T00:00:00Z"},
                    "working_hours": [
                        {"time_zone": "Europe/Berlin", "start": "09:00", "end": "17:00"},
                        {"time_zone": "America/New_York", "start": "09:00", "end": "17:00"},
                    ],
                    "step": 15,
                    "buffer": 5,
                    "limit": 10,
                }
            ]
        },
    )

    users: Annotated[
        list[UserName],
        Field(min_length=1, max_length=MAX_USERS, description=f"Who has to be free. {_WHO}"),
    ]
    optional_users: Annotated[
        list[UserName],
        Field(max_length=MAX_USERS, description=f"Whom it would be good to have, too. {_WHO}"),
    ] = []  # noqa: RUF012  # as above
    duration: Duration
    window: Annotated[SearchWindow, Field(description="When to look.")]
    working_hours: Annotated[
        list[ZoneHours],
        Field(
            max_length=MAX_WORKING_HOURS,
            description="The meeting lies in working hours of every zone named; several hours of"
            " one zone add up. Empty: at any time.",
        ),
    ] = []  # noqa: RUF012  # as above
    step: Annotated[
        int,
        Field(
            strict=True,
            ge=1,
            le=MINUTES_A_DAY,
            description="A meeting begins at a multiple of so many minutes, counted in UTC from"
            " 1970-01-01: with 15 at :00, :15, :30 and :45.",
        ),
    ] = 15
    buffer: Annotated[
        int,
        Field(
            strict=True,
            ge=0,
            le=MINUTES_A_DAY,
            description="So many minutes are free before and after it, too.",
        ),
    ] = 0
    limit: Annotated[
        int, Field(strict=True, ge=1, le=MAX_SLOTS, description="At most so many slots.")
    ] = 10


class SlotRead(BaseModel):
    """A time to meet."""

    start_time: Annotated[datetime, Field(description="When the meeting could begin.")]
    end_time: Annotated[datetime, Field(description="When it would end.")]
    missing: Annotated[
        list[UUID], Field(description="The ids of those of `users` who are busy then.")
    ]
    missing_optional: Annotated[
        list[UUID], Field(description="The ids of those of `optional_users` who are busy then.")
    ]


class AvailabilityRead(BaseModel):
    """The best times to meet."""

    found: Annotated[
        Found,
        Field(
            description="`all`: in each slot all of `users` are free. `partial`: there is no such"
            " slot, these are the best. `none`: at no time is any of them free."
        ),
    ]
    slots: Annotated[
        list[SlotRead],
        Field(
            description="By the fewest `missing`, then the fewest `missing_optional`, then by time."
        ),
    ]
