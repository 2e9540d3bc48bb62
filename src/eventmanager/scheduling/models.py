"""An owner's time: one timeline each, its stored occurrences, and the series that go on."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Computed, ForeignKey, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from eventmanager.core.models import Base


class Timeline(Base):
    """One row an owner: its lock makes check and write of the owner's time one step.

    Every occurrence of the owner's series that starts before `stored_until` is a row of
    `occurrences`. `bookings` grows with everything that is stored there, so that a single statement
    that finds it unchanged knows that it has seen all. `zone_data` is the version of the time zone
    data by which they were worked out.
    """

    __tablename__ = "timelines"

    owner_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    stored_until: Mapped[datetime]
    bookings: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    zone_data: Mapped[str] = mapped_column(server_default=text("''"))


class Occurrence(Base):
    """One stretch of time that an event takes; an event that does not recur has exactly one.

    `reach` is a duration class: up to an hour, a day, 32 days, 1,024 days, or 4 for longer. With
    it, "what touches this window" is a few short index ranges instead of all that began earlier.
    `override` is what this occurrence has of its own, null where it is as its series says.

    Triggers do what a foreign key to `events` would do, once a statement instead of once a row.
    """

    __tablename__ = "occurrences"

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    recurrence_id: Mapped[datetime] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID]
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]
    reach: Mapped[int] = mapped_column(
        SmallInteger,
        Computed(
            "CASE WHEN end_time - start_time <= '01:00:00'::interval THEN 0"
            " WHEN end_time - start_time <= '1 day'::interval THEN 1"
            " WHEN end_time - start_time <= '32 days'::interval THEN 2"
            " WHEN end_time - start_time <= '1024 days'::interval THEN 3"
            " ELSE 4 END",
            persisted=True,
        ),
    )
    busy: Mapped[bool]
    override: Mapped[dict[str, object] | None] = mapped_column(JSONB(none_as_null=True))

    __table_args__ = (
        CheckConstraint("start_time < end_time", name="time_order"),
        Index(
            "ix_occurrences_timeline",
            "owner_id",
            "reach",
            "start_time",
            postgresql_include=["end_time", "busy", "event_id", "recurrence_id"],
        ),
        # Those few of an event that may start elsewhere than the primary key says.
        Index(
            "ix_occurrences_overrides",
            "event_id",
            "start_time",
            postgresql_where=text("override IS NOT NULL"),
        ),
    )


class Series(Base):
    """The rule of an event that recurs, as far as is needed to store more of its occurrences.

    Only series that may have occurrences after the timeline's `stored_until` have a row.
    """

    __tablename__ = "series"

    event_id: Mapped[UUID] = mapped_column(
        ForeignKey("events.id", ondelete="CASCADE"), primary_key=True
    )
    owner_id: Mapped[UUID] = mapped_column(index=True)
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]
    time_zone: Mapped[str]
    all_day: Mapped[bool] = mapped_column(server_default=text("false"))
    recurrence_pattern: Mapped[str]
    busy: Mapped[bool]
