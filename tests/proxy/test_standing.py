"""Telling a control plane on a real socket how the sidecar stands, whatever it answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from proxy import __version__
from proxy.contract.fleet import (
    MAX_KEYS_USED,
    MAX_LABELS,
    MAX_STANDING_BYTES,
    STANDING_PATH,
    Standing,
    check_standing,
)
from proxy.holder import Holder
from proxy.lifecycle import Lifecycle
from proxy.listen import bind, urls
from proxy.standing import StandingSettings, Teller
from proxy.sync import SyncStatus
from tests.support.snapshots import make_snapshot

KEY = "mf_sidecar_" + "k" * 43


class Ear:
    """A control plane that hears standings and answers as a test says."""

    def __init__(self) -> None:
        self.url = ""
        self.heard: list[Standing] = []
        self.requests: list[web.Request] = []
        self.answer: Callable[[], web.Response] = lambda: web.Response(status=204)
        self.hold: asyncio.Event | None = None
        self._came = asyncio.Condition()

    async def hear(self, request: web.Request) -> web.Response:
        """Take a standing."""
        told = msgspec.json.decode(await request.read(), type=Standing)
        self.requests.append(request)
        self.heard.append(told)
        async with self._came:
            self._came.notify_all()
        if self.hold is not None:
            await self.hold.wait()
        return self.answer()

    async def elsewhere(self, request: web.Request) -> web.Response:
        """Where a redirect leads."""
        self.requests.append(request)
        return web.Response(status=204)

    async def times(self, count: int) -> Standing:
        """Return what was told last, once it was told so often."""
        async with self._came, asyncio.timeout(20):
            await self._came.wait_for(lambda: len(self.heard) >= count)
        return self.heard[-1]


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    """A control plane."""
    ear = Ear()
    app = web.Application()
    app.router.add_post(STANDING_PATH, ear.hear)
    app.router.add_route("*", "/elsewhere", ear.elsewhere)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    sockets = bind(("127.0.0.1",), 0, "--")
    ear.url = urls(sockets)[0]
    await web.SockSite(runner, sockets[0]).start()
    yield ear
    await runner.cleanup()


class Sidecar:
    """What of a sidecar tells."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, *others: str, **settings: Any
    ) -> None:
        urls = (url + "/", *others)
        self.holder = Holder()
        self.status = SyncStatus()
        known = {"interval_s": 60.0, "spread_s": 0.0, "backoff_base_s": 0.01}
        self.teller = Teller(
            StandingSettings(
                control_plane_urls=urls, key=KEY, instance="i-1", **(known | settings)
            ),
            session,
            self.holder,
            self.status,
            Lifecycle(),
            draw=lambda: 0.4,
        )
        self.holder.subscribe(self.teller.swapped)

    async def serve(self, revision: int) -> None:
        """Serve a revision."""
        await self.holder.offer(make_snapshot({"a": True}, revision=revision)[1], "control-plane")

    @contextlib.asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Tell for as long as the context lasts."""
        task = asyncio.create_task(self.teller.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client session."""
    async with aiohttp.ClientSession() as opened:
        yield opened


async def test_a_swap_is_told_with_all_there_is(ear: Ear, session: aiohttp.ClientSession) -> None:
    """Who it is, what it serves, how that does; nothing of it is refused."""
    sidecar = Sidecar(
        ear.url,
        session,
        application="shop",
        application_version="1.4.2",
        labels={"region": "eu"},
    )
    sidecar.status.enter("polling")
    sidecar.status.fail("http_503", "something with a secret")
    async with sidecar.telling():
        await sidecar.serve(7)
        told = await ear.times(1)
    assert sidecar.holder.served is not None
    header = sidecar.holder.served.header
    assert (told.instance, told.application, told.application_version, told.labels) == (
        "i-1",
        "shop",
        "1.4.2",
        {"region": "eu"},
    )
    assert (told.epoch, told.revision, told.digest) == (header.epoch, 7, header.digest)
    assert (told.version, told.state, told.last_error) == (__version__, "polling", "http_503")
    assert told.last_error_ms is not None
    assert 0 <= told.last_error_ms < 60_000
    assert told.serving_ms is not None
    assert told.age_ms is not None
    assert not told.leaving
    assert len(told.run) == 16
    assert check_standing(told) == []
    request = ear.requests[0]
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["X-Matrixflag-Instance"] == "i-1"


