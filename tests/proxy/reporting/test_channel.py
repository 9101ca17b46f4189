"""Reporting to a control plane on a real socket, through every fault it can have.

`received == deduplicated + delivered + pending + parked + lost` is asserted after each.
"""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy.contract.exposures import EXPOSURES_PATH
from proxy.exposures.buffer import ExposureBuffer, Seen
from proxy.listen import bind, urls
from proxy.reporting.batches import Batch
from proxy.reporting.channel import Channel, ReportSettings, close_all
from proxy.reporting.spool import Spool
from tests.proxy.reporting.collector import Collector, running_collector

KEY = "mf_sidecar_" + "k" * 43


class Clock:
    """Monotonic seconds in hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Parts:
    """A channel with all that surrounds it."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, spool: Spool | None, **settings: Any
    ) -> None:
        self.clock = Clock()
        self.buffer = ExposureBuffer(20_000)
        interval_s = settings.pop("interval_s", 5.0)
        self.channel = Channel(
            "exposures",
            EXPOSURES_PATH,
            self.buffer,
            session,
            ReportSettings(control_plane_urls=(url,), key=KEY, instance="i-1", **settings),
            spool,
            interval_s=interval_s,
            clock=self.clock,
        )

    def see(self, *units: str) -> None:
        """Take exposures of units in."""
        for unit in units:
            self.buffer.add(Seen("f", "on", unit, "targetingKey", None, "SPLIT", "e1", 1), 1000)

    def check(self, **expected: int) -> None:
        """Assert the balance, and some of its parts."""
        balance = self.channel.balance()
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
    """A channel to that control plane."""
    return Parts(collector.url, session, spool)


async def test_exposures_arrive_with_key_and_instance(parts: Parts, collector: Collector) -> None:
    """In one batch, compressed."""
    parts.see("a", "b", "a")
    await parts.channel.flush()
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
    await parts.channel.flush()
    assert collector.arrived == []


async def test_it_reports_by_itself(collector: Collector, session: aiohttp.ClientSession) -> None:
    """At each interval, for as long as it runs."""
    parts = Parts(collector.url, session, None, interval_s=0.02)
    running = asyncio.create_task(parts.channel.run())
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
    await parts.channel.flush()
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
    await parts.channel.flush()
    parts.check(delivered=0, pending=1)
    assert parts.channel.errors == {f"http_{status}": 1}
    collector.answer = lambda _batch: None
    await parts.channel.flush()
    assert len(collector.arrived) == 1 or parts.channel.balance().delivered == 1
    parts.clock.now_s = 31.0
    await parts.channel.flush()
    assert len({batch.id for batch in collector.arrived}) == 1
    parts.check(delivered=1, pending=0)


async def test_retry_after_is_obeyed(parts: Parts, collector: Collector) -> None:
    """Not asked again before."""
    parts.see("a")
    collector.answer = lambda _batch: web.Response(status=503, headers={"Retry-After": "100"})
    await parts.channel.flush()
    for now_s, requests in ((50.0, 1), (99.0, 1), (101.0, 2)):
        parts.clock.now_s = now_s
        await parts.channel.flush()
        assert len(collector.arrived) == requests


async def test_an_answer_that_is_lost_does_not_count_twice(
    parts: Parts, collector: Collector
) -> None:
    """It was stored, and is recognised by its id when it comes again."""
    parts.see("a", "b")
    collector.store_first = True
    collector.answer = lambda _batch: web.Response(status=502)
    await parts.channel.flush()
    collector.answer = lambda _batch: None
    parts.clock.now_s = 31.0
    await parts.channel.flush()
    assert [item.unit for item in collector.items] == ["a", "b"]
    parts.check(delivered=2, pending=0)


@pytest.mark.parametrize("status", [401, 403, 404, 405, 301, 307])
async def test_where_nobody_takes_them_it_is_tried_again_after_minutes(
    parts: Parts, collector: Collector, status: int
) -> None:
    """Asking cannot make a key valid, nor an old control plane new; all is kept meanwhile."""
    parts.see("a")
    collector.answer = lambda _batch: web.Response(status=status)
    await parts.channel.flush()
    parts.clock.now_s = 59.0
    await parts.channel.flush()
    assert len(collector.arrived) == 1
    parts.check(pending=1, parked=0, lost=0)
    collector.answer = lambda _batch: None
    parts.clock.now_s = 200.0
    await parts.channel.flush()
    parts.check(delivered=1)


