"""One attempt to deliver something: a POST that ends soon, whatever the receiver does."""

import asyncio
import re
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import version
from typing import Final

import httpcore
import httpx

from eventmanager.webhooks.connecting import GuardedNetwork, NotResolvedInTime
from eventmanager.webhooks.destinations import BadDestination, read_destination
from eventmanager.webhooks.retrying import retry_after

ATTEMPT_SECONDS: Final = 15.0
CONNECT_SECONDS: Final = 5.0
REDIRECTS_MAX: Final = 3
_REDIRECTS: Final = {307, 308}
_READ_BYTES: Final = 4096
_READ_SECONDS: Final = 2.0
_EXCERPT: Final = 200
_AGENT: Final = f"EventManager/{version('eventmanager')} (webhooks)"
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt.

    `status` is the receiver's, None where there was no answer, and `answer` the beginning of its
    text. `error` says why it has failed. `asked` is for how long the receiver wants to be left
    alone. `lookup_goes_on` says that the host was given up while it was looked up, which a thread
    still does.
    """

    status: int | None
    error: str | None
    answer: str
    duration_ms: int
    asked: timedelta | None = None
    lookup_goes_on: bool = False

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver has taken it."""
        return self.error is None


@dataclass(slots=True)
class _Answer:
    """What has come of an answer so far: it counts from its status on, whatever follows."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""


class _Failed(Exception):
    """The attempt fails for a reason of our own."""


class Sender:
    """Posts to webhooks, over connections that `network` guards.

    Without a proxy, cookies or connections that are kept: each request asks anew what the host
    stands for.
    """

    def __init__(self, network: GuardedNetwork, *, allow_http: bool) -> None:
        self._network = network
        self._allow_http = allow_http

    async def post(
        self, url: str, *, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> Outcome:
        """Post once, following redirects that keep the method; it takes 15 s at most."""
        began = time.monotonic()
        answer, error, asked, lookup_goes_on = _Answer(), None, None, False
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                await self._follow(url, answer, headers=headers, body=body)
        except TimeoutError:
            error = f"no answer within {ATTEMPT_SECONDS:.0f} s"
        except httpcore.TimeoutException as failure:
            error = f"no answer in time: {type(failure).__name__}"
        except BadDestination as failure:
            error = f"it is redirected to a URL that does not {failure}"
        except NotResolvedInTime as failure:
            error, lookup_goes_on = str(failure), True
        except (_Failed, httpcore.NetworkError, httpcore.ProtocolError, OSError) as failure:
            error = str(failure) or type(failure).__name__
        except ValueError:
            # Names that TLS can't take.
            error = "the host name is not valid"
        if answer.status is not None:
            is_good = 200 <= answer.status < 300
            error = None if is_good else f"the answer is {answer.status}"
            asked = retry_after(answer.status, answer.headers, now=now)
        return Outcome(
            status=answer.status,
            error=None if error is None else _printable(error)[:_EXCERPT],
            answer=answer.text,
            duration_ms=round((time.monotonic() - began) * 1000),
            asked=asked,
            lookup_goes_on=lookup_goes_on,
        )

    async def _follow(
        self, url: str, answer: _Answer, *, headers: Mapping[str, str], body: bytes
    ) -> None:
        to = read_destination(url, allow_http=self._allow_http)
        for _ in range(REDIRECTS_MAX + 1):
            await self._once(to, answer, headers=headers, body=body)
            if answer.status not in _REDIRECTS or "location" not in answer.headers:
                return
            location = answer.headers["location"]
            # What counts is the answer from there.
            answer.status, answer.text = None, ""
            to = read_destination(location, allow_http=self._allow_http, base=to)
        raise _Failed(f"it is redirected more than {REDIRECTS_MAX} times")

    async def _once(
        self, url: httpx.URL, answer: _Answer, *, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Note status, headers and the beginning of the body of one response as they come."""
        target = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        sent = {
            "Host": url.netloc.decode("ascii"),
            "User-Agent": _AGENT,
            "Accept": "*/*",
            "Connection": "close",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
        }
        request = httpcore.Request(
            "POST",
            target,
            headers=[(name.encode(), value.encode()) for name, value in sent.items()],
            content=body,
            extensions={"timeout": {"connect": CONNECT_SECONDS}},
        )
        async with httpcore.AsyncHTTPConnection(
            origin=target.origin,
            ssl_context=_trust() if url.scheme == "https" else None,
            network_backend=self._network,
        ) as connection:
            response = await connection.handle_async_request(request)
            answer.status = response.status
            answer.headers = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers
            }
            answer.text = await _beginning(response)


@cache
def _trust() -> ssl.SSLContext:
    """Return whom TLS trusts: certifi's authorities, or those of SSL_CERT_FILE or SSL_CERT_DIR."""
    return httpx.create_ssl_context()


async def _beginning(response: httpcore.Response) -> str:
    """Return the beginning of a body; one that never ends, or breaks off, is no failure."""
    read = b""
    with suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
        async with asyncio.timeout(_READ_SECONDS):
            async for part in response.aiter_stream():
                read += part
                if len(read) >= _READ_BYTES:
                    break
    return _printable(read[:_READ_BYTES].decode(errors="replace"))[:_EXCERPT]


def _printable(text: str) -> str:
    """Return what can be stored and shown."""
    return _UNPRINTABLE.sub(" ", text).strip()
