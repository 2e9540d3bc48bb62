"""PURE. Which mail server `SMTP_URL` means."""

from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

_PORTS: Final = {"smtp": 587, "smtps": 465}
_STARTTLS: Final = {"required": True, "offered": None, "never": False}


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where email is handed over, and as whom. With `start_tls` None, TLS is used where offered."""

    host: str
    port: int
    use_tls: bool
    start_tls: bool | None
    sender: str
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)

    @classmethod
    def of(cls, url: str, *, sender: str = "") -> Self:
        """Read `smtp://user:password@host:587?starttls=required` or `smtps://...`.

        Without a `sender` it is the user, if that is an address. Raises `ValueError`, in which the
        URL is not, since it may hold a password.
        """
        wrong = ValueError(
            "SMTP_URL must be like smtp://user:password@host:587?starttls=required or"
            " smtps://user:password@host:465; starttls is offered, required or never"
        )
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise wrong from None
        wish = parse_qs(parts.query).get("starttls", ["offered"])[-1]
        if parts.scheme not in _PORTS or not parts.hostname or wish not in _STARTTLS:
            raise wrong
        username = unquote(parts.username) if parts.username else None
        own = username if username and "@" in username else "eventmanager@localhost"
        use_tls = parts.scheme == "smtps"
        return cls(
            host=parts.hostname,
            port=port or _PORTS[parts.scheme],
            use_tls=use_tls,
            start_tls=False if use_tls else _STARTTLS[wish],
            sender=sender or own,
            username=username,
            password=unquote(parts.password) if parts.password else None,
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
