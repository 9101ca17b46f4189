"""Changes on the stream are applied as they come; after any that cannot be there is a fetch."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from proxy.contract.snapshot import MAX_SNAPSHOT_BYTES, encode_entry
from proxy.contract.sync import SNAPSHOT_PATH, STREAM_PATH, Delta
from proxy.sync import cache, deltas
from proxy.sync.deltas import Deltas
from tests.proxy.sync.control_plane import (
    KEY,
    FakeControlPlane,
    control_plane,
    delta_event,
    stream_of,
)
from tests.proxy.sync.sidecar import Sidecar, answers, running
from tests.support.snapshots import definition, make_delta, make_snapshot
from tests.support.units import in_segment, long_list, names


@pytest.fixture
async def fake() -> AsyncIterator[FakeControlPlane]:
    """A control plane that serves flag `a`, on, and tells what changes."""
    async with control_plane() as served:
        served.tells_deltas = True
        yield served


async def streaming(sidecar: Sidecar) -> None:
    """Wait for a stream."""
    await sidecar.swapped()
    await sidecar.until(lambda: sidecar.status.state == "streaming")


class Hose:
    """A stream into which a test writes what it likes; heartbeats are of what it wrote last."""

    def __init__(self, fake: FakeControlPlane) -> None:
        self._fake = fake
        self._beat = fake.event(heartbeat=True)
        self._pieces: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
        fake.on_stream = self._stream

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = await stream_of(request)
        await response.write(self._beat)
        while True:
            try:
                async with asyncio.timeout(0.1):
                    piece, self._beat = await self._pieces.get()
            except TimeoutError:
                piece = self._beat
            await response.write(piece)

    def write(self, piece: bytes) -> None:
        """Send bytes."""
        self._pieces.put_nowait((piece, self._fake.event(heartbeat=True)))


async def test_a_change_is_applied_without_a_fetch(fake: FakeControlPlane) -> None:
    """Set, added and removed; and what is served is what a fetch would have given."""
    async with running(fake.url) as sidecar:
        await streaming(sidecar)
        for revision, flags in enumerate(
            [{"a": False}, {"a": False, "b": True}, {"b": True}, {"a": True}, {}], start=2
        ):
            header = fake.publish(flags, revision=revision)
            served = await sidecar.swapped()
            assert served.header == header
            assert b"".join(_written(served.body())) == fake.body
        assert fake.asked(SNAPSHOT_PATH) == 1
        assert sidecar.status.deltas == {"applied": 5}
        assert sidecar.status.errors == {}
        assert sidecar.holder.refusals == {}


def _written(steps: Any) -> list[bytes]:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return list(stop.value)


async def test_a_burst_is_applied_in_order(fake: FakeControlPlane) -> None:
    """More than come in one read, each from the one before."""
    async with running(fake.url) as sidecar:
        await streaming(sidecar)
        for revision in range(2, 150):
            header = fake.publish({"a": revision % 2 == 0, f"f{revision}": True}, revision=revision)
        await sidecar.swapped(to=header.digest)
        assert sidecar.status.deltas == {"applied": 148}
        assert fake.asked(SNAPSHOT_PATH) == 1


async def test_what_a_reconnect_tells_again_is_dropped(fake: FakeControlPlane) -> None:
    """And it is asked to go on from what is held."""
    hose = Hose(fake)
    async with running(fake.url) as sidecar:
        await streaming(sidecar)
        first = fake.body
        header = fake.publish({"a": False}, revision=2)
        for _ in range(3):
            hose.write(fake.delta(first))
        await sidecar.until(lambda: sidecar.status.deltas["known"] == 2)
        assert sidecar.status.deltas == {"applied": 1, "known": 2}
        fake.cut_streams()
        hose.write(b"\n")
        assert sidecar.holder.served is not None
        assert sidecar.holder.served.header == header
        assert fake.asked(SNAPSHOT_PATH) == 1


async def test_a_stream_is_taken_up_where_what_is_held_ends(fake: FakeControlPlane) -> None:
    """`Last-Event-ID` is of what is served, not of what was heard of."""
    async with running(fake.url) as sidecar:
        await streaming(sidecar)
        fake.publish({"a": False}, revision=2)
        await sidecar.swapped()
        fake.cut_streams()
        await fake.wait_asked(STREAM_PATH, 2)
        again = [request for request in fake.requests if request.path == STREAM_PATH][-1]
        assert again.headers["Last-Event-ID"] == "e1-2"
        assert again.headers["X-Matrixflag-Digest"] == fake.header.digest


Wrong = Callable[[Delta], dict[str, Any]]


@pytest.mark.parametrize(
    ("wrong", "outcome"),
    [
        (lambda _: {"from_": 0}, "gap"),
        (lambda _: {"from_": 2}, "gap"),
        (lambda _: {"set": []}, "digest"),
        (lambda d: {"set": [*d.set, encode_entry("flag", "z", {}).decode()]}, "count"),
        (lambda d: {"set": [d.set[0].replace("on", "no")]}, "digest"),
        (lambda _: {"set": ["{}"]}, "refused"),
        (lambda d: {"set": [d.set[0].replace(",", ",\n", 1)]}, "refused"),
        (lambda d: {"header": replaced(d, project="other")}, "refused"),
        (lambda d: {"header": replaced(d, environment="other")}, "refused"),
        (lambda d: {"header": replaced(d, epoch="e0")}, "gap"),
        (lambda d: {"header": replaced(d, revision=4)}, "refused"),
        (lambda d: {"header": replaced(d, schema="2.0")}, "refused"),
        (lambda d: {"header": replaced(d, digest="0" * 64)}, "refused"),
        (lambda d: {"digest": "0" * 64, "header": None}, "digest"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_after_a_change_that_cannot_be_applied_all_is_fetched(
    fake: FakeControlPlane, wrong: Wrong, outcome: str
) -> None:
    """What was served is served on until then; and the stream is not left for it."""
    hose = Hose(fake)
    fake.silent = True
    async with running(fake.url) as sidecar:
        await streaming(sidecar)
        first = fake.body
        header = fake.publish({"a": False}, revision=2)
        delta = make_delta(first, fake.body)
        hose.write(delta_event(msgspec.structs.replace(delta, **wrong(delta))))
        await sidecar.swapped(to=header.digest)
        assert sidecar.status.deltas == {"refused" if outcome == "count" else outcome: 1}
        assert fake.asked(SNAPSHOT_PATH) >= 2
        assert (fake.asked(STREAM_PATH), sidecar.status.reconnects) == (1, 0)


def replaced(delta: Delta, **members: Any) -> Any:
    """Return the header of a delta with other members."""
    assert delta.header is not None
    return msgspec.structs.replace(delta.header, **members)


async def test_a_change_that_cannot_be_read_leads_to_a_fetch_and_another_stream(
    fake: FakeControlPlane,
) -> None:
    """Nobody knows what it told of."""
    hose = Hose(fake)
    fake.silent = True
    async with running(fake.url, backoff_base_s=0.2, backoff_cap_s=0.3) as sidecar:
        await streaming(sidecar)
        header = fake.publish({"a": False}, revision=2)
        hose.write(b'event: delta\nid: e1-2\ndata: {"from":1,"to":"2"}\n\n')
        await sidecar.swapped(to=header.digest)
        await sidecar.counted("protocol")
        await fake.wait_asked(STREAM_PATH, 2)
        assert sidecar.status.deltas == {"refused": 1}


async def test_changes_that_come_during_a_fetch_follow_what_it_gives(
    fake: FakeControlPlane,
) -> None:
    """One fetch fills the gap, and no second one is needed for what came meanwhile."""
    hose = Hose(fake)
    fake.silent = True
    going, go = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = await fake.snapshot(request)
        going.set()
        await go.wait()
        return response

    async with running(fake.url) as sidecar:
        await streaming(sidecar)
        fake.on_snapshot = slow
        fake.publish({"a": False}, revision=2)
        second = fake.body
        fake.publish({"a": False, "b": True}, revision=3)
        hose.write(fake.delta(second))  # 1 to 2 was lost
        await going.wait()
        for revision in range(4, 9):
            before = fake.body
            header = fake.publish({"a": False, "b": True, f"n{revision}": True}, revision=revision)
            hose.write(fake.delta(before))
        await sidecar.until(lambda: len(sidecar.swaps._queue) == 0)  # type: ignore[attr-defined]
        go.set()
        await sidecar.swapped(to=header.digest)
        assert fake.asked(SNAPSHOT_PATH) == 2
        assert sidecar.status.deltas == {"gap": 1, "applied": 5}


async def test_a_fetch_that_was_overtaken_is_dropped_in_silence(fake: FakeControlPlane) -> None:
    """It is no roll-back, which somebody would be woken up for."""
    going, go = asyncio.Event(), asyncio.Event()

    async def stale(request: web.Request) -> web.StreamResponse:
        response = web.Response(body=fake.body, content_type="application/x-ndjson")
        going.set()
        await go.wait()
        return response

    async with running(fake.url, reconcile_interval_s=0.1) as sidecar:
        await streaming(sidecar)
        fake.on_snapshot = stale
        await going.wait()
        header = fake.publish({"a": False}, revision=2)
        await sidecar.swapped(to=header.digest)
        fake.on_snapshot = None
        go.set()
        asked = fake.asked(SNAPSHOT_PATH)
        await fake.wait_asked(SNAPSHOT_PATH, asked + 2)
        assert sidecar.holder.refusals == {}
        assert sidecar.status.errors == {}
        assert sidecar.value is False


async def test_changes_are_applied_while_fetches_fail(fake: FakeControlPlane) -> None:
    """Nor does a fetch that is not due any more go on being tried in a hurry."""
    async with running(
        fake.url, reconcile_interval_s=0.05, backoff_base_s=5.0, backoff_cap_s=5.0
    ) as sidecar:
        await streaming(sidecar)
        fake.on_snapshot = answers(503, **{"Retry-After": "60"})
        await sidecar.counted("http_5xx")
        for revision in range(2, 20):
            header = fake.publish({"a": revision % 2 == 0}, revision=revision)
            await sidecar.swapped(to=header.digest)
        assert sidecar.status.deltas == {"applied": 18}
        assert sidecar.status.errors == {"http_5xx": 1}


async def test_more_than_may_wait_are_given_up_for_a_snapshot(
    fake: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number and by size; memory is bounded whatever comes."""
    for name, most in (("MAX_WAITING", 3), ("MAX_WAITING_BYTES", 2_000)):
        monkeypatch.undo()
        monkeypatch.setattr(deltas, name, most)
        fake.publish({"a": True}, revision=1)
        async with running(fake.url) as sidecar:
            await streaming(sidecar)
            for revision in range(2, 40):
                header = fake.publish({"a": revision % 2 == 0}, revision=revision)
            await sidecar.until(
                lambda: sidecar.holder.served and sidecar.holder.served.header.revision == 39
            )
            assert sidecar.status.deltas["overflow"] > 0
            assert sidecar.holder.served is not None
            assert sidecar.holder.served.header == header


