"""Email, handed to a real SMTP server on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pydantic import SecretStr, ValidationError
from structlog.testing import capture_logs

from eventmanager.core.background import Postponed
from eventmanager.core.config import Settings
from eventmanager.core.mail import TRIED_FOR, Mail, Outbox
from eventmanager.core.smtp import SmtpServer
from tests.mail_server import mailbox

NOW = datetime(2027, 3, 1, 8, 50, 0, 123456, tzinfo=UTC)
MAIL = Mail(
    id=UUID("01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e"),
    to="ann@example.com",
    subject="Standup starts in 10 minutes",
    text="Grüße\n",
    written_at=NOW,
)


async def send(
    url: str, mail: Mail = MAIL, *, now: datetime = NOW, sender: str = "events@example.com"
) -> None:
    """Send by a server, as a job does."""
    await Outbox(SmtpServer.of(url, sender=sender)).send(mail, now=now)


async def test_a_mail_arrives_as_it_was_written() -> None:
    """Its headers say whose it is and that a program wrote it, so that no program answers."""
    async with mailbox() as box:
        await send(box.url, sender="Events <events@example.com>")
    [envelope], [mail] = box.envelopes, box.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("events@example.com", ["ann@example.com"])
    assert mail["From"] == "Events <events@example.com>"
    assert mail["To"] == "ann@example.com"
    assert mail["Subject"] == "Standup starts in 10 minutes"
    assert mail["Date"].datetime == NOW.replace(microsecond=0)
    assert mail["Message-ID"] == f"<{MAIL.id}@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert (mail.get_content_type(), mail.get_content_charset()) == ("text/plain", "utf-8")
    assert mail.get_content().replace("\r\n", "\n") == "Grüße\n"


@pytest.mark.parametrize(
    "title",
    [
        "Hi\nBcc: all@example.com",
        "Hi\r\nBcc: all@example.com",
        "Hi\r\n\r\nBody",
        "Hi\x00\x85\u2028y",
    ],
)
async def test_a_title_adds_no_header(title: str) -> None:
    """Titles are written by whoever may edit an event, and must not send mail to others."""
    mail = Mail(MAIL.id, MAIL.to, title, MAIL.text, NOW)
    async with mailbox() as box:
        await send(box.url, mail)
    [envelope], [arrived] = box.envelopes, box.mails
    assert envelope.rcpt_tos == ["ann@example.com"]
    assert arrived["Bcc"] is None
    assert arrived.get_content().rstrip() == "Grüße"
    assert " ".join(title.replace("\x00", " ").split()) == arrived["Subject"]


@pytest.mark.parametrize(
    ("address", "on_the_wire"),
    [
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("änn@example.com", "änn@example.com"),
        ("a+b@example.com", "a+b@example.com"),
    ],
    ids=["domain", "local part", "tag"],
)
async def test_addresses_of_all_the_world_are_reached(address: str, on_the_wire: str) -> None:
    """Registration takes such addresses, so mail has to reach them."""
    mail = Mail(MAIL.id, address, MAIL.subject, MAIL.text, NOW)
    async with mailbox() as box:
        await send(box.url, mail)
    assert box.envelopes[0].rcpt_tos == [on_the_wire]


async def test_a_refusal_for_now_is_tried_again() -> None:
    """Mail servers put off whom they don't know; the second time it is the same Message-ID."""
    async with mailbox() as box:
        box.answers = ["451 greylisted, come back later"]
        with pytest.raises(Postponed) as first:
            await send(box.url)
        assert first.value.after == timedelta(seconds=30)
        assert box.mails == []
        await send(box.url, now=NOW + first.value.after)
    assert [mail["Message-ID"] for mail in box.mails] == [f"<{MAIL.id}@example.com>"]


async def test_a_refusal_for_good_is_given_up_and_logged() -> None:
    """To insist would only harm the sender's name."""
    async with mailbox() as box:
        box.answers = ["550 no such user"]
        with capture_logs() as logs:
            await send(box.url)
    [log] = [log for log in logs if log["event"] == "mail_given_up"]
    assert log["cause"] == "550 no such user"


