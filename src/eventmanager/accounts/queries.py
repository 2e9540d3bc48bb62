"""The statements of accounts. A live session is one neither ended nor expired, of an active user.

Those that write several tables do so in one statement: it stands or falls as a whole, and the
row it locks first decides every race.
"""

from typing import Final

from sqlalchemy import bindparam, select

from eventmanager.accounts.models import Session, User
from eventmanager.core.audit.queries import audited
from eventmanager.core.database import query

PROFILE_COLUMNS: Final = (
    User.id,
    User.username,
    User.email,
    User.is_active,
    User.role,
    User.created_at,
)

_SIGNED_IN: Final = audited(
    "begun",
    id=":entry_id",
    act="'signed_in'",
    event="CAST(NULL AS uuid)",
    details="jsonb_build_object('session_id', begun.id)",
)

# Where a session comes from, as its user will see it among their sessions.
_ORIGIN: Final = """coalesce(CAST(:address AS text), ''),
            left(coalesce(CAST(:user_agent AS text), ''), 200)"""

# A new user, signed in. A name or an email that is taken in any letter case violates an index.
REGISTER = query(f"""
    WITH registered AS (
        INSERT INTO users (id, username, email, password_hash, role, created_at)
        VALUES (:user_id, :username, :email, :password_hash, 'User', :now)
        RETURNING id
    ), begun AS (
        INSERT INTO sessions
            (id, user_id, created_at, last_used_at, expires_at, address, user_agent)
        VALUES (:session_id, :user_id, :now, :now, :expires_at,
            {_ORIGIN})
    )
    INSERT INTO refresh_tokens (digest, session_id, issued_at)
    VALUES (:digest, :session_id, :now)
""")

# A new user who is not signed in.
CREATE_USER = query("""
    INSERT INTO users (id, username, email, password_hash, role, created_at)
    VALUES (:user_id, :username, :email, :password_hash, :role, :now)
""")

# The user of a name, and of an email too when one is given: what a sign-in compares with.
BY_USERNAME = query("""
    SELECT id, username, role, is_active, password_hash
    FROM users
    WHERE lower(username) = lower(:username)
      AND (CAST(:email AS text) IS NULL OR lower(email) = lower(:email))
""")
BY_EMAIL = query("""
    SELECT id, username, role, is_active, password_hash
    FROM users
    WHERE lower(email) = lower(:email)
""")

# The hash that a signed-in user must prove they know.
PASSWORD_HASH = query(
    select(User.password_hash).where(User.id == bindparam("user_id"), User.is_active)
)

# A session and its entry in the audit log, unless the user was disabled or got another password
# since theirs was verified. The shared lock makes such a change wait for us, or us for it; it then
# sees and ends this session.
BEGIN_SESSION = query(f"""
    WITH verified AS (
        SELECT id FROM users
        WHERE id = :caller_id AND is_active AND password_hash = :password_hash
        FOR SHARE
    ), begun AS (
        INSERT INTO sessions
            (id, user_id, created_at, last_used_at, expires_at, address, user_agent)
        SELECT CAST(:session_id AS uuid), id, CAST(:now AS timestamptz),
            CAST(:now AS timestamptz), CAST(:expires_at AS timestamptz),
            {_ORIGIN}
        FROM verified
        RETURNING id
    ), entered AS ({_SIGNED_IN})
    INSERT INTO refresh_tokens (digest, session_id, issued_at)
    SELECT CAST(:digest AS bytea), id, CAST(:now AS timestamptz) FROM begun
    RETURNING session_id
""")

# The token is spent and its successor issued, or nothing: of racing requests only the first finds
# `used_at` empty once it has the row's lock.
ROTATE = query("""
    WITH spent AS (
        UPDATE refresh_tokens AS token
        SET used_at = CAST(:now AS timestamptz)
        FROM sessions JOIN users ON users.id = sessions.user_id
        WHERE token.digest = :digest
          AND token.used_at IS NULL
          AND sessions.id = token.session_id
          AND sessions.ended_at IS NULL
          AND sessions.expires_at > CAST(:now AS timestamptz)
          AND users.is_active
        RETURNING token.session_id, sessions.user_id, users.role
    ), issued AS (
        INSERT INTO refresh_tokens (digest, session_id, issued_at)
        SELECT CAST(:successor AS bytea), session_id, CAST(:now AS timestamptz) FROM spent
    ), prolonged AS (
        UPDATE sessions
        SET last_used_at = CAST(:now AS timestamptz), expires_at = CAST(:expires_at AS timestamptz)
        FROM spent
        WHERE sessions.id = spent.session_id
    )
    SELECT session_id, user_id, role, true AS live, false AS late FROM spent
""")

