"""What the routes of accounts ask of the application and of the request."""

from typing import Annotated

from fastapi import Depends, Request

from eventmanager.accounts.passwords import Passwords
from eventmanager.accounts.sessions import SessionCache
from eventmanager.core.config import Settings


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _passwords(request: Request) -> Passwords:
    passwords: Passwords = request.app.state.passwords
    return passwords


async def _sessions(request: Request) -> SessionCache:
    sessions: SessionCache = request.app.state.sessions
    return sessions


Given = Annotated[Settings, Depends(_settings)]
Hashing = Annotated[Passwords, Depends(_passwords)]
Remembered = Annotated[SessionCache, Depends(_sessions)]
