"""The statements of the Admin's view of users."""

from sqlalchemy import bindparam, select

from eventmanager.accounts.models import User
from eventmanager.accounts.queries import PROFILE_COLUMNS
from eventmanager.core.database import query

# All users in the order they registered; `after` is the last id of the page before.
USERS = query(
    select(*PROFILE_COLUMNS)
    .where(User.id > bindparam("after"))
    .order_by(User.id)
    .limit(bindparam("limit"))
)

# Changes of users by Admins, one at a time until the transaction ends, so that two Admins cannot
# each lower the other as "not the last". The number is ours alone and means nothing.
ONE_ADMIN_AT_A_TIME = query("SELECT pg_advisory_xact_lock(4703001)")

# The user, held so that no session of theirs begins until the change is done.
HELD_USER = query(
    select(*PROFILE_COLUMNS).where(User.id == bindparam("user_id")).with_for_update(key_share=True)
)

ANOTHER_ADMIN = query(
    select(User.id)
    .where(User.role == "Admin", User.is_active, User.id != bindparam("user_id"))
    .limit(1)
)

CHANGE_USER = query("""
    UPDATE users
    SET is_active = :is_active, role = :role
    WHERE id = :user_id
    RETURNING id, username, email, is_active, role, created_at
""")