async def test_who_has_nothing_yet_says_so(ear: Ear, session: aiohttp.ClientSession) -> None:
    """A sidecar that gets no snapshot is to be seen."""
    async with Sidecar(ear.url, session).telling():
        told = await ear.times(1)
    assert (told.epoch, told.revision, told.digest, told.serving_ms, told.age_ms) == (None,) * 5
    assert told.state == "starting"


async def test_it_is_told_again_and_again(ear: Ear, session: aiohttp.ClientSession) -> None:
    """Silence would be taken for a sidecar that is gone."""
    sidecar = Sidecar(ear.url, session, interval_s=0.02)
    async with sidecar.telling():
        await sidecar.serve(1)
        told = await ear.times(4)
    assert told.revision == 1


async def test_one_is_under_way_and_the_newest_is_next(
    ear: Ear, session: aiohttp.ClientSession
) -> None:
    """However many revisions pass while the control plane is slow."""
    sidecar = Sidecar(ear.url, session)
    ear.hold = asyncio.Event()
    async with sidecar.telling():
        await sidecar.serve(1)
        await ear.times(1)
        for revision in range(2, 10):
            await sidecar.serve(revision)
        assert len(ear.heard) == 1
        ear.hold.set()
        told = await ear.times(2)
        await asyncio.sleep(0.1)  # nothing more comes, and that announces nothing
    assert told.revision == 9
    assert len(ear.heard) == 2


async def test_a_fleet_does_not_answer_with_one_voice(
    ear: Ear, session: aiohttp.ClientSession
) -> None:
    """A swap is told at some moment of `spread_s`, and what is told says since when it serves."""
    sidecar = Sidecar(ear.url, session, spread_s=0.2)
    async with sidecar.telling():
        await sidecar.serve(1)
        told = await ear.times(1)
    assert told.serving_ms is not None
    assert told.serving_ms >= 80


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_a_fault_is_waited_out(ear: Ear, session: aiohttp.ClientSession, status: int) -> None:
    """Soon again, with what is so then."""
    ear.answer = lambda: web.Response(status=status)
    sidecar = Sidecar(ear.url, session)
    async with sidecar.telling():
        await sidecar.serve(1)
        await ear.times(2)
        await sidecar.serve(2)
        ear.answer = lambda: web.Response(status=204)
        async with asyncio.timeout(20):
            while sidecar.teller.outcomes["taken"] == 0:  # noqa: ASYNC110 - counted, not announced
                await asyncio.sleep(0.01)
    assert ear.heard[-1].revision == 2
    assert sidecar.teller.outcomes["failed"] >= 2


@pytest.mark.parametrize("status", [301, 401, 403, 404, 413, 422])
async def test_who_is_refused_does_not_ask_again_soon(
    ear: Ear, session: aiohttp.ClientSession, status: int
) -> None:
    """A bad key, and a control plane of an older version, get one request in minutes."""
    ear.answer = lambda: web.Response(status=status, headers={"Location": "/elsewhere"})
    sidecar = Sidecar(ear.url, session)
    delay_s = await sidecar.teller._tell(sidecar.teller.standing())
    assert delay_s is not None
    assert 60.0 < delay_s < 120.0
    assert len(ear.requests) == 1, "a redirect is not followed"


async def test_retry_after_is_obeyed(ear: Ear, session: aiohttp.ClientSession) -> None:
    """And spread."""
    ear.answer = lambda: web.Response(status=429, headers={"Retry-After": "300"})
    sidecar = Sidecar(ear.url, session, backoff_base_s=1.0)
    delay_s = await sidecar.teller._tell(sidecar.teller.standing())
    assert delay_s is not None
    assert 300.0 < delay_s < 301.0


