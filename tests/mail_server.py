"""A real SMTP server on loopback that keeps what it is given."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

ACCEPTED = "250 OK"


@dataclass
class Mailbox:
    """The mails that arrived; what is in `answers` is said first to those who bring one."""

    port: int = 0
    envelopes: list[Envelope] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    logins: list[LoginPassword] = field(default_factory=list)

    @property
    def url(self) -> str:
        """What to set `SMTP_URL` to."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def mails(self) -> list[EmailMessage]:
        """The mails, parsed."""
        found = []
        for envelope in self.envelopes:
            mail = message_from_bytes(envelope.content or b"", policy=policy.default)  # type: ignore[arg-type]  # bytes, since the server does not decode
            assert isinstance(mail, EmailMessage)
            found.append(mail)
        return found

    async def handle_DATA(  # noqa: N802  # the name that aiosmtpd looks for
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Take a mail, or say what the test wants to be said."""
        answer = self.answers.pop(0) if self.answers else ACCEPTED
        if answer == ACCEPTED:
            self.envelopes.append(envelope)
        return answer

    def authenticate(
        self,
        _server: SMTP,
        _session: Session,
        _envelope: Envelope,
        _mechanism: str,
        given: object,
    ) -> AuthResult:
        """Let in who knows the password."""
        assert isinstance(given, LoginPassword)
        self.logins.append(given)
        return AuthResult(success=given.password == b"s3cret:word", handled=False)


@asynccontextmanager
async def mailbox(*, auth: bool = False) -> AsyncIterator[Mailbox]:
    """Listen on a port of one's own until the end of the block."""
    box = Mailbox()
    authenticator = box.authenticate if auth else None

    def serve() -> SMTP:
        return SMTP(
            box,
            hostname="localhost",
            auth_require_tls=False,
            enable_SMTPUTF8=True,
            authenticator=authenticator,
        )

    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        await server.wait_closed()
