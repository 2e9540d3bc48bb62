"""Tokens and cursors say what was put into them, and anything else is refused."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmanager.core.errors import InvalidCursor, SyncTokenExpired
from eventmanager.sync.tokens import (
    MAX_LENGTH,
    Mark,
    Place,
    read_cursor,
    read_token,
    write_cursor,
    write_token,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@st.composite
def snapshots(draw: st.DrawFn) -> str:
    """Return what `pg_current_snapshot()` may say."""
    xmin = draw(st.integers(3, 2**62))
    gaps = draw(st.lists(st.integers(1, 1_000), max_size=5))
    running = [xmin + sum(gaps[:n]) for n in range(len(gaps) + 1)][: len(gaps)]
    xmax = (running[-1] if running else xmin) + draw(st.integers(1, 1_000))
    return f"{xmin}:{xmax}:{','.join(map(str, running))}"


@given(snapshots(), snapshots())
def test_they_are_read_as_they_were_written(since: str, until: str) -> None:
    """The snapshot comes back to the letter."""
    mark = Mark(until, NOW)
    assert read_token(write_token(mark, realm="r"), realm="r", now=NOW) == mark
    for place in (Place(since, mark, uuid4()), Place(None, mark, uuid4(), NOW)):
        assert read_cursor(write_cursor(place, realm="r"), realm="r", now=NOW) == place


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(b"sync" + raw).decode()))
def test_anything_else_is_refused(text: str) -> None:
    """With one of two errors, whatever it is."""
    with pytest.raises((InvalidCursor, SyncTokenExpired)):
        read_token(text, realm="r", now=NOW)
    with pytest.raises((InvalidCursor, SyncTokenExpired)):
        read_cursor(text, realm="r", now=NOW)


def test_they_are_of_their_realm_and_time() -> None:
    """Another reader's or database's, or an old one, is expired."""
    token = write_token(Mark("5:5:", NOW), realm="r")
    with pytest.raises(SyncTokenExpired):
        read_token(token, realm="s", now=NOW)
    with pytest.raises(SyncTokenExpired):
        read_token(token, realm="r", now=NOW + timedelta(days=31))


def test_a_busy_server_s_token_fits_into_an_address() -> None:
    """500 writers at once, with numbers of transactions that have been counted for years."""
    xmin = 10**12
    running = ",".join(str(xmin + 3 * n) for n in range(500))
    mark = Mark(f"{xmin}:{xmin + 2_000}:{running}", NOW)
    assert len(write_token(mark, realm="r")) < MAX_LENGTH
    assert len(write_cursor(Place(mark.snapshot, mark, uuid4(), NOW), realm="r")) < 3 * MAX_LENGTH
