"""Events in a real Redis: counted in the step that finishes their batch, and kept for a while."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis as sync_redis
from redis.asyncio import Redis

from control_plane.events import store as module
from control_plane.events.model import Sum, name_id
from control_plane.events.store import EventStore
from control_plane.store.connection import Connections, RedisLimits
from control_plane.store.keys import EventKeys
from control_plane.store.reports import Arrival, Balance, Entry, ReportStore

DAY_MS = 86_400_000
NOW_MS = 1_796_000_000_000
TODAY = NOW_MS // DAY_MS
KEYS = EventKeys("p", "e", 3)


@pytest.fixture
async def connections(store_url: str) -> AsyncIterator[Connections]:
    """Connections to each kind of server."""
    opened = Connections(store_url, RedisLimits())
    yield opened
    await opened.close()


@pytest.fixture
def redis(connections: Connections) -> Redis:
    """A client to look into what is stored."""
    return connections.commands


@pytest.fixture
def reports(connections: Connections) -> ReportStore:
    """Where batches come from."""
    return ReportStore(connections)


@pytest.fixture
def store(connections: Connections) -> EventStore:
    """What is under test."""
    return EventStore(connections)


async def read(reports: ReportStore, number: int = 1, body: bytes = b"{}") -> Entry:
    """Store a batch and return it as it was read."""
    await reports.take(KEYS, 1, Arrival(f"id-{number}", number, 100, "pod", 3, body, NOW_MS))
    (entry,) = await reports.read(KEYS, "me", 10)
    return entry


def row(name: str, day: int, *total: float) -> tuple[str, str, int, Sum]:
    """Return what is to be counted of a name."""
    return name_id(name), name, day, Sum(int(total[0]), *total[1:])


async def test_a_batch_is_counted_once(reports: ReportStore, store: EventStore) -> None:
    """By however many it is tried at the same time."""
    entry = await read(reports)
    rows = [row("purchase", TODAY, 2, 0.5, 1.25), row("purchase", TODAY - 1, 1, -4, 16)]
    counted = await asyncio.gather(*(store.count(KEYS, entry, rows, NOW_MS) for _ in range(10)))
    assert sorted(counted) == [0] * 9 + [3]
    figures = await store.figures(KEYS, name_id("purchase"))
    assert figures.days == {TODAY: Sum(2, 0.5, 1.25), TODAY - 1: Sum(1, -4, 16)}
    assert await reports.balance([KEYS]) == Balance(3, 0, 3, 0, 0, 0)


async def test_batches_add_up(reports: ReportStore, store: EventStore) -> None:
    """Of fractions, exactly as doubles do."""
    for number in range(10):
        entry = await read(reports, number)
        await store.count(KEYS, entry, [row("purchase", TODAY, 1, 0.125, 1e-7)], NOW_MS)
    figures = await store.figures(KEYS, name_id("purchase"))
    assert figures.days == {TODAY: Sum(10, 1.25, pytest.approx(1e-6))}


async def test_what_was_counted_is_kept_as_it_came(
    reports: ReportStore, store: EventStore, redis: Redis
) -> None:
    """For whatever joins events to exposures; the stream itself is empty."""
    entry = await read(reports, body=b"\x1f\x8bnot to be looked at")
    await store.count(KEYS, entry, [], NOW_MS)
    ((_, fields),) = await redis.xrange(KEYS.kept)
    assert fields[b"batch"] == b"\x1f\x8bnot to be looked at"
    assert await redis.xlen(KEYS.stream) == 0
    assert (await store.figures(KEYS, name_id("x"))).kept_since_ms is not None


async def test_of_those_kept_the_oldest_make_way(
    reports: ReportStore, store: EventStore, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their bytes; they were counted."""
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", 250)
    for number in range(5):
        entry = await read(reports, number, bytes([number]) * 100)
        await store.count(KEYS, entry, [], NOW_MS)
    kept = [fields[b"batch"][0] for _, fields in await redis.xrange(KEYS.kept)]
    assert kept == [3, 4]
    assert await redis.hget(KEYS.totals, "kept_bytes") == b"200"


async def test_what_is_kept_is_not_kept_for_ever(
    reports: ReportStore, store: EventStore, redis: Redis
) -> None:
    """14 days, by the server's clock, which gives entries their time."""
    seconds, micros = await redis.time()
    server_ms = seconds * 1000 + micros // 1000
    await store.count(KEYS, await read(reports, 1), [], server_ms)
    await store.count(KEYS, await read(reports, 2), [], server_ms + 13 * DAY_MS)
    assert await redis.xlen(KEYS.kept) == 2
    await store.count(KEYS, await read(reports, 3), [], server_ms + 15 * DAY_MS)
    assert await redis.xlen(KEYS.kept) == 0


async def test_days_are_kept_for_400(reports: ReportStore, store: EventStore, redis: Redis) -> None:
    """More or less: those that are over go when there are too many."""
    for number in range(3):
        rows = [row("purchase", TODAY - 500 + n + 160 * number, 1, 1, 1) for n in range(160)]
        await store.count(KEYS, await read(reports, number), rows, NOW_MS)
    days = (await store.figures(KEYS, name_id("purchase"))).days
    assert min(days) >= TODAY - 400
    assert TODAY - 21 in days


async def test_names_beyond_the_bound_are_counted_as_one(
    reports: ReportStore, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a hostile sidecar makes up costs one more."""
    monkeypatch.setattr(module, "MAX_NAMES", 2)
    rows = [row(f"n{number}", TODAY, 1, 1, 1) for number in range(5)]
    for number in range(2):
        await store.count(KEYS, await read(reports, number), rows, NOW_MS)
    counts = [
        sum(one.number for one in (await store.figures(KEYS, ident)).days.values())
        for ident in (*(name_id(f"n{number}") for number in range(5)), "other")
    ]
    assert counts == [2, 2, 0, 0, 0, 6]


def test_all_keys_of_a_shard_have_one_hash_tag() -> None:
    """Counting and finishing are one step."""
    names = (KEYS.stream, KEYS.totals, KEYS.kept, KEYS.names, KEYS.days("x"))
    assert len({sync_redis.cluster.key_slot(name.encode()) for name in names}) == 1
