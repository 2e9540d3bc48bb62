"""Users, sessions, and the chain of refresh tokens of each session."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from eventmanager.core.models import Base


class GlobalRole(StrEnum):
    """What a user is on the whole server; roles on single events are `sharing.Role`."""

    USER = "User"
    ADMIN = "Admin"


class FreeBusyAccess(StrEnum):
    """Who may ask when a user is busy."""

    EVERYONE = "everyone"
    SHARED = "shared"
    NOBODY = "nobody"


class User(Base):
    """A person or program that signs in. Names are unique in any letter case."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str]
    email: Mapped[str]
    password_hash: Mapped[str]
    role: Mapped[str] = mapped_column(server_default=GlobalRole.USER)
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    free_busy: Mapped[str] = mapped_column(server_default=FreeBusyAccess.EVERYONE)
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("role IN ('User', 'Admin')", name="role"),
        CheckConstraint("free_busy IN ('everyone', 'shared', 'nobody')", name="free_busy"),
        Index("uq_users_username", text("lower(username)"), unique=True),
        Index("uq_users_email", text("lower(email)"), unique=True),
    )


class Session(Base):
    """One sign-in, and all tokens that descend from it; ended as a whole."""

    __tablename__ = "sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    address: Mapped[str]
    user_agent: Mapped[str]


class RefreshToken(Base):
    """The SHA-256 of one refresh token; `used_at` is set when its successor is issued."""

    __tablename__ = "refresh_tokens"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[UUID] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE"), index=True
    )
    issued_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Ticket(Base):
    """The SHA-256 of one ticket, with which a browser opens one socket as its session."""

    __tablename__ = "tickets"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[UUID] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE"), index=True
    )
    expires_at: Mapped[datetime]