async def test_a_new_epoch_ends_the_changes_of_the_old_one(fake: FakeControlPlane) -> None:
    """Those that are still in flight lead nowhere."""
    hose = Hose(fake)
    fake.silent = True
    async with running(fake.url) as sidecar:
        await streaming(sidecar)
        first = fake.body
        fake.publish({"a": False}, revision=2)
        old = fake.delta(first)
        header = fake.publish({"a": False, "b": True}, revision=1, epoch="e2")
        hose.write(fake.event() + old)
        await sidecar.swapped(to=header.digest)
        before = fake.body
        header = fake.publish({"b": True}, revision=2, epoch="e2")
        hose.write(fake.delta(before))
        await sidecar.swapped(to=header.digest)
        assert sidecar.holder.epoch_changes == 1


async def test_a_change_says_nothing_of_age(fake: FakeControlPlane) -> None:
    """It tells what is current there; the heartbeat that names it says since when that is known."""
    fake.silent = True
    fake.verified_age_ms = 500_000
    hose = Hose(fake)
    async with running(fake.url) as sidecar:
        await streaming(sidecar)
        first = fake.body
        fake.publish({"a": False}, revision=2)
        # the heartbeat is read before the change was applied
        fake.verified_age_ms = 1_000
        hose.write(fake.delta(first) + fake.event(heartbeat=True))
        await sidecar.swapped()
        await sidecar.until(lambda: (sidecar.holder.age_ms() or 0) < 400_000)
        assert (sidecar.holder.age_ms() or 0) >= 1_000


