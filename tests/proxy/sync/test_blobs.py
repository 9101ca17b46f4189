"""Long lists of units: all of their blobs are there before a snapshot is served, or it is not.

A control plane on a real socket, and the source as the sidecar runs it.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.contract.snapshot import SnapshotHeader
from proxy.contract.sync import BLOBS_PATH, SNAPSHOT_PATH
from proxy.contract.units import EMPTY_BLOB, UNIT_BYTES, digest_of, hash_unit, split
from proxy.sync import cache
from tests.proxy.sync.control_plane import (
    KEY,
    FakeControlPlane,
    Handler,
    control_plane,
)
from tests.proxy.sync.sidecar import answers, running
from tests.support.ports import free_port
from tests.support.units import LongList, in_segment, long_list, names

SIXTEEN = long_list(names(50_000))
"""A list in sixteen blobs."""

CHANGED = long_list([*names(50_000), "new"])
"""The same with one more unit: one of its blobs is another."""


def publish(fake: FakeControlPlane, units: LongList | None, **more: Any) -> SnapshotHeader:
    """Serve flag `a`, on for the units of a list, and the blobs of that list only."""
    if units is None:
        fake.blobs = {}
        return fake.publish({"a": False}, **more)
    flag, segment = in_segment(units)
    fake.blobs = dict(units.blobs)
    return fake.publish({"a": flag}, more=segment, **more)


@pytest.fixture
async def fake() -> AsyncIterator[FakeControlPlane]:
    """A control plane that serves flag `a`, on for the first fifty thousand."""
    async with control_plane() as served:
        publish(served, SIXTEEN)
        yield served


def with_blob(digest: str, instead: Handler, fake: FakeControlPlane) -> Handler:
    """Return a handler that does something else for one blob."""

    async def handler(request: web.Request) -> web.StreamResponse:
        wanted = request.path == f"{BLOBS_PATH}/{digest}"
        return await (instead if wanted else fake.blob)(request)

    return handler


def gives(body: bytes) -> Handler:
    """Return a handler that answers some bytes."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    return handler


def slow(fake: FakeControlPlane, go: Callable[[], Awaitable[Any]]) -> Handler:
    """Return a handler of blobs that waits before each."""

    async def handler(request: web.Request) -> web.StreamResponse:
        await go()
        return await fake.blob(request)

    return handler


# the ordinary way


async def test_a_list_is_served_with_its_snapshot(fake: FakeControlPlane) -> None:
    """Each blob is fetched once; who is in the list gets what its segment gets."""
    async with running(fake.url) as sidecar:
        served = await sidecar.swapped()
        assert [sidecar.value_for(u) for u in ("u-0", "u-49999", "u-50000")] == [True, True, False]
        assert sidecar.value_for(None) is False
    assert sorted(fake.asked_blobs()) == sorted(SIXTEEN.blobs)
    assert served.blobs == SIXTEEN.blobs
    assert (served.units, served.blob_bytes) == (50_000, 600_000)
    assert sidecar.status.errors == {}
    assert (sidecar.status.blobs, sidecar.status.blobs_missing) == ({"fetched": 16}, 0)


async def test_requests_for_blobs_say_who_asks(fake: FakeControlPlane) -> None:
    """With the key, and by the address that the contract gives."""
    async with running(fake.url, instance="pod-1") as sidecar:
        await sidecar.swapped()
    asked = [request for request in fake.requests if request.path.startswith(BLOBS_PATH)]
    assert {request.headers["Authorization"] for request in asked} == {f"Bearer {KEY}"}
    assert {request.headers["X-Matrixflag-Instance"] for request in asked} == {"pod-1"}


async def test_another_unit_costs_one_blob(fake: FakeControlPlane) -> None:
    """What the lists of before and after share is not fetched again, and is one object."""
    async with running(fake.url) as sidecar:
        before = await sidecar.swapped()
        header = publish(fake, CHANGED, revision=2)
        after = await sidecar.swapped(to=header.digest)
        assert sidecar.value_for("new") is True
    assert len(fake.asked_blobs()) == 17
    shared = before.blobs.keys() & after.blobs.keys()
    assert len(shared) == 15
    assert all(before.blobs[digest] is after.blobs[digest] for digest in shared)


