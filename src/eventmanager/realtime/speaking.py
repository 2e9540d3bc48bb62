"""PURE. What a client says on its socket: reading it, and how much of it there may be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
import ormsgpack
from pydantic import TypeAdapter, ValidationError

from eventmanager.realtime.wire import (
    MAX_ID,
    Ack,
    Announce,
    ClientMessage,
    Fault,
    Subscribe,
)

SPOKEN_PER_SECOND: Final = 20.0
SPOKEN_AT_ONCE: Final = 40.0
"""How many messages a client may send on top of that, if it has been silent before."""
PASSED_OVER: Final = 40
"""How many more are passed over before the socket is closed."""

_MESSAGE: Final[TypeAdapter[Subscribe | Ack | Announce]] = TypeAdapter(ClientMessage)


class NotUnderstood(Exception):  # it ends no request: it is answered on the socket
    """A message of no kind that there is; `id` is the message's own, if that could be read."""

    def __init__(self, detail: str, *, id: str | None = None, faults: Sequence[Fault] = ()) -> None:  # noqa: A002
        self.detail = detail
        self.id = id
        self.faults = list(faults)
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which notifications a socket wants to hear: those that meet both conditions; None is all."""

    events: frozenset[UUID] | None = None
    types: frozenset[str] | None = None

    def wants(self, type: str, event_id: UUID | None) -> bool:  # noqa: A002
        """Tell whether a notification meets the conditions; one about no event is of none."""
        return (self.types is None or type in self.types) and (
            self.events is None or event_id in self.events
        )


def read(said: str | bytes, *, packed: bool) -> Subscribe | Ack | Announce:
    """Read a client's message: JSON as text, MessagePack as bytes where that was `packed`.

    Raises `NotUnderstood`.
    """
    message = _parse(said, packed=packed)
    if not isinstance(message, dict):
        raise NotUnderstood("A message must be an object")
    try:
        return _MESSAGE.validate_python(message)
    except ValidationError as error:
        raise NotUnderstood(
            "The message is not valid", id=_id_of(message), faults=_faults(error)
        ) from error


def _parse(said: str | bytes, *, packed: bool) -> Any:
    if isinstance(said, str):
        try:
            return orjson.loads(said)
        except orjson.JSONDecodeError as error:
            raise NotUnderstood("The message is not valid JSON") from error
    if not packed:
        raise NotUnderstood("Binary messages are for sockets with the subprotocol msgpack")
    try:
        return ormsgpack.unpackb(said)
    except ValueError as error:
        raise NotUnderstood("The message is not valid MessagePack") from error


def _id_of(message: Mapping[str, Any]) -> str | None:
    named = message.get("id")
    return named if isinstance(named, str) and len(named) <= MAX_ID else None


def _faults(error: ValidationError) -> list[Fault]:
    kinds = {"subscribe", "ack", "presence"}
    faults = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        loc = list(item["loc"])
        # Which kind of message it was taken for is no place in it.
        inside = loc[1:] if loc and loc[0] in kinds else loc
        faults.append(Fault(loc=inside or ["type"], msg=item["msg"], type=item["type"]))
    return faults


class Pace:
    """How fast one client speaks: a bucket that a message takes from and time fills."""

    __slots__ = ("_counted_at_s", "_left", "_passed_over")

    def __init__(self) -> None:
        self._left = SPOKEN_AT_ONCE
        self._counted_at_s: float | None = None
        self._passed_over = 0

    def admits(self, *, now_s: float) -> bool:
        """Count one message, and tell whether it may be followed."""
        if self._counted_at_s is not None:
            gained = (now_s - self._counted_at_s) * SPOKEN_PER_SECOND
            self._left = min(SPOKEN_AT_ONCE, self._left + gained)
        self._counted_at_s = now_s
        if self._left < 1:
            self._passed_over += 1
            return False
        self._left -= 1
        self._passed_over = 0
        return True

    @property
    def warns(self) -> bool:
        """Whether the last message was the first of those that are passed over."""
        return self._passed_over == 1

    @property
    def is_lost(self) -> bool:
        """Whether the client does not listen to the warning."""
        return self._passed_over > PASSED_OVER