async def test_a_lie_that_proves_itself_is_found_out_by_comparing(fake: FakeControlPlane) -> None:
    """A stream that is wrong in itself: its digest fits what it says, and nobody published that."""
    hose = Hose(fake)
    fake.silent = True
    async with running(fake.url, reconcile_interval_s=0.2) as sidecar:
        await streaming(sidecar)
        lie, body = make_snapshot({"a": definition(False, salt="lie")}, revision=2)
        delta = make_delta(fake.body, body)
        fake.publish({"a": True, "b": True}, revision=2)
        hose.write(delta_event(delta))
        await sidecar.swapped(to=lie.digest)
        await sidecar.swapped(to=fake.header.digest)


async def test_work_that_failed_goes_on_with_what_waits() -> None:
    """Supervision starts it again; nobody else would tell it that something waits."""
    sidecar = Sidecar()
    await sidecar.holder.offer(make_snapshot({"a": True})[1], "control-plane")
    settled = asyncio.Event()

    async def no_blobs(*_: Any) -> dict[str, bytes]:
        return {}

    queue = Deltas(sidecar.holder, sidecar.status, no_blobs, asyncio.Lock(), settled)
    queue.add("e1", Delta(5, 6, "", [], []), 1)
    stuck = asyncio.create_task(queue.apply())
    await sidecar.until(lambda: queue._applying)
    stuck.cancel()
    await asyncio.wait([stuck])
    assert queue.pending
    settled.set()
    async with asyncio.timeout(5):
        assert await queue.apply() is False
    assert not queue.pending
    assert sidecar.status.deltas == {"gap": 1}


