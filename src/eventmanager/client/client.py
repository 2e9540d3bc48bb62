"""The two clients: they do what conversations ask for, one by waiting, the other by awaiting."""

import asyncio
import logging
import ssl
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack

import httpx
from websockets.asyncio.client import ClientConnection as AsyncSocket
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import ClientConnection as Socket
from websockets.sync.client import connect

from eventmanager.client.calls import Call
from eventmanager.client.conversation import Account, Exchange, Flow, Pause, Step, Tokens
from eventmanager.client.errors import closed
from eventmanager.client.events import Events
from eventmanager.client.following import LOSSES, PATH, Trail
from eventmanager.client.models import Notification, Sync
from eventmanager.client.notifications import Notifications, unread
from eventmanager.client.occurrences import Occurrences
from eventmanager.client.scheduling import Scheduling, sync_pages
from eventmanager.client.surface import Asynchronous, Blocking
from eventmanager.client.webhooks import Webhooks

T = TypeVar("T")

CLOSE_SECONDS: Final = 2.0

_log = logging.getLogger("eventmanager.client")


class Options(TypedDict, total=False):
    """What a client may be made with.

    `username` may be an email. Tokens of a session do in place of a password; `on_tokens` is told
    of each new pair, since a refresh token is good for one use. `timeout_s` (20) bounds one
    attempt, `patience_s` (30) all attempts for one request together. `trust_env` (true) is whether
    proxies are read from the environment.
    """

    username: str
    password: str
    access_token: str
    refresh_token: str
    on_tokens: Callable[[Tokens], None]
    timeout_s: float
    patience_s: float
    trust_env: bool
    ssl_context: ssl.SSLContext


class _Connection:
    """What both kinds of client have."""

    def __init__(self, base_url: str, options: Options) -> None:
        timeout_s = options.get("timeout_s", 20.0)
        trust_env = options.get("trust_env", True)
        ssl_context = options.get("ssl_context")
        self._account = Account(
            username=options.get("username"),
            password=options.get("password"),
            tokens=Tokens(
                access_token=options.get("access_token"),
                refresh_token=options.get("refresh_token"),
            ),
            on_tokens=options.get("on_tokens"),
            patience_s=options.get("patience_s", 30.0),
        )
        self._http_options: dict[str, Any] = {
            "base_url": base_url,
            "timeout": timeout_s,
            "trust_env": trust_env,
            "verify": ssl_context or True,
        }
        url = httpx.URL(base_url.rstrip("/") + PATH)
        self._socket_url = url.copy_with(scheme={"https": "wss"}.get(url.scheme, "ws"))
        self._socket_options: dict[str, Any] = {
            "proxy": True if trust_env else None,
            "open_timeout": timeout_s,
            "close_timeout": CLOSE_SECONDS,
            "compression": None,
            "max_size": None,
        }
        if ssl_context is not None:
            self._socket_options["ssl"] = ssl_context

    @property
    def tokens(self) -> Tokens:
        """The tokens as they are now."""
        return self._account.tokens

    def _socket(self, trail: Trail, token: str | None) -> dict[str, Any]:
        return {
            "uri": str(self._socket_url.copy_with(params={"after": trail.after})),
            "additional_headers": {"Authorization": f"Bearer {token}"},
            **self._socket_options,
        }


