"""Connections to the receivers of webhooks, and to nothing else.

What a name stands for is looked up once for each connection, and every address it stands for must
be allowed; then one of these very addresses is connected to. So there is no moment in which a name
could come to mean another address, whoever gave the URL.
"""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import httpcore

from eventmanager.webhooks.addresses import may_reach

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses that a host stands for, in order of preference; raises `OSError`."""

RESOLVE_SECONDS: Final = 3.0
_ADDRESSES_TRIED: Final = 3


class AddressRefused(httpcore.ConnectError):
    """The host stands for an address that may not be connected to."""


class NotResolved(httpcore.ConnectError):
    """The host stands for no address."""


class NotResolvedInTime(NotResolved):
    """The host's name servers have not answered yet; a thread goes on to wait for them."""


class TooManyLookups(Exception):  # it says nothing of the host
    """No other name can be looked up at present."""


class Lookups:
    """Asks the system what hosts stand for, in so many threads at once, and a few of each user.

    A lookup that is given up goes on in its thread, for as long as somebody's name servers like.
    """

    def __init__(self, count: int, *, of_each: int | None = None) -> None:
        self._free = count
        self._of_each = count if of_each is None else of_each
        self._held: Counter[object] = Counter()
        self._lock = threading.Lock()

    def of(self, whose: object) -> Resolve:
        """Return what looks up for somebody; it raises `TooManyLookups` as well."""
        return partial(self._resolve, whose)

    async def _resolve(self, whose: object, host: str, port: int) -> Sequence[str]:
        """Ask the system, which knows forms such as 127.1 and 0x7f000001 as well."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def settle(found: Sequence[str], error: Exception | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)

        def ask() -> None:
            found: Sequence[str] = ()
            failure: Exception | None = None
            try:
                rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                found = list(dict.fromkeys(str(address[0]) for *_, address in rows))
            except (OSError, UnicodeError) as error:
                failure = error
            finally:
                self._release(whose)
            # The loop may be closed by now.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, found, failure)

        self._hold(whose)
        try:
            # A thread of a pool would be waited for when the process is to end.
            threading.Thread(target=ask, name="resolve", daemon=True).start()
        except RuntimeError as error:
            self._release(whose)
            raise TooManyLookups from error
        return await answer

    def _hold(self, whose: object) -> None:
        with self._lock:
            if self._free == 0 or self._held[whose] >= self._of_each:
                raise TooManyLookups
            self._free -= 1
            self._held[whose] += 1

    def _release(self, whose: object) -> None:
        with self._lock:
            self._free += 1
            self._held[whose] -= 1
            if not self._held[whose]:
                del self._held[whose]


async def addresses(
    host: str, port: int, *, resolve: Resolve, allow_private: bool, timeout_s: float
) -> Sequence[str]:
    """Return what a host stands for; raises `AddressRefused` if one may not be connected to.

    Raises `NotResolved`, `NotResolvedInTime` and `TooManyLookups` too.
    """
    try:
        async with asyncio.timeout(timeout_s):
            found = await resolve(host, port)
    except TimeoutError as error:
        raise NotResolvedInTime("the host name can't be resolved") from error
    # Python's own encoding of names raises `UnicodeError` for labels that can't be.
    except (OSError, UnicodeError) as error:
        raise NotResolved("the host name can't be resolved") from error
    if not found:
        raise NotResolved("the host name can't be resolved")
    if not all(may_reach(address, allow_private=allow_private) for address in found):
        raise AddressRefused("the host has an address that is not public")
    return found


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to the addresses of hosts that may be connected to.

    `network` is what makes the connections, each to an address and never to a name.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        resolve: Resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._network = network or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host; raises `AddressRefused`, `NotResolved` and httpcore's own errors."""
        found = await addresses(
            host,
            port,
            resolve=self._resolve,
            allow_private=self._allow_private,
            timeout_s=RESOLVE_SECONDS,
        )
        tried = found[:_ADDRESSES_TRIED]
        share = None if timeout is None else timeout / len(tried)
        *others, last = tried
        for address in others:
            try:
                return await self._network.connect_tcp(
                    address, port, share, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(last, port, share, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109  # httpcore's interface
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no webhook is behind one."""
        raise AddressRefused(f"{path} is no address")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._network.sleep(seconds)