async def test_a_change_of_flags_fetches_no_blob(fake: FakeControlPlane) -> None:
    """Most changes are of that kind."""
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        flag, segment = in_segment(SIXTEEN)
        header = fake.publish({"a": flag, "b": True}, more=segment, revision=2)
        served = await sidecar.swapped(to=header.digest)
        assert served.blobs == SIXTEEN.blobs
    assert len(fake.asked_blobs()) == 16


async def test_a_list_that_is_gone_is_let_go(fake: FakeControlPlane) -> None:
    """Only the blobs of what is served are held, by anybody."""
    async with running(fake.url) as sidecar:
        blob = next(iter((await sidecar.swapped()).blobs.values()))
        header = publish(fake, None, revision=2)
        assert (await sidecar.swapped(to=header.digest)).blobs == {}
        assert sys.getrefcount(blob) == 2, "this test, and the call that counts"


async def test_a_blob_of_two_lists_is_fetched_once(fake: FakeControlPlane) -> None:
    """Two segments with the same units, in and out."""
    listed = SIXTEEN.definition
    fake.publish(
        {"a": in_segment(listed)[0]},
        more={
            ("segment", "long"): {"units": {"included": listed}},
            ("segment", "other"): {"units": {"excluded": listed}},
        },
    )
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
    assert len(fake.asked_blobs()) == 16


async def test_an_empty_blob_is_not_asked_for(fake: FakeControlPlane) -> None:
    """There is nothing to fetch; five thousand units that all fall into one of two blobs."""
    units = [name for name in names(12_000) if (hash_unit(name) or b"")[0] < 128][:5_000]
    halves = split(hash_unit(name) or b"" for name in units)
    assert len(halves[0]) == 5_000 * UNIT_BYTES
    assert halves[1] == b""
    publish(fake, long_list(units))
    del fake.blobs[EMPTY_BLOB]
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        assert (sidecar.value_for(units[0]), sidecar.value_for("u-x")) == (True, False)
    assert fake.asked_blobs() == [digest_of(halves[0])]


async def test_a_few_blobs_are_fetched_at_once(fake: FakeControlPlane) -> None:
    """As many as the settings say, and no more: a control plane has many sidecars."""
    now, most = 0, 0

    async def counted(request: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return await fake.blob(request)

    fake.on_blob = counted
    async with running(fake.url, blob_connections=3) as sidecar:
        await sidecar.swapped()
    assert most == 3


async def test_a_unit_that_is_text_of_half_a_pair_is_in_no_list(fake: FakeControlPlane) -> None:
    """And asking for it raises nothing."""
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        assert sidecar.value_for("\ud800") is False


# blobs that do not come


def corrupt(digest: str) -> bytes:
    """Return a blob with one bit turned."""
    blob = bytearray(SIXTEEN.blobs[digest])
    blob[100] ^= 1
    return bytes(blob)


async def cut(request: web.Request) -> web.StreamResponse:
    """Promise more than is sent."""
    response = web.StreamResponse(headers={"Content-Length": "40000"})
    await response.prepare(request)
    await response.write(b"x" * 100)
    assert request.transport is not None
    request.transport.close()
    return response


async def stuck(request: web.Request) -> web.StreamResponse:
    """Send a piece and stay silent."""
    response = web.StreamResponse(headers={"Content-Length": "40000"})
    await response.prepare(request)
    await response.write(b"x" * 100)
    await asyncio.Event().wait()
    return response


async def dripping(request: web.Request) -> web.StreamResponse:
    """Send a byte now and then, so that no single wait is long."""
    response = web.StreamResponse(headers={"Content-Length": "40000"})
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.02)


