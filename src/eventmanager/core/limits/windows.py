"""PURE. Moving windows in the memory of this process: who did what within the last seconds."""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from eventmanager.core.limits.rates import Rate

_FORGOTTEN_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate that counts for itself, under the name of what it limits."""

    name: str
    rate: Rate


class Standing(NamedTuple):
    """How a client stands: may it, how often more, and in how many seconds one is given back."""

    admitted: bool
    amount: int
    remaining: int
    reset_seconds: float


def tightest(standings: Iterable[Standing]) -> Standing:
    """Return the one that decides: a refusal, the longest first, else the fewest remaining."""
    return min(standings, key=lambda it: (it.admitted, it.remaining, -it.reset_seconds))


class Window:
    """What each client took of one limit. Instants are seconds of any clock that never goes back.

    Costs constant time a request, and the memory of the instants that still count.
    """

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        # Clients in the order of their newest instant, so that those to forget come first.
        self._taken: OrderedDict[str, deque[float]] = OrderedDict()
        self._closed_until: dict[str, float] = {}

    def __len__(self) -> int:
        """Return how many clients are remembered."""
        return len(self._taken)

    def standing(self, client: str, now: float) -> Standing:
        """Tell how the client stands before it takes anything."""
        amount, seconds = self.limit.rate.amount, self.limit.rate.seconds
        if self._closed_until and (until := self._closed_until.get(client, now)) > now:
            return Standing(False, amount, 0, until - now)
        taken = self._taken.get(client)
        while taken and taken[0] <= now - seconds:
            taken.popleft()
        if not taken:
            return Standing(True, amount, amount, seconds)
        # Where Redis forgot, it may have admitted more than this process would have.
        remaining = max(0, amount - len(taken))
        return Standing(remaining > 0, amount, remaining, taken[0] + seconds - now)

    def take(self, client: str, now: float) -> None:
        """Count one request of the client."""
        taken = self._taken.get(client)
        if taken is None:
            taken = self._taken[client] = deque()
        taken.append(now)
        self._taken.move_to_end(client)
        self._forget(now - self.limit.rate.seconds)

    def close(self, client: str, now: float, *, until: float) -> None:
        """Refuse the client until then: others let it through as often as all may together."""
        for known in list(islice(self._closed_until, _FORGOTTEN_AT_ONCE)):
            if self._closed_until[known] <= now:
                del self._closed_until[known]
        self._closed_until[client] = until

    def _forget(self, until: float) -> None:
        """Drop clients whose newest instant counts no more; a few, so that nobody waits for it."""
        for _ in range(_FORGOTTEN_AT_ONCE):
            client, taken = next(iter(self._taken.items()))
            if taken and taken[-1] > until:
                return
            del self._taken[client]
