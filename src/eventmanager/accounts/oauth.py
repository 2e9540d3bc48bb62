"""The way in for OAuth 2 clients, which speak RFC 6749: `POST /api/auth/token`."""

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response

from eventmanager.accounts import signing_in
from eventmanager.accounts.dependencies import Given, Hashing, Remembered
from eventmanager.accounts.schemas import TokenAnswer, TokenRequest
from eventmanager.core.http import Db, Now, errors
from eventmanager.core.limits.limiter import LOGIN, REFRESH
from eventmanager.core.limits.middleware import count

oauth: Final = APIRouter(prefix="/api/auth", tags=["auth"])


@oauth.post(
    "/token",
    summary="Get tokens as an OAuth 2 client",
    response_model=TokenAnswer,
    responses=errors(
        400, 422, _400="Refused: `error` and `error_description` say why (RFC 6749, 5.2)"
    ),
)
async def token(
    *,
    request: Request,
    form: Annotated[TokenRequest, Form()],
    response: Response,
    db: Db,
    now: Now,
    passwords: Hashing,
    settings: Given,
    sessions: Remembered,
) -> TokenAnswer:
    """Both tokens in the body, for clients without a cookie jar and for the Authorize button.

    Grants: `password` (RFC 6749, 4.3) and `refresh_token` (6). No `client_id` is asked for, and a
    `scope` means nothing here. Refresh tokens are rotated as those of the cookie are.
    """
    # A refresh token cannot be guessed, and all listeners behind one address renew theirs.
    await count(request, REFRESH if form.grant_type == "refresh_token" else LOGIN)
    signed_in = await signing_in.grant(
        db,
        form=form,
        passwords=passwords,
        sessions=sessions,
        settings=settings,
        now=now,
    )
    response.headers["Cache-Control"] = "no-store"
    return TokenAnswer(
        access_token=signed_in.access_token,
        refresh_token=signed_in.refresh_token,
        expires_in=settings.access_token_expire_minutes * 60,
    )