async def endless(request: web.Request) -> web.StreamResponse:
    """Never end."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 60_000)


ONE = next(iter(SIXTEEN.blobs))
OTHER = list(SIXTEEN.blobs)[1]


@pytest.mark.parametrize(
    ("blob", "kind"),
    [
        (answers(404), "http_404"),
        (answers(500), "http_5xx"),
        (answers(429), "http_429"),
        (answers(403), "http_403"),
        (answers(204), "protocol"),
        (answers(304), "protocol"),
        (answers(307, Location="http://127.0.0.1:1/"), "http_3xx"),
        (gives(b""), "blob"),
        (gives(corrupt(ONE)), "blob"),
        (gives(SIXTEEN.blobs[OTHER]), "blob"),
        (gives(SIXTEEN.blobs[ONE][:-UNIT_BYTES]), "blob"),
        (gives(SIXTEEN.blobs[ONE][:-5]), "blob"),
        (gives(SIXTEEN.blobs[ONE] + b"\0"), "blob"),
        (gives(b"<html>sign in</html>"), "blob"),
        (cut, "closed"),
        (stuck, "timeout"),
        (dripping, "timeout"),
        (endless, "blob"),
    ],
    ids=[
        "missing",
        "500",
        "429",
        "403",
        "204",
        "304",
        "redirect",
        "empty",
        "one bit",
        "another blob",
        "a unit short",
        "cut",
        "a byte more",
        "a login page",
        "cut connection",
        "stuck",
        "dripping",
        "endless",
    ],
)
async def test_without_a_blob_the_last_good_snapshot_is_served_on(
    fake: FakeControlPlane, blob: Handler, kind: str
) -> None:
    """Counted, nothing of the new one seen; and served as soon as the blob comes."""
    publish(fake, None)
    async with running(fake.url, answer_timeout_s=0.2, blob_timeout_s=0.4) as sidecar:
        first = await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.on_blob = with_blob(ONE, blob, fake)
        header = publish(fake, SIXTEEN, revision=2)
        await sidecar.counted(kind, 2)
        assert sidecar.holder.served is not None
        assert sidecar.holder.served.header == first.header
        assert sidecar.value_for("u-1") is False
        assert sidecar.status.blobs["failed"] >= 2
        assert sidecar.status.blobs_missing >= 1
        fake.on_blob = None
        await sidecar.swapped(to=header.digest)
        assert sidecar.value_for("u-1") is True
        assert sidecar.status.blobs_missing == 0


async def test_a_blob_that_is_gone_does_not_keep_the_other_flags_back(
    fake: FakeControlPlane,
) -> None:
    """Said again and again not to be there; it comes with a later change, if it was mended."""
    publish(fake, None)
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.on_blob = with_blob(ONE, answers(404), fake)
        header = publish(fake, SIXTEEN, revision=2)
        served = await sidecar.swapped(to=header.digest)
        assert sidecar.status.errors["http_404"] == 4
        assert sidecar.status.errors["blob"] == 1
        assert set(served.compiled.quarantined) == {"a"}
        assert sidecar.value_for("u-1") == "PARSE_ERROR"
        assert sidecar.status.blobs_missing == 1
        assert len(served.blobs) == len(SIXTEEN.blobs) - 1
        publish(fake, SIXTEEN, revision=3)
        await sidecar.swapped()
        assert sidecar.status.errors["http_404"] == 4, "it is asked once, and not waited for"
        fake.on_blob = None
        publish(fake, SIXTEEN, revision=4)
        await sidecar.swapped()
        assert sidecar.value_for("u-1") is True
        assert sidecar.status.blobs_missing == 0


async def test_a_blob_that_was_lost_is_not_asked_for_again_and_again(
    fake: FakeControlPlane,
) -> None:
    """The control plane knows that it will not come: 410."""
    publish(fake, None)
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        fake.on_blob = with_blob(ONE, answers(410), fake)
        header = publish(fake, SIXTEEN, revision=2)
        await sidecar.swapped(to=header.digest)
        assert sidecar.value_for("u-1") == "PARSE_ERROR"
        assert fake.asked_blobs().count(ONE) == 1
        assert sidecar.status.blobs_missing == 1


async def test_blobs_that_came_are_not_fetched_again(fake: FakeControlPlane) -> None:
    """One that is missing delays the others once."""
    last = list(SIXTEEN.blobs)[-1]
    fake.on_blob = with_blob(last, answers(404), fake)
    async with running(fake.url, blob_connections=1) as sidecar:
        await sidecar.counted("http_404", 3)
        fake.on_blob = None
        await sidecar.swapped()
    asked = fake.asked_blobs()
    assert all(asked.count(digest) == 1 for digest in SIXTEEN.blobs if digest != last)
    assert sidecar.status.blobs["fetched"] == 16


async def test_slow_blobs_come_in_the_end(fake: FakeControlPlane) -> None:
    """When all of them together take longer than one attempt may, the next goes on from there."""
    fake.on_blob = slow(fake, lambda: asyncio.sleep(0.03))
    async with running(fake.url, blob_connections=1, fetch_timeout_s=0.2) as sidecar:
        await sidecar.swapped()
        assert sidecar.status.errors["timeout"] >= 1
    assert len(fake.asked_blobs()) < 16 + sidecar.status.errors["timeout"] * 2


async def test_retry_after_of_a_blob_holds_for_every_request(fake: FakeControlPlane) -> None:
    """Too many sidecars want a new list of a million at once."""
    fake.on_blob = answers(429, **{"Retry-After": "1"})
    async with running(fake.url, blob_connections=1) as sidecar:
        await sidecar.counted("http_429")
        asked = len(fake.requests)
        loop = asyncio.get_running_loop()
        first = loop.time()
        fake.on_blob = None
        await sidecar.swapped()
        assert loop.time() - first >= 0.9
    # The stream opened beside the blobs; nothing else was asked meanwhile.
    assert [r.path for r in fake.requests[asked:]].count(SNAPSHOT_PATH) == 1


async def test_a_control_plane_that_dies_between_snapshot_and_blobs_is_waited_for() -> None:
    """Whatever was served is served on; what came is kept over its restart."""
    port = free_port()
    died = asyncio.Event()
    async with running(f"http://127.0.0.1:{port}") as sidecar:
        async with control_plane(port) as fake:
            await sidecar.swapped()
            await sidecar.until(lambda: sidecar.status.state == "streaming")
            answered = 0

            async def five(request: web.Request) -> web.StreamResponse:
                nonlocal answered
                if answered == 5:
                    died.set()
                    await asyncio.Event().wait()
                answered += 1
                return await fake.blob(request)

            fake.on_blob = five
            publish(fake, SIXTEEN, revision=2)
            await died.wait()
        await sidecar.counted("connect", 2)
        assert sidecar.holder.served is not None
        assert sidecar.holder.served.header.revision == 1
        assert sidecar.value is True
        fake.on_blob = None
        before = len(fake.asked_blobs())
        async with control_plane(port, fake):
            await sidecar.swapped(to=fake.header.digest)
            assert sidecar.value_for("u-1") is True
        assert len(fake.asked_blobs()) - before <= 12


async def test_the_stream_opens_while_the_first_blobs_come(fake: FakeControlPlane) -> None:
    """Or nobody would hear of something newer for as long as that takes."""
    go = asyncio.Event()
    fake.on_blob = slow(fake, go.wait)
    patient = dict.fromkeys(("answer_timeout_s", "blob_timeout_s", "fetch_timeout_s"), 60.0)
    async with running(fake.url, **patient) as sidecar:
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        assert sidecar.holder.served is None
        go.set()
        await sidecar.swapped()


# a snapshot that is superseded


async def test_a_newer_snapshot_takes_the_place_of_one_whose_blobs_are_slow(
    fake: FakeControlPlane,
) -> None:
    """A switched-off flag does not wait for a list; what came of the list is kept."""
    going, go = asyncio.Event(), asyncio.Event()

    async def first_then_wait(request: web.Request) -> web.StreamResponse:
        if len(fake.asked_blobs()) > 3:
            going.set()
            await go.wait()
        return await fake.blob(request)

    publish(fake, None)
    async with running(fake.url, blob_connections=1) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.on_blob = first_then_wait
        publish(fake, SIXTEEN, revision=2)
        await going.wait()
        header = publish(fake, None, revision=3)
        seen = fake.heartbeats
        await sidecar.until(lambda: fake.heartbeats > seen + 1)
        fake.blobs = dict(SIXTEEN.blobs)
        go.set()
        served = await sidecar.swapped()
        assert served.header == header
        assert len(fake.asked_blobs()) == 4
        assert (sidecar.status.errors, sidecar.status.blobs_missing) == ({}, 0)


async def test_blobs_of_a_superseded_snapshot_are_of_use_to_the_newer(
    fake: FakeControlPlane,
) -> None:
    """A list that grows while it is being fetched is not fetched from the beginning."""
    going, go = asyncio.Event(), asyncio.Event()

    async def five_then_wait(request: web.Request) -> web.StreamResponse:
        if len(fake.asked_blobs()) > 5:
            going.set()
            await go.wait()
        return await fake.blob(request)

    publish(fake, None)
    async with running(fake.url, blob_connections=1) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.on_blob = five_then_wait
        publish(fake, SIXTEEN, revision=2)
        await going.wait()
        header = publish(fake, CHANGED, revision=3)
        fake.blobs |= SIXTEEN.blobs
        seen = fake.heartbeats
        await sidecar.until(lambda: fake.heartbeats > seen + 1)
        go.set()
        served = await sidecar.swapped()
        assert served.header == header
        assert served.blobs == CHANGED.blobs
        assert len(fake.asked_blobs()) <= 17
        assert sidecar.status.errors == {}


async def test_a_snapshot_whose_blobs_are_gone_with_it_is_passed_over(
    fake: FakeControlPlane,
) -> None:
    """The control plane has removed what nobody refers to any more: 404, then the newer one."""
    going, go = asyncio.Event(), asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        going.set()
        await go.wait()
        return await fake.blob(request)

    publish(fake, None)
    async with running(fake.url) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.on_blob = waits
        publish(fake, SIXTEEN, revision=2)
        await going.wait()
        header = publish(fake, None, revision=3)
        go.set()
        served = await sidecar.swapped()
        assert served.header == header


async def test_quick_blobs_are_not_left_for_a_newer_snapshot(fake: FakeControlPlane) -> None:
    """Or one change after the other would keep all of them from being served."""
    going, go = asyncio.Event(), asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        going.set()
        await go.wait()
        return await fake.blob(request)

    publish(fake, None)
    async with running(fake.url, blob_patience_s=30.0) as sidecar:
        await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        fake.on_blob = waits
        second = publish(fake, SIXTEEN, revision=2)
        await going.wait()
        third = publish(fake, CHANGED, revision=3)
        fake.blobs |= SIXTEEN.blobs
        seen = fake.heartbeats
        await sidecar.until(lambda: fake.heartbeats > seen + 1)
        go.set()
        assert (await sidecar.swapped()).header == second
        assert (await sidecar.swapped()).header == third


# hostile snapshots


@pytest.mark.parametrize(
    "listed",
    [
        {"count": 10**18, "blobs": ["0" * 64]},
        {"count": -1, "blobs": ["0" * 64]},
        {"count": 5, "blobs": ["../../../etc/passwd"]},
        {"count": 5, "blobs": ["0" * 63 + "\n"]},
        {"count": 5, "blobs": ["F" * 64]},
        {"count": 5, "blobs": []},
        {"count": 5, "blobs": ["0" * 64] * 3},
        {"count": 5, "blobs": [f"{n:064x}" for n in range(20_000)]},
        {"count": "5", "blobs": 5},
        {"count": 5},
        {"count": 10**400, "blobs": ["0" * 64]},
    ],
    ids=range(11),
)
async def test_a_list_that_is_none_costs_its_flags_alone(
    fake: FakeControlPlane, tmp_path: Path, listed: Any
) -> None:
    """Nothing is fetched for it, no path is made of it; the flags that name it say so."""
    flag, segment = in_segment(listed)
    fake.publish({"a": flag, "b": True}, more=segment)
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        served = await sidecar.swapped()
        assert list(served.compiled.quarantined) == ["a"]
        assert sidecar.value_for("u-1") == "PARSE_ERROR"
        assert served.blobs == {}
    assert fake.asked_blobs() == []
    assert sidecar.status.errors == {}


@pytest.mark.parametrize("wrong", ["count", "order", "part"])
async def test_blobs_that_are_not_the_list_cost_its_flags_alone(
    fake: FakeControlPlane, wrong: str
) -> None:
    """Each is what its digest says, and together they are no list: more than the count, say."""
    listed = dict(SIXTEEN.definition)
    if wrong == "count":
        listed["count"] += 1
    else:
        digests = list(listed["blobs"])
        last = digests.pop()
        listed["blobs"] = [last, *digests] if wrong == "order" else [*digests, digests[0]]
    flag, segment = in_segment(listed)
    fake.publish({"a": flag, "b": True}, more=segment)
    async with running(fake.url) as sidecar:
        served = await sidecar.swapped()
        assert list(served.compiled.quarantined) == ["a"]


async def test_lists_beyond_the_memory_there_is_are_refused(fake: FakeControlPlane) -> None:
    """A control plane gone mad must not take the application's memory; nothing is kept of them."""
    publish(fake, None)
    async with running(fake.url, max_blob_bytes_in_all=300_000) as sidecar:
        first = await sidecar.swapped()
        await sidecar.until(lambda: sidecar.status.state == "streaming")
        publish(fake, SIXTEEN, revision=2)
        await sidecar.counted("refused", 2)
        assert sidecar.holder.refusals["too_large"] >= 2
        assert sidecar.holder.served is not None
        assert sidecar.holder.served.header == first.header
        header = publish(fake, long_list(names(2_000)), revision=3)
        await sidecar.swapped(to=header.digest)


