"""A control plane that sends garbage without end: refused, counted, left, and bounded in memory.

A real sidecar process first gets a good snapshot from a server of the test, which then turns. All
the while an evaluation has to be answered from the last good one; the process may not grow; when
the server is good again the sidecar comes back by itself.
"""

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.chaos.figures import note
from tests.chaos.long import LONG, SEED
from tests.chaos.programs import Program
from tests.chaos.world import until
from tests.proxy.sync.control_plane import (
    KEY,
    FakeControlPlane,
    control_plane,
    stream_of,
)
from tests.support.ports import free_port
from tests.support.snapshots import definition, make_snapshot

NOTICE_S = 40.0
RECOVERY_S = 60.0
MEGABYTE = 1024 * 1024
MUCH = (1024 if LONG else 256) * MEGABYTE
STREAM_GROWTH_BYTES = 24 * MEGABYTE
"""An event has at most 1 MB; the rest is what buffers of the network hold."""
SNAPSHOT_GROWTH_BYTES = 160 * MEGABYTE
"""A snapshot has at most 64 MB: in pieces, whole, and what came compressed."""

Turn = Callable[[web.Request], Any]
Served = Callable[[FakeControlPlane], bytes]


class Victim:
    """A sidecar of that control plane."""

    def __init__(self, program: Program, ofrep: str, admin: str, http: aiohttp.ClientSession):
        self.program = program
        self.http = http
        self.wrong: list[Any] = []
        self.expected = {True}
        self._ofrep, self._admin = ofrep, admin

    async def value(self) -> Any:
        """Return what flag `a` answers."""
        url = f"{self._ofrep}/ofrep/v1/evaluate/flags/a"
        async with self.http.post(url, data=b"{}") as answer:
            return (await answer.json()).get("value")

    async def watch(self) -> None:
        """Evaluate, for ever."""
        while True:
            value = await self.value()
            if value not in self.expected:
                self.wrong.append(value)
            await asyncio.sleep(0.01)

    async def count(self, kind: str) -> int:
        """Return how often a kind of failure was counted, of the stream or of a snapshot."""
        async with self.http.get(self._admin + "/statusz") as answer:
            status = await answer.json()
        return int(status["sync"]["errors"].get(kind, 0) + status["refused"].get(kind, 0))

    async def counted(self, kind: str, more_than: int) -> bool:
        return await self.count(kind) > more_than

    async def serves(self, value: bool) -> bool:
        return bool(await self.value() is value)


@asynccontextmanager
async def victim_of(fake: FakeControlPlane, directory: Path) -> AsyncIterator[Victim]:
    """Run a sidecar until it serves what is good, and watch it."""
    port, admin_port = free_port(), free_port()
    program = Program(
        directory,
        "sidecar",
        ["proxy", "--port", str(port), "--admin-port", str(admin_port)],
        {"MATRIXFLAG_CONTROL_PLANE_URL": fake.url, "MATRIXFLAG_KEY": KEY},
    )
    async with aiohttp.ClientSession() as http:
        try:
            addresses = await program.start()
            victim = Victim(program, addresses["ofrep"], addresses["admin"], http)
            await until(lambda: victim.serves(True), 20)
            await until(lambda: _is(fake.streams), 20)
            watching = asyncio.create_task(victim.watch())
            yield victim
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        finally:
            await program.close()
    assert not victim.wrong, victim.wrong[:10]


async def survives(
    directory: Path,
    kind: str,
    growth_bytes: int,
    on_stream: Turn | None = None,
    on_snapshot: Turn | None = None,
) -> None:
    """Turn a control plane, see the failure counted and memory bounded, and turn it back."""
    async with control_plane() as fake, victim_of(fake, directory) as victim:
        fake.publish({"a": True}, revision=2)
        await asyncio.sleep(0.1)
        before, memory_bytes = await victim.count(kind), victim.program.memory_bytes()
        victim.program.forget_peak()
        if on_snapshot is not None:
            fake.on_snapshot = on_snapshot
            fake.publish({"a": False}, revision=3)
        if on_stream is not None:
            fake.on_stream = on_stream
            fake.cut_streams()
        await until(lambda: victim.counted(kind, before), NOTICE_S)
        grown = victim.program.peak_bytes() - memory_bytes
        note(f"hostile upstream: growth in MB, {_name(on_stream or on_snapshot)}", grown / 2**20)
        assert grown < growth_bytes
        asked = len(fake.requests)
        fake.on_stream = fake.on_snapshot = None
        victim.expected = {True, False}
        fake.publish({"a": False}, revision=4)
        took_s = await until(lambda: victim.serves(False), RECOVERY_S)
        note("hostile upstream: good again after", took_s)
        assert asked < 20, "it is not asked again and again without a pause"


# what a stream can send


async def _send(request: web.Request, *pieces: bytes, times: int = 1) -> web.StreamResponse:
    response = await stream_of(request)
    with suppress(ConnectionError):
        for _ in range(times):
            for piece in pieces:
                await response.write(piece)
    return response


async def garbage(request: web.Request) -> web.StreamResponse:
    return await _send(request, random.Random(SEED).randbytes(MEGABYTE))


async def half_a_document(request: web.Request) -> web.StreamResponse:
    return await _send(request, b'event: heartbeat\ndata: {"epoch": "e1", "rev\n\n')


async def another_type(request: web.Request) -> web.StreamResponse:
    return await _send(request, b'event: snapshot\ndata: {"epoch": 1, "revision": "x"}\n\n')


async def a_deep_document(request: web.Request) -> web.StreamResponse:
    return await _send(request, b"event: delta\ndata: ", b"[" * 500_000, b"\n\n")


