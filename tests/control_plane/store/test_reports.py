"""Batches in a real Redis: once, atomically, bounded, and each item accounted for."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis as sync_redis
from redis.asyncio import Redis

from control_plane.store.connection import Connections, RedisError, RedisLimits
from control_plane.store.keys import GROUP, ReportKeys
from control_plane.store.reports import (
    MAX_PARKED_BYTES,
    Arrival,
    Balance,
    Fate,
    ReportLimits,
    ReportStore,
)
from tests.support.redis import RedisServer

HOUR = 498_888
KEYS = ReportKeys("exposures", "p", "e", 3)
_DAY_S = 86_400


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
def store(connections: Connections) -> ReportStore:
    """A store with the bounds as they are."""
    return ReportStore(connections)


def arrival(number: int, *, items: int = 2, body: bytes = b"{}") -> Arrival:
    """Return a batch that is told apart by a number."""
    return Arrival(f"id-{number}", number, 8 * _DAY_S, "pod", items, body, 1_000)


async def put(store: ReportStore, number: int, **changes: object) -> Fate:
    """Store a batch."""
    return await store.take(KEYS, HOUR, arrival(number, **changes))  # type: ignore[arg-type]


async def test_a_batch_is_an_entry_of_its_stream(store: ReportStore, redis: Redis) -> None:
    """With all that counting wants, the document unchanged."""
    await put(store, 7, items=2, body=b"\x1f\x8b\xff")
    ((_, fields),) = await redis.xrange(KEYS.stream)
    assert fields == {
        b"id": b"id-7",
        b"instance": b"pod",
        b"count": b"2",
        b"received_ms": b"1000",
        b"batch": b"\x1f\x8b\xff",
    }


async def test_a_batch_is_stored_once(store: ReportStore, redis: Redis) -> None:
    """However often it is sent, also by several at the same time."""
    answers = await asyncio.gather(*(put(store, 7) for _ in range(20)))
    assert sorted(answers) == [Fate.STORED] + [Fate.DUPLICATE] * 19
    assert await redis.xlen(KEYS.stream) == 1
    assert await store.balance([KEYS]) == Balance(40, 38, 0, 2, 0, 0)


async def test_ids_are_forgotten_in_the_end(store: ReportStore, redis: Redis) -> None:
    """A set for each hour, which expires, so that memory is bounded by time."""
    await put(store, 7)
    assert 8 * _DAY_S <= await redis.ttl(KEYS.seen(HOUR)) + 10 <= 8 * _DAY_S + 3700


async def test_a_set_that_is_full_lives_as_long_as_what_follows_it(
    store: ReportStore, redis: Redis
) -> None:
    """Or the ids that follow would be forgotten with it."""
    for number in range(600):
        await put(store, number)
    await redis.expire(KEYS.seen(HOUR), 5)
    await put(store, 600)
    assert await redis.ttl(KEYS.seen(HOUR)) > 7 * _DAY_S
    assert await redis.scard(KEYS.seen(HOUR) + ":1") == 601 - 511
    assert await put(store, 599) is Fate.DUPLICATE


async def test_an_id_that_needs_longer_is_remembered_for_longer(
    store: ReportStore, redis: Redis
) -> None:
    """And one that does not shortens nothing."""
    await store.take(KEYS, HOUR, arrival(1)._replace(seen_for_s=9 * _DAY_S))
    await put(store, 2)
    assert await redis.ttl(KEYS.seen(HOUR)) > 8 * _DAY_S


@pytest.mark.parametrize("limits", [ReportLimits(max_bytes=250), ReportLimits(max_items=4)])
async def test_a_full_shard_takes_nothing(
    connections: Connections, redis: Redis, limits: ReportLimits
) -> None:
    """And nothing makes way: what is refused now may come again."""
    store = ReportStore(connections, limits)
    assert await put(store, 1, body=b"x" * 100) is Fate.STORED
    assert await put(store, 2, body=b"x" * 100) is Fate.STORED
    for _ in range(2):
        assert await put(store, 3, body=b"x" * 100) is Fate.FULL
    assert await put(store, 1, body=b"x" * 100) is Fate.DUPLICATE
    assert await store.balance([KEYS]) == Balance(6, 2, 0, 4, 0, 0)
    entries = await store.read(KEYS, "me", 1)
    await store.finish(KEYS, entries)
    assert await put(store, 3, body=b"x" * 100) is Fate.STORED


async def test_a_batch_is_read_by_one_consumer(store: ReportStore) -> None:
    """And again only by the one that has it."""
    await put(store, 1)
    (entry,) = await store.read(KEYS, "one", 10)
    assert (entry.items, entry.received_ms, entry.body) == (2, 1_000, b"{}")
    assert await store.read(KEYS, "other", 10) == []
    assert await store.read(KEYS, "one", 10) == []
    assert await store.read(KEYS, "one", 10, again=True) == [entry]


async def test_where_nothing_was_stored_nothing_is_read(store: ReportStore) -> None:
    """No stream, no group."""
    assert await store.read(KEYS, "me", 10) == []
    assert await store.overdue(KEYS, 0) == []
    await store.tidy(KEYS)
    assert await store.balance([KEYS]) == Balance(0, 0, 0, 0, 0, 0)


async def test_what_is_finished_is_gone_and_counted_once(store: ReportStore, redis: Redis) -> None:
    """Whoever says it how often; streams stay small."""
    await put(store, 1, items=5)
    await put(store, 2, items=7)
    entries = await store.read(KEYS, "me", 10)
    for _ in range(3):
        await store.finish(KEYS, entries)
    assert await store.balance([KEYS]) == Balance(12, 0, 12, 0, 0, 0)
    assert await redis.xlen(KEYS.stream) == 0
    assert await redis.hget(KEYS.totals, "bytes") == b"0"
    assert await put(store, 1) is Fate.DUPLICATE


async def test_work_of_a_consumer_that_is_gone_is_claimed(store: ReportStore) -> None:
    """By one, and only when it is overdue."""
    await put(store, 1)
    (entry,) = await store.read(KEYS, "gone", 10)
    assert await store.overdue(KEYS, 60_000) == []
    (overdue,) = await store.overdue(KEYS, 0)
    assert overdue == (entry.id, 1)
    assert await store.claim(KEYS, "me", 60_000, [entry.id]) == []
    assert await store.claim(KEYS, "me", 0, [entry.id]) == [entry]
    ((_, deliveries),) = await store.overdue(KEYS, 0)
    assert deliveries == 2


async def test_what_cannot_be_counted_is_parked(store: ReportStore, redis: Redis) -> None:
    """Once; with all that it was."""
    await put(store, 1, items=5, body=b"no batch")
    (entry,) = await store.read(KEYS, "me", 10)
    assert await store.set_aside(KEYS, entry.id) == 5
    assert await store.set_aside(KEYS, entry.id) == 0
    assert await store.balance([KEYS]) == Balance(5, 0, 0, 0, 5, 0)
    ((_, fields),) = await redis.xrange(KEYS.parked)
    assert (fields[b"batch"], fields[b"reason"]) == (b"no batch", b"uncountable")
    assert await redis.xlen(KEYS.stream) == 0
    assert await store.overdue(KEYS, 0) == []


async def test_a_batch_is_parked_once(store: ReportStore, redis: Redis) -> None:
    """Unless it was counted before."""
    for _ in range(2):
        assert await store.park(KEYS, HOUR, arrival(1, items=5), "old") is Fate.PARKED
    await put(store, 2)
    assert await store.park(KEYS, HOUR, arrival(2), "old") is Fate.DUPLICATE
    assert await redis.xlen(KEYS.parked) == 1
    assert await store.balance([KEYS]) == Balance(9, 2, 0, 2, 5, 0)


async def test_of_those_parked_the_oldest_make_way(store: ReportStore, redis: Redis) -> None:
    """They are for people to look at, and how many are gone is said."""
    body = b"x" * (MAX_PARKED_BYTES // 3)
    for number in range(5):
        await store.park(KEYS, HOUR, arrival(number, body=body), "old")
    assert await redis.xlen(KEYS.parked) == 3
    assert (await store.balance([KEYS])).parked == 10
    assert await redis.hget(KEYS.totals, "parked_dropped") == b"4"


async def test_what_somebody_else_removes_is_lost_and_said_to_be(
    store: ReportStore, redis: Redis
) -> None:
    """Nothing here does."""
    await put(store, 1)
    await put(store, 2)
    await store.tidy(KEYS)
    assert (await store.balance([KEYS])).lost == 0
    await redis.xtrim(KEYS.stream, maxlen=0)
    await store.tidy(KEYS)
    assert await store.balance([KEYS]) == Balance(4, 0, 0, 0, 0, 4)


async def test_a_stream_without_a_group_has_none_to_forget(
    store: ReportStore, redis: Redis
) -> None:
    """Consumers that have something are never forgotten, however long they are idle."""
    await put(store, 1)
    await store.read(KEYS, "gone", 10)
    await store.tidy(KEYS)
    assert [c["name"] for c in await redis.xinfo_consumers(KEYS.stream, GROUP)] == [b"gone"]


async def test_a_server_without_memory_stores_nothing_of_a_batch(
    store: ReportStore, connections: Connections
) -> None:
    """Half of a step would be an id that is known and a batch that is not there."""
    await put(store, 1)  # the script is there already
    masters = await connections.commands.masters()
    for server in masters.values():
        await server.config_set("maxmemory", "1")
    try:
        with pytest.raises(RedisError, match=r"(?i)oom|maxmemory"):
            await put(store, 2)
    finally:
        for server in masters.values():
            await server.config_set("maxmemory", "0")
    assert await put(store, 2) is Fate.STORED


def test_all_keys_of_a_shard_have_one_hash_tag() -> None:
    """An atomic step touches one slot of a cluster."""
    names = (KEYS.stream, KEYS.totals, KEYS.parked, KEYS.seen(7), KEYS.parked_seen(7))
    assert len({sync_redis.cluster.key_slot(name.encode()) for name in names}) == 1


async def test_a_server_that_comes_back_is_used_again(redis_server: RedisServer) -> None:
    """A restart loses neither batches nor which ones were seen; the script is loaded anew."""
    connections = Connections(redis_server.url, RedisLimits())
    store = ReportStore(connections)
    await put(store, 1)
    redis_server.kill()
    with pytest.raises(RedisError):
        await put(store, 2)
    redis_server.restart()
    assert await put(store, 1) is Fate.DUPLICATE
    await connections.close()
