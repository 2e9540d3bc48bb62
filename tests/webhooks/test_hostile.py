"""Whatever URL somebody gives, and wherever it leads: nothing private is connected to.

The connections are made by a small internet of our own behind the guard: it takes note of each
address that is to be connected to, leads the public ones to a receiver on loopback, as a router
would, and makes those to loopback for real. So what the guard lets pass would arrive.
"""

import asyncio
import itertools
import socket
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpcore
import pytest

from eventmanager.webhooks import connecting
from eventmanager.webhooks.addresses import may_reach
from eventmanager.webhooks.connecting import GuardedNetwork, Lookups, TooManyLookups
from eventmanager.webhooks.sending import Outcome, Sender
from tests.webhooks.conftest import Receiver, answering, receiving

PUBLIC = "93.184.215.14"
PUBLIC_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"

# Addresses in the usual form, by what they are.
PRIVATE_4 = [
    "0.0.0.0", "0.0.0.1", "0.255.255.255",  # this host
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255",
    "100.64.0.1", "100.127.255.255",  # carriers' own
    "127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.254",
    "169.254.0.1", "169.254.169.254", "169.254.170.2", "169.254.169.253",  # clouds' metadata
    "100.100.100.200", "192.0.0.192", "168.63.129.16",  # clouds' metadata, elsewhere
    "192.0.0.1", "192.0.0.8", "192.0.0.9", "192.0.0.170", "192.0.2.1", "192.88.99.1",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
]  # fmt: skip
PRIVATE_6 = [
    "::", "::1", "::2",
    "::127.0.0.1", "::7f00:1", "::169.254.169.254",  # compatible with IPv4
    "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0.0.0.0", "::ffff:192.168.1.1", "::ffff:100.64.0.1", "::ffff:100.100.100.200",
    "::ffff:0:127.0.0.1",  # translated (SIIT)
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "64:ff9b::c0a8:101",
    "64:ff9b:1::127.0.0.1", "64:ff9b:1::8.8.8.8", "64:ff9b:1:ffff::1",
    "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",  # discard, Teredo
    "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "3fff::1",
    "2002:7f00:1::1", "2002:a9fe:a9fe::1", "2002:808:808::1",  # 6to4
    "2606:2800::5efe:127.0.0.1", "2606:2800::200:5efe:a00:1",  # ISATAP
    "4000::1", "5f00::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    "fe80::1", "fe80::a9fe:a9fe", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
# Forms that a program may read as 127.0.0.1, 10.0.0.1, 169.254.169.254 or as this very host.
ODD_HOSTS = [
    "2130706433", "017700000001", "0x7f000001", "0x7F000001", "0X7f000001",
    "127.1", "127.0.1", "127.0x1", "0177.0.0.1", "0x7f.0.0.1", "0x7f.1", "0177.1",
    "127.0.0.01", "127.000.000.001", "00127.0.0.1", "0", "0x0", "00", "0.0", "10.1",
    "167772161", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518",
    "169.16689662", "0xa9.0xfe.0xa9.0xfe", "127.0.0.1.", "2130706433.", "0x7f.1.",
    "localhost", "LOCALHOST", "LocalHost.",
    "127%2e0%2e0%2e1", "127%2E0.0.1", "%31%32%37.0.0.1", "loc%61lhost", "127.0.0.1%00.example.com",
    # Full stops, digits and letters that IDNA takes for the usual ones.
    "127\u30020\u30020\u30021", "127\uff0e0\uff0e0\uff0e1", "\uff11\uff12\uff17.0.0.1",
    "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "\u24dbocalhost", "127\uff610\uff610\uff611",
    "[::1%25lo]", "[::1%lo]", "[fe80::1%25eth0]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]",
    "[::FFFF:7F00:0001]", "[0000:0000:0000:0000:0000:ffff:7f00:0001]", "[v1.127.0.0.1]",
    "example.com@127.0.0.1", "example.com:443@127.0.0.1", "example.com%40127.0.0.1",
    "example.com\\@127.0.0.1", "127.0.0.1\\.example.com", "127.0.0.1#.example.com",
    "127.0.0.1?.example.com", "127.0.0.1/.example.com", "@127.0.0.1", ":@127.0.0.1", "",
    " 127.0.0.1", "127.0.0.1\t", "127.0.0.1\r\nHost: example.com", "127.0.0.1\x00",
    "xn--127-0-0-1", "256.256.256.256", "1.2.3.4.5", "0x7f.0x0.0x0.0x1.", "127.0.0.1..",
]  # fmt: skip


@dataclass
class Internet(httpcore.AsyncNetworkBackend):
    """Where the guard's connections go: `routes` leads public addresses to ports of loopback."""

    routes: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    reached: list[str] = field(default_factory=list)
    lookups: int = 0
    system: Lookups = field(default_factory=lambda: Lookups(64))

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect as a machine with these routes does."""
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
        self.reached.append(host)
        if host in self.routes:
            host, port = "127.0.0.1", self.routes[host]
        elif host not in {"127.0.0.1", "::1"}:
            raise httpcore.ConnectError("tests reach no other machine")
        return await httpcore.AnyIOBackend().connect_tcp(
            host, port, timeout, local_address, socket_options
        )

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return what a name stands for, each time the next that it does; else ask the system.

        Of that only how it reads numbers, and localhost, so that no test asks other machines.
        """
        self.lookups += 1
        if host in self.names:
            meanings = self.names[host]
            return meanings.pop(0) if len(meanings) > 1 else meanings[0]
        if host.rstrip(".") != "localhost":
            socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)
        return await self.system.of(None)(host, port)


