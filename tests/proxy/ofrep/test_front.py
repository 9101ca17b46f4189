"""The front door and aiohttp answer the same bytes alike; `python -m tests.bench --only front`
compares a hundred thousand."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from proxy.contract.access import hash_key
from proxy.exposures.recorder import Recorder
from proxy.ofrep import answering as answering_module
from proxy.ofrep import front as front_module
from tests.proxy.ofrep.mutations import mutated, ordinary_requests, request
from tests.proxy.ofrep.server import (
    CLIENT_KEY,
    DEFINITIONS,
    FLAGS,
    SERVER_KEY,
    Server,
    running_server,
)
from tests.proxy.ofrep.wires import Ends, both_ends

ORIGIN = "https://a.example"


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """Both ways to be answered."""
    async with both_ends(origins=(ORIGIN,)) as both:
        yield both


@pytest.mark.parametrize("data", ordinary_requests())
async def test_ordinary_requests_split_anywhere(ends: Ends, data: bytes) -> None:
    """In two pieces at every position, and byte by byte; handed over is only who waits in vain."""
    for at in range(1, len(data)):
        assert not await ends.differ([data[:at], data[at:]])
    wire = await ends.front(bytes([byte]) for byte in data)
    if b"/elsewhere" in data:  # told before its body is there
        assert wire.handed_over is not None
    else:
        assert wire.handed_over is None
        assert wire.written == (await ends.front([data])).written


async def test_pipelined_requests_are_answered_in_their_order(ends: Ends) -> None:
    """However they are cut."""
    data = b"".join(each for each in ordinary_requests() if b"close" not in each)
    for size in (1, 7, 100, 1_000, len(data)):
        assert not await ends.differ([data[at : at + size] for at in range(0, len(data), size)])


HANDED_OVER = {
    "another method": request(method=b"GET"),
    "head": request(method=b"HEAD"),
    "http/1.0": request(version=b"HTTP/1.0"),
    "no host": request(headers=b""),
    "two hosts": request(headers=b"Host: a\r\nHost: b\r\n"),
    "expect": request(headers=b"Host: a\r\nExpect: 100-continue\r\n"),
    "another expectation": request(headers=b"Host: a\r\nExpect: tea\r\n"),
    "chunked": b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\n{ }\r\n0\r\n\r\n" % FLAGS.encode(),
    "both lengths": request(headers=b"Host: a\r\nTransfer-Encoding: chunked\r\n"),
    "two lengths": request(headers=b"Host: a\r\nContent-Length: 3\r\n"),
    "no number": request(headers=b"Host: a\r\nContent-Length: x\r\n"),
    "compressed": request(headers=b"Host: a\r\nContent-Encoding: gzip\r\n"),
    "upgrade": request(headers=b"Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"),
    "too large": request(length=100_001),
    "long line": b"POST /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 65_540),
    "bare newlines": request().replace(b"\r\n", b"\n"),
    "folded": request(headers=b"Host: a\r\nX: a\r\n b\r\n"),
    "a blank before the colon": request(headers=b"Host : a\r\n"),
    "a nul": request(headers=b"Host: a\r\nX: \0\r\n"),
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "noise": b"GARBAGE\r\n\r\n",
}


@pytest.mark.parametrize("data", HANDED_OVER.values(), ids=HANDED_OVER.keys())
async def test_all_else_is_aiohttps_to_answer(ends: Ends, data: bytes) -> None:
    """Alone, after an ordinary request, and before one; the connection ends with the answer."""
    for parts in ([data], [request(), data], [request() + data], [data, request()]):
        assert not await ends.differ(parts)
    wire = await ends.front([request(), data])
    assert wire.handed_over is not None
    assert wire.written.count(b"HTTP/1.1 200 OK") >= 1


async def test_a_body_that_is_a_request_is_a_body(ends: Ends) -> None:
    """Of a known head too, and when it comes in a piece of its own."""
    inner = request()
    outer = request(f"{FLAGS}/ruled", inner)
    at = len(outer) - len(inner)
    for parts in ([outer], [outer[:at], outer[at:]], [outer[: at + 1], outer[at + 1 :]]):
        wire = await ends.front([inner, inner, *parts])
        answers = bytes(wire.written).split(b"HTTP/1.1 ")[1:]
        assert [answer[:3] for answer in answers] == [b"200", b"200", b"400"]
        assert not await ends.differ([inner, inner, *parts])


async def test_requests_changed_at_random(ends: Ends) -> None:
    """Whatever bytes come, the answers are those of aiohttp; and nothing is held at the end."""
    for parts in mutated(1_500):
        assert not await ends.differ(parts)
    assert ends.server.answering.held.in_use == 0
    assert not ends.server.front.connections
    assert not ends.server.front.handed_over


async def test_the_same_over_sockets() -> None:
    """The wire of these tests is no socket: some of it again through the kernel."""
    async with both_ends(origins=(ORIGIN,)) as ends:
        for data in ordinary_requests():
            wire = await ends.front([data])
            told = await _told(ends.server, data, len(wire.written))
            assert _without_date(told) == _without_date(bytes(wire.written))


async def _told(server: Server, data: bytes, length: int) -> bytes:
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(data)
    answer = await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()
    return answer


def _without_date(answer: bytes) -> list[bytes]:
    return [line for line in answer.split(b"\r\n") if not line.startswith(b"Date: ")]


async def test_a_known_head_is_answered_by_the_snapshot_that_serves() -> None:
    """What a head came to with the one before is forgotten with it."""
    async with running_server() as server:
        for _ in range(3):
            assert (await server.single("bool", {"targetingKey": "u"})).json["value"] is True
        assert server.front.quick.count == 2
        await server.offer({})
        assert (await server.single("bool", {"targetingKey": "u"})).status == 404


async def test_a_known_head_lets_nobody_in_whose_key_has_expired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the millisecond, though nothing else has changed."""
    expires_at_ms = time.time_ns() // 1_000_000 + 3_600_000
    entry = {"hash": hash_key(SERVER_KEY), "kind": "server", "expires_at_ms": expires_at_ms}
    async with running_server(more={("key", "k"): entry}) as server:

        async def asked() -> int:
            reply = await server.single("bool", {"targetingKey": "u"}, X_API_Key=SERVER_KEY)
            return reply.status

        assert [await asked(), await asked()] == [200, 200]
        for now_ms, status in ((expires_at_ms - 1, 200), (expires_at_ms, 401)):
            monkeypatch.setattr(front_module, "_now_ns", lambda now_ms=now_ms: now_ms * 1_000_000)
            monkeypatch.setattr(answering_module, "_now_ms", lambda now_ms=now_ms: now_ms)
            assert await asked() == status
        assert server.front.quick.count == 2


