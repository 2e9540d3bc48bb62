"""Settings, from the environment or `.env`, under the names of the original description."""

from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from eventmanager.core.limits.rates import Rate, parse_rates
from eventmanager.core.proxies import parse_proxies
from eventmanager.core.smtp import SmtpServer

SHIPPED_SECRETS = frozenset(
    {"your_super_secret_key", "my_super_secret_key", "changeme", "secret", "change-me"}
)
SECRET_MIN_LENGTH = 32


class Settings(BaseSettings):
    """All that can be set from outside; every field has a default that works.

    `DATABASE_URL` empty means the embedded PostgreSQL under `DATA_DIR`. The secrets may be empty
    only then: `eventmanager serve` makes random ones and keeps them in `DATA_DIR`.
    """

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    database_url: str = ""
    redis_url: str = ""
    access_token_secret: SecretStr = SecretStr("")
    refresh_token_secret: SecretStr = SecretStr("")
    access_token_expire_minutes: int = Field(15, ge=1, le=24 * 60)
    refresh_token_expire_days: int = Field(7, ge=1, le=365)
    cors_origins: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(),
        description="Origins whose pages may connect, beside our own: https://a.example,https://b.example",
    )
    data_dir: Path = Path("data")
    log_dir: Path = Path("logs")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_stdout: bool = Field(False, description="Log to standard output instead of `log_dir`.")
    database_pool_size: int = Field(
        10, ge=1, le=200, description="Connections per worker for requests."
    )
    rate_limit_enabled: bool = True
    rate_limit_default: Annotated[tuple[Rate, ...], NoDecode] = parse_rates("200/minute")
    rate_limit_login: Annotated[tuple[Rate, ...], NoDecode] = parse_rates("5/minute")
    rate_limit_refresh: Annotated[tuple[Rate, ...], NoDecode] = parse_rates("60/minute")
    require_if_match: bool = Field(
        False, description="Whether a change without If-Match is refused with 428."
    )
    bin_days: int = Field(30, ge=1, le=3650, description="How long deleted events can be restored.")
    notification_days: int = Field(30, ge=1, le=3650, description="How long messages are kept.")
    webhook_allow_private: bool = Field(
        False,
        description="Whether webhooks may use http and lead to private addresses, as of an"
        " intranet: every user can then have this server post to them.",
    )
    max_sockets_per_user: int = Field(
        50,
        ge=1,
        le=10_000,
        description="How many sockets and streams one user may have open in one process.",
    )
    background_tasks: bool = Field(
        True, description="Whether this process takes its turn at the work beside the requests."
    )
    smtp_url: SecretStr = Field(
        SecretStr(""),
        description="Where email is handed over; empty: none is sent."
        " smtp://user:password@host:587?starttls=required or smtps://user:password@host:465",
    )
    mail_from: str = Field(
        "", max_length=320, description="Whose email it is; by default the user of `smtp_url`."
    )
    reminder_emails_per_hour: int = Field(
        30,
        ge=1,
        le=100_000,
        description="How many reminders by email one user gets in an hour, which begins with the"
        " first that is due; up to twice as many may come where two such hours meet.",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Whose X-Forwarded-For and -Proto are believed: 10.0.0.0/8,192.168.1.7"
    )

    @field_validator("database_url")
    @classmethod
    def _without_driver(cls, value: str) -> str:
        """Accept SQLAlchemy's `postgresql+asyncpg://` beside libpq's `postgresql://`."""
        if not value:
            return value
        parts = urlsplit(value)
        scheme = parts.scheme.partition("+")[0]
        if scheme not in {"postgresql", "postgres"}:
            raise ValueError("DATABASE_URL must start with postgresql:// or postgresql+asyncpg://")
        return urlunsplit(parts._replace(scheme="postgresql"))

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("redis_url")
    @classmethod
    def _of_redis(cls, value: str) -> str:
        """Accept Valkey's `valkey://` and `valkeys://` beside Redis's own."""
        scheme, separator, rest = value.partition("://")
        scheme = {"valkey": "redis", "valkeys": "rediss"}.get(scheme, scheme)
        if value and scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("REDIS_URL must start with redis://, rediss://, valkey:// or unix://")
        return scheme + separator + rest

    @property
    def smtp(self) -> SmtpServer | None:
        """The server that email is handed to, if there is one."""
        url = self.smtp_url.get_secret_value()
        return SmtpServer.of(url, sender=self.mail_from) if url else None

    @field_validator("mail_from")
    @classmethod
    def _of_one_mailbox(cls, value: str) -> str:
        """Accept `events@example.com` and `Events <events@example.com>`."""
        if value and ("@" not in parseaddr(value)[1] or not value.isprintable()):
            raise ValueError("MAIL_FROM must be an address such as Events <events@example.com>")
        return value

    @model_validator(mode="after")
    def _know_the_mail_server(self) -> Self:
        _ = self.smtp
        return self

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """Read a comma-separated list of origins as browsers send them: lower case, no path."""
        if not isinstance(value, str):
            return value
        origins = {part.strip().rstrip("/").lower() for part in value.split(",")} - {""}
        for origin in origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in {"http", "https"}
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ValueError(f"CORS_ORIGINS: {origin} is no origin such as https://a.example")
        return frozenset(origins)

    @field_validator("rate_limit_default", "rate_limit_login", "rate_limit_refresh", mode="before")
    @classmethod
    def _as_rates(cls, value: object) -> object:
        return parse_rates(value) if isinstance(value, str) else value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _as_proxies(cls, value: object) -> object:
        return parse_proxies(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _refuse_weak_secrets(self) -> Self:
        for name in ("access_token_secret", "refresh_token_secret"):
            secret = getattr(self, name).get_secret_value()
            if not secret and not self.database_url:
                continue
            if len(secret) < SECRET_MIN_LENGTH or secret.lower() in SHIPPED_SECRETS:
                raise ValueError(
                    f"{name.upper()} must be a random value of at least {SECRET_MIN_LENGTH} "
                    'characters: python -c "import secrets; print(secrets.token_urlsafe(48))"'
                )
        both = {self.access_token_secret.get_secret_value()} & {
            self.refresh_token_secret.get_secret_value()
        }
        if both - {""}:
            raise ValueError("ACCESS_TOKEN_SECRET and REFRESH_TOKEN_SECRET must differ")
        return self