@asynccontextmanager
async def saying(*answers: str, pause_s: float = 0) -> AsyncIterator[str]:
    """Run a server that says this, one after the other, and return its URL."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await asyncio.sleep(pause_s)
            writer.write(f"{answer}\r\n".encode())
            # What comes after DATA is no command.
            end = b"\r\n.\r\n" if answer.startswith("354") else b"\r\n"
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await reader.readuntil(end)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("answers", "is_given_up"),
    [
        (["554 no SMTP service here"], False),
        (["220 hi", "550 who are you", "550 who are you"], False),
        (["220 hi", "250 hi", "530 must issue STARTTLS first"], False),
        (["220 hi", "250 hi", "550 not your sender"], False),
        (["220 hi", "250 hi", "250 ok", "450 mailbox busy"], False),
        (["220 hi", "250 hi", "250 ok", "550 no such user"], True),
        (["220 hi", "250 hi", "250 ok", "250 ok", "354 go on", "554 no such content"], True),
    ],
    ids=["greeting", "helo", "tls", "sender", "busy", "recipient", "content"],
)
async def test_a_refusal_that_is_not_of_the_mail_is_tried_again(
    answers: list[str], is_given_up: bool
) -> None:
    """A server that refuses us for good may be set up wrongly; the mails wait for that."""
    async with saying(*answers) as url:
        with capture_logs() as logs, nullcontext() if is_given_up else pytest.raises(Postponed):
            await send(url)
    said = {log["event"]: log["cause"] for log in logs}
    assert said == {"mail_given_up" if is_given_up else "mail_postponed": answers[-1]}


async def test_an_address_that_needs_another_server_waits_for_it() -> None:
    """Not every server takes letters beyond ASCII before the @."""
    mail = Mail(MAIL.id, "änn@example.com", MAIL.subject, MAIL.text, NOW)
    async with saying("220 hi", "250 hi") as url:
        with pytest.raises(Postponed):
            await send(url, mail)


async def test_a_server_that_is_away_is_tried_for_four_hours() -> None:
    """Pauses grow, and a reminder of this morning is not for tomorrow."""
    async with mailbox() as box:
        url = box.url
    for age in (timedelta(minutes=10), TRIED_FOR - timedelta(seconds=1)):
        with pytest.raises(Postponed) as postponed:
            await send(url, now=NOW + age)
        assert postponed.value.after == age
    with capture_logs() as logs:
        await send(url, now=NOW + TRIED_FOR)
    assert "mail_given_up" in {log["event"] for log in logs}


async def test_it_signs_in_and_never_logs_the_password() -> None:
    """A wrong password is the administrator's to put right: mails wait for it."""
    async with mailbox(auth=True) as box:
        with capture_logs() as logs:
            await send(f"smtp://me:s3cret%3Aword@127.0.0.1:{box.port}")
            with pytest.raises(Postponed):
                await send(f"smtp://me:wr0ng%20word@127.0.0.1:{box.port}")
    assert [login.login for login in box.logins][:1] == [b"me"]
    assert len(box.mails) == 1
    assert "wr0ng" not in repr(logs)
    assert "s3cret" not in repr(logs)


async def test_starttls_that_is_required_is_not_done_without() -> None:
    """Who asks for it does not want mail to be read on the way."""
    async with mailbox() as box:
        with pytest.raises(Postponed):
            await send(f"{box.url}?starttls=required")
    assert box.mails == []


async def test_a_server_that_hangs_does_not_hold_the_job_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process has its hands on a few jobs only."""
    monkeypatch.setattr("eventmanager.core.mail._TIMEOUT_SECONDS", 0.2)
    hung = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hung.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(Postponed):
            await asyncio.wait_for(send(f"smtp://127.0.0.1:{port}"), timeout=5)
    finally:
        hung.set()
        server.close()
        await server.wait_closed()


async def test_a_server_that_is_slow_at_each_step_does_not_hold_the_job_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time is for all steps together."""
    monkeypatch.setattr("eventmanager.core.mail._TIMEOUT_SECONDS", 1.0)
    steps = ["220 hi", "250 hi", "250 ok", "250 ok", "354 go on", "250 ok", "221 bye"]
    async with saying(*steps, pause_s=0.4) as url:
        with capture_logs() as logs, pytest.raises(Postponed):
            await send(url)
    assert [log["cause"] for log in logs] == ["TimeoutError: "]


@pytest.mark.parametrize(
    ("url", "host", "port", "use_tls", "start_tls"),
    [
        ("smtp://mail.example", "mail.example", 587, False, None),
        ("smtp://mail.example:2525?starttls=required", "mail.example", 2525, False, True),
        ("smtp://127.0.0.1:25?starttls=never", "127.0.0.1", 25, False, False),
        ("smtps://mail.example", "mail.example", 465, True, False),
    ],
)
def test_the_url_says_how_to_connect(
    url: str, host: str, port: int, use_tls: bool, start_tls: bool | None
) -> None:
    """One setting is enough for every kind of server."""
    server = SmtpServer.of(url)
    assert (server.host, server.port) == (host, port)
    assert (server.use_tls, server.start_tls) == (use_tls, start_tls)


def test_the_sender_is_the_user_unless_another_is_named() -> None:
    """Most servers take mail only from the address that signs in."""
    url = "smtp://me%40example.com:pass@mail.example"
    assert SmtpServer.of(url).sender == "me@example.com"
    assert SmtpServer.of(url, sender="events@example.com").sender == "events@example.com"
    assert SmtpServer.of("smtp://me:pass@mail.example").sender == "eventmanager@localhost"


@pytest.mark.parametrize(
    "wrong",
    [
        "https://mail.example",
        "smtp://",
        "smtp://h?starttls=maybe",
        "smtp://h:99999",
        "mail.example",
    ],
)
def test_a_wrong_url_is_refused_without_being_repeated(wrong: str) -> None:
    """It may hold a password, and errors end in logs."""
    url = wrong.replace("//", "//me:s3cret@") if "//" in wrong else wrong
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None, smtp_url=SecretStr(url))
    said = "".join(item["msg"] for item in refused.value.errors())
    assert "SMTP_URL" in said
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("wrong", ["nobody", "a@example.com\nBcc: b@example.com"])
def test_a_wrong_sender_is_refused(wrong: str) -> None:
    """Better at the start than with the first mail."""
    with pytest.raises(ValidationError):
        Settings(_env_file=None, mail_from=wrong)
