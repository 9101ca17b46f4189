"""A load generator for machines without wrk: as many requests as answers come, on each connection.

    python -m tests.bench.generator URL BODIES CONNECTIONS SECONDS

Sends the lines of the file BODIES in turn by POST and prints one line of JSON, the same as the wrk
script does. It reads of an answer only the status and the length: it must be faster than the
server. Both are Python, so figures in requests/s made with it say little; CPU per request and
ratios hold.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

from tests.bench.figures import percentile

_SILENCE_S = 10.0  # a server that has stopped answering ends the run, as an error


class _Connection(asyncio.Protocol):
    """One connection that always has one request under way until `deadline`."""

    def __init__(self, requests: Iterator[bytes], deadline: float) -> None:
        self.latencies_s: list[float] = []
        self.wrong = 0
        self.closed = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._deadline = deadline
        self._received = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by type
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or len(self._received) < end + 4 + _length(self._received[:end]):
            return
        now = time.perf_counter()
        self.latencies_s.append(now - self._sent)
        self.wrong += not self._received.startswith(b"HTTP/1.1 200 ")
        self._received = b""
        if now < self._deadline:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sent and time.perf_counter() < self._deadline:
            self.wrong += 1  # closed in the middle of the run
        self.closed.set_result(None)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _run(url: str, bodies: list[bytes], connections: int, seconds: float) -> dict[str, float]:
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    ).encode()
    assert parts.hostname is not None
    assert parts.port is not None
    host, port = parts.hostname, parts.port
    requests = cycle([head % len(body) + body for body in bodies])
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    made = [
        await loop.create_connection(lambda: _Connection(requests, start + seconds), host, port)
        for _ in range(connections)
    ]
    protocols = [protocol for _, protocol in made]
    async with asyncio.timeout(seconds + _SILENCE_S):
        await asyncio.gather(*(protocol.closed for protocol in protocols))
    latencies = [latency for protocol in protocols for latency in protocol.latencies_s]
    return {
        "requests": len(latencies),
        "seconds": time.perf_counter() - start,
        "wrong": sum(protocol.wrong for protocol in protocols),
        "p50_us": percentile(latencies, 50) * 1e6,
        "p99_us": percentile(latencies, 99) * 1e6,
    }


if __name__ == "__main__":
    _url, _file, _connections, _seconds = sys.argv[1:]
    _bodies = Path(_file).read_bytes().splitlines()
    print(json.dumps(uvloop.run(_run(_url, _bodies, int(_connections), float(_seconds)))))
