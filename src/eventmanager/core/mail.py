"""Email, handed to an SMTP server by the jobs of those who write it."""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Final
from uuid import UUID

import aiosmtplib
import structlog

from eventmanager.core.background import Postponed
from eventmanager.core.background.places import Lane
from eventmanager.core.smtp import SmtpServer

TRIED_FOR: Final = timedelta(hours=4)
"""How long a mail is tried to be sent, while the server is away or puts us off."""
_SOONEST: Final = timedelta(seconds=30)
PLACES: Final = 5
_TIMEOUT_SECONDS: Final = 20.0
_GOODBYE_SECONDS: Final = 2.0
_PERMANENT: Final = 500
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_log = structlog.get_logger("app")


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail of plain text to one address.

    Its `id` makes its Message-ID, which stays the same when it is sent again, so that a mail server
    can tell that it has it already.
    """

    id: UUID
    to: str
    subject: str
    text: str
    written_at: datetime

    def message(self, *, sender: str) -> EmailMessage:
        """Return it as it is sent (RFC 5322); no text of anybody's can add a header to it."""
        message = EmailMessage()
        message["From"] = sender
        local, _, domain = _mailbox(self.to).rpartition("@")
        message["To"] = Address(username=local, domain=domain)
        # Whatever is not seen would be an error or worse in a header.
        message["Subject"] = " ".join(_UNSEEN.sub(" ", self.subject).split())
        message["Date"] = format_datetime(self.written_at)
        message["Message-ID"] = f"<{self.id}@{_mailbox(sender).rpartition('@')[2]}>"
        # Out-of-office replies to a program help nobody (RFC 3834, 5).
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self.text)
        return message


class Outbox:
    """Hands mails to a server, a few at once, so that one that hangs holds up mail alone."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._lane = Lane(PLACES)

    async def send(self, mail: Mail, *, now: datetime) -> None:
        """Send a mail or give it up; raises `Postponed` if it is to be tried again."""
        facts = {"mail": str(mail.id), "server": str(self._server)}
        try:
            async with self._lane.place():
                await _hand_over(mail, self._server)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            age = now - mail.written_at
            cause = _said(error)
            if _is_permanent(error) or age >= TRIED_FOR:
                _log.error("mail_given_up", cause=cause, **facts)
                return
            _log.warning("mail_postponed", cause=cause, **facts)
            # Each pause is as long as it has been tried for so far.
            raise Postponed(max(_SOONEST, age)) from error
        _log.info("mail_sent", **facts)


async def _hand_over(mail: Mail, server: SmtpServer) -> None:
    """Send a mail; it takes 20 s at most, however slowly the server says what."""
    client = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        username=server.username,
        password=server.password,
        use_tls=server.use_tls,
        start_tls=server.start_tls,
        timeout=_TIMEOUT_SECONDS,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await client.connect()
            await client.send_message(
                mail.message(sender=server.sender),
                sender=_mailbox(server.sender),
                recipients=[_mailbox(mail.to)],
            )
        # It is sent, whatever the server says to that we go.
        with suppress(aiosmtplib.SMTPException, OSError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await client.quit()
    finally:
        client.close()


def _is_permanent(error: Exception) -> bool:
    """Tell whether trying again would not help, for this mail.

    Whatever else a server refuses for good, such as us or our sender, is for the administrator to
    put right; the mail is as good as any.
    """
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(refused.code >= _PERMANENT for refused in error.recipients)
    if isinstance(error, aiosmtplib.SMTPDataError):
        return error.code >= _PERMANENT
    # The address can't be written.
    return isinstance(error, ValueError)


def _said(error: Exception) -> str:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused) and error.recipients:
        error = error.recipients[0]
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{error.code} {error.message}"
    return f"{type(error).__name__}: {error}"


def _mailbox(address: str) -> str:
    """Return the bare address, its domain as mail servers know it (RFC 5891)."""
    local, _, domain = parseaddr(address)[1].rpartition("@")
    return f"{local}@{domain if domain.isascii() else domain.encode('idna').decode()}"
