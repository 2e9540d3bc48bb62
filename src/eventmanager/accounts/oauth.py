"""The way in for OAuth 2 clients, which speak RFC 6749: `POST /api/auth/token`."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.routing import APIRoute

from eventmanager.accounts import signing_in
from eventmanager.accounts.dependencies import Given, Hashing, Remembered
from eventmanager.accounts.schemas import TokenAnswer, TokenRequest
from eventmanager.core.errors import InvalidTokenRequest
from eventmanager.core.http import Db, Now, errors
from eventmanager.core.limits.limiter import LOGIN, REFRESH
from eventmanager.core.limits.middleware import count

FORM: Final = "application/x-www-form-urlencoded"


class _FormRoute(APIRoute):
    """A route that reads no other body than a form of RFC 6749 (4.3.2).

    Asked before the body is read: a multipart form names the charset of its texts, any that Python
    has, and some of those make texts that nothing can write down.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's own handler, behind a look at the headers."""
        handle = super().get_route_handler()

        async def handle_form(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != FORM:
                raise InvalidTokenRequest(f"Send the parameters as {FORM}")
            return await handle(request)

        return handle_form


oauth: Final = APIRouter(prefix="/api/auth", tags=["auth"], route_class=_FormRoute)


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
