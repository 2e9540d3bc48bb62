"""A small HTTP/1.1 load generator over keep-alive connections. Loopback only.

`python bench/load.py http://127.0.0.1:8000/docs --seconds 5 --connections 16`

Each connection sends its next request as soon as the last one is answered: a closed loop, without
pipelining.
"""

import argparse
import asyncio
import ipaddress
import itertools
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast
from urllib.parse import urlsplit

T = TypeVar("T")

MAX_SECONDS = 30.0
MAX_CONNECTIONS = 256
GRACE_SECONDS = 10.0  # For the answers still under way when the time is up.


@dataclass(frozen=True)
class Result:
    """What one run saw; latencies are in milliseconds."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    statuses: dict[int, int]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def failures(self) -> int:
        """Answers that were not 2xx."""
        return sum(n for status, n in self.statuses.items() if not 200 <= status < 300)


def encode(method: str, target: str, *, token: str = "", body: bytes = b"") -> bytes:
    """One request as bytes on the wire."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", "Accept: application/json"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def run(
    sources: Sequence[Iterator[bytes]], *, seconds: float, port: int, host: str = "127.0.0.1"
) -> Result:
    """Send requests for `seconds`, one connection per source, each until its source is empty.

    Raises `ValueError` for a host that is not loopback or a run that is too long or too wide.
    """
    if not is_loopback(host):
        raise ValueError(f"refusing to load {host!r}: loopback only")
    if seconds > MAX_SECONDS or len(sources) > MAX_CONNECTIONS:
        raise ValueError(f"at most {MAX_SECONDS:g} seconds and {MAX_CONNECTIONS} connections")
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    for source in sources:
        _, client = await loop.create_connection(partial(Client, source), host, port)
        clients.append(client)
    start = time.perf_counter()
    async with asyncio.timeout(seconds + GRACE_SECONDS):
        for client in clients:
            client.begin(until=start + seconds)
        await asyncio.gather(*(client.done for client in clients))
    elapsed = time.perf_counter() - start
    latencies = sorted(itertools.chain.from_iterable(client.latencies for client in clients))
    statuses = sum((client.statuses for client in clients), Counter[int]())
    if not latencies:
        raise ValueError("no request was sent")
    return Result(
        requests=len(latencies),
        seconds=elapsed,
        p50_ms=1000 * latencies[len(latencies) // 2],
        p99_ms=1000 * latencies[len(latencies) * 99 // 100],
        statuses=dict(statuses),
    )


def is_loopback(host: str) -> bool:
    """Whether the host is a loopback address; of names, only `localhost` counts."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Client(asyncio.Protocol):
    """One keep-alive connection: a request, its answer, the next request, until time is up."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self.source = source
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.until = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def begin(self, *, until: float) -> None:
        self.until = until
        self.send()

    def send(self) -> None:
        request = next(self.source, None)
        self.sent = time.perf_counter()
        if request is None or self.sent >= self.until:
            self.finish()
        else:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        try:
            end = answer_end(self.buffer)
        except ValueError as error:
            self.finish(error)
            return
        if end is None:
            return
        self.latencies.append(time.perf_counter() - self.sent)
        self.statuses[int(self.buffer[9:12])] += 1
        self.buffer = self.buffer[end:]
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.finish(exc or ConnectionError("the server closed the connection"))

    def finish(self, error: Exception | None = None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
            self.transport.close()


def answer_end(data: bytes) -> int | None:
    """Where the first answer in `data` ends, or None while it is incomplete.

    Raises `ValueError` for an answer that states no length.
    """
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head = data[: head_end + 2].lower()
    body = head_end + 4
    field = head.find(b"\r\ncontent-length:")
    if field >= 0:
        end = body + int(head[field + 17 : head.index(b"\r\n", field + 17)])
        return end if len(data) >= end else None
    if b"\r\ntransfer-encoding: chunked" in head:
        return chunks_end(data, body)
    if data[9:12] in (b"204", b"304"):
        return body
    raise ValueError(f"an answer without a length: {head!r}")


def chunks_end(data: bytes, position: int) -> int | None:
    """Where a chunked body that starts at `position` ends, trailers aside."""
    while (line_end := data.find(b"\r\n", position)) >= 0:
        size = int(data[position:line_end].split(b";")[0], 16)
        position = line_end + 2 + size + 2
        if size == 0:
            return position if len(data) >= position else None
    return None


def run_loop(main: Coroutine[None, None, T]) -> T:
    """Run on uvloop where it is installed."""
    try:
        from uvloop import run as run_on_uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.run(main)
    return run_on_uvloop(main)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--token", default="")
    options = parser.parse_args()
    url = urlsplit(options.url)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    request = encode("GET", target, token=options.token)
    result = run_loop(
        run(
            [itertools.repeat(request)] * options.connections,
            seconds=options.seconds,
            host=url.hostname or "",
            port=url.port or 80,
        )
    )
    print(
        f"{result.per_second:,.0f} req/s  p50 {result.p50_ms:.2f} ms  p99 {result.p99_ms:.2f} ms  "
        f"non-2xx {result.failures} of {result.requests}"
    )


if __name__ == "__main__":
    main()