async def test_a_known_head_is_worth_what_its_key_is() -> None:
    """In the snapshot that serves: the key may be of another kind, or none."""
    entry = {"hash": hash_key(SERVER_KEY)}
    async with running_server() as server:
        for kind, key, status in (
            ("server", SERVER_KEY, 200),
            ("client", SERVER_KEY, 404),
            ("server", SERVER_KEY, 200),
            ("server", CLIENT_KEY, 401),
        ):
            more = {("key", "k"): entry | {"hash": hash_key(key), "kind": kind}}
            await server.offer(DEFINITIONS, more)
            for _ in range(3):
                reply = await server.single("bool", {"targetingKey": "u"}, X_API_Key=SERVER_KEY)
                assert reply.status == status
        assert server.front.quick.count == 4


async def test_what_fails_on_the_hot_path_is_answered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As anywhere else: a connection that just ended would tell the client nothing."""
    async with running_server() as server:
        for _ in range(2):
            assert (await server.single("tracked", {"targetingKey": "u"})).status == 200
        assert server.front.quick.count == 1

        def failing(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(Recorder, "evaluated", failing)
        assert (await server.single("tracked", {"targetingKey": "u"})).status == 500


async def test_known_heads_are_limited_like_others() -> None:
    """Where there is a limit, each request is held against it."""
    async with running_server(rate_limit=2) as server:
        statuses = [(await server.single("bool", {})).status for _ in range(5)]
        assert statuses[:2] == [200, 200]
        assert 429 in statuses
        assert server.front.quick.count == 0


async def test_every_answer_is_counted_once(ends: Ends) -> None:
    """However a request was read, and whatever it was answered."""
    metrics, evaluated = ends.server.metrics, [request(), request(FLAGS), request(), request()]
    others = [request(f"{FLAGS}/none"), request(body=b"5"), request("/elsewhere")]
    not_modified = request(FLAGS, headers=b"Host: a\r\nIf-None-Match: *\r\n")
    chunked = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % FLAGS.encode()
    for data in [*evaluated, *others, not_modified]:
        await ends.front([data])
    await ends.front([*evaluated, not_modified, *others])
    await ends.front([b"".join(evaluated + others)])
    await ends.front([chunked + b"0\r\n\r\n"])
    text = (await metrics.render(""))[0].decode()
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    counted = {name: float(value) for name, value in samples.items() if "matrixflag_re" in name}
    requests = {
        ("single", 200): 9,
        ("single", 404): 3,
        ("single", 400): 3,
        ("bulk", 200): 4,
        ("bulk", 304): 2,
        ("other", 404): 3,
    }
    for (route, status), count in requests.items():
        assert (
            counted.pop(f'matrixflag_requests_total{{route="{route}",status="{status}"}}') == count
        )
    assert not [name for name in counted if name.startswith("matrixflag_requests_total")]
    for route, count in {"single": 15, "bulk": 6}.items():
        for name in ("request", "evaluation"):
            sample = f'matrixflag_{name}_seconds_count{{route="{route}"}}'
            assert float(samples[sample]) == count
    labels = '{flag="ruled",variant="on",reason="TARGETING_MATCH"}'
    # three bulk answers were for the context of `request`, one for none
    assert float(samples[f"matrixflag_evaluations_total{labels}"]) == 9 + 3
