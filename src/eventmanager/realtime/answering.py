"""What is done about what a client says on its socket; every message of it is answered."""

import time
from typing import Final

import asyncpg

from eventmanager.core.database import Database
from eventmanager.core.errors import EventManagerError, Unavailable
from eventmanager.core.ids import EventId
from eventmanager.messages import service
from eventmanager.messages.positions import read_position
from eventmanager.realtime.presence.presences import Presences
from eventmanager.realtime.speaking import Filter, NotUnderstood, Pace, read
from eventmanager.realtime.subscriber import Ending, Subscriber
from eventmanager.realtime.wire import (
    Ack,
    Acked,
    Announce,
    Announced,
    Error,
    Fault,
    Subscribe,
    Subscribed,
)

TOO_MANY: Final = Ending(1008, "too many messages")


class Answering:
    """One client's side of a socket. With `packed`, its binary messages are MessagePack."""

    __slots__ = ("_database", "_pace", "_packed", "_presences", "_subscriber")

    def __init__(
        self, database: Database, subscriber: Subscriber, *, presences: Presences, packed: bool
    ) -> None:
        self._database = database
        self._subscriber = subscriber
        self._presences = presences
        self._packed = packed
        # A client that only listens has none.
        self._pace: Pace | None = None

    async def hear(self, said: str | bytes) -> None:
        """Follow one message, or answer why not; a client that says too much is cut off."""
        if self._pace is None:
            self._pace = Pace()
        if not self._pace.admits(now_s=time.monotonic()):
            if self._pace.warns:
                self._answer(_error("too_many_messages", "Too many messages: wait a second"))
            if self._pace.is_lost:
                self._subscriber.end(TOO_MANY)
            return
        try:
            message = read(said, packed=self._packed)
        except NotUnderstood as error:
            self._answer(_error("invalid_message", error.detail, faults=error.faults), id=error.id)
            return
        try:
            await self._follow(message)
        except EventManagerError as error:
            self._answer(_refusal(error), id=message.id)
        except asyncpg.PostgresError as error:
            # Nothing a client says may end its socket.
            self._answer(_refusal(Unavailable(cause=repr(error))), id=message.id)

    async def _follow(self, message: Subscribe | Ack | Announce) -> None:
        match message:
            case Subscribe():
                self._subscribe(message)
            case Ack():
                until = read_position(message.cursor, loc=("message", "cursor"))
                reader = self._subscriber.user_id
                await service.mark_read(self._database, reader=reader, until=until)
                self._answer(Acked(type="acked", cursor=message.cursor), id=message.id)
            case Announce():
                event_id, state = EventId(message.event_id), message.state
                await self._presences.announce(self._subscriber, event_id=event_id, state=state)
                announced = Announced(type="announced", event_id=event_id, state=state)
                self._answer(announced, id=message.id)

    def _subscribe(self, message: Subscribe) -> None:
        events = None if message.events is None else list(dict.fromkeys(message.events))
        types = None if message.types is None else list(dict.fromkeys(message.types))
        self._subscriber.wanted = Filter(
            None if events is None else frozenset(events),
            None if types is None else frozenset(types),
        )
        self._answer(Subscribed(type="subscribed", events=events, types=types), id=message.id)
        # After the answer, so that the lists come after it.
        self._presences.watch(self._subscriber, [EventId(event_id) for event_id in events or ()])

    def _answer(
        self,
        answer: Subscribed | Acked | Announced | Error,
        *,
        id: str | None = None,  # noqa: A002
    ) -> None:
        if id is not None:
            answer.id = id
        self._subscriber.reply(answer.json_bytes())


def _error(code: str, detail: str, *, faults: list[Fault] | None = None) -> Error:
    if not faults:
        return Error(type="error", code=code, detail=detail)
    return Error(type="error", code=code, detail=detail, errors=faults)


def _refusal(error: EventManagerError) -> Error:
    faults = None
    if "loc" in error.facts:
        kind = error.facts.get("type", error.code)
        faults = [Fault(loc=list(error.facts["loc"])[1:], msg=error.detail, type=kind)]
    return _error(error.code, error.detail, faults=faults)