async def an_endless_line(request: web.Request) -> web.StreamResponse:
    return await _send(request, b"data: ", b"x" * MEGABYTE, times=MUCH // MEGABYTE)


async def an_endless_event(request: web.Request) -> web.StreamResponse:
    return await _send(request, b"data: " + b"x" * 1000 + b"\n", times=MUCH // 1000)


async def unknown_events(request: web.Request) -> web.StreamResponse:
    piece = b"event: surprise\ndata: 1\nid: 9\nretry: 1\n: comment\n\n" * 20_000
    return await _send(request, piece, times=MUCH // 16 // len(piece))


async def an_absurd_retry(request: web.Request) -> web.StreamResponse:
    return await _send(request, b"retry: " + b"9" * 100_000 + b"\nretry: 1\n\n", b"data\n")


async def an_endless_head(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(MUCH // 4096):
        if request.transport.is_closing():
            break
        request.transport.write(b"X-%d: %s\r\n" % (number, b"y" * 4000))
        await asyncio.sleep(0)
    return web.Response()


async def no_stream_at_all(request: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>", content_type="text/html")


async def a_redirect(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/elsewhere"})


async def a_coding_nobody_asked_for(request: web.Request) -> web.StreamResponse:
    bomb = gzip.compress(b"data: " + b"x" * 64 * MEGABYTE)
    headers = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
    return web.Response(body=bomb, headers=headers)


@pytest.mark.parametrize(
    ("turn", "kind"),
    [
        (garbage, "closed"),
        (half_a_document, "protocol"),
        (another_type, "protocol"),
        (a_deep_document, "protocol"),
        (an_endless_line, "protocol"),
        (an_endless_event, "protocol"),
        (unknown_events, "closed"),
        (an_absurd_retry, "closed"),
        (an_endless_head, "protocol"),
        (no_stream_at_all, "protocol"),
        (a_redirect, "http_3xx"),
        (a_coding_nobody_asked_for, "protocol"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_hostile_stream(tmp_path: Path, turn: Turn, kind: str) -> None:
    """It is left and counted; what is served stays; one that is good again is followed."""
    await survives(tmp_path, kind, STREAM_GROWTH_BYTES, on_stream=turn)


# what a fetch can bring


def _bytes(body: bytes, **headers: str) -> Turn:
    async def handler(_: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=body, headers=named, content_type="application/x-ndjson")

    return handler


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    with suppress(ConnectionError):
        for _ in range(MUCH // MEGABYTE):
            await response.write(b" " * MEGABYTE)
    return response


def bomb() -> Turn:
    packed = gzip.compress(b"\n" * MUCH, 9)
    return _bytes(packed, Content_Encoding="gzip")


def wrong_digest() -> Turn:
    return _bytes(make_snapshot({"a": False}, revision=3, digest="0" * 64)[1])


def wrong_count() -> Turn:
    return _bytes(make_snapshot({"a": False}, revision=3, entries=7)[1])


def older() -> Turn:
    return _bytes(make_snapshot({"a": False}, revision=1)[1])


def half() -> Turn:
    body = make_snapshot({"a": False, "b": True}, revision=3)[1]
    return _bytes(body[: len(body) // 2])


def no_snapshot() -> Turn:
    return _bytes(random.Random(SEED).randbytes(MEGABYTE))


def another_schema() -> Turn:
    return _bytes(make_snapshot({"a": False}, revision=3, schema="99.0")[1])


@pytest.mark.parametrize(
    ("turn", "kind"),
    [
        (endless, "too_large"),
        (bomb, "too_large"),
        (wrong_digest, "digest"),
        (wrong_count, "count"),
        (older, "rolled_back"),
        (half, "refused"),
        (no_snapshot, "malformed"),
        (another_schema, "schema"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_poisoned_snapshot(tmp_path: Path, turn: Any, kind: str) -> None:
    """It is refused and counted by its reason; the last good one is served on."""
    handler = turn if turn is endless else turn()
    handler.__name__ = turn.__name__
    await survives(tmp_path, kind, SNAPSHOT_GROWTH_BYTES, on_snapshot=handler)


async def test_a_poisoned_flag(tmp_path: Path) -> None:
    """Whatever one definition holds, it costs that flag alone."""
    deep: Any = {"attribute": "x", "op": "in", "values": ["y"]}
    for _ in range(60):
        deep = {"all": [deep]}
    rule = {"id": "r", "serve": {"variant": "on"}}
    poison = {
        "deep": definition(rules=[{**rule, "when": deep}]),
        "unknown-operator": definition(
            rules=[{**rule, "when": {"attribute": "x", "op": "nope", "values": ["y"]}}]
        ),
        "unknown-member": definition(surprise=True),
        "huge-number": definition(variants={"on": 10**400, "off": False}),
        "no-variant": definition(fallthrough={"variant": "nope"}),
        "a-text": "definition",
        "nothing": None,
        "evil-pattern": definition(
            rules=[{**rule, "when": {"attribute": "x", "op": "matches", "values": ["(a+)+$("]}}]
        ),
    }
    async with control_plane() as fake, victim_of(fake, tmp_path) as victim:
        victim.expected = {True, False}
        fake.publish({"a": False, **poison}, revision=2)
        await until(lambda: victim.serves(False), RECOVERY_S)
        async with victim.http.get(victim._admin + "/statusz") as answer:
            quarantined = (await answer.json())["snapshot"]["quarantined"]
        assert quarantined.keys() >= poison.keys() - {"deep"}, json.dumps(quarantined)[:2000]


async def _is(value: object) -> bool:
    return bool(value)


def _name(turn: Any) -> str:
    return str(turn.__name__).replace("_", " ")