def on_disk(directory: Path, fake: FakeControlPlane) -> bytes:
    """Return the newest snapshot that a start would find, b"" for none."""
    found = cache.load(directory, cache.owner_of((fake.url,), KEY), MAX_SNAPSHOT_BYTES)
    return found[0].body if found else b""


async def test_the_cache_gets_what_changes_led_to(fake: FakeControlPlane, tmp_path: Path) -> None:
    """As a fetch would have given it, whatever order the changes came in; a start serves it."""
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        await streaming(sidecar)
        flags: dict[str, Any] = {}
        for revision, key in enumerate("cabd", start=2):
            flags[key] = revision % 2 == 0
            fake.publish(flags, revision=revision)
            await sidecar.until(lambda: on_disk(tmp_path, fake) == fake.body)
        assert fake.asked(SNAPSHOT_PATH) == 1
    fake.on_snapshot = fake.on_stream = answers(503)
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        served = await sidecar.swapped()
        assert (served.source, served.header) == ("disk", fake.header)


async def test_a_burst_is_written_once_and_what_is_there_is_always_whole(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    """Killed meanwhile it starts from what was written last, ended in order from the end of it."""
    published = {fake.body}
    async with running(fake.url, cache_dir=tmp_path, cache_interval_s=60.0) as sidecar:
        await streaming(sidecar)
        await sidecar.until(lambda: on_disk(tmp_path, fake) == fake.body)
        for revision in range(2, 60):
            fake.publish({"a": revision % 2 == 0, f"f{revision}": True}, revision=revision)
            published.add(fake.body)
            await sidecar.swapped(to=fake.header.digest)
            assert on_disk(tmp_path, fake) in published
        assert on_disk(tmp_path, fake) != fake.body
    assert on_disk(tmp_path, fake) == fake.body
    assert max(cache._sequence(tmp_path / slot) for slot in cache._SLOTS) == 1


@pytest.mark.parametrize("patience_s", [60.0, 0.0])
async def test_changes_that_come_while_blobs_are_fetched_are_not_lost(
    fake: FakeControlPlane, patience_s: float
) -> None:
    """They follow when the list is there; or a newer snapshot takes its place, if sooner."""
    units = long_list(names(9_000))
    flag, segment = in_segment(units)
    going, go = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        going.set()
        await go.wait()
        return await fake.blob(request)

    fake.blobs, fake.on_blob = dict(units.blobs), slow
    async with running(fake.url, blob_patience_s=patience_s) as sidecar:
        await streaming(sidecar)
        fake.publish({"a": flag}, more=segment, revision=2)
        await going.wait()
        for revision in range(3, 6):
            fake.publish({"a": flag, f"b{revision}": True}, more=segment, revision=revision)
        assert sidecar.value is True
        go.set()
        await sidecar.swapped(to=fake.header.digest)
        assert sidecar.value_for("u-1") is True
        if patience_s:
            assert sidecar.status.deltas == {"applied": 4}
            assert fake.asked(SNAPSHOT_PATH) == 1
            assert sorted(fake.asked_blobs()) == sorted(units.blobs)


async def test_a_change_whose_blobs_do_not_come_is_given_up_for_a_snapshot(
    fake: FakeControlPlane,
) -> None:
    """Which needs them too, and is served when they are there; until then nothing changes."""
    units = long_list(names(9_000))
    flag, segment = in_segment(units)
    fake.blobs, fake.on_blob = dict(units.blobs), answers(500)
    async with running(fake.url) as sidecar:
        await streaming(sidecar)
        fake.publish({"a": flag}, more=segment, revision=2)
        await sidecar.until(lambda: sidecar.status.deltas["failed"] == 1)
        await fake.wait_asked(SNAPSHOT_PATH, 2)
        assert sidecar.value is True
        fake.on_blob = None
        await sidecar.swapped(to=fake.header.digest)
        assert sidecar.value_for("u-1") is True
