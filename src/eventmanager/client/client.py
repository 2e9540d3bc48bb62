"""The two clients: they do what conversations ask for, one by waiting, the other by awaiting."""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack

import httpx
from websockets.asyncio.client import ClientConnection as AsyncSocket
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import ClientConnection as Socket
from websockets.sync.client import connect

from eventmanager.client.calls import Call
from eventmanager.client.conversation import (
    CLOSE_SECONDS,
    Account,
    Exchange,
    Flow,
    Outcome,
    Pause,
    Renew,
    Step,
    Tokens,
)
from eventmanager.client.errors import ApiError, closed, late
from eventmanager.client.events import Events
from eventmanager.client.following import LOSSES, PATH, Trail
from eventmanager.client.listening import Listener, Sockets, hush
from eventmanager.client.models import Notification, Sync
from eventmanager.client.notifications import Notifications, unread
from eventmanager.client.occurrences import Occurrences
from eventmanager.client.scheduling import Scheduling, sync_pages
from eventmanager.client.surface import Asynchronous, Blocking
from eventmanager.client.webhooks import Webhooks

T = TypeVar("T")


class Options(TypedDict, total=False):
    """What a client may be made with.

    `username` may be an email. Tokens of a session do in place of a password; `on_tokens` is told
    of each new pair, since a refresh token is good for one use; `Client` does so in a thread of its
    own. `timeout_s` (20) is how long the server may be silent to one attempt; `patience_s` (30) how
    long a request is sent again. `trust_env` (true) is whether proxies are read from the
    environment.
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
            timeout_s=timeout_s,
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
        self._asking = threading.Lock()
        self._renewal: Future[None] | None = None
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
                        # It may have been closed meanwhile, and has not seen this socket.
                        if self._closed.is_set():
                            return
                        trail.opened()
                        for text in socket:
                            message = trail.take(text)
                            if message is not None:
                                yield message
                    finally:
                        self._sockets.discard(socket)
                        # To stop is no error, though it is an exception here.
                        socket.close()
            except LOSSES as error:
                loss = error
            if self._closed.is_set():
                return
            self._closed.wait(trail.lost(loss, token=token))

    def sign_out(self) -> None:
        """End the session; a client that has a password begins another if it is used again."""
        self._do(self._account.signing_out())

    def close(self) -> None:
        """End all connections, and all that still listens, in whichever thread.

        Also the session, if the client has begun it and nobody was told of its tokens.
        """
        self._closed.set()
        sockets = list(self._sockets)
        if sockets:
            # Each may wait for the other side.
            with ThreadPoolExecutor(len(sockets)) as threads:
                threads.map(Socket.close, sockets)
        if self._renewal is not None:
            # What it brings is not lost for `on_tokens`, or ended below.
            wait([self._renewal], CLOSE_SECONDS)
        farewell = self._account.farewell()
        if farewell is not None:
            with suppress(httpx.HTTPError):
                self._http.send(farewell.call.request(self._http, farewell.token))
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
        came: Outcome = None
        try:
            while True:
                came = self._take(flow.send(came))
        except StopIteration as end:
            result: T = end.value
            return result

    def _take(self, step: Step) -> Outcome:
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
        return self._renew(step)

    def _renew(self, step: Renew) -> ApiError | None:
        with self._asking:
            if self._account.tokens.access_token != step.stale:
                return None
            renewal = self._renewal
            if renewal is None or renewal.done():
                renewal = self._renewal = Future()
                threading.Thread(target=self._end, args=(renewal,), daemon=True).start()
        try:
            renewal.result(step.seconds)
        except ApiError as error:
            return error
        except TimeoutError:
            return late()
        return None

    def _end(self, renewal: Future[None]) -> None:
        """Renew the tokens, in a thread that none of those who wait can interrupt."""
        try:
            self._do(self._account.renewal())
        except BaseException as error:  # theirs who wait
            renewal.set_exception(error)
        else:
            renewal.set_result(None)


class AsyncClient(_Connection, Scheduling[Asynchronous], Asynchronous):
    """A client whose answers are awaited; it may be shared by tasks. Raises `ApiError`."""

    def __init__(self, base_url: str, **options: Unpack[Options]) -> None:
        super().__init__(base_url, options)
        self._sender = self
        self._http = httpx.AsyncClient(**self._http_options)
        self._renewal: asyncio.Task[None] | None = None
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

    def follow(self, trail: Trail) -> Listener:
        """Yield notifications until the client is closed; raises `ApiError`."""
        return Listener(self._opened(trail), trail)

    async def _opened(self, trail: Trail) -> Sockets:
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
                        # It may have been closed meanwhile, and has not seen this socket.
                        if self._closed.is_set():
                            return
                        trail.opened()
                        loss = yield socket
                    finally:
                        self._sockets.discard(socket)
                        # To stop is no error, though it is an exception here.
                        await socket.close()
            except LOSSES as error:
                loss = error
            if self._closed.is_set():
                return
            await self._pause(trail.lost(loss, token=token))

    async def sign_out(self) -> None:
        """End the session; a client that has a password begins another if it is used again."""
        await self._do(self._account.signing_out())

    async def aclose(self) -> None:
        """End all connections, and all that still listens.

        Also the session, if the client has begun it and nobody was told of its tokens.
        """
        self._closed.set()
        # Each may wait for the other side.
        closing = (socket.close() for socket in self._sockets)
        await asyncio.gather(*closing, return_exceptions=True)
        if self._renewal is not None:
            # What it brings is not lost for `on_tokens`, or ended below.
            await asyncio.wait({self._renewal}, timeout=CLOSE_SECONDS)
            self._renewal.cancel()
        farewell = self._account.farewell()
        if farewell is not None:
            with suppress(httpx.HTTPError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._http.send(farewell.call.request(self._http, farewell.token))
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
        came: Outcome = None
        while True:
            try:
                step = flow.send(came)
            except StopIteration as end:
                result: T = end.value
                return result
            came = await self._take(step)

    async def _take(self, step: Step) -> Outcome:
        if isinstance(step, Exchange):
            if self._closed.is_set():
                raise closed()
            try:
                return await self._http.send(step.call.request(self._http, step.token))
            except httpx.TransportError as error:
                return error
        if isinstance(step, Pause):
            await self._pause(step.seconds)
            return None
        return await self._renew(step)

    async def _pause(self, seconds: float) -> None:
        # So that who waits ends with the client.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)

    async def _renew(self, step: Renew) -> ApiError | None:
        if self._account.tokens.access_token != step.stale:
            return None
        renewal = self._renewal
        if renewal is None or renewal.done():
            # In a task of the client's own: those who wait may be cancelled, and what is spent by
            # then would be lost, with the session.
            renewal = self._renewal = asyncio.create_task(self._do(self._account.renewal()))
            renewal.add_done_callback(hush)
        await asyncio.wait({renewal}, timeout=step.seconds)
        if not renewal.done():
            return late()
        if renewal.cancelled():
            return closed()
        error = renewal.exception()
        if error is None or isinstance(error, ApiError):
            return error
        raise error
