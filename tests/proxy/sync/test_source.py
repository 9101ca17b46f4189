"""The control plane as a source: what is published is served, whatever goes wrong in between."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy.admission import Admission
from proxy.contract.snapshot import SnapshotHeader, read_header
from proxy.contract.sync import SNAPSHOT_PATH, STREAM_PATH
from proxy.holder import Holder, Served
from proxy.sync import SyncSettings, SyncStatus, cache
from proxy.sync.client import ControlPlaneClient
from tests.proxy.sync.control_plane import (
    KEY,
    FakeControlPlane,
    Handler,
    control_plane,
    stream_of,
)
from tests.proxy.sync.sidecar import Sidecar, answers, running
from tests.support.ports import free_port
from tests.support.signing import signer, trusting
from tests.support.snapshots import make_snapshot


@pytest.fixture
async def fake() -> AsyncIterator[FakeControlPlane]:
    """A control plane that serves flag `a`, on."""
    async with control_plane() as served:
        yield served


def sends(*chunks: bytes, then: Callable[[], Awaitable[Any]] | None = None) -> Handler:
    """Return a handler of a stream that sends some bytes, and then stays silent, or does more."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await stream_of(request)
        for chunk in chunks:
            await response.write(chunk)
        await (then or asyncio.Event().wait)()
        return response

    return handler


# the ordinary way


async def test_a_start_serves_what_is_published(fake: FakeControlPlane) -> None:
    """And says that it streams, with the age confirmed."""
    async with running(fake.url) as sidecar:
        served = await sidecar.swapped()
        assert (served.header, served.source, sidecar.value) == (fake.header, "control-plane", True)
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        assert sidecar.status.connected_since is not None
        assert sidecar.status.errors == {}


async def test_a_change_is_fetched_when_the_stream_says_so(fake: FakeControlPlane) -> None:
    """One fetch for each, and no other."""
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        for revision, value in enumerate([False, True, False], start=2):
            header = fake.publish({"a": value}, revision=revision)
            await sidecar.swapped(to=header.digest)
            assert sidecar.value is value
        assert fake.asked(SNAPSHOT_PATH) == 4


async def test_requests_say_who_asks_and_what_it_holds(fake: FakeControlPlane) -> None:
    """So that the control plane can tell how many serve what, and send no more than is needed."""
    async with running(fake.url, instance="pod-1") as sidecar:
        await sidecar.swapped()
        await fake.wait_asked(STREAM_PATH)
        first, stream = fake.requests[0], fake.requests[1]
    assert first.headers["X-Matrixflag-Instance"] == "pod-1"
    assert "X-Matrixflag-Revision" not in first.headers
    assert stream.path == STREAM_PATH
    assert stream.headers["X-Matrixflag-Revision"] == "1"
    assert stream.headers["X-Matrixflag-Digest"] == fake.header.digest
    assert stream.headers["Last-Event-ID"] == "e1-1"


async def test_heartbeats_confirm_as_old_as_they_say(fake: FakeControlPlane) -> None:
    """A control plane cut off from its store does not look fresh."""
    fake.verified_age_ms = 500_000
    async with running(fake.url) as sidecar:
        await sidecar.until(lambda: fake.heartbeats >= 3)
        assert (sidecar.holder.age_ms() or 0) >= 500_000
        fake.verified_age_ms = 0
        await sidecar.until(lambda: (sidecar.holder.age_ms() or 0) < 1000)


async def test_a_pointer_says_nothing_of_age(fake: FakeControlPlane) -> None:
    """It says what is current there, not since when that is known: a blind replica sends it too."""
    pointer = fake.event()

    async def blind(request: web.Request) -> web.StreamResponse:
        response = await stream_of(request)
        while True:
            await response.write(pointer)
            await asyncio.sleep(0.02)

    fake.verified_age_ms = 500_000
    fake.on_stream = blind
    async with running(fake.url) as sidecar:
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        await asyncio.sleep(0.1)
        assert (sidecar.holder.age_ms() or 0) >= 500_000
        assert fake.asked(SNAPSHOT_PATH) == 1


async def test_a_poll_confirms_as_old_as_its_answer_says(fake: FakeControlPlane) -> None:
    """The same without a stream, in 200 and in 304."""
    fake.on_stream = answers(404)
    fake.verified_age_ms = 500_000
    async with running(fake.url) as sidecar:
        await fake.wait_asked(SNAPSHOT_PATH, 3)
        assert (sidecar.holder.age_ms() or 0) >= 500_000


