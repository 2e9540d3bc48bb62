"""Passwords as argon2id hashes, computed on a few threads of their own.

A hash costs about 20 ms of a core and 19 MiB, so how many run at once is bounded, and so is how
many wait: beyond that a caller is told to come back, and the rest of the service stays quick.
"""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self, TypeVar

from pwdlib.hashers.argon2 import Argon2Hasher

from eventmanager.core.errors import Unavailable

T = TypeVar("T")

# The first of the equivalent settings in OWASP's Password Storage Cheat Sheet.
MEMORY_KIB: Final = 19 * 1024
ITERATIONS: Final = 2
LANES: Final = 1

THREADS: Final = 4
WAITING: Final = 64


class Passwords:
    """Hashes and verifies, as a context that owns its threads. Raises `Unavailable` when full."""

    def __init__(
        self, *, threads: int = THREADS, waiting: int = WAITING, memory_kib: int = MEMORY_KIB
    ) -> None:
        self._hasher = Argon2Hasher(time_cost=ITERATIONS, memory_cost=memory_kib, parallelism=LANES)
        self._nobodys = self._hasher.hash(secrets.token_bytes(16))
        self._limit = threads + waiting
        self._pending = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="passwords")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._threads.shutdown(cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return a new salted hash of `password`, in the PHC string format."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password: str, known: str | None) -> bool:
        """Tell whether `known` is a hash of `password`.

        Without one (no such user) it takes as long as with one, and is never true.
        """
        matches = await self._run(lambda: self._hasher.verify(password, known or self._nobodys))
        return matches and known is not None

    def outdated(self, known: str) -> bool:
        """Tell whether `known` was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(known)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._pending >= self._limit:
            raise Unavailable("Too many sign-ins at this moment: try again shortly")
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._pending -= 1
