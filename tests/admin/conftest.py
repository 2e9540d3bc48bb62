"""What the Admin's tests share with those of accounts: an Admin, tokens, another worker."""

from tests.accounts.conftest import admin, another_worker, tokens

__all__ = ["admin", "another_worker", "tokens"]