async def test_a_blob_is_not_longer_than_its_list(fake: FakeControlPlane) -> None:
    """Two units are twenty-four bytes, whatever is sent: no more is read."""
    flag, segment = in_segment({"count": 2, "blobs": [ONE]})
    fake.publish({"a": flag}, more=segment)
    async with running(fake.url) as sidecar:
        await sidecar.counted("blob", 2)
        assert "more than the 24 bytes" in (sidecar.status.last_error or "")
        assert sidecar.holder.served is None


async def test_a_large_blob_is_verified_beside_the_loop(fake: FakeControlPlane) -> None:
    """Units that were chosen to fall together make one of megabytes."""
    hashes = sorted(b"\0" + n.to_bytes(11, "big") for n in range(60_000))
    blobs = split(hashes)
    listed = LongList(
        {"count": 60_000, "blobs": [digest_of(blob) for blob in blobs]},
        {digest_of(blob): blob for blob in blobs},
    )
    publish(fake, listed)
    async with running(fake.url) as sidecar:
        served = await sidecar.swapped()
        assert served.units == 60_000
        assert not served.compiled.quarantined
    wrong = b"\1" + blobs[0][1:]
    fake.on_blob = gives(wrong)
    async with running(fake.url) as sidecar:
        await sidecar.counted("blob", 1)


