"""Who is believed about where a request comes from."""

import httpx
import pytest
from fastapi import FastAPI, Request

from eventmanager.core.config import Settings
from eventmanager.core.proxies import TrustedProxies, parse_proxies
from tests.conftest import PASSWORD, started
from tests.core.test_limits import client_at, limited

TRUSTED = parse_proxies("10.0.0.0/8, 192.0.2.1, fd00::/8")


async def seen(peer: str, headers: list[tuple[str, str]]) -> tuple[str, str]:
    """Return the address and the scheme that the application sees."""
    app = FastAPI()

    @app.get("/")
    async def root(request: Request) -> list[str]:
        assert request.client is not None
        return [request.client.host, request.url.scheme]

    app.add_middleware(TrustedProxies, trusted=TRUSTED)
    transport = httpx.ASGITransport(app=app, client=(peer, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        host, scheme = (await client.get("/", headers=headers)).json()
    return host, scheme


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # A stranger says what it likes.
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("203.0.113.9", ["10.0.0.1"], "203.0.113.9"),
        # One proxy: what it appended, and never what the client wrote before that.
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.9.9.9, 198.51.100.1"], "198.51.100.1"),
        # Several of ours in a row are skipped, from the right.
        ("192.0.2.1", ["198.51.100.1, 10.2.3.4, 10.0.0.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::7, 10.2.3.4"], "2001:db8::7"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        # What makes no sense is ignored.
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, _hidden"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1,"], "10.0.0.1"),
        ("10.0.0.1", ["%s" % ("1" * 5000)], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        # One of ours that asks on its own behalf.
        ("10.0.0.1", ["10.7.7.7"], "10.7.7.7"),
    ],
)
async def test_the_client_is_the_last_address_that_is_no_proxy(
    peer: str, forwarded: list[str], client: str
) -> None:
    """Each proxy appends whom it saw, so only what stands right of the client can be believed."""
    host, _ = await seen(peer, [("X-Forwarded-For", value) for value in forwarded])
    assert host == client


@pytest.mark.parametrize(
    ("peer", "forwarded", "scheme"),
    [
        ("10.0.0.1", "https", "https"),
        ("203.0.113.9", "https", "http"),
        ("10.0.0.1", "gopher", "http"),
    ],
)
async def test_the_scheme_is_what_a_trusted_proxy_says(
    peer: str, forwarded: str, scheme: str
) -> None:
    """It ends TLS for us."""
    assert (await seen(peer, [("X-Forwarded-Proto", forwarded)]))[1] == scheme


def test_proxies_are_addresses_and_networks() -> None:
    """Host bits that are set would make uvicorn ignore a network without a word."""
    assert parse_proxies(" 10.1.2.3/8 ,::1,, 192.0.2.1") == ("10.0.0.0/8", "::1", "192.0.2.1")
    assert parse_proxies("") == ()


@pytest.mark.parametrize("text", ["*", "0.0.0.0/0", "::/0", "proxy.example", "10.0.0.0/33"])
def test_trust_in_everybody_is_refused(text: str) -> None:
    """It would let every client choose its address, and so dodge every limit."""
    with pytest.raises(ValueError, match=r"is not an address|choose its own address"):
        parse_proxies(text)


async def test_behind_a_proxy_each_client_has_its_own_limit(settings: Settings) -> None:
    """And a client that lies to the proxy about where it comes from gains nothing."""
    async with (
        limited(settings, "2/minute", trusted_proxies=TRUSTED) as app,
        client_at(app, "10.0.0.1") as proxy,
    ):

        async def ask(forwarded: str) -> int:
            headers = {"X-Forwarded-For": forwarded}
            return (await proxy.get("/nowhere", headers=headers)).status_code

        assert [await ask("198.51.100.1") for _ in range(3)] == [404, 404, 429]
        assert [await ask(f"203.0.113.{n}, 198.51.100.1") for n in range(3)] == [429] * 3
        assert [await ask("198.51.100.2") for _ in range(3)] == [404, 404, 429]


async def test_sessions_show_the_clients_address(settings: Settings) -> None:
    """Not the proxy's, or one could not tell one's own from a thief's."""
    trusting = settings.model_copy(update={"trusted_proxies": TRUSTED})
    headers = {"X-Forwarded-For": "203.0.113.5, 198.51.100.77"}
    async with started(trusting) as app, client_at(app, "10.0.0.1", headers=headers) as client:
        body = {"username": "far.away", "email": "far@example.com", "password": PASSWORD}
        answer = await client.post("/api/auth/register", json=body)
        token = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        [session] = (await client.get("/api/auth/sessions", headers=token)).json()
    assert "198.51.100.77" in session.values()