async def test_a_poll_takes_over_a_new_epoch_of_the_same_content(fake: FakeControlPlane) -> None:
    """Or its revision would be one of another history, and confirmed for ever."""
    fake.on_stream = answers(404)
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        fake.publish({"a": True}, epoch="e2", revision=1)
        served = await sidecar.swapped()
        assert (served.header.epoch, served.header.digest) == ("e2", fake.header.digest)
        asked = fake.asked(SNAPSHOT_PATH)
        await fake.wait_asked(SNAPSHOT_PATH, asked + 3)
        assert sidecar.swaps.empty()


async def test_unknown_events_are_ignored(fake: FakeControlPlane) -> None:
    """A later control plane may say more."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = await stream_of(request)
        await response.write(b": comment\n\nevent: party\ndata: {not json\n\n" + fake.event())
        return await asyncio.Event().wait() or response

    fake.on_stream = stream
    async with running(fake.url) as sidecar:
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        assert sidecar.status.errors == {}


async def test_many_changes_are_fetched_as_the_newest(fake: FakeControlPlane) -> None:
    """Pointers that come during a fetch are one wish, for the last of them."""
    going, go = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        going.set()
        await go.wait()
        return await fake.snapshot(request)

    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.on_snapshot = slow
        for revision in range(2, 40):
            header = fake.publish({"a": False, "n": revision % 2 == 0}, revision=revision)
            await asyncio.sleep(0)
        await going.wait()
        before = fake.asked(SNAPSHOT_PATH)
        go.set()
        await sidecar.until(
            lambda: sidecar.holder.served and sidecar.holder.served.header.revision == 39
        )
        assert fake.asked(SNAPSHOT_PATH) - before <= 1
        assert sidecar.holder.served is not None
        assert sidecar.holder.served.header.digest == header.digest


async def test_the_same_content_at_a_later_revision_is_taken_over(fake: FakeControlPlane) -> None:
    """There and back within a moment: the digest is held, its revision is fetched."""
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.publish({"a": True}, revision=3)
        served = await sidecar.swapped()
        assert (served.header.revision, served.header.digest) == (3, fake.header.digest)


async def test_a_later_revision_that_nobody_has_is_asked_for_once(fake: FakeControlPlane) -> None:
    """The content is held, so a replica that cannot give the revision costs one fetch, not many."""
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        body = fake.body
        fake.publish({"a": True}, revision=3)
        fake.body = body
        seen = fake.heartbeats
        await sidecar.until(lambda: fake.heartbeats >= seen + 5)
        assert fake.asked(SNAPSHOT_PATH) == 2
        assert sidecar.status.errors == {}


async def test_a_restore_is_followed(fake: FakeControlPlane) -> None:
    """A new epoch with lower revisions is served, and counted."""
    fake.publish({"a": True}, revision=900)
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        header = fake.publish({"a": False}, revision=2, epoch="e2")
        await sidecar.swapped(to=header.digest)
        assert sidecar.value is False
        assert sidecar.holder.epoch_changes == 1


async def test_the_digest_is_compared_whatever_the_stream_says(fake: FakeControlPlane) -> None:
    """A stream that is alive and tells nothing new is found out."""
    fake.silent = True
    pointer = fake.event(heartbeat=True)

    async def liar(request: web.Request) -> web.StreamResponse:
        response = await stream_of(request)
        while True:
            await response.write(pointer)
            await asyncio.sleep(0.05)

    fake.on_stream = liar
    async with running(fake.url, reconcile_interval_s=0.2) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        header = fake.publish({"a": False}, revision=2)
        await sidecar.swapped(to=header.digest)


# a stream that fails


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (sends(b"event: snapshot\ndata: {half", then=lambda: asyncio.sleep(0)), "closed"),
        (sends(then=lambda: asyncio.sleep(0)), "closed"),
        (sends(b"event: snapshot\ndata: {half\n\n"), "protocol"),
        (sends(b"event: snapshot\ndata: []\n\n"), "protocol"),
        (sends(b"event: heartbeat\ndata: {}\n\n"), "protocol"),
        (sends(b"event: delta\ndata: 1\n\n"), "protocol"),
        (sends(b"event: snapshot\ndata: " + b"[" * 50_000 + b"\n\n"), "protocol"),
        (sends(b"event: snapshot\ndata: \xff\xff\n\n"), "protocol"),
        (sends(b"data: " + b"x" * 600_000, b"x" * 600_000), "protocol"),
        (sends(*[b"data: " + b"x" * 60_000 + b"\n"] * 20), "protocol"),
        (sends(b"\x00\xff garbage \n\n\n" * 100), "idle"),
        (sends(), "idle"),
        (answers(200), "protocol"),
        (answers(204), "protocol"),
        (answers(302, Location="http://127.0.0.1:1/"), "http_3xx"),
        (answers(400), "http_4xx"),
        (answers(404), "http_404"),
        (answers(501), "http_501"),
        (answers(500), "http_5xx"),
        (answers(503), "http_5xx"),
        (answers(429), "http_429"),
        (answers(401), "http_401"),
        (answers(403), "http_403"),
    ],
    ids=[
        "cut in an event",
        "ended at once",
        "half JSON",
        "JSON of another type",
        "members missing",
        "delta of another type",
        "deep JSON",
        "no UTF-8",
        "endless line",
        "endless event",
        "garbage",
        "silence",
        "no event stream",
        "204",
        "302",
        "400",
        "404",
        "501",
        "500",
        "503",
        "429",
        "401",
        "403",
    ],
)
async def test_a_failing_stream_is_counted_and_polling_goes_on(
    fake: FakeControlPlane, stream: Handler, kind: str
) -> None:
    """Served all the while, changes too; and streaming again once the stream works."""
    fake.on_stream = stream
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        await sidecar.counted(kind, 2)
        assert sidecar.status.last_error is not None
        assert sidecar.status.last_error.startswith(kind)
        header = fake.publish({"a": False}, revision=2)
        await sidecar.swapped(to=header.digest)
        assert sidecar.value is False
        fake.on_stream = None
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        header = fake.publish({"a": True}, revision=3)
        await sidecar.swapped(to=header.digest)


async def test_heartbeats_keep_a_stream(fake: FakeControlPlane) -> None:
    """One stream for many times the idle time, as long as they come; and no poll beside it."""
    async with running(fake.url, idle_s=0.25) as sidecar:
        await sidecar.until(lambda: fake.heartbeats >= 15)
        assert (fake.asked(STREAM_PATH), fake.asked(SNAPSHOT_PATH)) == (1, 1)
        assert sidecar.status.errors == {}


@pytest.mark.parametrize("noise", [b": still here\n\n", b"event: party\ndata: 1\n\n"])
async def test_a_stream_that_only_makes_noise_is_idle(fake: FakeControlPlane, noise: bytes) -> None:
    """Bytes are no sign of life; a heartbeat is."""

    async def comments(request: web.Request) -> web.StreamResponse:
        response = await stream_of(request)
        await response.write(fake.event())
        while True:
            await response.write(noise)
            await asyncio.sleep(0.02)

    fake.on_stream = comments
    async with running(fake.url, idle_s=0.2) as sidecar:
        await sidecar.counted("idle")


async def test_a_cut_stream_is_opened_again(fake: FakeControlPlane) -> None:
    """Counted as a reconnect, and what changed in between is served at once."""
    async with running(fake.url, poll_interval_s=60.0) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.silent = True
        header = fake.publish({"a": False}, revision=2)
        fake.cut_streams()
        await sidecar.swapped(to=header.digest)
        await sidecar.until(lambda: sidecar.status.reconnects == 1)
        assert sidecar.status.errors["closed"] == 1


async def test_polling_begins_when_the_stream_is_lost(fake: FakeControlPlane) -> None:
    """Not when the next comparison of digests would have been due."""
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.on_stream = answers(503)
        fake.silent = True
        header = fake.publish({"a": False}, revision=2)
        fake.cut_streams()
        await sidecar.swapped(to=header.digest)
        assert sidecar.status.state == "polling"


async def test_a_server_that_never_answers_times_out(fake: FakeControlPlane) -> None:
    """A connection taken and left alone must not be waited for."""

    async def black_hole(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    fake.on_stream = black_hole
    async with running(fake.url, connect_timeout_s=0.1, answer_timeout_s=0.1) as sidecar:
        await sidecar.swapped()
        await sidecar.counted("timeout", 2)


async def test_a_replica_that_is_behind_is_left(fake: FakeControlPlane) -> None:
    """It says an older revision in each heartbeat: another may know better."""
    old = fake.event(heartbeat=True)
    fake.publish({"a": False}, revision=2)
    fake.on_stream = sends(old)
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        await sidecar.counted("behind", 2)
        assert sidecar.value is False
        assert sidecar.holder.refusals == {}


async def test_a_replica_of_an_epoch_that_is_over_is_left(fake: FakeControlPlane) -> None:
    """It was cut off when the epoch changed, and its heartbeats say for how long."""
    fake.verified_age_ms = 60_000
    old = fake.event(heartbeat=True)
    fake.verified_age_ms = 0
    fake.publish({"a": False}, epoch="e2", revision=1)
    fake.on_stream = sends(old)
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        await sidecar.counted("behind", 2)
        assert sidecar.value is False
        assert sidecar.holder.refusals == {}
        assert fake.asked(SNAPSHOT_PATH) < 20  # polls, and no fetch for what it says


async def test_an_older_pointer_is_no_reason_to_fetch(fake: FakeControlPlane) -> None:
    """A stream of a replica that lags by a moment, after a fetch from one that does not."""
    old = fake.event()
    fake.publish({"a": False}, revision=2)

    async def lagging(request: web.Request) -> web.StreamResponse:
        response = await stream_of(request)
        await response.write(old)
        while True:
            await asyncio.sleep(0.05)
            await response.write(fake.event(heartbeat=True))
            fake.heartbeats += 1

    fake.on_stream = lagging
    async with running(fake.url) as sidecar:
        await sidecar.until(lambda: fake.heartbeats >= 5)
        assert fake.asked(SNAPSHOT_PATH) == 1
        assert sidecar.status.errors == {}


async def test_what_is_no_http_is_counted(fake: FakeControlPlane) -> None:
    """Somebody else's port."""

    async def banner(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example ready\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(banner, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, running(f"http://127.0.0.1:{port}") as sidecar:
        await sidecar.until(lambda: sum(sidecar.status.errors.values()) >= 2)
        assert set(sidecar.status.errors) <= {"protocol", "closed"}
        assert sidecar.status.state == "disconnected"


async def test_retry_is_honoured(fake: FakeControlPlane) -> None:
    """The delay a server asks for comes before the next attempt."""
    fake.on_stream = sends(b"retry: 300\n\n", then=lambda: asyncio.sleep(0))
    async with running(fake.url):
        await fake.wait_asked(STREAM_PATH, 1)
        loop = asyncio.get_running_loop()
        first = loop.time()
        await fake.wait_asked(STREAM_PATH, 2)
        assert loop.time() - first >= 0.29


async def test_an_absurd_retry_is_bounded(fake: FakeControlPlane) -> None:
    """Eleven days would make polling the rule; what is asked for beyond five minutes is not."""
    from proxy.sync.errors import SyncError
    from proxy.sync.source import _Source

    settings = SyncSettings(control_plane_urls=(fake.url,), key=KEY)
    async with aiohttp.ClientSession() as session:
        source = _Source(Holder(), SyncStatus(), ControlPlaneClient(session, settings), settings)
        assert source._stay_away_s(SyncError("closed", ""), 999_999_999) == 300.0


# a fetch that fails


def garbage(body: bytes, **headers: str) -> Handler:
    """Return a handler of a snapshot that is none."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers=headers)

    return handler


async def cut_body(request: web.Request) -> web.StreamResponse:
    """Promise more than is sent."""
    response = web.StreamResponse(headers={"Content-Length": "100000"})
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport is not None
    request.transport.close()
    return response


async def stuck_body(request: web.Request) -> web.StreamResponse:
    """Send half a snapshot and stay silent."""
    response = web.StreamResponse(headers={"Content-Length": "100000"})
    await response.prepare(request)
    await response.write(b"{")
    await asyncio.Event().wait()
    return response


@pytest.mark.parametrize(
    ("snapshot", "kind"),
    [
        (garbage(b""), "refused"),
        (garbage(b"<html>sign in</html>"), "refused"),
        (garbage(make_snapshot({"a": False}, revision=2)[1][:-20]), "refused"),
        (garbage(make_snapshot({"a": False}, revision=2, digest="f" * 64)[1]), "refused"),
        (garbage(make_snapshot({"a": False}, revision=0)[1]), "refused"),
        (garbage(make_snapshot({"a": False}, revision=2, schema="9.0")[1]), "refused"),
        (garbage(b"no gzip at all", **{"Content-Encoding": "gzip"}), "closed"),
        (garbage(gzip.compress(b"x" * 9999)[:50], **{"Content-Encoding": "gzip"}), "refused"),
        (cut_body, "closed"),
        (stuck_body, "timeout"),
        (answers(304), "closed or none"),
        (answers(307, Location="http://127.0.0.1:1/"), "http_3xx"),
        (answers(500), "http_5xx"),
        (answers(401), "http_401"),
    ],
    ids=[
        "empty",
        "a login page",
        "cut",
        "wrong digest",
        "rolled back",
        "another schema",
        "no gzip",
        "cut gzip",
        "cut connection",
        "stuck",
        "304",
        "307",
        "500",
        "401",
    ],
)
async def test_a_failing_fetch_leaves_the_last_good_snapshot(
    fake: FakeControlPlane, snapshot: Handler, kind: str
) -> None:
    """Counted, and served as soon as the fetch works, without a new event."""
    async with running(fake.url, answer_timeout_s=0.2) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.on_snapshot = snapshot
        header = fake.publish({"a": False}, revision=2)
        if kind != "closed or none":
            await sidecar.counted(kind, 2)
        else:
            await fake.wait_asked(SNAPSHOT_PATH, 4)
        assert sidecar.value is True
        fake.on_snapshot = None
        await sidecar.swapped(to=header.digest)
        assert sidecar.value is False


async def test_a_304_that_was_not_asked_for_is_no_confirmation(fake: FakeControlPlane) -> None:
    """There is nothing yet that could be current."""
    fake.on_snapshot = answers(304)
    async with running(fake.url) as sidecar:
        await sidecar.counted("protocol")
        assert sidecar.holder.served is None


async def test_a_bomb_is_not_unpacked(fake: FakeControlPlane) -> None:
    """Half a gigabyte in half a megabyte is refused after the first few bytes of it."""
    bomb = gzip.compress(b"\0" * 100_000_000)
    fake.on_snapshot = garbage(bomb, **{"Content-Encoding": "gzip"})
    async with running(fake.url, max_snapshot_bytes=1_000_000) as sidecar:
        sidecar.holder.max_snapshot_bytes = 1_000_000
        await sidecar.until(lambda: sidecar.holder.refusals["too_large"] >= 2)


async def test_an_endless_snapshot_is_cut(fake: FakeControlPlane) -> None:
    """A body without length or end."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 50_000)

    fake.on_snapshot = endless
    async with running(fake.url, max_snapshot_bytes=1_000_000) as sidecar:
        sidecar.holder.max_snapshot_bytes = 1_000_000
        await sidecar.until(lambda: sidecar.holder.refusals["too_large"] >= 2)


async def test_a_replica_that_has_not_heard_yet_is_asked_again(fake: FakeControlPlane) -> None:
    """Behind a load balancer the pointer comes from one replica and the snapshot from another."""
    stale = fake.header, fake.body
    answered = 0

    async def lagging(request: web.Request) -> web.StreamResponse:
        nonlocal answered
        answered += 1
        if answered <= 2:
            current = fake.header, fake.body
            fake.header, fake.body = stale
            try:
                return await fake.snapshot(request)
            finally:
                fake.header, fake.body = current
        return await fake.snapshot(request)

    fake.heartbeat_s = 60.0  # no later event may be what brings it
    async with running(fake.url, idle_s=90.0) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.on_snapshot = lagging
        header = fake.publish({"a": False}, revision=2)
        await sidecar.swapped(to=header.digest)
        assert answered == 3


async def test_a_mended_snapshot_is_fetched_at_once(fake: FakeControlPlane) -> None:
    """However long the backoff after refusing the broken one has become."""
    fake.heartbeat_s = 60.0
    later: dict[str, Any] = {"denied_backoff_base_s": 60.0, "denied_backoff_cap_s": 60.0}
    async with running(fake.url, idle_s=90.0, draw=lambda: 0.9, **later) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.publish({"a": False}, revision=2, entries=99)
        await sidecar.counted("refused")
        header = fake.publish({"a": False}, revision=3)
        await sidecar.swapped(to=header.digest)


# a control plane that is away, or does not want us


async def test_a_control_plane_that_is_away_is_waited_for() -> None:
    """And what was served is served on, over a restart of it."""
    port = free_port()
    async with running(f"http://127.0.0.1:{port}") as sidecar:
        await sidecar.counted("connect", 2)
        assert sidecar.status.state == "disconnected"
        async with control_plane(port) as fake:
            await sidecar.swapped()
            await sidecar.until(lambda: sidecar.status.state == "streaming")
        await sidecar.until(lambda: sidecar.status.state == "disconnected")
        assert sidecar.status.connected_since is None
        assert sidecar.value is True
        fake.publish({"a": False}, revision=2)
        async with control_plane(port, fake):
            await sidecar.swapped(to=fake.header.digest)
            await sidecar.until(lambda: sidecar.status.state == "streaming")


async def test_a_bad_key_is_one_request_at_a_time(fake: FakeControlPlane) -> None:
    """With growing delays, and never on two ways at once."""
    fake.on_stream = fake.on_snapshot = answers(401)
    async with running(
        fake.url, denied_backoff_base_s=60.0, denied_backoff_cap_s=300.0, draw=lambda: 0.5
    ) as sidecar:
        await sidecar.counted("http_401")
        await asyncio.sleep(0.3)  # ten poll intervals and many backoffs without a request
        assert len(fake.requests) == 1
        assert sidecar.status.state == "disconnected"


async def test_a_key_that_becomes_good_is_taken(fake: FakeControlPlane) -> None:
    """Without a restart."""
    fake.on_snapshot = answers(403)
    async with running(fake.url) as sidecar:
        await sidecar.counted("http_403", 2)
        fake.on_snapshot = None
        await sidecar.swapped()


async def test_a_key_that_is_revoked_leaves_what_is_served(fake: FakeControlPlane) -> None:
    """The application beside us must not fail for it."""
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.on_stream = fake.on_snapshot = answers(401)
        fake.cut_streams()
        await sidecar.counted("http_401", 2)
        assert sidecar.value is True


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_holds_for_every_request(fake: FakeControlPlane, status: int) -> None:
    """Neither the stream nor a poll comes earlier."""
    fake.on_stream = fake.on_snapshot = answers(status, **{"Retry-After": "1"})
    async with running(fake.url):
        await fake.wait_asked(SNAPSHOT_PATH)
        loop = asyncio.get_running_loop()
        first = loop.time()
        fake.on_snapshot = None
        async with fake.arrived, asyncio.timeout(10):
            await fake.arrived.wait_for(lambda: len(fake.requests) > 1)
        assert loop.time() - first >= 0.95


async def test_no_key_is_ever_logged(
    fake: FakeControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails, and at any level."""
    caplog.set_level(logging.DEBUG)
    for handler in (
        answers(500),
        answers(401),
        cut_body,
        garbage(b"x"),
        answers(302, Location="/"),
    ):
        fake.on_stream = fake.on_snapshot = handler
        async with running(fake.url) as sidecar:
            await sidecar.until(lambda s=sidecar: sum(s.status.errors.values()) >= 2)
            assert KEY not in str(sidecar.status.last_error)
    assert KEY not in caplog.text


async def test_the_key_does_not_follow_a_redirect(fake: FakeControlPlane) -> None:
    """It belongs to the address that was configured."""
    async with control_plane() as elsewhere:
        fake.on_stream = fake.on_snapshot = answers(307, Location=elsewhere.url + SNAPSHOT_PATH)
        async with running(fake.url) as sidecar:
            await sidecar.counted("http_3xx", 3)
        assert elsewhere.requests == []


# what nobody expects


@pytest.mark.parametrize("error", [LookupError("surprise"), asyncio.CancelledError()])
@pytest.mark.parametrize("method", ["stream", "fetch"])
async def test_an_unexpected_exception_ends_neither_loop(
    fake: FakeControlPlane, monkeypatch: pytest.MonkeyPatch, method: str, error: BaseException
) -> None:
    """Of any type, in the stream or in a fetch: counted, and everything goes on."""
    original = getattr(ControlPlaneClient, method)
    failures = [error, error]

    def failing(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return original(*args, **kwargs)

    monkeypatch.setattr(ControlPlaneClient, method, failing)
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        assert sidecar.status.errors["internal"] == 2
        header = fake.publish({"a": False}, revision=2)
        await sidecar.swapped(to=header.digest)


async def test_a_snapshot_the_compiler_breaks_on_is_tried_again(
    fake: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours must not end the loop that would bring its remedy."""
    original = Holder.offer
    failures = [LookupError("surprise")]

    async def failing(self: Holder, *args: Any, **kwargs: Any) -> Served:
        if failures:
            raise failures.pop()
        return await original(self, *args, **kwargs)

    monkeypatch.setattr(Holder, "offer", failing)
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        assert sidecar.status.errors["internal"] == 1


# the disk


def stored(directory: Path, url: str, flags: dict[str, Any], at_ms: int, **more: Any) -> None:
    """Put a snapshot into the cache."""
    header, body = make_snapshot(flags, **more)
    cache.store(directory, cache.owner_of((url,), KEY), [body], header.digest, at_ms)


async def test_a_start_without_a_control_plane_serves_from_disk(tmp_path: Path) -> None:
    """With the age estimated from the wall clock."""
    url = f"http://127.0.0.1:{free_port()}"
    stored(tmp_path, url, {"a": False}, 1_000)
    async with running(url, cache_dir=tmp_path, confirm_interval_s=0.001) as sidecar:
        served = await sidecar.swapped()
        assert (served.source, sidecar.value) == ("disk", False)
        assert sidecar.holder.age_estimated
        assert (sidecar.holder.age_ms() or 0) > 365 * 86_400_000
        await sidecar.counted("connect", 6)  # several of the cache's intervals
        assert sidecar.status.state == "disconnected"
        assert not (tmp_path / "confirmed.json").exists()


async def test_what_was_fetched_is_on_disk_for_the_next_start(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    """And a confirmation makes it young, without being fetched again."""
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: (tmp_path / "confirmed.json").exists())
    asked = fake.asked(SNAPSHOT_PATH)
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        assert (await sidecar.swapped()).source == "disk"
        await sidecar.until(lambda: not sidecar.holder.age_estimated)
        assert fake.asked(SNAPSHOT_PATH) == asked + 1
        assert fake.requests[-1].headers.get("X-Matrixflag-Digest") == fake.header.digest
        assert sidecar.swaps.empty()


async def test_a_cache_of_no_use_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Damaged, or of another key: whoever wonders why a start took the network is told."""
    url = f"http://127.0.0.1:{free_port()}"
    header, body = make_snapshot({"a": False})
    cache.store(tmp_path, cache.owner_of((url,), "another key"), [body], header.digest, 1_000)
    async with running(url, cache_dir=tmp_path) as sidecar:
        await sidecar.counted("cache", 1)
        assert sidecar.holder.served is None
    assert "nothing usable in the cache" in caplog.text


async def test_what_came_last_is_on_disk_when_it_stops_at_once(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    """Stopped in the same breath as its first snapshot is served, before anything was written."""
    owner = cache.owner_of((fake.url,), KEY)
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        await sidecar.swapped()
    assert [s.body for s in cache.load(tmp_path, owner, 10**6)] == [fake.body]


async def test_each_change_reaches_the_disk(fake: FakeControlPlane, tmp_path: Path) -> None:
    """The newest, when several came at once."""
    owner = cache.owner_of((fake.url,), KEY)
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        for revision in range(2, 8):
            header = fake.publish({"a": revision % 2 == 0}, revision=revision)
            await sidecar.swapped(to=header.digest)
        await sidecar.until(
            lambda: [s.body for s in cache.load(tmp_path, owner, 10**6)][:1] == [fake.body]
        )


async def test_require_fresh_leaves_the_disk_alone(tmp_path: Path) -> None:
    """Nothing is better than something old, for whoever says so."""
    url = f"http://127.0.0.1:{free_port()}"
    stored(tmp_path, url, {"a": False}, 1_000)
    async with running(url, cache_dir=tmp_path, startup_policy="require-fresh") as sidecar:
        await sidecar.counted("connect")
        assert sidecar.holder.served is None


async def test_a_refused_newest_slot_leaves_the_older(tmp_path: Path) -> None:
    """Whole on disk, and yet not to be served: of a later schema, say."""
    url = f"http://127.0.0.1:{free_port()}"
    stored(tmp_path, url, {"a": False}, 1_000)
    stored(tmp_path, url, {"a": True}, 2_000, schema="2.0")
    async with running(url, cache_dir=tmp_path) as sidecar:
        await sidecar.swapped()
        assert sidecar.value is False
        assert sidecar.status.errors["cache"] == 1


async def test_a_cache_that_cannot_be_written_is_counted(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    """And nothing else suffers."""
    place = tmp_path / "file"
    place.write_bytes(b"")
    async with running(fake.url, cache_dir=place) as sidecar:
        await sidecar.swapped()
        await sidecar.counted("cache", 2)
        header = fake.publish({"a": False}, revision=2)
        await sidecar.swapped(to=header.digest)


async def test_the_control_plane_wins_over_the_disk(fake: FakeControlPlane, tmp_path: Path) -> None:
    """Whatever revision the disk claims, when the epoch is another."""
    stored(tmp_path, fake.url, {"a": False}, 1_000, revision=99, epoch="before-the-restore")
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        assert (await sidecar.swapped()).source == "disk"
        await sidecar.swapped(to=fake.header.digest)
        assert sidecar.value is True
        assert not sidecar.holder.age_estimated


@pytest.mark.parametrize("policy", ["require-fresh", "allow-disk"])
async def test_what_an_earlier_process_saw_is_not_rolled_back(
    fake: FakeControlPlane, tmp_path: Path, policy: str
) -> None:
    """Whether or not it may be served; and the control plane hears what it should have."""
    stored(tmp_path, fake.url, {"a": False}, 1_000, revision=7)
    fake.publish({"a": True}, revision=6)
    async with running(fake.url, cache_dir=tmp_path, startup_policy=policy) as sidecar:
        await sidecar.counted("refused", 2)
        assert sidecar.holder.refusals["rolled_back"] >= 2
        served = sidecar.holder.served
        assert (None if served is None else served.header.revision) in (None, 7)
        await fake.wait_asked(STREAM_PATH)
        asked = [r for r in fake.requests if r.path == STREAM_PATH]
        assert asked[-1].headers["Last-Event-ID"] == "e1-7"
        assert asked[-1].headers["X-Matrixflag-Published"] == "2026-12-01T09:00:00Z"
        header = fake.publish({"a": True}, revision=1, epoch="e2")
        await sidecar.swapped(to=header.digest)


async def test_an_unusable_newest_slot_is_remembered_too(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    """What is served then is older, and nothing that lies between is taken."""
    stored(tmp_path, fake.url, {"a": False}, 1_000, revision=4)
    stored(tmp_path, fake.url, {"a": False}, 2_000, revision=9, entries=99)
    fake.publish({"a": True}, revision=8)
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        first = await sidecar.swapped()
        assert first.header.revision == 4
        await sidecar.until(lambda: sidecar.holder.refusals["rolled_back"])
        header = fake.publish({"a": True}, revision=9)
        assert (await sidecar.swapped()).header == header


async def test_a_maximum_age_of_its_own_revision_arrives_by_stream(fake: FakeControlPlane) -> None:
    """Though the content is the same: at once, also when the first fetch of it fails."""
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        failed = asyncio.Event()

        async def once(request: web.Request) -> web.StreamResponse:
            fake.on_snapshot = None
            failed.set()
            return web.Response(status=500)

        fake.on_snapshot = once
        header = fake.publish({"a": True}, revision=2, max_age_s=60)
        assert (await sidecar.swapped()).header == header
        assert failed.is_set()
        assert sidecar.holder.max_age_s == 60
        fake.publish({"a": True}, revision=3)
        await sidecar.swapped()
        assert sidecar.holder.max_age_s is None


async def test_only_signed_snapshots_are_taken_by_any_way(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    """Poll, stream and disk; what the control plane has signed comes through again."""
    stored(tmp_path, fake.url, {"a": False}, 1_000)
    sidecar = Sidecar(Admission(trusting("one")))
    async with running(fake.url, sidecar=sidecar, cache_dir=tmp_path):
        await sidecar.counted("cache")
        await sidecar.counted("refused")
        assert sidecar.holder.served is None
        good = fake.publish({"a": True}, revision=2, sign=signer("one"))
        await sidecar.swapped(to=good.digest)
        fake.publish({"a": False}, revision=3, sign=signer("two"))
        await sidecar.counted("refused", 2)
        assert sidecar.value is True
        newer = fake.publish({"a": False}, revision=4, sign=signer("two", "one"))
        await sidecar.swapped(to=newer.digest)
        await sidecar.until(lambda: kept(tmp_path, fake.url) == newer)
    again = Sidecar(Admission(trusting("one")))
    async with running(fake.url, sidecar=again, cache_dir=tmp_path):
        assert (await again.swapped()).source == "disk"


def kept(directory: Path, url: str) -> SnapshotHeader | None:
    """Return the header of the newest snapshot in the cache."""
    found = cache.load(directory, cache.owner_of((url,), KEY), 10**6)
    return read_header(found[0].body) if found else None


async def test_a_new_signature_of_what_is_held_reaches_the_disk(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    """Keys are changed without a change of flags; a start from disk asks for the new one."""
    fake.publish({"a": True}, sign=signer("one"))
    sidecar = Sidecar(Admission(trusting("one", "two")))
    async with running(fake.url, sidecar=sidecar, cache_dir=tmp_path, reconcile_interval_s=0.05):
        old = await sidecar.swapped()
        fake.silent = True
        header = fake.publish({"a": True}, sign=signer("one", "two"))
        await sidecar.until(lambda: kept(tmp_path, fake.url) == header)
        assert sidecar.holder.served is not None
        assert sidecar.holder.served.header == header
        assert sidecar.holder.served.compiled.flags["a"] is old.compiled.flags["a"]
    again = Sidecar(Admission(trusting("two")))
    async with running(fake.url, sidecar=again, cache_dir=tmp_path):
        assert (await again.swapped()).source == "disk"
