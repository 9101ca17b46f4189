"""What is remembered takes little of Redis: docs/sizing.md says how much for larger numbers."""

from collections.abc import AsyncIterator

import pytest

from control_plane.exposures.model import Subject
from control_plane.exposures.store import SubjectStore
from control_plane.store.connection import Connections, RedisLimits
from control_plane.store.reports import Fate, ReportStore
from tests.control_plane.exposures.test_store import DAY_MS, count, units_of
from tests.control_plane.store.test_reports import HOUR, KEYS, arrival


@pytest.fixture
async def connections(store_url: str) -> AsyncIterator[Connections]:
    """Connections to each kind of server."""
    opened = Connections(store_url, RedisLimits())
    yield opened
    await opened.close()


async def used_bytes(connections: Connections) -> int:
    """Return the memory that the server uses."""
    used: int = (await connections.commands.info("memory"))["used_memory"]
    return used


async def test_a_unit_takes_at_most_64_bytes(connections: Connections) -> None:
    """Everything included; buckets stay compact while their number grows."""
    store, redis = SubjectStore(connections), connections.commands
    await count(store, units_of([(0, 0, "on")], Subject.of_flag("script is loaded")))
    before = await used_bytes(connections)
    shown = [(unit, unit % DAY_MS, "ab"[unit % 2]) for unit in range(10_000)]
    await count(store, units_of(shown))
    assert (await used_bytes(connections) - before) / 10_000 < 64
    total = 0
    async for key in redis.scan_iter("mf:*"):
        total += await redis.memory_usage(key, samples=0)
        assert await redis.object("encoding", key) in (b"listpack", "listpack")
    assert total / 10_000 < 64


async def test_an_id_takes_some_nine_bytes_however_many_there_are(connections: Connections) -> None:
    """With the default settings of a server."""
    store, redis = ReportStore(connections), connections.commands
    numbers = range(-(1 << 63), (1 << 63) - 1, (1 << 64) // 2000)
    for number in numbers:
        await store.take(KEYS, HOUR, arrival(number))
    total = 0
    async for key in redis.scan_iter("*:seen:*"):
        assert await redis.object("encoding", key) in (b"intset", "intset")
        assert await redis.ttl(key) > 0
        total += await redis.memory_usage(key, samples=0)
    assert total / len(numbers) < 12
    fates = {await store.take(KEYS, HOUR, arrival(number)) for number in numbers}
    assert fates == {Fate.DUPLICATE}
