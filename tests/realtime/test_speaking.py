"""What clients may say on a socket, and what they are answered."""

import asyncio
import json
from contextlib import suppress
from typing import Any
from uuid import UUID

import orjson
import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from eventmanager.messages.positions import write_position
from eventmanager.realtime import speaking
from eventmanager.realtime.speaking import Filter, NotUnderstood, Pace, read
from eventmanager.realtime.wire import Ack, Announce, Subscribe
from tests.conftest import User
from tests.realtime.conftest import Worker, close_code, make_event, share, told, until

EVENT = UUID("01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e")
OTHER = UUID("01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5f")


async def asked(socket: ClientConnection, **message: Any) -> dict[str, Any]:
    """Say something and return what comes next."""
    await socket.send(orjson.dumps(message).decode())
    return await told(socket)


async def rename(owner: User, event_id: str, title: str) -> None:
    """Change an event."""
    answer = await owner.client.patch(f"/api/events/{event_id}", json={"title": title})
    assert answer.status_code == 200, answer.text


def test_each_kind_of_message_is_understood() -> None:
    """As JSON, and as MessagePack where that was agreed on."""
    said = {"type": "subscribe", "events": [str(EVENT)], "types": ["event_updated"], "id": "7"}
    expected = Subscribe(type="subscribe", events=[EVENT], types=["event_updated"], id="7")
    assert read(orjson.dumps(said).decode(), packed=False) == expected
    assert read(ormsgpack.packb(said), packed=True) == expected
    assert read(orjson.dumps(said).decode(), packed=True) == expected
    assert read('{"type":"ack","cursor":"x"}', packed=False) == Ack(type="ack", cursor="x")
    announced = read(f'{{"type":"presence","event_id":"{EVENT}","state":"editing"}}', packed=False)
    assert announced == Announce(type="presence", event_id=EVENT, state="editing")


IDS = [str(UUID(int=number)) for number in range(1001)]


@pytest.mark.parametrize(
    ("said", "loc", "kind"),
    [
        ("{}", ["type"], "union_tag_not_found"),
        ('{"type":"shout"}', ["type"], "union_tag_invalid"),
        ('{"type":null}', ["type"], "union_tag_invalid"),
        ('{"type":["ack"]}', ["type"], "union_tag_invalid"),
        ('{"type":"ack"}', ["cursor"], "missing"),
        ('{"type":"ack","cursor":1e999}', None, None),
        ('{"type":"ack","cursor":99999999999999999999999999999}', ["cursor"], "string_type"),
        ('{"type":"ack","cursor":"' + "x" * 201 + '"}', ["cursor"], "string_too_long"),
        ('{"type":"subscribe","events":["x"]}', ["events", 0], "uuid_parsing"),
        ('{"type":"subscribe","events":"x"}', ["events"], "list_type"),
        ('{"type":"subscribe","types":["event_painted"]}', ["types", 0], "enum"),
        ('{"type":"subscribe","all":true}', ["all"], "extra_forbidden"),
        ('{"type":"subscribe","id":7}', ["id"], "string_type"),
        ('{"type":"presence","event_id":"x","state":"viewing"}', ["event_id"], "uuid_parsing"),
        (f'{{"type":"presence","event_id":"{EVENT}","state":"x"}}', ["state"], "literal_error"),
        (
            orjson.dumps({"type": "subscribe", "events": IDS}).decode(),
            ["events"],
            "too_long",
        ),
        ("", None, None),
        ("nonsense", None, None),
        ("[]", None, None),
        ("7", None, None),
        ('"ack"', None, None),
        ("[" * 30_000, None, None),
        ('{"a":' * 10_000, None, None),
        ('{"type":"ack","cursor":"\\ud800"}', None, None),
        ('{"type":"ack","cursor":NaN}', None, None),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, str) else "",
)
def test_what_is_not_understood_says_where(
    said: str, loc: list[str | int] | None, kind: str | None
) -> None:
    """Whatever a client sends, it gets a reason, and nothing breaks."""
    with pytest.raises(NotUnderstood) as refused:
        read(said, packed=False)
    faults = [(fault.loc, fault.type) for fault in refused.value.faults]
    assert faults == ([] if loc is None else [(loc, kind)])