@pytest.fixture
async def victim() -> AsyncIterator[Receiver]:
    """Something private that listens on loopback."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def internet() -> Internet:
    """An internet in which nothing is yet."""
    return Internet()


async def post(internet: Internet, url: str) -> Outcome:
    """Post as a server with the default settings does, but that http is taken, too."""
    guard = GuardedNetwork(allow_private=False, resolve=internet.resolve, network=internet)
    sender = Sender(guard, allow_http=True)
    return await sender.post(url, headers={}, body=b"{}", now=datetime.now(UTC))


def assert_refused(outcome: Outcome, internet: Internet, victim: Receiver) -> None:
    """It has failed, nothing was connected to, and nobody had a visitor."""
    assert not outcome.is_delivered
    assert outcome.status is None
    assert internet.reached == []
    assert victim.connections == 0


def test_there_are_more_than_a_hundred_hostile_addresses() -> None:
    """Each of them is a test of its own below."""
    assert len({*PRIVATE_4, *PRIVATE_6, *ODD_HOSTS}) > 150


@pytest.mark.parametrize("address", [*PRIVATE_4, *PRIVATE_6])
async def test_a_private_address_is_not_connected_to(
    address: str, internet: Internet, victim: Receiver
) -> None:
    """In a URL, behind a name, beside public addresses of that name, and after a redirect."""
    host = f"[{address}]" if ":" in address else address
    for scheme in ("http", "https"):
        outcome = await post(internet, f"{scheme}://{host}:{victim.port}/")
        assert_refused(outcome, internet, victim)
    internet.routes[PUBLIC] = internet.routes[PUBLIC_6] = victim.port
    for meaning in ([address], [PUBLIC, address], [address, PUBLIC], [PUBLIC_6, address]):
        internet.names["evil.example"] = [meaning]
        outcome = await post(internet, f"http://evil.example:{victim.port}/")
        assert_refused(outcome, internet, victim)
        assert outcome.error == "the host has an address that is not public"
    locations = [f"http://{there}:{victim.port}/" for there in (host, "evil.example")]
    await assert_not_followed(locations, internet, victim)


@pytest.mark.parametrize("host", ODD_HOSTS, ids=lambda host: ascii(host).strip("'"))
async def test_an_odd_form_is_not_connected_to(
    host: str, internet: Internet, victim: Receiver
) -> None:
    """However the system reads it: what it would connect to is what is looked at."""
    for scheme in ("http", "https"):
        outcome = await post(internet, f"{scheme}://{host}:{victim.port}/")
        assert_refused(outcome, internet, victim)
    locations = [f"{scheme}//{host}:{victim.port}/" for scheme in ("http:", "https:", "")]
    await assert_not_followed(locations, internet, victim)


async def assert_not_followed(
    locations: Sequence[str], internet: Internet, victim: Receiver
) -> None:
    """A public receiver that redirects to them is the only one that is asked."""
    internet.names["good.example"] = [[PUBLIC]]
    async with receiving() as public:
        internet.routes[PUBLIC] = public.port
        for location in locations:
            public.answers = [answering(307, f"Location: {location}")]
            outcome = await post(internet, "http://good.example/")
            assert not outcome.is_delivered
        assert public.connections == len(locations)
    assert internet.reached == [PUBLIC] * len(locations)
    assert victim.connections == 0


async def test_a_name_that_changes_its_meaning_is_connected_to_as_it_was_looked_at(
    internet: Internet, victim: Receiver
) -> None:
    """Rebinding: one look for each connection, and none between looking and connecting."""
    internet.names["evil.example"] = [[PUBLIC], ["127.0.0.1"]]
    async with receiving() as public:
        internet.routes[PUBLIC] = public.port
        outcome = await post(internet, f"http://evil.example:{victim.port}/")
        assert outcome.is_delivered
        assert (internet.lookups, internet.reached) == (1, [PUBLIC])
        outcome = await post(internet, f"http://evil.example:{victim.port}/")
    assert not outcome.is_delivered
    assert (internet.lookups, internet.reached) == (2, [PUBLIC])
    assert victim.connections == 0


async def test_a_redirect_to_oneself_is_looked_at_again(
    internet: Internet, victim: Receiver
) -> None:
    """No connection is kept, over which a name would go on to mean what it meant."""
    internet.names["evil.example"] = [[PUBLIC], ["127.0.0.1"]]
    async with receiving() as public:
        internet.routes[PUBLIC] = public.port
        public.answers = [answering(307, f"Location: http://evil.example:{victim.port}/b")]
        outcome = await post(internet, f"http://evil.example:{victim.port}/a")
    assert outcome.error == "the host has an address that is not public"
    assert (internet.lookups, internet.reached) == (2, [PUBLIC])
    assert victim.connections == 0


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305])
async def test_redirects_of_other_kinds_are_failures(status: int, internet: Internet) -> None:
    """They would make a GET of it, or are obsolete."""
    internet.names["good.example"] = [[PUBLIC]]
    async with receiving() as public:
        internet.routes |= {PUBLIC: public.port}
        public.answers = [answering(status, "Location: http://good.example/b")]
        outcome = await post(internet, "http://good.example/a")
        assert outcome.status == status
        assert not outcome.is_delivered
        assert public.connections == 1


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd", "gopher://good.example/", "ftp://good.example/", "//[",
        "http://user@good.example/", "http://good.example:0/", "http://good.example:65536/",
        "unix:///run/docker.sock", "data:text/plain,x", "javascript:1",
    ],
)  # fmt: skip
async def test_redirects_to_what_is_no_webhook_are_failures(
    location: str, internet: Internet
) -> None:
    """A redirect may lead to nothing that could not be given."""
    internet.names["good.example"] = [[PUBLIC]]
    async with receiving() as public:
        internet.routes[PUBLIC] = public.port
        public.answers = [answering(307, f"Location: {location}")]
        outcome = await post(internet, "http://good.example/")
        assert not outcome.is_delivered
        assert public.connections == 1


async def test_https_is_not_left_by_a_redirect(internet: Internet) -> None:
    """With the default settings, a receiver can't have a body sent in the clear."""
    guard = GuardedNetwork(allow_private=False, resolve=internet.resolve, network=internet)
    outcome = await Sender(guard, allow_http=False).post(
        "http://good.example/", headers={}, body=b"{}", now=datetime.now(UTC)
    )
    assert not outcome.is_delivered
    assert internet.lookups == 0


