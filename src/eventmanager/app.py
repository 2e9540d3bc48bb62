"""Composes the program: settings in, an ASGI application out."""

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager, nullcontext
from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from eventmanager import api
from eventmanager.accounts import access
from eventmanager.accounts.passwords import Passwords
from eventmanager.accounts.sessions import SessionCache
from eventmanager.core import logging, openapi, problems
from eventmanager.core.background import working
from eventmanager.core.clock import Clock, SystemClock
from eventmanager.core.config import Settings
from eventmanager.core.database import Database
from eventmanager.core.http import MEBIBYTE
from eventmanager.core.limits.limiter import DEFAULT, LOGIN, REFRESH, Limiter
from eventmanager.core.limits.middleware import RateLimits
from eventmanager.core.limits.shared import SharedWindows
from eventmanager.core.middleware import BodyLimit, RequestContext
from eventmanager.core.negotiation import Negotiation
from eventmanager.core.pages import mount_pages
from eventmanager.core.proxies import TrustedProxies
from eventmanager.realtime.news import NEWS_CONNECTIONS, NEWS_STATEMENT_SECONDS, telling
from eventmanager.worker import background

_LIMITS_OF_THEIR_OWN: Final = {
    "/api/auth/login": LOGIN,
    "/api/auth/password": LOGIN,
    "/api/auth/token": None,
    "/api/auth/refresh": REFRESH,
}
# What pages of other origins may send, and read, beyond what browsers let everybody.
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_ASKED_WITH: Final = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "X-Request-ID",
)
_ANSWERED_WITH: Final = (
    "ETag",
    "Link",
    "Location",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "X-Request-ID",
)


def create_app(settings: Settings, *, clock: Clock | None = None) -> FastAPI:
    """Return the application for `settings`; it connects to the database when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool_size = settings.database_pool_size
        state = app.state
        state.started_s = time.monotonic()
        url = settings.database_url
        async with (
            Database.connect(url, pool_size=pool_size, must_answer=False) as database,
            Database.connect(
                url,
                pool_size=NEWS_CONNECTIONS,
                must_answer=False,
                statement_s=NEWS_STATEMENT_SECONDS,
            ) as news_database,
        ):
            state.database = database
            with Passwords() as state.passwords:
                async with (
                    telling(
                        database,
                        through=news_database,
                        settings=settings,
                        clock=state.clock,
                        heard=state.background.wake,
                    ) as state.news,
                    working(
                        database,
                        state.background,
                        database_url=url,
                        clock=state.clock,
                    )
                    if settings.background_tasks
                    else nullcontext(),
                    aclosing(limiter),
                ):
                    yield

    limiter = _limiter(settings)
    app = FastAPI(
        title="Event Manager",
        version=api.VERSION,
        summary=api.SUMMARY,
        description=api.DESCRIPTION,
        openapi_tags=api.TAGS,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.clock = clock or SystemClock()
    app.state.background = background(settings)
    app.state.sessions = SessionCache()
    app.state.limiter = limiter
    problems.install(app)
    openapi.install(app, describe=access.describe)
    api.mount(app)
    mount_pages(app)
    _surround(app, settings=settings, limiter=limiter)
    return app


def _surround(app: FastAPI, *, settings: Settings, limiter: Limiter) -> None:
    """Put the middleware around the routes."""
    # The last one added is the outermost.
    if settings.rate_limit_enabled:
        app.add_middleware(RateLimits, limiter=limiter, named=_LIMITS_OF_THEIR_OWN)
    app.add_middleware(Negotiation)
    app.add_middleware(
        BodyLimit,
        limit_bytes=MEBIBYTE,
        exceptions={"/api/events/batch": 8 * MEBIBYTE},
        may_send_more=access.has_our_token,
    )
    if settings.cors_origins:
        # Outside of all that may refuse, so that a page can read why.
        _let_in(app, origins=settings.cors_origins)
    app.add_middleware(RequestContext)
    if settings.trusted_proxies:
        app.add_middleware(TrustedProxies, trusted=settings.trusted_proxies)


def _let_in(app: FastAPI, *, origins: Collection[str]) -> None:
    """Let pages of other origins call the API."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=_ASKED_WITH,
        expose_headers=_ANSWERED_WITH,
        # The refresh token's cookie is SameSite=Strict: it comes along only from pages of our own
        # site, and only those that are listed may read the answer.
        allow_credentials=True,
    )


def _limiter(settings: Settings) -> Limiter:
    return Limiter(
        {
            DEFAULT: settings.rate_limit_default,
            LOGIN: settings.rate_limit_login,
            REFRESH: settings.rate_limit_refresh,
        },
        shared=SharedWindows(settings.redis_url) if settings.redis_url else None,
    )


def from_environment() -> FastAPI:
    """Return the application as a worker process runs it, with its logs open."""
    _end_with_parent()
    _collect_garbage_rarely()
    settings = Settings()
    logging.configure(settings.log_dir, level=settings.log_level, stdout=settings.log_stdout)
    return create_app(settings)


def _collect_garbage_rarely() -> None:
    """Leave what the modules hold out of it, and look through all the rest a tenth as often.

    Looking through thousands of open sockets stops everything for most of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 10, 50)


def _end_with_parent() -> None:
    """Stop this worker when the process that started it is gone, even if it was killed.

    A worker that stayed behind would keep the port and block the next start.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
