"""A load generator for machines without wrk: as many requests as answers come, on each connection.

    python -m loadtests.generator URL FILE CONNECTIONS SECONDS STATUS

Sends the requests of FILE in turn (`loadtests.load` writes it) and prints one line of JSON, the
same as the wrk script does. It reads of an answer only the status and where it ends: it must be
faster than the server. Both are Python, so figures in requests/s made with it say little; CPU per
request and ratios hold.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import cast

import uvloop

from loadtests.addresses import Address, read_address
from loadtests.percentiles import percentile

__all__ = ["AnswerReader", "read_requests"]

_SILENCE_S = 10.0  # a server that has stopped answering ends the run, as an error
_WITHOUT_BODY = frozenset({204, 304})


class AnswerReader:
    """Finds where one answer ends, by its length or its chunks.

    Raises ValueError for what is no answer, or has neither: only the connection's end would tell.
    """

    def __init__(self) -> None:
        self._received = bytearray()
        self._status = 0
        self._end = 0  # of the whole answer; of the chunks so far, if it comes in chunks
        self._chunked = False

    def feed(self, data: bytes) -> int | None:
        """Return the status once the answer is complete, and be ready for the next one."""
        self._received += data
        if not self._status and not self._read_head():
            return None
        if self._chunked and not self._read_chunks():
            return None
        if len(self._received) < self._end:
            return None
        status, rest = self._status, self._received[self._end :]
        self._received, self._status, self._chunked = rest, 0, False
        return status

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = bytes(self._received[:end]).split(b"\r\n")
        self._status = int(first.split(b" ", 2)[1])
        headers = dict(line.lower().split(b":", 1) for line in lines)
        self._end = end + 4
        if self._status in _WITHOUT_BODY:
            return True
        self._chunked = b"chunked" in headers.get(b"transfer-encoding", b"")
        if not self._chunked:
            if b"content-length" not in headers:
                raise ValueError("an answer without its length")
            self._end += int(headers[b"content-length"])
        return True

    def _read_chunks(self) -> bool:
        """Move the end over the chunks that are there; return whether the last one is."""
        while (line := self._received.find(b"\r\n", self._end)) >= 0:
            size = int(bytes(self._received[self._end : line]).split(b";")[0], 16)
            if size == 0:
                last = self._received.find(b"\r\n\r\n", line)  # after trailers, if there are any
                self._end = last + 4 if last >= 0 else self._end
                return last >= 0
            after = line + 2 + size + 2
            if len(self._received) < after:
                return False
            self._end = after
        return False


class _Connection(asyncio.Protocol):
    """One connection that always has one request under way until `deadline`."""

    def __init__(self, requests: Iterator[bytes], deadline: float, status: int) -> None:
        self.latencies_s: list[float] = []
        self.wrong = 0
        self.closed = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._deadline = deadline
        self._expected = status
        self._answer = AnswerReader()
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by type
        self._send()

    def data_received(self, data: bytes) -> None:
        try:
            status = self._answer.feed(data)
        except (ValueError, IndexError):
            self._transport.close()  # counted as wrong there
            return
        if status is None:
            return
        now = time.perf_counter()
        self.latencies_s.append(now - self._sent)
        self.wrong += status != self._expected
        if now < self._deadline:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if time.perf_counter() < self._deadline:
            self.wrong += 1  # closed in the middle of the run
        self.closed.set_result(None)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))


def read_requests(file: Path) -> list[bytes]:
    """Return the requests of a file, which has each one's length on a line before it."""
    content, at, found = file.read_bytes(), 0, []
    while at < len(content):
        line = content.index(b"\n", at)
        end = line + 1 + int(content[at:line])
        found.append(content[line + 1 : end])
        at = end
    return found


async def _run(
    address: Address, requests: list[bytes], connections: int, seconds: float, status: int
) -> dict[str, float]:
    turn = cycle(requests)
    start = time.perf_counter()
    protocols = [
        await address.connect(lambda: _Connection(turn, start + seconds, status))
        for _ in range(connections)
    ]
    async with asyncio.timeout(seconds + _SILENCE_S):
        await asyncio.gather(*(protocol.closed for protocol in protocols))
    latencies = [latency for protocol in protocols for latency in protocol.latencies_s]
    return {
        "requests": len(latencies),
        "seconds": time.perf_counter() - start,
        "wrong": sum(protocol.wrong for protocol in protocols),
        "p50_us": percentile(latencies, 50) * 1e6 if latencies else 0.0,
        "p99_us": percentile(latencies, 99) * 1e6 if latencies else 0.0,
    }


if __name__ == "__main__":
    _url, _file, _connections, _seconds, _status = sys.argv[1:]
    _found = uvloop.run(
        _run(
            read_address(_url),
            read_requests(Path(_file)),
            int(_connections),
            float(_seconds),
            int(_status),
        )
    )
    print(json.dumps(_found))
