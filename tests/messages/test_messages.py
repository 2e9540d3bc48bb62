"""What a message says."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest

from eventmanager.core.ids import uuid7
from eventmanager.messages.positions import write_position
from eventmanager.messages.schemas import Message, Notification

BOB, CAROL = uuid7(), uuid7()


def read(kind: str, recipient: UUID = BOB, **data: Any) -> bytes:
    """Return what a recipient reads of a row of `messages`, as the driver gives it."""
    row = {
        "transaction_id": 7,
        "position": 3,
        "id": uuid7(),
        "event_id": uuid7(),
        "initiator_id": uuid7(),
        "type": kind,
        "data": orjson.dumps(data).decode(),
        "occurred_at": datetime(2027, 3, 1, 9, tzinfo=UTC),
    }
    return Message(row).json(recipient)


@pytest.mark.parametrize(
    ("kind", "recipient", "sentence"),
    [
        ("event_updated", BOB, "\u201c{x}\u201d was changed."),
        ("event_deleted", BOB, "\u201c{x}\u201d was deleted."),
        ("event_restored", BOB, "\u201c{x}\u201d was restored."),
        ("event_rolled_back", BOB, "\u201c{x}\u201d was rolled back to an earlier version."),
        ("permission_granted", BOB, "\u201c{x}\u201d was shared with you. Your role is Editor."),
        ("permission_updated", BOB, "Your role on \u201c{x}\u201d is now Editor."),
        ("permission_revoked", BOB, "\u201c{x}\u201d is no longer shared with you."),
        (
            "permission_granted",
            CAROL,
            "\u201c{x}\u201d was shared with another user, whose role is Editor.",
        ),
        ("permission_updated", CAROL, "Another user's role on \u201c{x}\u201d is now Editor."),
        ("permission_revoked", CAROL, "\u201c{x}\u201d is no longer shared with another user."),
    ],
)
def test_a_sentence_for_people(kind: str, recipient: UUID, sentence: str) -> None:
    """Readable as it is, whatever the title holds, and whether it is about the reader or not."""
    made = read(kind, recipient, title="{x}", role="Editor", user_id=str(BOB))
    assert orjson.loads(made)["message"] == sentence


def test_what_is_written_is_what_the_schema_promises() -> None:
    """With the role beside the data for permissions, and without it otherwise."""
    granted = Notification.model_validate_json(
        read("permission_granted", role="Viewer", user_id=str(CAROL))
    )
    assert (granted.user_id, granted.role) == (CAROL, "Viewer")
    assert granted.message.startswith("An event was shared")
    updated = orjson.loads(read("event_updated", role="x", user_id="y"))
    assert set(updated) == set(Notification.model_fields) - {"user_id", "role"}
    assert updated["occurred_at"] == "2027-03-01T09:00:00Z"


def test_a_kind_of_a_later_release_is_told_all_the_same() -> None:
    """While servers are replaced one by one, an old one may read what a new one wrote."""
    made = orjson.loads(read("event_painted", title="Standup"))
    assert made["message"] == "\u201cStandup\u201d: event painted."


def test_cursors_of_different_places_differ() -> None:
    """They are opaque, short, and fit into an address."""
    places = {write_position(t, p) for t in (1, 2**63 - 1) for p in (1, 2, 2**40)}
    assert len(places) == 6
    assert all(len(place) == 22 and place.isascii() for place in places)