async def test_nobody_there_is_a_fault(session: aiohttp.ClientSession) -> None:
    """Told later."""
    (sock,) = bind(("127.0.0.1",), 0, "--")
    url = urls([sock])[0]
    sock.close()
    sidecar = Sidecar(url, session)
    assert await sidecar.teller._tell(sidecar.teller.standing()) is not None
    assert sidecar.teller.outcomes == {"taken": 0, "failed": 1}


async def test_another_replica_is_told_when_one_is_away(
    ear: Ear, session: aiohttp.ClientSession
) -> None:
    """Soon: there is no reason to wait for the one that is gone."""
    (sock,) = bind(("127.0.0.1",), 0, "--")
    gone = urls([sock])[0]
    sock.close()
    sidecar = Sidecar(gone, session, ear.url, backoff_base_s=1.0)
    assert await sidecar.teller._tell(sidecar.teller.standing()) is not None
    assert await sidecar.teller._tell(sidecar.teller.standing()) is None
    assert len(ear.heard) == 1


async def test_goodbye_is_said_once(ear: Ear, session: aiohttp.ClientSession) -> None:
    """With what it still serves."""
    sidecar = Sidecar(ear.url, session)
    await sidecar.serve(3)
    await sidecar.teller.close(5)
    (told,) = ear.heard
    assert (told.leaving, told.revision) == (True, 3)
    assert sidecar.teller.outcomes == {"taken": 1, "failed": 0}


async def test_goodbye_does_not_hold_up_the_end(ear: Ear, session: aiohttp.ClientSession) -> None:
    """A control plane that hangs is left hanging."""
    ear.hold = asyncio.Event()
    sidecar = Sidecar(ear.url, session)
    async with asyncio.timeout(10):
        await sidecar.teller.close(0.05)
    ear.hold.set()


async def test_keys_that_were_used_are_told_until_that_was_taken(
    ear: Ear, session: aiohttp.ClientSession
) -> None:
    """A hundred at a time, the last used first; one that is used again meanwhile, again."""
    used = {f"{number:064x}": 1_000 + number for number in range(150)}
    sidecar = Sidecar(ear.url, session)
    teller = sidecar.teller
    teller._keys_used = used
    first = teller.standing()
    assert set(first.keys_used) == {f"{number:064x}" for number in range(50, 150)}
    assert all(ago_ms > 0 for ago_ms in first.keys_used.values())
    assert len(msgspec.json.encode(first)) < 10_900
    ear.answer = lambda: web.Response(status=503)
    assert await teller._tell(first) is not None
    assert len(used) == 150
    ear.answer = lambda: web.Response(status=204)
    ear.hold = asyncio.Event()
    telling = asyncio.create_task(teller._tell(first))
    await ear.times(2)
    used[f"{149:064x}"] = 2_000  # while the answer is on its way
    ear.hold.set()
    assert await telling is None
    assert set(used) == {f"{number:064x}" for number in (*range(50), 149)}
    assert await teller._tell(teller.standing()) is None
    assert used == {}


def test_the_longest_standing_is_taken() -> None:
    """Whatever names somebody gives: who is refused for them is never seen in the fleet."""
    long = "\U0001d538" * 128
    names = [f"{number:02}" + "n" * 61 for number in range(MAX_LABELS)]
    told = Standing(
        instance="i" * 128,
        application=long,
        application_version=long,
        version="v" * 128,
        labels=dict.fromkeys(names, long),
        epoch="e" * 200,
        revision=2**53,
        digest="d" * 200,
        serving_ms=2**53,
        age_ms=2**53,
        state="s" * 64,
        refused=2**53,
        last_error="e" * 64,
        last_error_ms=2**53,
        uptime_ms=2**53,
        run="r" * 64,
        keys_used={f"{number:064}": 2**53 for number in range(MAX_KEYS_USED)},
    )
    assert check_standing(told) == []
    assert len(msgspec.json.encode(told)) < MAX_STANDING_BYTES