async def test_413_splits_the_batch_until_it_fits(parts: Parts, collector: Collector) -> None:
    """Halves have ids of their own."""
    parts.see(*map(str, range(10)))
    collector.answer = lambda b: web.Response(status=413) if len(b.items) > 3 else None
    await parts.channel.flush()
    assert sorted(item.unit for item in collector.items) == sorted(map(str, range(10)))
    assert all(len(items) <= 3 for items in collector.stored.values())
    parts.check(delivered=10, pending=0)


async def test_a_file_that_cannot_be_split_is_put_aside_under_one_label(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Kinds of errors are labels of a metric, so they never have an id in them."""
    spool = Spool(tmp_path, 10**6)
    for digit in "123":
        spool.append(Batch(f"00000000-0000-7000-8000-00000000000{digit}", 5, b"x"))
    async with unsplittable() as url:
        parts = Parts(url, session, Spool(tmp_path, 10**6))
        await parts.channel.flush()
    parts.check(parked=15, pending=0)
    assert parts.channel.errors == {"spool": 3}


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


@pytest.mark.parametrize("status", [400, 409, 413, 422])
async def test_what_is_refused_for_good_is_put_aside(
    parts: Parts, collector: Collector, spool: Spool | None, tmp_path: Path, status: int
) -> None:
    """On disk where there is one, else lost; counted either way, and the rest goes on."""
    parts.see("bad")
    bad = web.Response
    collector.answer = lambda b: bad(status=status) if b.items[0].unit == "bad" else None
    await parts.channel.flush()
    parts.see("good")
    await parts.channel.flush()
    assert [item.unit for item in collector.items] == ["good"]
    parked = list((tmp_path / "refused").glob("*")) if spool is not None else []
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
        await parts.channel.flush()
        parts.clock.now_s += 0.001
    parts.check(pending=5)
    assert set(parts.channel.errors) == {"connect"}
    async with running_collector(int(url.rpartition(":")[2])) as back:
        parts.clock.now_s += 31.0
        await parts.channel.flush()
        assert sorted(item.unit for item in back.items) == list("01234")
    parts.check(delivered=5, pending=0)


async def test_a_full_buffer_does_not_hold_the_loop_while_nothing_is_taken(
    parts: Parts, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much waits, the channel lets everybody else run between two looks."""
    looks = 0
    flush = parts.channel.flush

    async def counted() -> None:
        nonlocal looks
        looks += 1
        assert looks < 10, "it looks again and again without a pause"
        await flush()

    monkeypatch.setattr(parts.channel, "flush", counted)
    collector.answer = lambda _batch: web.Response(status=503)
    parts.see(*map(str, range(6_000)))
    await parts.channel.flush()
    running = asyncio.create_task(parts.channel.run())
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
    await parts.channel.flush()
    assert parts.channel.errors == {"timeout": 1}
    parts.check(pending=1)


async def test_closing_does_not_wait_for_it_either(
    silent: str, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """What it does not take in time goes to disk."""
    parts = Parts(silent, session, Spool(tmp_path, 10**6), timeout_s=60)
    parts.see("a", "b")
    await parts.channel.close(0.1)
    assert Spool(tmp_path, 10**6).open() == (2, [])
    parts.check(pending=2, lost=0)


async def test_what_waits_on_disk_survives_the_process(
    collector: Collector, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Another one reports it, under the same id."""
    collector.answer = lambda _batch: web.Response(status=503)
    first = Parts(collector.url, session, Spool(tmp_path, 10**6))
    first.see("a", "b")
    await first.channel.flush()
    first.see("c")
    await first.channel.close(0.1)
    first.check(pending=3, lost=0)

    collector.answer = lambda _batch: None
    second = Parts(collector.url, session, Spool(tmp_path, 10**6))
    await second.channel.flush()
    second.check(received=3, delivered=3, pending=0)
    assert sorted(item.unit for item in collector.items) == ["a", "b", "c"]
    assert collector.arrived[0].id == collector.arrived[-2].id
    assert Spool(tmp_path, 10**6).open() == (0, [])


async def test_without_a_disk_the_end_is_reported_or_lost(
    parts: Parts, collector: Collector, spool: Spool | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing sends what it can in its time."""
    parts.see("a")
    await parts.channel.close(5)
    parts.check(delivered=1)
    collector.answer = lambda _batch: web.Response(status=503)
    parts.see("b")
    await parts.channel.close(5)
    assert ("are lost" in caplog.text) is (spool is None)


async def test_when_disk_and_memory_are_full_what_is_new_is_lost_and_said_so(
    collector: Collector, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Nothing that is kept makes way; and never the process, and never uncounted."""
    collector.answer = lambda _batch: web.Response(status=503)
    parts = Parts(collector.url, session, Spool(tmp_path, 1500))
    parts.buffer = parts.channel._source = ExposureBuffer(10)
    for number in range(30):
        parts.see(f"unit-{number}")
        await parts.channel.flush()
        parts.check()
    balance = parts.channel.balance()
    assert balance.lost > 0
    assert balance.pending > 10
    assert sum(path.stat().st_size for path in (tmp_path / "waiting").iterdir()) <= 1500
    collector.answer = lambda _batch: None
    parts.clock.now_s = 31.0
    await parts.channel.flush()
    arrived = [f"unit-{number}" for number in range(balance.pending)]
    assert [item.unit for item in collector.items] == arrived
    parts.check(pending=0, lost=30 - len(arrived))


async def test_a_disk_that_cannot_be_written_is_survived(
    collector: Collector, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Exposures stay in memory."""
    (tmp_path / "waiting").write_text("not a directory")
    collector.answer = lambda _batch: web.Response(status=503)
    parts = Parts(collector.url, session, Spool(tmp_path, 10**6))
    parts.see("a")
    await parts.channel.flush()
    parts.check(pending=1, lost=0)
    assert parts.channel.errors["spool"] == 2, "reading what an earlier run left, and writing"
    collector.answer = lambda _batch: None
    parts.clock.now_s = 31.0
    await parts.channel.flush()
    parts.check(delivered=1)


async def test_a_file_that_is_gone_is_lost_and_the_rest_goes_on(
    collector: Collector, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Somebody cleaned up."""
    collector.answer = lambda _batch: web.Response(status=503)
    parts = Parts(collector.url, session, Spool(tmp_path, 10**6, segment_bytes=1))
    for unit in ("a", "b"):
        parts.see(unit)
        await parts.channel.flush()
    sorted((tmp_path / "waiting").iterdir())[0].unlink()
    collector.answer = lambda _batch: None
    parts.clock.now_s = 31.0
    await parts.channel.flush()
    parts.check(delivered=1, lost=1, pending=0)


async def test_cancelled_anywhere_nothing_is_forgotten(parts: Parts, collector: Collector) -> None:
    """The balance holds after each, and everything arrives in the end."""
    units = 0
    for steps in range(40):
        for _ in range(3):
            parts.see(f"u-{units}")
            units += 1
        work = asyncio.create_task(parts.channel.flush())
        for _ in range(steps):
            await asyncio.sleep(0)
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        parts.check(received=units, lost=0)
    await parts.channel.flush()
    parts.check(delivered=units, pending=0)
    assert sorted(item.unit for item in collector.items) == sorted(f"u-{n}" for n in range(units))


async def test_an_answer_of_somebody_else_is_no_receipt(parts: Parts, collector: Collector) -> None:
    """A proxy that answers 200 for a control plane that is away has stored nothing."""
    answers = [b"", b"<html>", b"{}", b'{"id":"x","accepted":1,"duplicate":false}', b" " * 10_000]
    collector.answer = lambda _batch: web.Response(body=answers[0])
    parts.see("a")
    while answers:
        await parts.channel.flush()
        answers.pop(0)
        parts.clock.now_s += 31.0
        parts.check(delivered=0, pending=1)
    collector.answer = lambda _batch: None
    await parts.channel.flush()
    parts.check(delivered=1)
    assert parts.channel.errors == {"protocol": 5}


async def test_what_is_too_old_to_be_counted_is_parked_there(
    parts: Parts, collector: Collector
) -> None:
    """The receipt says so, and the balance too."""
    collector.answer = lambda batch: web.json_response(
        {"id": batch.id, "accepted": 0, "duplicate": False, "parked": True}
    )
    parts.see("a", "b")
    await parts.channel.flush()
    parts.check(delivered=0, parked=2, pending=0)


async def test_an_item_that_is_no_json_is_lost_alone(parts: Parts, collector: Collector) -> None:
    """It does not hold up the others for ever."""
    parts.see("a")
    parts.buffer.add(Seen("\ud83d", "on", "b", "targetingKey", None, "SPLIT", "e1", 1), 1000)
    await parts.channel.flush()
    parts.check(delivered=1, lost=1, pending=0)


async def test_a_refused_batch_is_kept_with_the_reason(
    collector: Collector, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """`zcat` shows both."""
    collector.answer = lambda _batch: web.Response(status=422, text="no such epoch")
    parts = Parts(collector.url, session, Spool(tmp_path, 10**6))
    parts.see("a")
    await parts.channel.flush()
    (file,) = (tmp_path / "refused").iterdir()
    about, batch = map(json.loads, gzip.decompress(file.read_bytes()).splitlines())
    assert (about["why"], about["items"]) == ("http_422: no such epoch", 1)
    assert (about["batch"], batch["items"][0]["unit"]) == (batch["id"], "a")


async def test_a_split_that_is_cut_short_gives_the_same_halves_again(
    collector: Collector, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """So that a half that was stored is known when it comes again."""
    collector.answer = lambda _batch: web.Response(status=503)
    first = Parts(collector.url, session, Spool(tmp_path, 10**6))
    first.see("a", "b", "c")
    await first.channel.flush()

    def answer(batch: Any) -> web.Response | None:
        if len(batch.items) > 2:
            return web.Response(status=413)
        return web.Response(status=503) if len(collector.stored) else None

    collector.answer = answer
    second = Parts(collector.url, session, Spool(tmp_path, 10**6))
    await second.channel.flush()  # as if it were killed after one half
    second.check(delivered=1, pending=2)
    collector.answer = lambda b: web.Response(status=413) if len(b.items) > 2 else None
    third = Parts(collector.url, session, Spool(tmp_path, 10**6))
    await third.channel.flush()
    third.check(delivered=3, pending=0)
    assert sorted(item.unit for item in collector.items) == ["a", "b", "c"]


async def test_what_comes_while_something_waits_on_disk_goes_there_too(
    collector: Collector, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A slow way through what is old must not keep what is new in memory alone."""
    collector.answer = lambda _batch: web.Response(status=503)
    parts = Parts(collector.url, session, Spool(tmp_path, 10**6))
    parts.see("a")
    await parts.channel.flush()
    parts.see("b")
    seen: list[tuple[str, int]] = []

    def answer(batch: Any) -> None:
        seen.append((batch.items[0].unit, Spool(tmp_path, 10**6).open().items))

    collector.answer = answer
    parts.clock.now_s = 31.0
    await parts.channel.flush()
    assert seen == [("a", 2), ("b", 1)]


async def test_behind_a_slow_control_plane_what_waits_goes_to_disk(
    collector: Collector, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """It takes each batch in the end; till then the last ones would be in memory alone."""
    parts = Parts(collector.url, session, Spool(tmp_path, 10**7))
    parts.see(*map(str, range(12_000)))
    on_disk: list[int] = []

    def answer(_batch: Any) -> None:
        parts.clock.now_s += 2.0
        on_disk.append(Spool(tmp_path, 10**7).open().items)

    collector.answer = answer
    await parts.channel.flush()
    _, *others = [len(batch.items) for batch in collector.arrived]
    assert on_disk == [0, *(sum(others[n:]) for n in range(len(others)))]
    parts.check(delivered=12_000, pending=0)


async def test_channels_close_side_by_side(
    silent: str, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Each in the time that there is for all; what is left is on disk."""
    parts = [Parts(silent, session, Spool(tmp_path / name, 10**6), timeout_s=60) for name in "abc"]
    for each in parts:
        each.see("u")
    await asyncio.wait_for(close_all([each.channel for each in parts], 0.3), 0.9)
    assert [Spool(tmp_path / name, 10**6).open().items for name in "abc"] == [1, 1, 1]


async def test_secrets_are_in_no_repr() -> None:
    """Settings end up in logs."""
    settings = ReportSettings(control_plane_urls=("http://x",), key=KEY, instance="i")
    assert KEY not in repr(settings)
