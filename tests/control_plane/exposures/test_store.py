"""Batches in a real Redis: once, atomically, bounded."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis as sync_redis
from redis.asyncio import Redis

from control_plane.exposures.model import SHARDS, batch_hour, shard_of
from control_plane.exposures.store import ExposureStore, Stored
from control_plane.store.connection import Connections, RedisError, RedisLimits
from control_plane.store.keys import EXPOSURES_SEEN_DAYS, ExposureKeys
from tests.control_plane.exposures.builders import uuid7
from tests.support.redis import RedisServer


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


async def put(
    store: ExposureStore, batch_id: str, *, items: int = 2, body: bytes = b"{}", project: str = "p"
) -> Stored:
    """Store a batch."""
    return await store.apply(project, "e", batch_id, "pod", items, body, 1_000)


def keys_of(batch_id: str) -> ExposureKeys:
    return ExposureKeys("p", "e", shard_of(batch_id))


def same_shard(count: int) -> list[str]:
    """Return ids that belong to one shard."""
    ids: list[str] = []
    while len(ids) < count:
        candidate = uuid7()
        if shard_of(candidate) == 3:
            ids.append(candidate)
    return ids


async def test_a_batch_is_an_entry_of_its_stream(connections: Connections, redis: Redis) -> None:
    """With all that the aggregation will want, the document unchanged."""
    batch_id = uuid7()
    await put(ExposureStore(connections), batch_id, items=2, body=b'{"items":[1,2]}')
    ((_, fields),) = await redis.xrange(keys_of(batch_id).stream)
    assert fields == {
        b"id": batch_id.encode(),
        b"instance": b"pod",
        b"count": b"2",
        b"received_ms": b"1000",
        b"batch": b'{"items":[1,2]}',
    }


async def test_a_batch_is_stored_once(connections: Connections, redis: Redis) -> None:
    """However often it is sent, also by several at the same time."""
    store, batch_id = ExposureStore(connections), uuid7()
    answers = await asyncio.gather(*(put(store, batch_id) for _ in range(20)))
    assert sorted(answer.duplicate for answer in answers) == [False] + [True] * 19
    assert await redis.xlen(keys_of(batch_id).stream) == 1


async def test_another_environment_has_its_own_batches(connections: Connections) -> None:
    """An id says nothing outside its environment."""
    store, batch_id = ExposureStore(connections), uuid7()
    assert not (await put(store, batch_id)).duplicate
    assert not (await put(store, batch_id, project="q")).duplicate


async def test_ids_are_forgotten_in_the_end(connections: Connections, redis: Redis) -> None:
    """A set for each hour, which expires, so that memory is bounded by time."""
    batch_id = uuid7()
    await put(ExposureStore(connections), batch_id)
    seen = keys_of(batch_id).seen(batch_hour(batch_id))
    assert 0 < await redis.ttl(seen) <= EXPOSURES_SEEN_DAYS * 86_400


async def test_a_batch_that_was_spooled_for_weeks_is_stored_once_too(
    connections: Connections,
) -> None:
    """What counts is when it came first, not when it was made."""
    store, batch_id = ExposureStore(connections), uuid7(1_000_000_000)
    assert not (await put(store, batch_id)).duplicate
    assert (await put(store, batch_id)).duplicate


async def test_the_oldest_make_way(connections: Connections, redis: Redis) -> None:
    """A shard holds so many bytes; what it costs is said."""
    store = ExposureStore(connections, max_shard_bytes=250)
    first, second, third = same_shard(3)
    assert (await put(store, first, items=5, body=b"x" * 100)).dropped == 0
    assert (await put(store, second, items=7, body=b"x" * 100)).dropped == 0
    assert (await put(store, third, items=1, body=b"x" * 200)).dropped == 12
    ((_, fields),) = await redis.xrange(keys_of(third).stream)
    assert fields[b"id"] == third.encode()
    assert await redis.hgetall(keys_of(third).size) == {b"bytes": b"200", b"items": b"1"}


async def test_a_batch_above_the_bound_stays_alone(connections: Connections, redis: Redis) -> None:
    """The newest is never dropped: its receipt is about to be sent."""
    store = ExposureStore(connections, max_shard_bytes=10)
    (batch_id,) = same_shard(1)
    assert (await put(store, batch_id, body=b"x" * 100)).dropped == 0
    assert await redis.xlen(keys_of(batch_id).stream) == 1


async def test_sizes_add_up(connections: Connections, redis: Redis) -> None:
    """What the size says is what the streams hold."""
    store = ExposureStore(connections)
    for number in range(50):
        await put(store, uuid7(), items=number, body=b"x" * number)
    bytes_, items = 0, 0
    for shard in range(SHARDS):
        sizes = await redis.hgetall(ExposureKeys("p", "e", shard).size)
        bytes_ += int(sizes.get(b"bytes", 0))
        items += int(sizes.get(b"items", 0))
    assert (bytes_, items) == (sum(range(50)), sum(range(50)))


async def test_a_server_without_memory_stores_nothing_of_a_batch(connections: Connections) -> None:
    """Half of a step would be an id that is known and a batch that is not there."""
    store, batch_id = ExposureStore(connections), uuid7()
    await put(store, uuid7())  # the script is there already
    masters = await connections.commands.masters()
    for server in masters.values():
        await server.config_set("maxmemory", "1")
    try:
        with pytest.raises(RedisError, match=r"(?i)oom|maxmemory"):
            await put(store, batch_id)
    finally:
        for server in masters.values():
            await server.config_set("maxmemory", "0")
    assert not (await put(store, batch_id)).duplicate


def test_all_keys_of_a_shard_have_one_hash_tag() -> None:
    """An atomic step touches one slot of a cluster."""
    keys = ExposureKeys("p", "e", 3)
    slots = {
        sync_redis.cluster.key_slot(name.encode())
        for name in (keys.stream, keys.size, keys.seen(7))
    }
    assert len(slots) == 1


async def test_a_server_that_comes_back_is_used_again(redis_server: RedisServer) -> None:
    """A restart loses neither batches nor which ones were seen; the script is loaded anew."""
    connections = Connections(redis_server.url, RedisLimits())
    store, batch_id = ExposureStore(connections), uuid7()
    await put(store, batch_id)
    redis_server.kill()
    with pytest.raises(RedisError):
        await put(store, uuid7())
    redis_server.restart()
    assert (await put(store, batch_id)).duplicate
    await connections.close()
