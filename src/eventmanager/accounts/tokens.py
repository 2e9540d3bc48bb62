"""The two kinds of token: a signed one that says who calls, and an opaque one that renews it."""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from uuid import UUID

import jwt

from eventmanager.accounts.models import GlobalRole
from eventmanager.core.config import Settings
from eventmanager.core.errors import InvalidToken
from eventmanager.core.ids import SessionId, UserId, uuid7

ISSUER: Final = "eventmanager"
AUDIENCE: Final = "eventmanager"
# RFC 9068, 2.1: the media type that tells an access token from any other JWT.
TYPE: Final = "at+jwt"
ALGORITHM: Final = "HS256"
LEEWAY_SECONDS: Final = 2
REFRESH_TOKEN_BYTES: Final = 32
REMEMBERED_TOKENS: Final = 10_000

# 32 bytes as base64 for URLs, those of `new_refresh_token` and of `successor`.
_REFRESH_TOKEN: Final = re.compile("[A-Za-z0-9_-]{43}")
# PyJWT's own error, and what odd values of our claims make of `UUID()` and `int()`.
_MALFORMED: Final = (
    jwt.InvalidTokenError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
)
_CLAIMS: Final = ("sub", "sid", "role", "iat", "exp", "iss", "aud", "jti")


@dataclass(frozen=True, slots=True)
class Claims:
    """Who an access token speaks for; whether its session still lives is another question."""

    user_id: UserId
    session_id: SessionId
    expires_at: int


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session and the two tokens that prove it; both are secrets, never to be logged."""

    user_id: UserId
    session_id: SessionId
    access_token: str
    refresh_token: str


def sign_access_token(
    settings: Settings, *, user_id: UserId, session_id: SessionId, role: GlobalRole, now: datetime
) -> str:
    """Return an access token (RFC 9068) that lives `ACCESS_TOKEN_EXPIRE_MINUTES`.

    Its `role` is for clients to read; what the caller may do is asked of the database.
    """
    issued_at = int(now.timestamp())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user_id),
        "sid": str(session_id),
        "role": role.value,
        "iat": issued_at,
        "exp": issued_at + settings.access_token_expire_minutes * 60,
        "jti": uuid7().hex,
    }
    secret = settings.access_token_secret.get_secret_value()
    return jwt.encode(claims, secret, algorithm=ALGORITHM, headers={"typ": TYPE})


def read_access_token(token: str, *, settings: Settings, now: datetime) -> Claims:
    """Return what a token of ours says, at `now`. Raises `InvalidToken`."""
    claims = _verified(token, settings.access_token_secret.get_secret_value())
    if claims.expires_at + LEEWAY_SECONDS <= now.timestamp():
        raise InvalidToken
    return claims


def is_ours(token: str, *, settings: Settings) -> bool:
    """Tell whether we have signed this access token, whenever that was."""
    try:
        _verified(token, settings.access_token_secret.get_secret_value())
    except InvalidToken:
        return False
    return True


def new_refresh_token() -> str:
    """Return the first refresh token of a session: 256 random bits, URL-safe."""
    return secrets.token_urlsafe(REFRESH_TOKEN_BYTES)


def may_refresh(token: str) -> bool:
    """Tell whether a text looks like a refresh token of ours; what doesn't needs no look-up."""
    return bool(_REFRESH_TOKEN.fullmatch(token))


def successor(token: str, *, settings: Settings) -> str:
    """Return the one token that follows `token`.

    Derived (HMAC-SHA256) rather than drawn, so that a client that lost our answer can be given the
    same again though only digests are kept.
    """
    secret = settings.refresh_token_secret.get_secret_value().encode()
    following = hmac.digest(secret, token.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(following).rstrip(b"=").decode()


def digest(token: str) -> bytes:
    """Return the form in which a refresh token is stored: 256 random bits need no salt."""
    return hashlib.sha256(token.encode()).digest()


def refresh_lifetime(settings: Settings) -> timedelta:
    """Return how long a refresh token, and with it its session, lives when it is not used."""
    return timedelta(days=settings.refresh_token_expire_days)


def signed_in(
    settings: Settings,
    *,
    user_id: UserId,
    session_id: SessionId,
    role: GlobalRole,
    refresh_token: str,
    now: datetime,
) -> SignedIn:
    """Return the session with `refresh_token` and an access token that is signed now."""
    access_token = sign_access_token(
        settings, user_id=user_id, session_id=session_id, role=role, now=now
    )
    return SignedIn(user_id, session_id, access_token, refresh_token)


# A client sends the same token for minutes: to verify it anew each time would cost a third of a
# short request. What is remembered is only what never changes; errors are not.
@lru_cache(maxsize=REMEMBERED_TOKENS)
def _verified(token: str, secret: str) -> Claims:
    """Return the claims of a token that we signed and that says all it must."""
    try:
        decoded = jwt.decode_complete(
            token,
            secret,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            # PyJWT would compare with the machine's clock; ours is injected.
            options={"require": list(_CLAIMS), "verify_exp": False, "verify_iat": False},
        )
        if decoded["header"].get("typ") != TYPE:
            raise InvalidToken
        claims = decoded["payload"]
        return Claims(
            user_id=UserId(UUID(claims["sub"])),
            session_id=SessionId(UUID(claims["sid"])),
            expires_at=int(claims["exp"]),
        )
    except _MALFORMED as error:
        raise InvalidToken from error
