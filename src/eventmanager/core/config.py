"""Settings, from the environment or `.env`, under the names of the original description."""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

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
    data_dir: Path = Path("data")
    log_dir: Path = Path("logs")
    log_level: str = "INFO"
    log_stdout: bool = Field(False, description="Log to standard output instead of `log_dir`.")
    database_pool_size: int = Field(10, ge=1, le=200, description="Connections per worker.")

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
