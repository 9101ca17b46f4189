"""Consumers of streams, on a real Redis: what was stored is counted, whatever fails."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest

from control_plane.reports import aggregation as module
from control_plane.reports.aggregation import MAX_DELIVERIES, Aggregation, Count
from control_plane.reports.model import Kind, Place
from control_plane.reports.service import keys_of
from control_plane.store.connection import Connections, RedisError, RedisLimits
from control_plane.store.reports import Arrival, Balance, Entry, ReportStore
from control_plane.supervise import Failed, unnoted
from tests.support.redis import RedisServer

PLACE = Place(Kind.EXPOSURES, "p", "e")
SHARD = 3
KEYS = keys_of(PLACE, SHARD)
CLAIM_S = 0.2


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[ReportStore]:
    """A store on an empty Redis."""
    connections = Connections(redis_url, RedisLimits())
    yield ReportStore(connections)
    await connections.close()


class Counting:
    """Counts batches by their body, and fails as it is told to."""

    def __init__(self, store: ReportStore) -> None:
        self._store = store
        self.counted: Counter[bytes] = Counter()
        self.failures: list[BaseException] = []
        self.poison = b""

    async def __call__(self, place: Place, shard: int, entries: list[Entry]) -> None:
        """Count and finish; raise the next failure instead, and always for poison."""
        if self.failures:
            raise self.failures.pop()
        if self.poison and any(entry.body == self.poison for entry in entries):
            raise ValueError("poison")
        self.counted.update(entry.body for entry in entries)
        await self._store.finish(keys_of(place, shard), entries)


@pytest.fixture
def count(store: ReportStore) -> Counting:
    """What counts."""
    return Counting(store)


def aggregation(
    store: ReportStore,
    count: Count,
    *,
    current: bool = True,
    claim_after_s: float = CLAIM_S,
    failed: Failed = unnoted,
) -> Aggregation:
    """Return consumers for one place."""

    def places() -> Iterator[Place]:
        yield PLACE

    return Aggregation(
        store, {Kind.EXPOSURES: count}, places, lambda: current, claim_after_s, failed
    )


async def put(store: ReportStore, *bodies: bytes) -> None:
    """Store batches of two items each."""
    for body in bodies:
        number = int.from_bytes(body[:7].ljust(7, b"\0"), "big")
        await store.take(KEYS, 1, Arrival(body.hex(), number, 100, "pod", 2, body, 1_000))


async def delivered(store: ReportStore, items: int) -> Balance:
    """Return the balance once so many items were counted."""
    async with asyncio.timeout(20):
        while (balance := await store.balance([KEYS])).delivered < items:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
    return balance


async def settled(store: ReportStore) -> Balance:
    """Return the balance once nothing is pending."""
    async with asyncio.timeout(20):
        while (balance := await store.balance([KEYS])).pending:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
    return balance


async def test_what_was_stored_is_counted(store: ReportStore, count: Counting) -> None:
    """Soon after somebody said so, long before it is looked for."""
    async with aggregation(store, count, claim_after_s=60) as running:
        await asyncio.sleep(0.05)  # the first look
        await put(store, b"a", b"b")
        running.stored(PLACE, SHARD)
        assert await delivered(store, 4) == Balance(4, 0, 4, 0, 0, 0)
    assert count.counted == {b"a": 1, b"b": 1}


async def test_what_nobody_told_of_is_found(store: ReportStore, count: Counting) -> None:
    """The replica that stored it died."""
    async with aggregation(store, count):
        await put(store, b"a")
        await delivered(store, 2)


async def test_many_batches_are_counted_in_turn(store: ReportStore, count: Counting) -> None:
    """More than are read at once, and than one turn takes."""
    bodies = [f"batch {number:05}".encode()[-5:] for number in range(300)]
    await put(store, *bodies)
    async with aggregation(store, count):
        await delivered(store, 600)
    assert count.counted == Counter(bodies)


async def test_what_a_dead_consumer_took_is_counted(store: ReportStore, count: Counting) -> None:
    """After a while, by another."""
    await put(store, b"a", b"b")
    assert len(await store.read(KEYS, "dead", 10)) == 2
    async with aggregation(store, count):
        assert (await delivered(store, 4)).pending == 0
    assert count.counted == {b"a": 1, b"b": 1}


async def test_two_replicas_share_the_work(store: ReportStore) -> None:
    """Each batch is one's."""
    one, two = Counting(store), Counting(store)
    bodies = [f"{number:05}".encode() for number in range(200)]
    async with aggregation(store, one, claim_after_s=60), aggregation(store, two, claim_after_s=60):
        await put(store, *bodies)
        await delivered(store, 400)
    assert one.counted + two.counted == Counter(bodies)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError(), asyncio.CancelledError()])
