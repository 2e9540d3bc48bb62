"""Every way a request can be refused, as one tree.

    EventManagerError
    ├── TokenRefused           400  InvalidGrant, InvalidTokenRequest, UnsupportedGrantType
    ├── Unauthenticated        401  InvalidCredentials, InvalidToken, SessionEnded
    ├── Forbidden              403  RoleTooLow, AdminOnly, AccountDisabled, ForeignOrigin,
    │                              FreeBusyHidden
    ├── NotFound               404
    ├── Conflict               409  DuplicateUser, DuplicateGrant, LastOwner, TimeConflict,
    │                              MergeConflict, NothingToUndo, SecondHalfStands, KeyInUse,
    │                              TooManyWebhooks
    ├── Gone                   410  SyncTokenExpired, CursorExpired
    ├── PreconditionFailed     412
    ├── Invalid                422  WindowTooFar, WindowTooLong, InvalidCursor, KeyReused,
    │                              TooManyEvents
    ├── PreconditionRequired   428
    ├── RateLimited            429  TooManySockets
    └── Unavailable            503

Services raise these with their facts; `core.problems` alone turns them into HTTP.
"""

from typing import Any, ClassVar


class EventManagerError(Exception):
    """Base of all domain errors: a stable `code`, a `title`, a sentence, and the facts."""

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "The request was refused"

    def __init__(self, detail: str | None = None, **facts: Any) -> None:
        self.detail = detail or self.title
        self.facts = facts
        super().__init__(self.detail)


class TokenRefused(EventManagerError):
    """An OAuth client's request for tokens is refused (RFC 6749, 5.2).

    Facts: `error` and `error_description`, the names by which such clients know them.
    """

    code = "invalid_request"
    title = "The request for a token is not valid"

    def __init__(self, detail: str | None = None, **facts: Any) -> None:
        described = detail or self.title
        super().__init__(described, error=self.code, error_description=described, **facts)


class InvalidTokenRequest(TokenRefused):
    """A parameter that the grant needs is missing, or the body is no form."""


class InvalidGrant(TokenRefused):
    """The password or the refresh token of the grant is wrong."""

    code = "invalid_grant"
    title = "The username, email, password or refresh token is wrong"


class UnsupportedGrantType(TokenRefused):
    """The `grant_type` is neither `password` nor `refresh_token`."""

    code = "unsupported_grant_type"
    title = "The grant_type must be password or refresh_token"


class Unauthenticated(EventManagerError):
    """Nobody is known to be asking."""

    code = "unauthenticated"
    title = "Sign in first: send an access token as `Authorization: Bearer <token>`"


class InvalidCredentials(Unauthenticated):
    """No active user has this name and this password; which of the two is not said."""

    code = "invalid_credentials"
    title = "The username, email or password is wrong"


class InvalidToken(Unauthenticated):
    """The token is malformed, expired, of another kind, or not ours."""

    code = "invalid_token"
    title = "The token is invalid or has expired"


class SessionEnded(Unauthenticated):
    """The token's session was ended, or its user disabled."""

    code = "session_ended"
    title = "This session has ended: sign in again"


class Forbidden(EventManagerError):
    """The caller is known, and may not."""

    code = "forbidden"
    title = "You may not do this"


class RoleTooLow(Forbidden):
    """The caller's role on the event, if any, does not reach this far."""

    code = "role_too_low"
    title = "Your role on this event does not allow this"


class AdminOnly(Forbidden):
    """Only users with the global role Admin may."""

    code = "admin_only"
    title = "Only an Admin may do this"


class AccountDisabled(Forbidden):
    """The password is right, but an Admin has disabled the account."""

    code = "account_disabled"
    title = "This account is disabled"


class ForeignOrigin(Forbidden):
    """A web page of an origin that is neither ours nor in `CORS_ORIGINS` opens a socket."""

    code = "foreign_origin"
    title = "Pages of this origin may not connect"


class FreeBusyHidden(Forbidden):
    """Some of the users do not let the caller know when they are busy. Fact: `users`, by name."""

    code = "free_busy_hidden"
    title = "Some of these users do not let you know when they are busy"


class NotFound(EventManagerError):
    """There is no such thing, or it is deleted."""

    code = "not_found"
    title = "Not found"


class Conflict(EventManagerError):
    """The request is well formed but collides with what stands."""

    code = "conflict"
    title = "The request conflicts with the current state"


class DuplicateUser(Conflict):
    """Another user already has this username or email, in any letter case."""

    code = "duplicate_user"
    title = "This username or email is already registered"


