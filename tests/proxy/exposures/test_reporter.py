"""Reporting to a control plane on a real socket, through every fault it can have.

`received == deduplicated + delivered + pending + parked + lost` is asserted after each.
"""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy.exposures.buffer import ExposureBuffer, Seen
from proxy.exposures.reporter import ExposureReporter, ReporterSettings
from proxy.exposures.spool import Spool
from proxy.listen import bind, urls
from tests.proxy.exposures.collector import Collector, running_collector

KEY = "mf_sidecar_" + "k" * 43


class Clock:
    """Monotonic seconds in hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Parts:
    """A reporter with all that surrounds it."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, spool: Spool | None, **settings: Any
    ) -> None:
        self.clock = Clock()
        self.buffer = ExposureBuffer(20_000)
        self.reporter = ExposureReporter(
            self.buffer,
            session,
            ReporterSettings(control_plane_urls=(url,), key=KEY, instance="i-1", **settings),
            spool,
            clock=self.clock,
        )

    def see(self, *units: str) -> None:
        """Take exposures of units in."""
        for unit in units:
            self.buffer.add(Seen("f", "on", unit, "targetingKey", None, "SPLIT", "e1", 1), 1000)

    def check(self, **expected: int) -> None:
        """Assert the balance, and some of its parts."""
        balance = self.reporter.balance()
        assert balance.received == sum(balance[1:])
        assert {name: getattr(balance, name) for name in expected} == expected


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A control plane."""
    async with running_collector() as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client session."""
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture(params=["disk", "memory"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool | None:
    """With and without a directory."""
    return Spool(tmp_path, 10**6) if request.param == "disk" else None


@pytest.fixture
def parts(collector: Collector, session: aiohttp.ClientSession, spool: Spool | None) -> Parts:
    """A reporter to that control plane."""
    return Parts(collector.url, session, spool)


async def test_exposures_arrive_with_key_and_instance(parts: Parts, collector: Collector) -> None:
    """In one batch, compressed."""
    parts.see("a", "b", "a")
    await parts.reporter.flush()
    (batch,) = collector.arrived
    assert (batch.instance, [(i.unit, i.count) for i in batch.items]) == (
        "i-1",
        [("a", 2), ("b", 1)],
    )
    assert collector.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert collector.headers[0]["Content-Encoding"] == "gzip"
    assert collector.headers[0]["X-Matrixflag-Instance"] == "i-1"
    parts.check(received=3, deduplicated=1, delivered=2, pending=0)


async def test_without_exposures_nothing_is_sent(parts: Parts, collector: Collector) -> None:
    """Silence costs nothing."""
    await parts.reporter.flush()
    assert collector.arrived == []


async def test_it_reports_by_itself(collector: Collector, session: aiohttp.ClientSession) -> None:
    """At each interval, for as long as it runs."""
    parts = Parts(collector.url, session, None, interval_s=0.02)
    running = asyncio.create_task(parts.reporter.run())
    for unit in ("a", "b"):
        parts.see(unit)
        await asyncio.wait_for(collector.request_made.wait(), 10)
        collector.request_made.clear()
        assert collector.items[-1].unit == unit
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_many_exposures_are_several_batches(parts: Parts, collector: Collector) -> None:
    """All in one go."""
    parts.see(*map(str, range(12_000)))
    await parts.reporter.flush()
    assert len(collector.arrived) >= 3
    assert len({item.unit for item in collector.items}) == 12_000
    parts.check(delivered=12_000, pending=0)


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
async def test_a_fault_of_the_control_plane_is_waited_out(
    parts: Parts, collector: Collector, status: int
) -> None:
    """And the batch keeps its id, so that it is applied once."""
    parts.see("a")
    collector.answer = lambda _batch: web.Response(status=status)
    await parts.reporter.flush()
    parts.check(delivered=0, pending=1)
    assert parts.reporter.errors == {f"http_{status}": 1}
    collector.answer = lambda _batch: None
    await parts.reporter.flush()
    assert len(collector.arrived) == 1 or parts.reporter.balance().delivered == 1
    parts.clock.now_s = 31.0
    await parts.reporter.flush()
    assert len({batch.id for batch in collector.arrived}) == 1
    parts.check(delivered=1, pending=0)


async def test_retry_after_is_obeyed(parts: Parts, collector: Collector) -> None:
    """Not asked again before."""
    parts.see("a")
    collector.answer = lambda _batch: web.Response(status=503, headers={"Retry-After": "100"})
    await parts.reporter.flush()
    for now_s, requests in ((50.0, 1), (99.0, 1), (101.0, 2)):
        parts.clock.now_s = now_s
        await parts.reporter.flush()
        assert len(collector.arrived) == requests


async def test_an_answer_that_is_lost_does_not_count_twice(
    parts: Parts, collector: Collector
) -> None:
    """It was stored, and is recognised by its id when it comes again."""
    parts.see("a", "b")
    collector.store_first = True
    collector.answer = lambda _batch: web.Response(status=502)
    await parts.reporter.flush()
    collector.answer = lambda _batch: None
    parts.clock.now_s = 31.0
    await parts.reporter.flush()
    assert [item.unit for item in collector.items] == ["a", "b"]
    parts.check(delivered=2, pending=0)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_tried_again_after_minutes(
    parts: Parts, collector: Collector, status: int
) -> None:
    """Asking cannot make it valid; the exposures are kept meanwhile."""
    parts.see("a")
    collector.answer = lambda _batch: web.Response(status=status)
    await parts.reporter.flush()
    parts.clock.now_s = 59.0
    await parts.reporter.flush()
    assert len(collector.arrived) == 1
    parts.check(pending=1, parked=0, lost=0)
    collector.answer = lambda _batch: None
    parts.clock.now_s = 200.0
    await parts.reporter.flush()
    parts.check(delivered=1)


async def test_413_splits_the_batch_until_it_fits(parts: Parts, collector: Collector) -> None:
    """Halves have ids of their own."""
    parts.see(*map(str, range(10)))
    collector.answer = lambda b: web.Response(status=413) if len(b.items) > 3 else None
    await parts.reporter.flush()
    assert sorted(item.unit for item in collector.items) == sorted(map(str, range(10)))
    assert all(len(items) <= 3 for items in collector.stored.values())
    parts.check(delivered=10, pending=0)


async def test_a_file_that_cannot_be_split_is_put_aside_under_one_label(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Kinds of errors are labels of a metric, so they never have an id in them."""
    pending = tmp_path / "pending"
    pending.mkdir()
    for digit in "123":
        (pending / f"00000000-0000-7000-8000-00000000000{digit}-5.json.gz").write_bytes(b"x")
    async with unsplittable() as url:
        parts = Parts(url, session, Spool(tmp_path, 10**6))
        await parts.reporter.flush()
    parts.check(parked=15, pending=0)
    assert parts.reporter.errors == {"spool": 3}


@contextlib.asynccontextmanager
async def unsplittable() -> AsyncIterator[str]:
    """A control plane that finds everything too large."""

    async def refuse(_request: web.BaseRequest) -> web.Response:
        return web.Response(status=413)

    server = web.Server(refuse)
    runner = web.ServerRunner(server)
    await runner.setup()
    (bound,) = bind(("127.0.0.1",), 0, "--")
    await web.SockSite(runner, bound).start()
    yield urls([bound])[0]
    await runner.cleanup()


@pytest.mark.parametrize("status", [400, 404, 413, 422, 301])
async def test_what_is_refused_for_good_is_put_aside(
    parts: Parts, collector: Collector, spool: Spool | None, tmp_path: Path, status: int
) -> None:
    """On disk where there is one, else lost; counted either way, and the rest goes on."""
    parts.see("bad")
    bad = web.Response
    collector.answer = lambda b: bad(status=status) if b.items[0].unit == "bad" else None
    await parts.reporter.flush()
    parts.see("good")
    await parts.reporter.flush()
    assert [item.unit for item in collector.items] == ["good"]
    parked = list((tmp_path / "parked").glob("*")) if spool is not None else []
    assert len(parked) == (0 if spool is None else 1)
    name = "lost" if spool is None else "parked"
    parts.check(delivered=1, pending=0, **{name: 1})


async def test_a_control_plane_that_is_not_there_loses_nothing(
    session: aiohttp.ClientSession, spool: Spool | None
) -> None:
    """What came while it was away arrives when it is back."""
    async with running_collector() as gone:
        url = gone.url
    parts = Parts(url, session, spool)
    for number in range(5):
        parts.see(str(number))
        await parts.reporter.flush()
        parts.clock.now_s += 0.001
    parts.check(pending=5)
    assert set(parts.reporter.errors) == {"connect"}
    async with running_collector(int(url.rpartition(":")[2])) as back:
        parts.clock.now_s += 31.0
        await parts.reporter.flush()
        assert sorted(item.unit for item in back.items) == list("01234")
    parts.check(delivered=5, pending=0)


async def test_a_full_buffer_does_not_hold_the_loop_while_nothing_is_taken(
    parts: Parts, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much waits, the reporter lets everybody else run between two looks."""
    looks = 0
    flush = parts.reporter.flush

    async def counted() -> None:
        nonlocal looks
        looks += 1
        assert looks < 10, "it looks again and again without a pause"
        await flush()

    monkeypatch.setattr(parts.reporter, "flush", counted)
    collector.answer = lambda _batch: web.Response(status=503)
    parts.see(*map(str, range(6_000)))
    await parts.reporter.flush()
    running = asyncio.create_task(parts.reporter.run())
    parts.see(*map(str, range(6_000, 12_000)))
    await asyncio.sleep(0.05)
    assert not running.done()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """The URL of a control plane that takes requests and never answers."""

    async def hang(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    app = web.Application()
    app.router.add_post("/{path:.*}", hang)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_control_plane_that_does_not_answer_is_given_up(
    silent: str, session: aiohttp.ClientSession
) -> None:
    """In bounded time."""
    parts = Parts(silent, session, None, timeout_s=0.05)
    parts.see("a")
    await parts.reporter.flush()
    assert parts.reporter.errors == {"timeout": 1}
    parts.check(pending=1)


async def test_closing_does_not_wait_for_it_either(
    silent: str, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """What it does not take in time goes to disk."""
    parts = Parts(silent, session, Spool(tmp_path, 10**6), timeout_s=60)
    parts.see("a", "b")
    await parts.reporter.close(0.1)
    assert [waiting.count for waiting in Spool(tmp_path, 10**6).waiting()] == [2]
    parts.check(pending=2, lost=0)


async def test_what_waits_on_disk_survives_the_process(
    collector: Collector, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Another one reports it, under the same id."""
    collector.answer = lambda _batch: web.Response(status=503)
    first = Parts(collector.url, session, Spool(tmp_path, 10**6))
    first.see("a", "b")
    await first.reporter.flush()
    first.see("c")
    await first.reporter.close(0.1)
    first.check(pending=3, lost=0)

    collector.answer = lambda _batch: None
    second = Parts(collector.url, session, Spool(tmp_path, 10**6))
    await second.reporter.flush()
    second.check(received=3, delivered=3, pending=0)
    assert sorted(item.unit for item in collector.items) == ["a", "b", "c"]
    assert collector.arrived[0].id == collector.arrived[-2].id
    assert Spool(tmp_path, 10**6).waiting() == []


async def test_without_a_disk_the_end_is_reported_or_lost(
    parts: Parts, collector: Collector, spool: Spool | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing sends what it can in its time."""
    parts.see("a")
    await parts.reporter.close(5)
    parts.check(delivered=1)
    collector.answer = lambda _batch: web.Response(status=503)
    parts.see("b")
    await parts.reporter.close(5)
    assert ("are lost" in caplog.text) is (spool is None)


async def test_a_full_disk_costs_the_oldest_and_says_so(
    collector: Collector, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Never the process, and never uncounted."""
    collector.answer = lambda _batch: web.Response(status=503)
    parts = Parts(collector.url, session, Spool(tmp_path, 700))
    for number in range(20):
        parts.see(f"unit-{number}")
        await parts.reporter.flush()
        parts.check()
    balance = parts.reporter.balance()
    assert balance.lost > 0
    assert balance.pending > 0
    assert sum(path.stat().st_size for path in (tmp_path / "pending").iterdir()) <= 700


async def test_a_disk_that_cannot_be_written_is_survived(
    collector: Collector, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Exposures stay in memory."""
    (tmp_path / "pending").write_text("not a directory")
    collector.answer = lambda _batch: web.Response(status=503)
    parts = Parts(collector.url, session, Spool(tmp_path, 10**6))
    parts.see("a")
    await parts.reporter.flush()
    parts.check(pending=1, lost=0)
    assert parts.reporter.errors["spool"] == 2, "reading what an earlier run left, and writing"
    collector.answer = lambda _batch: None
    parts.clock.now_s = 31.0
    await parts.reporter.flush()
    parts.check(delivered=1)


async def test_a_file_that_cannot_be_read_is_lost_and_the_rest_goes_on(
    collector: Collector, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Somebody cleaned up."""
    collector.answer = lambda _batch: web.Response(status=503)
    parts = Parts(collector.url, session, Spool(tmp_path, 10**6))
    for unit in ("a", "b"):
        parts.see(unit)
        await parts.reporter.flush()
    sorted((tmp_path / "pending").iterdir())[0].unlink()
    collector.answer = lambda _batch: None
    parts.clock.now_s = 31.0
    await parts.reporter.flush()
    parts.check(delivered=1, lost=1, pending=0)


async def test_cancelled_anywhere_nothing_is_forgotten(parts: Parts, collector: Collector) -> None:
    """The balance holds after each, and everything arrives in the end."""
    units = 0
    for steps in range(40):
        for _ in range(3):
            parts.see(f"u-{units}")
            units += 1
        work = asyncio.create_task(parts.reporter.flush())
        for _ in range(steps):
            await asyncio.sleep(0)
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        parts.check(received=units, lost=0)
    await parts.reporter.flush()
    parts.check(delivered=units, pending=0)
    assert sorted(item.unit for item in collector.items) == sorted(f"u-{n}" for n in range(units))


async def test_units_are_reported_as_hmacs_when_a_key_is_given(
    collector: Collector, session: aiohttp.ClientSession
) -> None:
    """The control plane never sees who it was."""
    parts = Parts(collector.url, session, None, unit_hash_key="pepper")
    parts.see("ann@example.com")
    await parts.reporter.flush()
    expected = hmac.new(b"pepper", b"ann@example.com", hashlib.sha256).hexdigest()
    assert collector.items[0].unit == expected


async def test_secrets_are_in_no_repr() -> None:
    """Settings end up in logs."""
    settings = ReporterSettings(
        control_plane_urls=("http://x",), key=KEY, instance="i", unit_hash_key="pepper"
    )
    assert KEY not in repr(settings)
    assert "pepper" not in repr(settings)
