"""Decides: by what this process let through itself, and by what all did, when Redis knows."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from eventmanager.core.limits.rates import Rate
from eventmanager.core.limits.windows import Limit, Standing, Window, tightest

DEFAULT: Final = "default"
LOGIN: Final = "login"
REFRESH: Final = "refresh"


class Shared(Protocol):
    """Windows that several processes share; `take` answers None while they cannot be asked."""

    async def take(self, client: str, limits: Sequence[Limit]) -> list[Standing] | None:
        """Count one request of the client if every limit has room; tell how each stood before."""
        ...

    async def aclose(self) -> None:
        """Let go of all resources."""
        ...


class Limiter:
    """The limits by name; what has a limit of its own is held to `default` as well."""

    def __init__(
        self,
        rates: Mapping[str, Sequence[Rate]],
        *,
        shared: Shared | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        windows = {
            name: tuple(Window(Limit(name, rate)) for rate in several)
            for name, several in rates.items()
        }
        self._windows = {
            name: own if name == DEFAULT else own + windows[DEFAULT]
            for name, own in windows.items()
        }
        self._limits = {name: [w.limit for w in held] for name, held in self._windows.items()}
        self._shared = shared
        self._clock = clock

    async def take(self, client: str, name: str = DEFAULT) -> Standing:
        """Count one request of the client and tell how it stands now, or that it is refused."""
        windows = self._windows[name]
        standing = tightest(self._standings(client, windows))
        # What this process alone knows may already be too much: no need to ask the others.
        if standing.admitted and self._shared is not None:
            told = await self._shared.take(client, self._limits[name])
            if told is None:
                standing = tightest(self._standings(client, windows))
            else:
                # Answers may overtake each other, so what came in meanwhile does not count here.
                standing = tightest([standing, *told])
                self._remember_refusals(client, windows, told)
        if not standing.admitted:
            return standing
        now = self._clock()
        for window in windows:
            window.take(client, now)
        return standing._replace(remaining=standing.remaining - 1)

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        if self._shared is not None:
            await self._shared.aclose()

    def _standings(self, client: str, windows: Sequence[Window]) -> list[Standing]:
        now = self._clock()
        return [window.standing(client, now) for window in windows]

    def _remember_refusals(
        self, client: str, windows: Sequence[Window], told: Sequence[Standing]
    ) -> None:
        now = self._clock()
        for window, standing in zip(windows, told, strict=True):
            if not standing.admitted:
                window.close(client, now, until=now + standing.reset_seconds)
