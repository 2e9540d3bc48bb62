"""Where the request at hand comes from, for whoever writes down what it did."""

from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

_LONGEST_ADDRESS: Final = 100
_LONGEST_AGENT: Final = 400


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from; nothing is known of what the server does by itself.

    `session_id` is the session of who is signed in.
    """

    address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    session_id: UUID | None = None

    def columns(self) -> dict[str, str | UUID | None]:
        """Return it as statements take it."""
        return {
            "address": self.address,
            "user_agent": self.user_agent,
            "request_id": self.request_id,
            "by_session_id": self.session_id,
        }


_NOWHERE = Origin()
_current: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


def here() -> Origin:
    """Return where the request at hand comes from."""
    return _current.get()


def arrive(*, address: str | None, user_agent: str, request_id: str) -> None:
    """Note where a request comes from, for all that is done for it."""
    _current.set(
        Origin(
            # The zone of an IPv6 address, which a proxy may forward, is any text at all.
            _storable(address or "", _LONGEST_ADDRESS),
            _storable(user_agent, _LONGEST_AGENT),
            request_id,
        )
    )


def sign_in(session_id: UUID) -> None:
    """Note whose request it is, once that is known."""
    _current.set(replace(_current.get(), session_id=session_id))


def _storable(text: str, longest: int) -> str | None:
    """Return what PostgreSQL's text, which holds no NUL, keeps of a header; None for nothing."""
    return text.replace("\x00", "")[:longest] or None
