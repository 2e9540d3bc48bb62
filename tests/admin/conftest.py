"""What the Admin's tests share with those of accounts: an Admin, tokens, another worker."""

import pytest

from eventmanager.core.database import Database, Query
from tests.accounts.conftest import admin, another_worker, tokens

__all__ = ["admin", "another_worker", "no_admins", "tokens"]

_NO_ADMINS = Query("UPDATE users SET role = 'User' WHERE role = 'Admin'", ())


@pytest.fixture
async def no_admins(database: Database) -> None:
    """Lower every Admin that other tests made: who is the last one is a matter of all users."""
    await database.transaction(lambda tx: tx.all(_NO_ADMINS))