async def test_a_consumer_survives_what_is_raised_in_it(
    store: ReportStore, count: Counting, error: BaseException
) -> None:
    """And counts the batch the next time."""
    count.failures = [error]
    async with aggregation(store, count):
        await put(store, b"a")
        await delivered(store, 2)
    assert count.counted == {b"a": 1}


async def test_a_batch_that_cannot_be_counted_is_set_aside(
    store: ReportStore, count: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some deliveries; the others are counted at once."""
    monkeypatch.setattr(module, "MAX_DELIVERIES", 3)
    count.poison = b"poison"
    await put(store, b"a", b"poison", b"b")
    failures: list[str] = []
    async with aggregation(
        store, count, claim_after_s=0.1, failed=lambda name, error: failures.append(name)
    ) as running:
        balance = await settled(store)
        await asyncio.sleep(0)
        assert running.set_aside == 2
    assert failures == ["aggregation"] * 3
    assert balance == Balance(6, 0, 4, 0, 2, 0)
    assert count.counted == {b"a": 1, b"b": 1}
    assert MAX_DELIVERIES > 3


async def test_nothing_is_counted_without_current_definitions(
    store: ReportStore, count: Counting
) -> None:
    """A flag that was made meanwhile would be taken for none."""
    await put(store, b"a")
    async with aggregation(store, count, current=False) as running:
        running.stored(PLACE, SHARD)
        await asyncio.sleep(0.3)
        assert (await store.balance([KEYS])).pending == 2
    assert not count.counted


async def test_what_redis_interrupts_is_counted_at_once_when_it_is_back(
    store: ReportStore, count: Counting
) -> None:
    """Not after the time that the work of others is left alone."""
    count.failures = [RedisError("gone")]
    await put(store, b"a")
    async with aggregation(store, count, claim_after_s=600):
        await delivered(store, 2)


async def test_a_redis_that_restarts_interrupts_only(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What it kept is counted; all shards together say once that they wait."""
    connections = Connections(redis_server.url, RedisLimits())
    store = ReportStore(connections)
    count = Counting(store)
    await put(store, b"a")
    async with aggregation(store, count) as running:
        await delivered(store, 2)
        redis_server.kill()
        async with asyncio.timeout(20):
            while not caplog.records:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.02)
        await asyncio.sleep(1)  # the others
        redis_server.restart()
        await put(store, b"b")
        running.stored(PLACE, SHARD)
        assert await delivered(store, 4) == Balance(4, 0, 4, 0, 0, 0)
    await connections.close()
    assert [r.name for r in caplog.records].count(module.__name__) == 1


async def test_stopping_ends_what_is_under_way(store: ReportStore) -> None:
    """So that nothing waits a minute to be claimed."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(place: Place, shard: int, entries: list[Entry]) -> None:
        begun.set()
        await go_on.wait()
        await store.finish(keys_of(place, shard), entries)

    await put(store, b"a")
    running = aggregation(store, slow)
    await running.__aenter__()
    await begun.wait()
    stopping = asyncio.create_task(running.__aexit__(None, None, None))
    await asyncio.sleep(0.05)
    go_on.set()
    await stopping
    assert (await store.balance([KEYS])).pending == 0


async def test_the_figures_are_of_all_places(store: ReportStore, count: Counting) -> None:
    """Read now and then, for the metrics."""
    await put(store, b"a", b"b", b"a")
    async with aggregation(store, count, current=False) as running:
        async with asyncio.timeout(10):
            while not running.balances:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        assert running.balances == {Kind.EXPOSURES: Balance(6, 2, 0, 4, 0, 0)}