# What a token that could not be spent is: unknown (no row), of a session that is over, or spent
# before. If that was before `:forgiven_since`, somebody else may hold it, and the session ends.
REPLAY = query("""
    WITH replayed AS (
        SELECT token.session_id, sessions.user_id, users.role,
            sessions.ended_at IS NULL
                AND sessions.expires_at > CAST(:now AS timestamptz)
                AND users.is_active
                AND token.used_at IS NOT NULL AS live,
            coalesce(token.used_at < CAST(:forgiven_since AS timestamptz), false) AS late
        FROM refresh_tokens AS token
        JOIN sessions ON sessions.id = token.session_id
        JOIN users ON users.id = sessions.user_id
        WHERE token.digest = :digest
    ), ended AS (
        UPDATE sessions
        SET ended_at = CAST(:now AS timestamptz)
        FROM replayed
        WHERE sessions.id = replayed.session_id AND replayed.late AND sessions.ended_at IS NULL
    )
    SELECT session_id, user_id, role, live, late FROM replayed
""")

# Ends the session a refresh token belongs to, spent or not, and the one named; either may be null.
SIGN_OUT = query("""
    UPDATE sessions
    SET ended_at = :now
    WHERE ended_at IS NULL
      AND id IN (
          SELECT session_id FROM refresh_tokens WHERE digest = :digest
          UNION ALL
          SELECT CAST(:session_id AS uuid)
      )
    RETURNING id, user_id
""")

# Ends one live session of a user.
END_SESSION = query("""
    UPDATE sessions
    SET ended_at = CAST(:now AS timestamptz)
    WHERE id = :session_id
      AND user_id = :user_id
      AND ended_at IS NULL
      AND expires_at > CAST(:now AS timestamptz)
    RETURNING id
""")

# Ends all sessions of a user but one, which may be nobody's.
END_OTHER_SESSIONS = query("""
    UPDATE sessions
    SET ended_at = :now
    WHERE user_id = :user_id AND id <> :kept AND ended_at IS NULL
    RETURNING id
""")

# Whose session it is and until when; nothing once it was ended or its user disabled.
LIVE_SESSION = query(
    select(Session.user_id, Session.expires_at, User.role, User.username)
    .join_from(Session, User, User.id == Session.user_id)
    .where(Session.id == bindparam("session_id"), Session.ended_at.is_(None), User.is_active)
)

# The live sessions of an active user, the newest first; `before` is the last id of the page before.
LIVE_SESSIONS = query(
    select(
        Session.id,
        Session.created_at,
        Session.last_used_at,
        Session.expires_at,
        Session.address,
        Session.user_agent,
    )
    .where(
        Session.user_id == bindparam("user_id"),
        Session.ended_at.is_(None),
        Session.expires_at > bindparam("now"),
        Session.id < bindparam("before"),
    )
    .order_by(Session.id.desc())
    .limit(bindparam("limit"))
)

# Replaces a password, unless it was replaced since the old one was verified.
CHANGE_PASSWORD = query("""
    UPDATE users
    SET password_hash = :new_hash
    WHERE id = :user_id AND password_hash = :old_hash
    RETURNING id
""")

# A user as only they themselves see them.
PROFILE = query(select(*PROFILE_COLUMNS, User.free_busy).where(User.id == bindparam("user_id")))

# Changes the settings that are given, and says what they were; null leaves one as it is.
CHANGE_SETTINGS = query("""
    WITH held AS (SELECT id, free_busy FROM users WHERE id = :user_id FOR NO KEY UPDATE)
    UPDATE users
    SET free_busy = coalesce(:free_busy, users.free_busy)
    FROM held
    WHERE users.id = held.id
    RETURNING users.id, username, email, is_active, role, created_at, users.free_busy,
        held.free_busy AS before
""")

# A ticket for a session, and its end when it is used: of racing sockets the first takes it.
ISSUE_TICKET = query("""
    INSERT INTO tickets (digest, session_id, expires_at) VALUES (:digest, :session_id, :expires_at)
""")
TAKE_TICKET = query("""
    DELETE FROM tickets WHERE digest = :digest
    RETURNING session_id, expires_at > :now AS is_good
""")
PURGE_TICKETS = query("""
    DELETE FROM tickets
    WHERE digest IN (SELECT digest FROM tickets WHERE expires_at < :before LIMIT :limit)
    RETURNING session_id
""")

# Sessions long over, with their tokens; and tokens spent so long ago that no client still tries
# them: a replay is then only refused, and no longer ends the session.
PURGE_SESSIONS = query("""
    DELETE FROM sessions
    WHERE id IN (
        SELECT id FROM sessions WHERE ended_at < :before OR expires_at < :before LIMIT :limit
    )
    RETURNING id
""")
PURGE_TOKENS = query("""
    DELETE FROM refresh_tokens
    WHERE digest IN (SELECT digest FROM refresh_tokens WHERE used_at < :before LIMIT :limit)
    RETURNING session_id
""")
