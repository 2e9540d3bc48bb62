"""Where the request at hand comes from, for whoever writes down what it did."""

from contextvars import ContextVar
from dataclasses import dataclass

_LONGEST_AGENT = 400


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from; nothing is known of what the server does by itself."""

    address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None

    def columns(self) -> dict[str, str | None]:
        """Return it as statements take it."""
        return {
            "address": self.address,
            "user_agent": self.user_agent,
            "request_id": self.request_id,
        }


_NOWHERE = Origin()
_current: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


def here() -> Origin:
    """Return where the request at hand comes from."""
    return _current.get()


def arrive(*, address: str | None, user_agent: str, request_id: str) -> None:
    """Note where a request comes from, for all that is done for it."""
    # PostgreSQL's text holds no NUL; header values are bytes of any kind.
    agent = user_agent.replace("\x00", "")[:_LONGEST_AGENT]
    _current.set(Origin(address, agent or None, request_id))
