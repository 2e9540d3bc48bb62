"""Who may do what with an event, and why a request about one is refused.

Access is a predicate in the statements. Only when one of them finds nothing to work on is the
reason looked up here.
"""

from collections.abc import Sequence
from typing import Final

from eventmanager.core.database import Reading, Transaction
from eventmanager.core.errors import EventManagerError, NotFound, PreconditionFailed, RoleTooLow
from eventmanager.core.ids import EventId, UserId
from eventmanager.sharing import queries
from eventmanager.sharing.models import Role

READERS: Final = frozenset(Role)
EDITORS: Final = frozenset({Role.OWNER, Role.EDITOR})
OWNERS: Final = frozenset({Role.OWNER})


async def refusal(
    read: Reading,
    *,
    caller_id: UserId,
    event_id: EventId,
    roles: frozenset[Role],
    versions: Sequence[int] | None = None,
) -> EventManagerError:
    """Return why a statement that asks for one of `roles` found no event to work on.

    `versions` are those that it asked for, None for any.
    """
    row = await read.first(queries.STANDING, caller_id=caller_id, event_id=event_id)
    if row is not None:
        too_low = _too_low(row["role"], roles)
        if too_low is not None:
            return too_low
        if versions is not None:
            return PreconditionFailed(current_version=row["version"])
    # If it is there now, it was in the bin a moment ago, when it was asked for.
    return NotFound("There is no such event")


async def lock_event(
    tx: Transaction, *, caller_id: UserId, event_id: EventId, roles: frozenset[Role]
) -> Role:
    """Lock an event until the commit and return the caller's role, which must be one of `roles`.

    Raises `NotFound` and `RoleTooLow`.
    """
    await tx.first(queries.LOCK_EVENT, event_id=event_id)
    row = await tx.first(queries.STANDING, caller_id=caller_id, event_id=event_id)
    if row is None:
        raise NotFound("There is no such event")
    too_low = _too_low(row["role"], roles)
    if too_low is not None:
        raise too_low
    return Role(row["role"])


def _too_low(role: str | None, roles: frozenset[Role]) -> RoleTooLow | None:
    if role is None:
        return RoleTooLow("This event is not shared with you")
    if role not in roles:
        return RoleTooLow(f"Your role on this event is {role}, which does not allow this")
    return None
