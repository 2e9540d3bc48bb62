"""Whether a webhook is genuine, checked against the reference implementation of its standard."""

import base64
import secrets
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from standardwebhooks import Webhook

from eventmanager.client.webhooks import NotGenuine, verify
from eventmanager.webhooks import signing

BODY = orjson.dumps({"type": "event_updated", "title": "M\u00fcsli"})
SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def signed(
    body: bytes = BODY, *, secret: str = SECRET, at: datetime | None = None
) -> dict[str, str]:
    """Return the headers with which the reference implementation sends a body."""
    when = at or datetime.now(UTC)
    signature = Webhook(secret).sign("msg_1", when, body.decode())
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(when.timestamp())),
        "Webhook-Signature": signature,
    }


def test_what_others_sign_is_genuine() -> None:
    """With the prefix of the secret or without, as bytes or text, names in any letter case."""
    expected = orjson.loads(BODY)
    assert verify(BODY, signed(), SECRET) == expected
    assert verify(BODY.decode(), signed(), SECRET.removeprefix("whsec_")) == expected
    lower = {name.lower(): value for name, value in signed().items()}
    assert verify(BODY, lower, SECRET) == expected


def test_what_our_server_signs_is_genuine() -> None:
    """Also while a secret is changed over."""
    keys = [signing.make_secret(), signing.make_secret()]
    timestamp = int(datetime.now(UTC).timestamp())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.sign(keys, id="msg_1", timestamp=timestamp, body=BODY),
    }
    for key in keys:
        assert verify(BODY, headers, signing.write_secret(key)) == orjson.loads(BODY)


def test_one_good_signature_of_several_is_enough() -> None:
    """While a secret is replaced, both are used; other versions are passed over."""
    headers = signed()
    good = headers["Webhook-Signature"]
    headers["Webhook-Signature"] = f"v1a,{good[3:]} v1,AAAA {good}"
    verify(BODY, headers, SECRET)
    headers["Webhook-Signature"] = f"v1a,{good[3:]} v1,AAAA \u00e9"
    with pytest.raises(NotGenuine):
        verify(BODY, headers, SECRET)


def test_what_was_changed_is_not_genuine() -> None:
    """The body, the id, the time, or the secret."""
    with pytest.raises(NotGenuine):
        verify(BODY + b" ", signed(), SECRET)
    with pytest.raises(NotGenuine):
        verify(BODY, signed() | {"Webhook-Id": "msg_2"}, SECRET)
    later = str(int(datetime.now(UTC).timestamp()) + 60)
    with pytest.raises(NotGenuine):
        verify(BODY, signed() | {"Webhook-Timestamp": later}, SECRET)
    other = base64.b64encode(b"x" * 24).decode()
    with pytest.raises(NotGenuine):
        verify(BODY, signed(), other)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_what_is_old_is_not_taken(minutes: int) -> None:
    """Whoever has recorded it can't send it again; nor sign ahead."""
    with pytest.raises(NotGenuine):
        verify(BODY, signed(at=datetime.now(UTC) + timedelta(minutes=minutes)), SECRET)


@pytest.mark.parametrize(
    "missing", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "nonsense", "secret"]
)
def test_what_is_not_signed_at_all_is_refused(missing: str) -> None:
    """By the same error, whatever is wrong."""
    headers = signed()
    if missing in headers:
        del headers[missing]
    elif missing == "nonsense":
        headers["Webhook-Timestamp"] = "yesterday"
    with pytest.raises(NotGenuine):
        verify(BODY, headers, "whsec_not base64" if missing == "secret" else SECRET)
