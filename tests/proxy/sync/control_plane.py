"""A control plane on a real socket that a test can make fail in every way.

It serves one snapshot by stream and by fetch as `docs/wire-format.md` says, until a test puts an
answer of its own in the way: `on_stream`, `on_snapshot` and `on_blob` are handlers used instead,
each with the way back to the ordinary one. Every request is kept.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from proxy.contract.snapshot import SnapshotHeader
from proxy.contract.sync import (
    BLOBS_PATH,
    SNAPSHOT_PATH,
    STREAM_PATH,
    Delta,
    entity_tag,
    event_id,
)
from tests.support.snapshots import make_delta, make_snapshot

__all__ = ["FakeControlPlane", "control_plane", "delta_event", "stream_of"]

KEY = "mf_sidecar_" + "k" * 43
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeControlPlane:
    """One environment's control plane; `publish` changes what it serves."""

    def __init__(self) -> None:
        self.header, self.body = make_snapshot({"a": True})
        self.heartbeat_s = 0.05
        self.verified_age_ms = 0
        self.retry_ms: int | None = None
        self.silent = False
        self.heartbeats = 0
        self.on_stream: Handler | None = None
        self.on_snapshot: Handler | None = None
        self.on_blob: Handler | None = None
        self.blobs: dict[str, bytes] = {}
        self.requests: list[web.Request] = []
        self.arrived = asyncio.Condition()
        self.streams: set[asyncio.Task[Any] | None] = set()
        self.tells_deltas = False
        self._events: list[bytes] = []  # what was told, to all streams
        self._changed = asyncio.Event()
        self.url = ""

    def publish(self, flags: dict[str, Any] | None = None, **more: Any) -> SnapshotHeader:
        """Serve another snapshot, and say so on the streams unless `silent`."""
        before = self.body
        self.header, self.body = make_snapshot(flags, **more)
        if not self.silent:
            self._events.append(self.delta(before) if self.tells_deltas else self.event())
            self._changed.set()
            self._changed = asyncio.Event()
        return self.header

    def asked(self, path: str) -> int:
        """Return how many requests there were for a path."""
        return sum(request.path == path for request in self.requests)

    def asked_blobs(self) -> list[str]:
        """Return the digests of the blobs that were asked for, in order."""
        asked = [request.path for request in self.requests]
        return [path.rpartition("/")[2] for path in asked if path.startswith(BLOBS_PATH + "/")]

    async def wait_asked(self, path: str, times: int = 1) -> None:
        """Wait until a path was asked for so often."""
        async with self.arrived, asyncio.timeout(20):
            await self.arrived.wait_for(lambda: self.asked(path) >= times)

    def cut_streams(self) -> None:
        """End every stream in the middle, as a dying process does."""
        for task in list(self.streams):
            if task is not None:
                task.cancel()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The ordinary stream: the pointer, or a heartbeat if it is known, then as things go."""
        response = await stream_of(request)
        self.streams.add(asyncio.current_task())
        try:
            if self.retry_ms is not None:
                await response.write(b"retry: %d\n\n" % self.retry_ms)
            told = len(self._events)
            known = request.headers.get("X-Matrixflag-Digest")
            await response.write(self.event(heartbeat=known == self.header.digest))
            while True:
                changed = self._changed
                if told < len(self._events):
                    await response.write(b"".join(self._events[told:]))
                    told = len(self._events)
                try:
                    async with asyncio.timeout(self.heartbeat_s):
                        await changed.wait()
                except TimeoutError:
                    await response.write(self.event(heartbeat=True))
                    self.heartbeats += 1
        except asyncio.CancelledError:
            if request.transport is not None:
                request.transport.abort()
            return response
        finally:
            self.streams.discard(asyncio.current_task())

    async def snapshot(self, request: web.Request) -> web.StreamResponse:
        """The ordinary fetch."""
        headers = {
            "ETag": entity_tag(
                self.header.epoch,
                self.header.revision,
                self.header.digest,
                self.header.signed_by,
            ),
            "X-Matrixflag-Verified-Age-Ms": str(self.verified_age_ms),
        }
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        body = self.body
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body)
        return web.Response(body=body, headers=headers, content_type="application/x-ndjson")

    async def blob(self, request: web.Request) -> web.StreamResponse:
        """The ordinary fetch of a blob."""
        blob = self.blobs.get(request.path.rpartition("/")[2])
        if blob is None:
            return web.Response(status=404)
        return web.Response(body=blob, content_type="application/octet-stream")

    def event(self, *, heartbeat: bool = False) -> bytes:
        """Return the bytes of an event about what is served now."""
        header = self.header
        data: dict[str, Any] = {
            "epoch": header.epoch,
            "revision": header.revision,
            "digest": header.digest,
        }
        if heartbeat:
            data["verified_age_ms"] = self.verified_age_ms
        name = "heartbeat" if heartbeat else "snapshot"
        ident = event_id(header.epoch, header.revision)
        return f"id: {ident}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()

    def delta(self, before: bytes, **more: Any) -> bytes:
        """Return the bytes of an event that leads here from another snapshot, or nearly so."""
        delta = msgspec.structs.replace(make_delta(before, self.body), **more)
        return delta_event(delta)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, ordinarily or as the test wants."""
        self.requests.append(request)
        async with self.arrived:
            self.arrived.notify_all()
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.Response(status=401)
        if request.path == STREAM_PATH:
            return await (self.on_stream or self.stream)(request)
        if request.path == SNAPSHOT_PATH:
            return await (self.on_snapshot or self.snapshot)(request)
        if request.path.startswith(BLOBS_PATH + "/"):
            return await (self.on_blob or self.blob)(request)
        return web.Response(status=404)


def delta_event(delta: Delta) -> bytes:
    """Return the bytes of a delta as it comes on a stream."""
    epoch = delta.header.epoch if delta.header is not None else "e1"
    ident, data = event_id(epoch, delta.to), msgspec.json.encode(delta)
    return b"id: %b\nevent: delta\ndata: %b\n\n" % (ident.encode(), data)


async def stream_of(request: web.Request) -> web.StreamResponse:
    """Return an open event stream."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


@asynccontextmanager
async def control_plane(
    port: int = 0, fake: FakeControlPlane | None = None
) -> AsyncIterator[FakeControlPlane]:
    """Run a control plane, a new one or one that ran before."""
    fake = fake or FakeControlPlane()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        fake.cut_streams()
        await runner.cleanup()