# the disk


def files(directory: Path) -> set[str]:
    """Return the names of the blobs that are on disk."""
    place = directory / "blobs"
    return {path.name for path in place.iterdir()} if place.exists() else set()


async def test_a_start_without_a_control_plane_has_its_lists(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    """Snapshot and blobs are on disk, verified again when they are read."""
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        await sidecar.swapped()
    assert files(tmp_path) == set(SIXTEEN.blobs)
    fake.on_snapshot = fake.on_stream = fake.on_blob = answers(503)
    asked = len(fake.asked_blobs())
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        served = await sidecar.swapped()
        assert (served.source, served.blobs) == ("disk", SIXTEEN.blobs)
        assert sidecar.value_for("u-1") is True
        assert sidecar.status.blobs == {"disk": 16}
    assert len(fake.asked_blobs()) == asked


@pytest.mark.parametrize("harm", ["removed", "cut", "changed", "emptied", "link", "directory"])
async def test_a_damaged_blob_on_disk_is_fetched_and_mended(
    fake: FakeControlPlane, tmp_path: Path, harm: str
) -> None:
    """The slot is passed over; the others are taken from disk, and the file is written anew."""
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        await sidecar.swapped()
    damage(tmp_path / "blobs" / ONE, harm)
    fake.requests.clear()
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        served = await sidecar.swapped()
        assert served.source == "control-plane"
        assert sidecar.status.errors == {"cache": 1}
        assert "1 of 16 blobs" in (sidecar.status.last_error or "")
    assert fake.asked_blobs() == [ONE]
    if harm != "directory":
        assert (tmp_path / "blobs" / ONE).read_bytes() == SIXTEEN.blobs[ONE]


def damage(path: Path, harm: str) -> None:
    """Do a file some harm."""
    content = path.read_bytes()
    path.unlink()
    match harm:
        case "cut":
            path.write_bytes(content[:-UNIT_BYTES])
        case "changed":
            path.write_bytes(b"\xff" + content[1:])
        case "emptied":
            path.write_bytes(b"")
        case "link":
            elsewhere = path.with_name("elsewhere")
            elsewhere.write_bytes(content)
            path.symlink_to(elsewhere)
        case "directory":
            path.mkdir()


async def test_a_slot_without_its_blobs_leaves_the_older(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    """The control plane is away: what was served before the last change is better than nothing."""
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        await sidecar.swapped()
        owner = cache.owner_of((fake.url,), KEY)
        await sidecar.until(lambda: len(cache.load(tmp_path, owner, 10**6)) == 1)
        header = publish(fake, CHANGED, revision=2)
        await sidecar.swapped(to=header.digest)
    (new,) = CHANGED.blobs.keys() - SIXTEEN.blobs.keys()
    (tmp_path / "blobs" / new).unlink()
    fake.on_snapshot = fake.on_stream = answers(503)
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        served = await sidecar.swapped()
        assert (served.source, served.header.revision) == ("disk", 1)
        assert (sidecar.value_for("u-1"), sidecar.value_for("new")) == (True, False)
        assert sidecar.status.errors["cache"] == 1


async def test_without_any_usable_slot_nothing_is_served_from_disk(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    """Rather than the flags of a list that is not there."""
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        await sidecar.swapped()
    for path in (tmp_path / "blobs").iterdir():
        path.unlink()
    fake.on_snapshot = fake.on_stream = answers(503)
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        await sidecar.counted("http_5xx", 2)
        assert sidecar.holder.served is None
        assert sidecar.status.errors["cache"] == 1


async def test_blobs_that_no_slot_needs_are_swept(fake: FakeControlPlane, tmp_path: Path) -> None:
    """Once both slots hold later snapshots."""
    owner = cache.owner_of((fake.url,), KEY)
    (old,) = SIXTEEN.blobs.keys() - CHANGED.blobs.keys()
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        for revision, units in ((1, SIXTEEN), (2, CHANGED), (3, CHANGED)):
            flag, segment = in_segment(units)
            fake.blobs = dict(units.blobs)
            more = {"n": revision == 3}
            header = fake.publish({"a": flag, **more}, more=segment, revision=revision)
            await sidecar.swapped(to=header.digest)
            await sidecar.until(
                lambda: [s.body for s in cache.load(tmp_path, owner, 10**6)][:1] == [fake.body]
            )
            if revision < 3:
                assert old in files(tmp_path)
        await sidecar.until(lambda: old not in files(tmp_path))
    assert files(tmp_path) == set(CHANGED.blobs)


async def test_a_blob_of_the_older_slot_is_not_fetched_when_it_is_needed_again(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    """A change that is taken back."""
    owner = cache.owner_of((fake.url,), KEY)
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        for revision, units in ((2, SIXTEEN), (3, CHANGED), (4, SIXTEEN)):
            header = publish(fake, units, revision=revision)
            await sidecar.swapped(to=header.digest)
            await sidecar.until(
                lambda: [s.body for s in cache.load(tmp_path, owner, 10**6)][:1] == [fake.body]
            )
        assert sidecar.status.blobs == {"fetched": 17, "disk": 1}


async def test_a_disk_that_cannot_be_written_costs_nothing_else(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    """A file lies where the blobs should."""
    (tmp_path / "blobs").write_bytes(b"")
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        await sidecar.swapped()
        await sidecar.counted("cache", 2)
        assert sidecar.value_for("u-1") is True
    assert not (tmp_path / "snapshot-0.cache").exists()


# nothing of this where there are no lists


async def test_a_snapshot_without_lists_reads_no_disk(
    fake: FakeControlPlane, tmp_path: Path
) -> None:
    """And leaves no directory behind."""
    publish(fake, None)
    async with running(fake.url, cache_dir=tmp_path) as sidecar:
        await sidecar.swapped()
    assert not (tmp_path / "blobs").exists()
    assert fake.asked_blobs() == []
    assert json.loads((tmp_path / "snapshot-0.cache").read_bytes().split(b"\n")[0])["blobs"] == 0
