"""The declarative base: the features' models are the only source of the schema.

And by whose count of transactions the rows of all features are numbered.
"""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, MetaData, Text, Uuid, text
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import UserDefinedType


class Base(DeclarativeBase):
    """Gives every table the same types and constraint names."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        datetime: DateTime(timezone=True),
        str: Text(),
        UUID: Uuid(),
    }


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's `xid8`: 64-bit transaction numbers that never wrap."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name in DDL."""
        return "xid8"


# Alembic reads the column's type back from the database by this name.
ischema_names["xid8"] = TransactionId


class Numbering(Base):
    """By which server's count of transactions rows are numbered: one row.

    A dump that is restored on another server brings numbers of the one before. They are brought in
    line when the program starts; then they all are `transaction_id`, and messages that are written
    later stand after `position`. Before the first time both are 0.
    """

    __tablename__ = "numbering"

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    system_identifier: Mapped[int] = mapped_column(BigInteger)
    transaction_id: Mapped[int] = mapped_column(TransactionId(), server_default=text("'0'"))
    position: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))

    __table_args__ = (CheckConstraint("is_only", name="is_only"),)