@pytest.mark.parametrize(
    "said",
    [b"", b"\xc1", b"\x93\x01", ormsgpack.packb([1]), b"\x81\x01\x02", b"\x91" * 5000, b"\xdf" * 9],
    ids=["nothing", "never used", "cut off", "a list", "a number as key", "deep", "a huge map"],
)
def test_bytes_that_are_no_message_are_refused(said: bytes) -> None:
    """As text would be; and all bytes are refused where MessagePack was not agreed on."""
    for packed in (True, False):
        with pytest.raises(NotUnderstood):
            read(said, packed=packed)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(str(EVENT)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_NAMES = st.sampled_from(["type", "id", "events", "types", "cursor", "event_id", "state"])
_KINDS = st.sampled_from(["subscribe", "ack", "presence", "viewing"])


@given(st.dictionaries(_NAMES, _VALUES | _KINDS) | _VALUES, st.binary())
def test_whatever_is_said_is_understood_or_not(said: object, noise: bytes) -> None:
    """There is no third outcome, and so nothing that could break a socket."""
    text = json.dumps(said)
    for message in (text, text.encode("utf-8", "surrogatepass"), noise, text[1:]):
        for packed in (True, False):
            with suppress(NotUnderstood):
                assert read(message, packed=packed).type in {"subscribe", "ack", "presence"}


def test_the_id_comes_back_even_from_a_message_that_is_wrong() -> None:
    """So that a client knows which of its messages failed; but never one that is too long."""
    for said, expected in [
        ('{"type":"shout","id":"7"}', "7"),
        ('{"type":"ack","id":"7"}', "7"),
        ('{"type":"ack","id":7}', None),
        ('{"type":"ack","id":"' + "7" * 65 + '"}', None),
    ]:
        with pytest.raises(NotUnderstood) as refused:
            read(said, packed=False)
        assert refused.value.id == expected


@pytest.mark.parametrize(
    ("events", "types", "wanted"),
    [
        (None, None, [True, True, True, True]),
        ({EVENT}, None, [True, True, False, False]),
        (None, {"event_updated"}, [True, False, True, False]),
        ({EVENT}, {"event_updated"}, [True, False, False, False]),
        (set(), None, [False, False, False, False]),
        (None, set(), [False, False, False, False]),
    ],
    ids=["all", "an event", "a type", "both", "no event", "no type"],
)
def test_a_filter_wants_what_meets_every_condition(
    events: set[UUID] | None, types: set[str] | None, wanted: list[bool]
) -> None:
    """Without a condition all; what is about no event is not about one that was named."""
    made = Filter(
        None if events is None else frozenset(events), None if types is None else frozenset(types)
    )
    told_of = [
        ("event_updated", EVENT),
        ("event_deleted", EVENT),
        ("event_updated", OTHER),
        ("webhook_disabled", None),
    ]
    assert [made.wants(*one) for one in told_of] == wanted


def test_twenty_messages_a_second_are_never_too_many() -> None:
    """And a burst is forgiven to a client that was silent before."""
    pace = Pace()
    assert all(pace.admits(now_s=n / 20) for n in range(1000))
    assert all(pace.admits(now_s=100.0) for _ in range(40))
    assert not pace.admits(now_s=100.0)
    assert pace.warns
    assert pace.admits(now_s=100.06)


def test_a_client_that_goes_on_is_lost() -> None:
    """It is warned once, and what it says then is passed over."""
    pace = Pace()
    said = [(pace.admits(now_s=0.0), pace.warns, pace.is_lost) for _ in range(100)]
    assert [admitted for admitted, _, _ in said] == [True] * 40 + [False] * 60
    assert [warns for _, warns, _ in said].index(True) == 40
    assert sum(warns for _, warns, _ in said) == 1
    assert [lost for _, _, lost in said].index(True) == 40 + speaking.PASSED_OVER


async def test_a_socket_hears_only_of_the_events_it_has_named(
    here: Worker, alice: User, bob: User
) -> None:
    """Until it names others, or none; the list of notifications holds them all."""
    one, other = [await make_event(alice), await make_event(alice)]
    for event_id in (one, other):
        await share(alice, event_id, bob)
    async with here.open(bob) as socket:
        answer = await asked(socket, type="subscribe", events=[one, one], id="a")
        assert answer == {"type": "subscribed", "id": "a", "events": [one], "types": None}
        assert (await told(socket))["type"] == "presence"
        await rename(alice, other, "Unheard")
        await rename(alice, one, "Heard")
        assert (await told(socket))["data"]["title"] == "Heard"
        assert await asked(socket, type="subscribe") == {
            "type": "subscribed",
            "events": None,
            "types": None,
        }
        await rename(alice, other, "Heard again")
        assert (await told(socket))["data"]["title"] == "Heard again"
    titles = [said["data"]["title"] for said in (await bob.client.get("/api/notifications")).json()]
    assert titles[-3:] == ["Unheard", "Heard", "Heard again"]


async def test_a_socket_hears_only_of_the_types_it_has_named(
    here: Worker, alice: User, bob: User
) -> None:
    """Of any event."""
    event_id = await make_event(alice)
    await share(alice, event_id, bob)
    async with here.open(bob) as socket:
        types = ["event_deleted", "permission_updated"]
        assert (await asked(socket, type="subscribe", types=types))["types"] == types
        await rename(alice, event_id, "Unheard")
        assert (await alice.client.delete(f"/api/events/{event_id}")).status_code == 204
        assert (await told(socket))["type"] == "event_deleted"


async def test_what_a_filter_left_out_is_there_for_who_goes_on(
    here: Worker, alice: User, bob: User
) -> None:
    """A filter is of one socket: the next one hears everything after the same cursor."""
    event_id = await make_event(alice)
    await share(alice, event_id, bob)
    [before] = (await bob.client.get("/api/notifications")).json()
    async with here.open(bob, after=before["cursor"]) as socket:
        await asked(socket, type="subscribe", types=["reminder"])
        await rename(alice, event_id, "Left out")
        answer = await asked(socket, type="subscribe", events=[])
        assert answer["events"] == []
    async with here.open(bob, after=before["cursor"]) as socket:
        assert (await told(socket))["data"]["title"] == "Left out"


async def test_an_ack_marks_as_read(here: Worker, alice: User, bob: User) -> None:
    """Everything up to the cursor, on every device; and it is answered."""
    for _ in range(3):
        await share(alice, await make_event(alice), bob)
    cursors = [said["cursor"] for said in (await bob.client.get("/api/notifications")).json()]
    async with here.open(bob) as socket:
        answer = await asked(socket, type="ack", cursor=cursors[1], id="b")
        assert answer == {"type": "acked", "cursor": cursors[1], "id": "b"}
        assert (await bob.client.get("/api/notifications/unread")).json()["unread"] == 1


async def test_a_cursor_that_is_none_is_answered(here: Worker, bob: User) -> None:
    """With the codes that the list has for it."""
    async with here.open(bob) as socket:
        answer = await asked(socket, type="ack", cursor="nonsense", id="c")
        assert (answer["type"], answer["code"], answer["id"]) == ("error", "invalid_cursor", "c")
        assert answer["errors"][0]["loc"] == ["cursor"]
        answer = await asked(socket, type="ack", cursor=write_position(2**62, 1))
        assert (answer["type"], answer["code"]) == ("error", "cursor_expired")


async def test_a_bad_message_is_answered_and_the_socket_goes_on(
    here: Worker, alice: User, bob: User
) -> None:
    """Whatever it is; the next notification comes as if nothing had been said."""
    async with here.open(bob) as socket:
        for said in ("nonsense", "[" * 30_000, b"\x80", orjson.dumps([1]), '{"type":"shout"}'):
            await socket.send(said)
            answer = await told(socket)
            assert (answer["type"], answer["code"]) == ("error", "invalid_message")
        answer = await asked(socket, type="ack", id="d")
        assert answer["id"] == "d"
        assert answer["errors"] == [{"loc": ["cursor"], "msg": "Field required", "type": "missing"}]
        await share(alice, await make_event(alice), bob)
        assert (await told(socket))["type"] == "permission_granted"


async def test_messagepack_is_answered_with_messagepack(here: Worker, bob: User) -> None:
    """Text is understood there, too."""
    async with here.open(bob, subprotocols=[Subprotocol("msgpack")]) as socket:
        for said in (ormsgpack.packb({"type": "subscribe", "id": "e"}), '{"type":"subscribe"}'):
            await socket.send(said)
            async with asyncio.timeout(5):
                answer = await socket.recv()
            assert isinstance(answer, bytes)
            assert ormsgpack.unpackb(answer)["type"] == "subscribed"


async def test_a_client_that_talks_too_much_is_cut_off(here: Worker, bob: User) -> None:
    """With a warning first, and a code that says whose fault it is."""
    async with here.open(bob) as socket:
        for _ in range(200):
            await socket.send('{"type":"subscribe"}')
        codes = []
        with suppress(ConnectionClosed):
            async for text in socket:
                said = orjson.loads(text)
                codes.append(said.get("code", said["type"]))
        assert set(codes[:-1]) == {"subscribed"}
        assert codes[-1] == "too_many_messages"
        assert await close_code(socket) == 1008


async def test_text_that_is_not_utf_8_closes_the_socket(here: Worker, bob: User) -> None:
    """As RFC 6455, 8.1 has it; and its place is free again."""
    hub = here.app.state.news.hub
    async with here.open(bob) as socket:
        await until(lambda: any(one.user_id == bob.id for one in hub.subscribers()))
        await socket.send(b"\xff\xfe", text=True)
        assert await close_code(socket) == 1007
    await until(lambda: all(one.user_id != bob.id for one in hub.subscribers()))
