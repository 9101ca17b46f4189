"""Connections in bad times: late, endless, deaf, too many, under way while the sidecar stops.

Seconds go by when a test says so: `front.tick` is what a clock does once a second.
"""

import asyncio
import json
import logging
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest

from proxy.contract.access import hash_key
from proxy.ofrep import front as front_module
from proxy.ofrep.front import HEAD_TIMEOUT_S, LINGER_S, WRITE_TIMEOUT_S, Limits
from proxy.ofrep.routes import BODY_TIMEOUT_S, MAX_UNREAD_BYTES
from tests.proxy.ofrep.mutations import request
from tests.proxy.ofrep.server import (
    DEFINITIONS,
    FLAGS,
    SERVER_KEY,
    Server,
    keys,
    running_server,
)
from tests.proxy.ofrep.wires import Wire
from tests.support.processes import running_sidecar

ANSWER = b"HTTP/1.1 200 OK\r\n"
BODY = b'{"context":{"targetingKey":"u-1","plan":"pro"}}'


class Client:
    """A connection on which bytes are sent and answers are read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def sent(self, data: bytes) -> "Client":
        """Send, and return when the other side may have read."""
        self.writer.write(data)
        await self.writer.drain()
        return self

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """Return the next answer: status, headers, body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip().split("\r\n")
        headers = {n.lower(): v for n, v in (line.split(": ", 1) for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(first.split()[1]), headers, json.loads(body or b"null")

    async def ended(self) -> bool:
        """Wait until the other side has closed; return whether nothing came before."""
        try:
            return not await self.reader.read()
        except ConnectionResetError:
            return True


@asynccontextmanager
async def connected(server: Server, **options: Any) -> AsyncIterator[Client]:
    """Open a connection."""
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, **options)
    yield Client(reader, writer)
    writer.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait, turn by turn of the loop, until the server has read what was sent."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is no event, but what was read
            await asyncio.sleep(0)


async def connections(server: Server, count: int) -> None:
    """Wait until the front door has so many connections."""
    await until(lambda: len(server.front.connections) == count)


async def held(server: Server, count: int) -> None:
    """Wait until so many bytes are held."""
    await until(lambda: server.answering.held.in_use == count)


def seconds(server: Server, count: float) -> None:
    """Let time go by."""
    for _ in range(round(count)):
        server.front.tick()


@pytest.mark.parametrize("part", [request()[:30], request()[:90], b"P"])
async def test_a_head_has_to_come_in_time(server: Server, part: bytes) -> None:
    """However often a bit more of it comes."""
    async with connected(server) as client:
        await client.sent(part)
        await held(server, len(part))
        seconds(server, HEAD_TIMEOUT_S)
        more = request()[len(part) : len(part) + 1]
        await client.sent(more)
        await held(server, len(part) + 1)
        seconds(server, 1)
        status, headers, body = await client.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert body["errorCode"] == "GENERAL"
        assert await client.ended()


async def test_a_body_has_to_come_in_time(server: Server) -> None:
    """The answer names the flag, as aiohttp's would."""
    async with connected(server) as client:
        await client.sent(request(f"{FLAGS}/ruled", BODY)[:-1])
        await held(server, len(request(f"{FLAGS}/ruled", BODY)) - 1)
        seconds(server, BODY_TIMEOUT_S)
        assert server.front.connections
        seconds(server, 1)
        status, _, body = await client.answer()
        assert (status, body["key"]) == (408, "ruled")
        assert await client.ended()


async def test_a_body_has_its_own_time(server: Server) -> None:
    """However long its head took."""
    data = request(f"{FLAGS}/ruled", BODY)
    async with connected(server) as client:
        await client.sent(data[:50])
        await held(server, 50)
        seconds(server, HEAD_TIMEOUT_S)
        await client.sent(data[50:-1])
        await held(server, len(data) - 1)
        seconds(server, BODY_TIMEOUT_S)
        await client.sent(data[-1:])
        assert (await client.answer())[0] == 200


async def test_who_is_late_is_counted_where_it_was_going(server: Server) -> None:
    """As it is when aiohttp reads; and a page may read why."""
    requests = server.metrics.requests
    async with connected(server) as head, connected(server) as body, connected(server) as odd:
        await head.sent(b"POST ")
        await body.sent(request(f"{FLAGS}/ruled", BODY)[:-1])
        await odd.sent(b"GET / HTTP/1.1\r\n")
        await until(lambda: server.front.handed_over)
        await held(server, len(request(f"{FLAGS}/ruled", BODY)) - 1 + 5)
        seconds(server, BODY_TIMEOUT_S + 1)
        for client in (head, body, odd):
            assert (await client.answer())[0] == 408
    assert dict(requests) == {("other", 408): 2, ("single", 408): 1}
    assert server.metrics.request_seconds["single",].count == 1


async def test_a_page_may_read_that_its_body_was_late() -> None:
    """Refusals carry the headers that every other answer has."""
    origin = "https://a.example"
    async with running_server(origins=(origin,)) as server, connected(server) as client:
        data = request(headers=b"Host: a\r\nOrigin: %b\r\n" % origin.encode())
        await client.sent(data[:-1])
        await held(server, len(data) - 1)
        seconds(server, BODY_TIMEOUT_S + 1)
        status, headers, _ = await client.answer()
        assert (status, headers["access-control-allow-origin"]) == (408, origin)


async def test_time_is_counted_for_each_request_anew(server: Server) -> None:
    """A connection that is used for long is not one that is late."""
    data = request()
    async with connected(server) as client:
        for _ in range(5):
            await client.sent(data[:50])
            await held(server, 50)
            seconds(server, HEAD_TIMEOUT_S)
            await client.sent(data[50:])
            assert (await client.answer())[0] == 200


async def test_a_head_that_aiohttp_reads_has_to_come_in_time_too(server: Server) -> None:
    """It has no time-out of its own for that."""
    async with connected(server) as client:
        await client.sent(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        await until(lambda: server.front.handed_over)
        seconds(server, HEAD_TIMEOUT_S)
        assert server.front.handed_over
        seconds(server, 1)
        assert (await client.answer())[0] == 408
        assert await client.ended()
        assert not server.front.handed_over


async def test_a_head_that_aiohttp_reads_has_an_end(server: Server) -> None:
    """It would keep 8 MB of one; bodies of any length are another matter."""
    async with connected(server) as client:
        await client.sent(b"GET / HTTP/1.1\r\nHost: a\r\n")
        await until(lambda: server.front.handed_over)
        line = b"X: " + b"a" * 60_000 + b"\r\n"
        with suppress(ConnectionError):
            for _ in range(MAX_UNREAD_BYTES // len(line) + 20):
                await client.sent(line)
        await until(lambda: not server.front.handed_over)
    assert server.metrics.requests["other", 431] == 1
    async with connected(server) as client:
        await client.sent(request(body=b" " * 3_000_000))
        assert (await client.answer())[0] == 413


async def test_idle_connections_are_closed_after_a_while() -> None:
    """Not before the time that is promised."""
    async with running_server(limits=Limits(100, 75.0)) as server, connected(server) as client:
        await client.sent(request())
        assert (await client.answer())[0] == 200
        seconds(server, 75)
        await client.sent(request())
        assert (await client.answer())[0] == 200
        seconds(server, 76)
        assert await client.ended()


async def test_too_many_connections_are_told_so() -> None:
    """Those that are there are served on, and one that leaves makes room."""
    async with running_server(limits=Limits(2, 75.0)) as server:
        async with connected(server) as first, connected(server) as second:
            await connections(server, 2)
            async with connected(server) as third:
                status, headers, body = await third.answer()
                assert (status, headers["retry-after"]) == (503, "1")
                assert "connections" in body["errorDetails"]
                assert await third.ended()
            for client in (first, second):
                await client.sent(request())
                assert (await client.answer())[0] == 200
        await connections(server, 0)
        async with connected(server) as fourth:
            await fourth.sent(request())
            assert (await fourth.answer())[0] == 200


async def test_what_is_not_whole_is_bounded_in_all(server: Server) -> None:
    """The connection that would go over the bound is told to come again; all is given back."""
    server.answering.held.limit = 200_000
    part = request(body=b" " * 90_000)[:-1]
    async with connected(server) as first, connected(server) as second, connected(server) as third:
        await first.sent(part)
        await held(server, len(part))
        await second.sent(part)
        await held(server, len(part) * 2)
        await third.sent(part)
        status, headers, _ = await third.answer()
        assert (status, headers["retry-after"]) == (503, "1")
        await first.sent(b" ")
        assert (await first.answer())[0] == 200
    await held(server, 0)


async def test_a_chunked_body_counts_among_what_is_not_whole(server: Server) -> None:
    """It is aiohttp that reads it, and the same bound."""
    server.answering.held.limit = 50_000
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % FLAGS.encode()
    async with connected(server) as client:
        await client.sent(head + b"ea60\r\n" + b" " * 60_000)
        status, _, _ = await client.answer()
        assert status == 503
    await held(server, 0)


async def test_a_key_that_is_deleted_while_a_body_comes_counts_no_more() -> None:
    """A chunk a second keeps no door open."""
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nX-API-Key: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
    head %= (FLAGS.encode(), SERVER_KEY.encode())
    async with running_server(more=keys()) as server, connected(server) as client:
        await client.sent(head + b"1\r\n{\r\n")
        await until(lambda: server.front.handed_over)
        await until(lambda: server.answering.held.in_use == 1)
        others = {
            place: key for place, key in keys().items() if key["hash"] != hash_key(SERVER_KEY)
        }
        await server.offer(DEFINITIONS, others)
        await client.sent(b"1\r\n}\r\n0\r\n\r\n")
        assert (await client.answer())[0] == 401


async def test_who_does_not_take_the_answers_is_not_asked_for_more(server: Server) -> None:
    """The sidecar reads on only when they are taken; then nothing is missing."""
    data = request(FLAGS, BODY)
    count = 3_000
    async with connected(server, limit=2**24) as client:
        client.writer.transport.set_write_buffer_limits(high=2**26)  # type: ignore[attr-defined]
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # deaf for a while
        client.writer.write(data * count)
        await until(lambda: server.front.unsent_bytes)
        assert server.answering.held.in_use < 2**20
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(count):
            assert (await client.answer())[0] == 200
    assert server.front.unsent_bytes == 0
    await held(server, 0)


async def test_who_never_takes_the_answers_is_dropped(server: Server) -> None:
    """After a time, and at once when all that is not taken becomes too much."""
    for over in (False, True):
        if over:
            front_module._MAX_UNSENT_BYTES, kept = 1, front_module._MAX_UNSENT_BYTES
        async with connected(server) as client:
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            client.writer.write(request(FLAGS, BODY) * 3_000)
            if not over:
                await until(lambda: server.front.unsent_bytes)
                seconds(server, WRITE_TIMEOUT_S)
                assert server.front.connections
                seconds(server, 1)
            await connections(server, 0)
        if over:
            front_module._MAX_UNSENT_BYTES = kept
    assert server.front.unsent_bytes == 0
    await held(server, 0)


async def test_who_is_refused_sees_why_though_it_still_sends(server: Server) -> None:
    """A reset would take the answer away; who sends on and on is cut off after a while."""
    async with connected(server) as client:
        await client.sent(b"POST / HTTP/1.1\r\nX: " + b"a" * 66_000)
        await until(lambda: server.front.lingering)
        for _ in range(20):
            await client.sent(b"a" * 66_000)
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (431, "close")
        assert await client.ended()
        seconds(server, LINGER_S)
        assert server.front.connections
        seconds(server, 1)
        await connections(server, 0)
    assert server.front.lingering == 0


async def test_many_requests_at_once_do_not_keep_others_waiting(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each turn the others have theirs."""
    monkeypatch.setattr(front_module, "_TURN_S", 0.0)
    async with connected(server) as greedy, connected(server) as modest:
        await connections(server, 2)
        await greedy.sent(request(FLAGS, BODY) * 500)
        await modest.sent(request())
        assert (await modest.answer())[0] == 200
        assert server.answering.held.in_use > 0
        for _ in range(500):
            assert (await greedy.answer())[0] == 200


async def test_a_client_that_sends_no_more_gets_its_answers(server: Server) -> None:
    """All of them, also when they take more than a turn."""
    async with connected(server) as client:
        await client.sent(request() * 3)
        client.writer.write_eof()
        for _ in range(3):
            assert (await client.answer())[0] == 200
        assert await client.ended()


async def test_draining_ends_each_connection_with_its_answer() -> None:
    """What is under way is finished, what is idle is closed, and nobody is cut off."""
    async with running_server() as server, connected(server) as idle, connected(server) as busy:
        await connections(server, 2)
        await busy.sent(request()[:-5])
        await held(server, len(request()) - 5)
        closing = asyncio.create_task(server.front.close(5.0))
        assert await idle.ended()
        await busy.sent(request()[-5:])
        status, headers, _ = await busy.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await busy.ended()
        await closing


async def test_a_connection_in_use_ends_with_an_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next request may be on its way already: who sends it is not left without an answer."""
    monkeypatch.setattr(front_module, "_GOODBYE_S", 20.0)
    async with connected(server) as unused, connected(server) as client:
        await connections(server, 2)
        seconds(server, 10)
        await client.sent(request())
        assert (await client.answer())[0] == 200
        closing = asyncio.create_task(server.front.close(20.0))
        assert await unused.ended()
        await client.sent(request())
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await client.ended()
        await closing


async def test_who_came_while_draining_has_the_time_to_end(server: Server) -> None:
    """Also when there was nobody for a moment."""
    server.front.drain()
    async with connected(server):
        await connections(server, 1)
    await connections(server, 0)
    async with connected(server) as client:
        await client.sent(request()[:-5])
        await held(server, len(request()) - 5)
        closing = asyncio.create_task(server.front.close(5.0))
        for _ in range(10):
            await asyncio.sleep(0)
        await client.sent(request()[-5:])
        assert (await client.answer())[0] == 200
        await closing


class Deaf(Wire):
    """The wire of a client that takes nothing: what was written stays, and so does the wire."""

    aborted = False

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def get_write_buffer_size(self) -> int:
        return len(self.written)


@pytest.mark.parametrize(
    "data",
    [
        request(headers=b"Host: a\r\nConnection: close\r\n"),
        request(method=b"GET"),
        request(headers=b"Host: a\r\nTransfer-Encoding: chunked\r\n"),
        b"noise\r\n\r\n",
    ],
)
async def test_a_last_answer_that_is_never_taken_keeps_no_connection(
    server: Server, data: bytes
) -> None:
    """Though it is so short that nobody had to wait for its being taken."""
    wire = Deaf(server.front.connect())
    await wire.given([data])
    assert wire.written
    assert wire.closed
    seconds(server, WRITE_TIMEOUT_S)
    assert not wire.aborted
    seconds(server, 2)
    assert wire.aborted


async def test_answers_that_are_never_taken_keep_no_connection(server: Server) -> None:
    """Nor when the connection is to stay."""
    wire = Deaf(server.front.connect())
    await wire.given([request()])
    seconds(server, 77)
    assert wire.closed
    seconds(server, 1)
    assert wire.aborted


async def test_what_does_not_end_while_draining_is_cut_off() -> None:
    """A client that stopped in the middle does not keep the sidecar from stopping."""
    async with running_server() as server, connected(server) as client:
        await client.sent(request()[:-5])
        await held(server, len(request()) - 5)
        await server.front.close(0.01)
        assert await client.ended()


async def test_before_it_closes_it_answers_and_says_goodbye(server: Server) -> None:
    """While it is unready, but not yet gone, clients are sent elsewhere."""
    server.front.drain()
    async with connected(server) as client:
        await client.sent(request())
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await client.ended()


async def test_nothing_a_client_does_is_logged_as_an_error(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Malformed, compressed in vain, cut off in the middle, gone before the answer."""
    head = b"POST %b HTTP/1.1\r\nHost: a\r\n" % FLAGS.encode()
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    bad = [
        b"\x16\x03\x01\0\0",
        b"GET \r\n\r\n",
        head + b"Content-Length: -1\r\n\r\n",
        head + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        head + b"Content-Encoding: zstd\r\nContent-Length: 4\r\n\r\nabcd",
        chunked + b"zz\r\n",
        chunked + b"5\r\nab",
        request()[:-3],
        request("/elsewhere", headers=b"Host: a\r\nContent-Encoding: gzip\r\n"),
    ]
    with caplog.at_level(logging.WARNING):
        for data in bad:
            async with connected(server) as client:
                await client.sent(data)
                client.writer.write_eof()
                await client.reader.read()
            async with connected(server) as client:
                await client.sent(data)
                client.writer.transport.abort()
        await connections(server, 0)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


SLOW = 10_000
_SLOW_CLIENTS = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
port, count = int(sys.argv[1]), int(sys.argv[2])
flags = b"/ofrep/v1/evaluate/flags"
parts = [
    b"POST " + flags,
    b"POST %b HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 9000\\r\\n\\r\\n" % flags + b" " * 3000,
    b"",
]
kept = []
for n in range(count):
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(parts[n % 3])
    kept.append(client)
print("there", flush=True)
sys.stdin.read()
"""


async def test_ten_thousand_slow_connections_take_bounded_memory(tmp_path: Path) -> None:
    """Half a head, half a body, or nothing was sent on each: others are served meanwhile."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(SLOW, hard - 1_000)
    assert count >= 2_000, f"at most {hard} files may be open here"
    file = tmp_path / "flags.json"
    file.write_text(json.dumps({"flags": [{"key": "a", "type": "boolean", "value": True}]}))
    with running_sidecar(tmp_path, "--snapshot", file, "--max-connections", "20000") as sidecar:
        process = psutil.Process(sidecar.pid)
        port = urlsplit(sidecar.ofrep).port
        async with aiohttp.ClientSession() as session:
            url = f"{sidecar.ofrep}{FLAGS}/a"
            async with session.post(url, json={}) as reply:
                assert reply.status == 200
            before = process.memory_info().rss
            clients = subprocess.Popen(  # noqa: ASYNC220 - nobody else is on this loop
                [sys.executable, "-c", _SLOW_CLIENTS, str(port), str(count)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            try:
                assert clients.stdout is not None
                line = await asyncio.to_thread(clients.stdout.readline)
                assert line == b"there\n"
                for _ in range(100):
                    async with session.post(url, json={}) as reply:
                        assert reply.status == 200
                grown = process.memory_info().rss - before
                print(f"{count} slow connections: {grown / count / 1024:.1f} KB each")
                assert grown < count * 12 * 1024
            finally:
                clients.kill()
                clients.wait()
