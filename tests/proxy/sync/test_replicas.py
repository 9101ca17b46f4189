"""Several replicas of a control plane: whatever one of them does, the others are used."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from proxy.contract.sync import SNAPSHOT_PATH, STREAM_PATH
from tests.proxy.sync.control_plane import (
    FakeControlPlane,
    control_plane,
    stream_of,
)
from tests.proxy.sync.sidecar import Sidecar, answers, running
from tests.support.ports import free_port

Pair = tuple[FakeControlPlane, FakeControlPlane]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Two replicas that serve the same; the first is drawn by `FIRST`."""
    async with control_plane() as one, control_plane() as two:
        yield one, two


def first() -> float:
    """Draw the first replica, and no delay."""
    return 0.0


def last() -> float:
    """Draw the second of two replicas, and long delays."""
    return 0.999


def publish(pair: Pair, value: bool, revision: int) -> str:
    """Publish the same on both; return the digest."""
    for fake in pair:
        header = fake.publish({"a": value}, revision=revision)
    return header.digest


async def streams(sidecar: Sidecar) -> None:
    """Wait for a stream."""
    await sidecar.until(lambda: sidecar.status.state == "streaming")


async def test_one_is_drawn_and_is_asked_for_everything(pair: Pair) -> None:
    """The stream and the fetches of one sidecar go to one replica while it is well."""
    for draw, asked, spared in ((first, *pair), (last, *reversed(pair))):
        for fake in pair:
            fake.requests.clear()
        async with running(pair[0].url, pair[1].url, draw=draw) as sidecar:
            await streams(sidecar)
            digest = publish(pair, draw is last, asked.header.revision + 1)
            await sidecar.swapped(to=digest)
        assert (asked.asked(SNAPSHOT_PATH), asked.asked(STREAM_PATH)) == (2, 1)
        assert not spared.requests


async def test_one_that_is_away_slows_nobody_down(pair: Pair) -> None:
    """Nor one that refuses everything, denies the key, or asks for patience."""
    other = pair[1]
    nowhere = f"http://127.0.0.1:{free_port()}"
    patience = {"backoff_base_s": 0.01, "backoff_cap_s": 60.0, "denied_backoff_base_s": 60.0}
    for status, headers in ((None, {}), (500, {}), (401, {}), (503, {"Retry-After": "60"})):
        url = nowhere
        if status is not None:
            pair[0].on_stream = pair[0].on_snapshot = answers(status, **headers)
            url = pair[0].url
        async with running(url, other.url, draw=first, **patience) as sidecar:
            await sidecar.swapped()
            await streams(sidecar)
            assert sidecar.status.errors.total() == 1


async def test_a_stream_that_breaks_goes_on_at_another(pair: Pair) -> None:
    """With what is held, and changes come from there."""
    async with running(pair[0].url, pair[1].url, draw=first) as sidecar:
        await streams(sidecar)
        pair[0].cut_streams()
        await pair[1].wait_asked(STREAM_PATH)
        assert pair[1].requests[0].headers["Last-Event-ID"] == "e1-1"
        await sidecar.swapped(to=publish(pair, False, 2))
        assert pair[0].asked(SNAPSHOT_PATH) == 1


async def test_an_orderly_end_is_no_error_and_no_gap(pair: Pair) -> None:
    """A replica that is replaced says so: its sidecars go elsewhere, and none looks stale."""
    ending = asyncio.Event()
    one, two = pair

    async def orderly(request: web.Request) -> web.StreamResponse:
        response = await stream_of(request)
        await response.write(one.event(heartbeat=True))
        await ending.wait()
        await response.write(b"retry: 10\n\n")
        return response

    one.on_stream = orderly
    async with running(one.url, two.url, draw=first, poll_interval_s=30.0) as sidecar:
        await streams(sidecar)
        since = sidecar.status.state_since
        ending.set()
        await two.wait_asked(STREAM_PATH)
        await sidecar.until(lambda: sidecar.status.reconnects == 1)
        await sidecar.swapped(to=publish(pair, False, 2))
        assert sidecar.status.errors == {}
        assert (sidecar.status.state, sidecar.status.state_since) == ("streaming", since)
        assert (sidecar.holder.age_ms() or 0) < 5_000
        assert (one.asked(STREAM_PATH), one.asked(SNAPSHOT_PATH)) == (1, 1)


async def test_a_replica_that_only_ends_streams_is_not_asked_in_a_loop(pair: Pair) -> None:
    """Each end costs a longer delay, as a failure does."""
    one = pair[0]

    async def short(request: web.Request) -> web.StreamResponse:
        response = await stream_of(request)
        await response.write(b"retry: 0\n\n" + one.event(heartbeat=True))
        return response

    one.on_stream = short
    async with running(one.url, draw=last, backoff_base_s=0.05, backoff_cap_s=60.0):
        await one.wait_asked(STREAM_PATH, 3)
        asked = one.asked(STREAM_PATH)
        await asyncio.sleep(0.1)
        assert one.asked(STREAM_PATH) <= asked + 1


async def test_a_replica_that_is_behind_is_left_for_one_that_is_not(pair: Pair) -> None:
    """What is held is newer than what it says; the other one is asked."""
    one, two = pair
    two.publish({"a": False}, revision=5)
    async with running(one.url, two.url, draw=first) as sidecar:
        await streams(sidecar)
        one.cut_streams()
        await sidecar.swapped(to=two.header.digest)
        two.cut_streams()
        await one.wait_asked(STREAM_PATH, 2)
        await sidecar.counted("behind")
        await two.wait_asked(STREAM_PATH, 2)
        assert sidecar.value is False
