"""What the routes of accounts ask of the application and of the request."""

from typing import Annotated, Final

from fastapi import Depends, Request

from eventmanager.accounts.passwords import Passwords
from eventmanager.accounts.sessions import SessionCache
from eventmanager.accounts.signing_in import Origin
from eventmanager.core.config import Settings

USER_AGENT_LENGTH: Final = 200


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _passwords(request: Request) -> Passwords:
    passwords: Passwords = request.app.state.passwords
    return passwords


async def _sessions(request: Request) -> SessionCache:
    sessions: SessionCache = request.app.state.sessions
    return sessions


async def _origin(request: Request) -> Origin:
    address = request.client.host if request.client else ""
    return Origin(address, request.headers.get("user-agent", "")[:USER_AGENT_LENGTH])


Given = Annotated[Settings, Depends(_settings)]
Hashing = Annotated[Passwords, Depends(_passwords)]
Remembered = Annotated[SessionCache, Depends(_sessions)]
From = Annotated[Origin, Depends(_origin)]
