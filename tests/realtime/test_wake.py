"""A commit that stages messages says so, and no other does."""

from unittest.mock import Mock

import pytest

import eventmanager.api  # noqa: F401  # imports every feature, so that every statement is known
from eventmanager.core.database import QUERIES, Database, Query, Transaction
from eventmanager.messages.models import Message

TELLING = Query("SELECT 1 -- in place of a statement that stages messages", (), tells=True)
SILENT = Query("SELECT 1", ())


@pytest.fixture
def said(database: Database, monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Stand in for the relay."""
    said = Mock()
    monkeypatch.setattr(database, "on_news", said)
    return said


def test_every_statement_that_stages_messages_is_known_by_its_text() -> None:
    """However it is laid out: one that is missed would be told a second late."""
    staging = [each for each in QUERIES if f" {Message.__tablename__} " in _flat(each.sql, "INTO")]
    assert len(staging) > 4
    assert all(each.tells for each in staging)


def _flat(sql: str, word: str) -> str:
    """Return what follows each `word`, on one line."""
    return " ".join(f" {part.split()[0]} " for part in sql.split(word)[1:])


async def test_a_commit_with_messages_is_said_once(database: Database, said: Mock) -> None:
    """After the commit, and once however many statements there were."""

    async def work(tx: Transaction) -> None:
        await tx.first(TELLING)
        await tx.all(TELLING)
        said.assert_not_called()

    await database.transaction(work)
    said.assert_called_once_with()


async def test_a_rollback_says_nothing(database: Database, said: Mock) -> None:
    """There is nothing to hear of."""

    async def work(tx: Transaction) -> None:
        await tx.first(TELLING)
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        await database.transaction(work)
    said.assert_not_called()


async def test_what_stages_nothing_says_nothing(database: Database, said: Mock) -> None:
    """Reads and other writes wake nobody."""

    async def work(tx: Transaction) -> None:
        await tx.first(SILENT)

    await database.transaction(work)
    async with database.reading() as read:
        await read.first(SILENT)
    said.assert_not_called()


async def test_a_statement_of_its_own_is_said_even_if_the_block_fails(
    database: Database, said: Mock
) -> None:
    """It was committed when it ended."""

    async def fail() -> None:
        async with database.reading() as read:
            await read.first(TELLING)
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        await fail()
    said.assert_called_once_with()