class Client(_Connection, Scheduling[Blocking], Blocking):
    """A client that waits; it may be shared by threads. Raises `ApiError`."""

    def __init__(self, base_url: str, **options: Unpack[Options]) -> None:
        super().__init__(base_url, options)
        self._sender = self
        self._http = httpx.Client(**self._http_options)
        self._renewing = threading.Lock()
        self._closed = threading.Event()
        self._sockets: set[Socket] = set()
        self.events: Final = Events[Blocking](self)
        self.occurrences: Final = Occurrences[Blocking](self)
        self.notifications: Final = Notifications[Blocking](self)
        self.webhooks: Final = Webhooks[Blocking](self)

    def sync(self, sync_token: str | None = None) -> Sync:
        """Return all the caller may read or, with a token, what has changed since."""
        return Sync.of(list(self.pages(sync_pages(sync_token))))

    def send(self, call: Call[T]) -> T:
        """Return what was answered; raises `ApiError`."""
        return self._do(self._account.conversation(call))[0]

    def pages(self, call: Call[list[T]]) -> Iterator[T]:
        """Yield what is on all pages, each asked for when it is needed; raises `ApiError`."""
        following: Call[list[T]] | None = call
        while following is not None:
            page, following = self._do(self._account.conversation(following))
            yield from page

    def follow(self, trail: Trail) -> Generator[Notification, None, None]:
        """Yield notifications until the client is closed; raises `ApiError`."""
        while not self._closed.is_set():
            token: str | None = None
            loss: Exception | None = None
            try:
                token = self._do(self._account.bearer(refused=trail.refused))
                if trail.after is None:
                    trail.after = self.send(unread()).cursor
                with connect(**self._socket(trail, token)) as socket:
                    self._sockets.add(socket)
                    try:
                        trail.opened()
                        for text in socket:
                            message = trail.take(text)
                            if message is not None:
                                yield message
                    finally:
                        self._sockets.discard(socket)
            except LOSSES as error:
                loss = error
            if self._closed.is_set():
                return
            seconds = trail.lost(loss, token=token)
            _log.info("lost the socket (%s), another in %.1f s", loss or "closed", seconds)
            self._closed.wait(seconds)

    def close(self) -> None:
        """End all connections, and all that still listens, in whichever thread."""
        self._closed.set()
        for socket in list(self._sockets):
            with suppress(*LOSSES):
                socket.close()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _do(self, flow: Flow[T]) -> T:
        came: httpx.Response | httpx.TransportError | None = None
        try:
            while True:
                came = self._take(flow.send(came))
        except StopIteration as end:
            result: T = end.value
            return result

    def _take(self, step: Step) -> httpx.Response | httpx.TransportError | None:
        if isinstance(step, Exchange):
            if self._closed.is_set():
                raise closed()
            try:
                return self._http.send(step.call.request(self._http, step.token))
            except httpx.TransportError as error:
                return error
        if isinstance(step, Pause):
            # So that who waits ends with the client.
            self._closed.wait(step.seconds)
            return None
        with self._renewing:
            if self._account.tokens.access_token == step.stale:
                self._do(self._account.renewal())
        return None


class AsyncClient(_Connection, Scheduling[Asynchronous], Asynchronous):
    """A client whose answers are awaited; it may be shared by tasks. Raises `ApiError`."""

    def __init__(self, base_url: str, **options: Unpack[Options]) -> None:
        super().__init__(base_url, options)
        self._sender = self
        self._http = httpx.AsyncClient(**self._http_options)
        self._renewing = asyncio.Lock()
        self._closed = asyncio.Event()
        self._sockets: set[AsyncSocket] = set()
        self.events: Final = Events[Asynchronous](self)
        self.occurrences: Final = Occurrences[Asynchronous](self)
        self.notifications: Final = Notifications[Asynchronous](self)
        self.webhooks: Final = Webhooks[Asynchronous](self)

    async def sync(self, sync_token: str | None = None) -> Sync:
        """Return all the caller may read or, with a token, what has changed since."""
        return Sync.of([page async for page in self.pages(sync_pages(sync_token))])

    async def send(self, call: Call[T]) -> T:
        """Return what was answered; raises `ApiError`."""
        return (await self._do(self._account.conversation(call)))[0]

    async def pages(self, call: Call[list[T]]) -> AsyncIterator[T]:
        """Yield what is on all pages, each asked for when it is needed; raises `ApiError`."""
        following: Call[list[T]] | None = call
        while following is not None:
            page, following = await self._do(self._account.conversation(following))
            for item in page:
                yield item

    async def follow(self, trail: Trail) -> AsyncGenerator[Notification, None]:
        """Yield notifications until the client is closed; raises `ApiError`."""
        while not self._closed.is_set():
            token: str | None = None
            loss: Exception | None = None
            try:
                token = await self._do(self._account.bearer(refused=trail.refused))
                if trail.after is None:
                    trail.after = (await self.send(unread())).cursor
                async with connect_async(**self._socket(trail, token)) as socket:
                    self._sockets.add(socket)
                    try:
                        trail.opened()
                        async for text in socket:
                            message = trail.take(text)
                            if message is not None:
                                yield message
                    finally:
                        self._sockets.discard(socket)
            except LOSSES as error:
                loss = error
            if self._closed.is_set():
                return
            seconds = trail.lost(loss, token=token)
            _log.info("lost the socket (%s), another in %.1f s", loss or "closed", seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), seconds)

    async def aclose(self) -> None:
        """End all connections, and all that still listens."""
        self._closed.set()
        for socket in list(self._sockets):
            await socket.close()
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _do(self, flow: Flow[T]) -> T:
        came: httpx.Response | httpx.TransportError | None = None
        while True:
            try:
                step = flow.send(came)
            except StopIteration as end:
                result: T = end.value
                return result
            came = await self._take(step)

    async def _take(self, step: Step) -> httpx.Response | httpx.TransportError | None:
        if isinstance(step, Exchange):
            if self._closed.is_set():
                raise closed()
            try:
                return await self._http.send(step.call.request(self._http, step.token))
            except httpx.TransportError as error:
                return error
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        async with self._renewing:
            if self._account.tokens.access_token == step.stale:
                await self._do(self._account.renewal())
        return None