class DuplicateGrant(Conflict):
    """The event is already shared with this user; change the role instead."""

    code = "duplicate_grant"
    title = "The event is already shared with this user"


class LastOwner(Conflict):
    """The event would have no Owner left."""

    code = "last_owner"
    title = "An event needs an Owner: make somebody else Owner first"


class TimeConflict(Conflict):
    """The event would overlap busy time of its owner.

    Facts: `conflicts`, at most 50 pairs `{requested, existing}`, and `total`, how many there are.
    """

    code = "time_conflict"
    title = "The event overlaps busy time of its owner"


class MergeConflict(Conflict):
    """The same fields were changed in two ways since the version that both are based on.

    Facts: `conflicts`, a list of `{field, base, yours, theirs}`, `base_version`, `current_version`.
    """

    code = "merge_conflict"
    title = "The same fields have been changed by somebody else"


class NothingToUndo(Conflict):
    """The change can't be taken back: it is the creation, or a deletion or restoration."""

    code = "nothing_to_undo"
    title = "There is no change that could be taken back"


class SecondHalfStands(Conflict):
    """The series would again take place when halves that were split from it since then still do.

    Fact: `event_ids`, the halves.
    """

    code = "second_half_stands"
    title = (
        "The series was split since then, and what follows is an event of its own: delete that"
        " first, or send on_conflict=allow"
    )


class KeyInUse(Conflict):
    """A request with the same `Idempotency-Key` is being answered at this moment."""

    code = "idempotency_key_in_use"
    title = "A request with this Idempotency-Key is still running: try again shortly"


class TooManyWebhooks(Conflict):
    """The user has as many webhooks as one may have. Fact: `limit`."""

    code = "too_many_webhooks"
    title = "You have as many webhooks as you may have: delete one first"


class Gone(EventManagerError):
    """What the client goes on from is no longer kept. Fact: `restart`, where to begin again."""

    code = "gone"
    title = "This is no longer kept: begin again"


class SyncTokenExpired(Gone):
    """The sync token is too old, or not of this user and this database."""

    code = "sync_token_expired"
    title = "The sync token is no longer good: begin again with GET /api/sync without one"


class CursorExpired(Gone):
    """Messages after the cursor are no longer kept, or it is not of this database."""

    code = "cursor_expired"
    title = "What comes after this cursor is no longer kept: begin again with GET /api/sync"


class PreconditionFailed(EventManagerError):
    """`If-Match` names what is no longer current.

    Fact: `current_version` of an event, `current_etag` of the list of who shares it.
    """

    code = "stale_version"
    title = "The event has changed since the version you named"


class PreconditionRequired(EventManagerError):
    """The server wants to know which version a change is based on."""

    code = "precondition_required"
    title = "Send If-Match with the ETag that the change is based on"


class Invalid(EventManagerError):
    """A value is well formed but makes no sense here. Facts: `loc` and `type` of the value."""

    code = "validation_error"
    title = "The request is not valid"


class WindowTooFar(Invalid):
    """The window ends beyond the ten years that are kept expanded. Fact: `limit`."""

    code = "window_too_far"
    title = "The window ends more than ten years from now"


class WindowTooLong(Invalid):
    """The window is longer than may be asked for at once. Fact: `limit_days`."""

    code = "window_too_long"
    title = "The window is too long"


class KeyReused(Invalid):
    """The `Idempotency-Key` belongs to another request of the last 24 hours."""

    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used for another request"


class InvalidCursor(Invalid):
    """The `cursor` was not made by this endpoint."""

    code = "invalid_cursor"
    title = "The cursor is not one this endpoint gave out"


class TooManyEvents(Invalid):
    """One socket says of more events than it may that its user is at them."""

    code = "too_many_events"
    title = "A socket may not be at so many events"


class PrivateAddress(Invalid):
    """A webhook's URL leads to an address that is not public."""

    code = "private_address"
    title = "must lead to a public address: WEBHOOK_ALLOW_PRIVATE would allow others"


class RateLimited(EventManagerError):
    """The client asks too often. Facts: `limit`, and `retry_after` in seconds."""

    code = "rate_limited"
    title = "Too many requests: slow down"


class TooManySockets(RateLimited):
    """All the sockets and streams that one user may have open at once are open."""

    code = "too_many_sockets"
    title = "You have too many sockets and streams open: close one first"


class Unavailable(EventManagerError):
    """The database cannot be reached, or all its connections are taken: try again."""

    code = "unavailable"
    title = "The service is temporarily unavailable: try again shortly"