async def test_redirects_end(internet: Internet) -> None:
    """Three are followed, with the same method and body."""
    internet.names["good.example"] = [[PUBLIC]]
    async with receiving() as public:
        internet.routes[PUBLIC] = public.port
        public.answers = [answering(307, f"Location: /{n}") for n in range(3)]
        assert (await post(internet, "http://good.example/")).is_delivered
        assert [request.target for request in public.received] == ["/", "/0", "/1", "/2"]
        assert {request.body for request in public.received} == {b"{}"}
        public.answers = [answering(308, f"Location: /{n}") for n in range(9)]
        outcome = await post(internet, "http://good.example/")
        assert outcome.error == "it is redirected more than 3 times"
        assert len(public.received) == 8


async def test_an_environment_with_proxies_changes_nothing(
    internet: Internet, victim: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would connect to whatever it is told."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, victim.url)
    internet.names["good.example"] = [[PUBLIC]]
    async with receiving() as public:
        internet.routes[PUBLIC] = public.port
        assert (await post(internet, "http://good.example/")).is_delivered
    assert victim.connections == 0


async def test_the_next_address_is_tried_when_one_can_not_be_connected_to(
    internet: Internet,
) -> None:
    """A receiver may have IPv6 where we have not."""
    internet.names["good.example"] = [[PUBLIC_6, PUBLIC]]
    async with receiving() as public:
        internet.routes[PUBLIC] = public.port
        assert (await post(internet, "http://good.example/")).is_delivered
    assert internet.reached == [PUBLIC_6, PUBLIC]


async def test_names_that_are_slow_to_look_up_end_in_time(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the name's server must not hold up the work."""
    monkeypatch.setattr(connecting, "RESOLVE_SECONDS", 0.05)

    async def never(_: str, __: int) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    guard = GuardedNetwork(allow_private=False, resolve=never, network=internet)
    outcome = await Sender(guard, allow_http=True).post(
        "http://slow.example/", headers={}, body=b"{}", now=datetime.now(UTC)
    )
    assert outcome.error == "the host name can't be resolved"
    assert outcome.lookup_goes_on
    assert outcome.duration_ms < 2000


async def test_a_user_with_slow_names_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may look for half a minute; who waits for it has given up long before."""
    gone_on = threading.Event()

    def slowly(host: str, port: int, **_: object) -> list[object]:
        if host == "slow.example":
            assert gone_on.wait(10)
        return [(None, None, None, "", (PUBLIC, port))]

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    lookups = Lookups(3, of_each=2)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await lookups.of("mallory")("slow.example", 443)
    with pytest.raises(TooManyLookups):
        await lookups.of("mallory")("fast.example", 443)
    assert await lookups.of("alice")("fast.example", 443) == [PUBLIC]
    gone_on.set()
    async with asyncio.timeout(5):
        while True:
            with suppress(TooManyLookups):
                assert await lookups.of("mallory")("slow.example", 443) == [PUBLIC]
                break
            await asyncio.sleep(0.01)


async def test_a_lookup_that_can_not_begin_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine may be out of threads for a moment."""
    lookups = Lookups(1)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(TooManyLookups):
            await lookups.of(None)("127.0.0.1", 443)
    assert await lookups.of(None)("127.0.0.1", 443) == ["127.0.0.1"]


@pytest.mark.parametrize(
    "address",
    [
        PUBLIC, "1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.0", "100.63.255.255", "11.0.0.0",
        PUBLIC_6, "2001:4860:4860::8888", "2a00:1450::1", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8",
    ],
)  # fmt: skip
def test_public_addresses_may_be_reached(address: str) -> None:
    """The guard would be of no use if it refused everything."""
    assert may_reach(address, allow_private=False)
    assert may_reach(address, allow_private=True)


def test_an_intranet_opens_private_networks_and_loopback_only() -> None:
    """Where clouds keep their keys, and what is of one link, stays closed even then."""
    opened = {
        address
        for address in itertools.chain(PRIVATE_4, PRIVATE_6)
        if may_reach(address, allow_private=True)
    }
    assert opened >= {"10.0.0.1", "127.0.0.1", "192.168.0.1", "::1", "fd00::1", "::ffff:10.0.0.1"}
    for address in (
        "169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "100.100.100.200",
        "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "0.0.0.0",
        "::", "224.0.0.1", "ff02::1", "255.255.255.255",
    ):  # fmt: skip
        assert address not in opened


@pytest.mark.parametrize("address", ["fe80::1%lo", "2606:2800::1%eth0", "", "name", "1.2.3"])
def test_what_is_no_address_or_of_one_link_is_refused(address: str) -> None:
    """What can't be judged is not connected to."""
    assert not may_reach(address, allow_private=True)
