"""Usage in a real Redis: added up in the step that takes the batch."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import redis as sync_redis
from redis.asyncio import Redis

from control_plane.store.connection import Connections, RedisLimits
from control_plane.store.keys import UsageKeys
from control_plane.store.reports import Arrival, Balance, Fate, ReportStore
from control_plane.usage import store as module
from control_plane.usage.model import SPANS, AddedUp, Where
from control_plane.usage.store import UsageStore

KEYS = UsageKeys("p", "e")
NOW_MS = time.time_ns() // 1_000_000
MINUTES, HOURS, DAYS = SPANS


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
def store(connections: Connections) -> UsageStore:
    """What is under test."""
    return UsageStore(connections)


def added(counts: dict[str, int], last_ms: int = NOW_MS, flag: str = "f/1") -> AddedUp:
    """Return sums of one flag, now."""
    parts = {Where(span, flag, NOW_MS // span.part_ms): counts for span in SPANS}
    return AddedUp(parts, {flag: last_ms}, 0, 0)


async def put(store: UsageStore, number: int, what: AddedUp) -> Fate:
    """Add a batch of three items."""
    arrival = Arrival(f"id-{number}", number, 1000, "pod", 3, b"", NOW_MS)
    return await store.apply(KEYS, 1, arrival, what)


async def counts(store: UsageStore, span: int = 0) -> dict[str, int]:
    """Return what is added up in the newest part of a span."""
    parts = dict(await store.parts(KEYS, SPANS[span], "f/1", NOW_MS))
    return parts[NOW_MS // SPANS[span].part_ms]


async def test_a_batch_is_added_once(store: UsageStore, connections: Connections) -> None:
    """However often it is sent, also at the same time."""
    fates = await asyncio.gather(*(put(store, 1, added({"3:on": 5, "3": 1})) for _ in range(10)))
    assert sorted(fates) == [Fate.STORED] + [Fate.DUPLICATE] * 9
    assert await put(store, 2, added({"3:on": 2})) is Fate.STORED
    for span in range(3):
        assert await counts(store, span) == {"3:on": 7, "3": 1}
    balance = await ReportStore(connections).balance([KEYS])
    assert balance == Balance(33, 27, 6, 0, 0, 0)


async def test_the_last_evaluation_only_moves_on(store: UsageStore) -> None:
    """What was spooled comes late."""
    await put(store, 1, added({"3:on": 5}, NOW_MS))
    await put(store, 2, added({"3:on": 5}, NOW_MS - 1000))
    await put(store, 3, added({"3:on": 5}, NOW_MS - 5000, flag="other"))
    assert await store.last(KEYS) == {"f/1": NOW_MS, "other": NOW_MS - 5000}
    assert await store.last_of(KEYS, ["other", "none"]) == {"other": NOW_MS - 5000}
    assert await store.last_of(KEYS, []) == {}


async def test_parts_expire_when_they_are_over(store: UsageStore, redis: Redis) -> None:
    """So memory is bounded by time, and nobody has to clean up."""
    await put(store, 1, added({"3:on": 5}))
    for span in SPANS:
        part = NOW_MS // span.part_ms
        at_s = await redis.expiretime(KEYS.part(f"{span.name}:f/1:{part}"))
        assert at_s == Where(span, "f/1", part).expires_at_s


async def test_variants_beyond_what_fits_are_added_as_one(
    store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sidecar that makes up names costs no more."""
    monkeypatch.setattr(module, "MAX_FIELDS", 4)
    await put(store, 1, added({"0:on": 1}))
    await put(store, 2, added({f"0:v{number}": 1 for number in range(10)}))
    await put(store, 3, added({"0:on": 1, "0:new": 1}))
    found = await counts(store)
    assert sum(found.values()) == 13
    assert (found["0:on"], found["0:"]) == (2, 8)
    assert len(found) == 5


async def test_a_largest_batch_is_one_step(store: UsageStore) -> None:
    """5,000 counts."""
    await put(store, 1, added({f"{number % 60}:v{number // 60}": 3 for number in range(5000)}))
    assert sum((await counts(store)).values()) == 15_000


def test_all_keys_have_one_hash_tag() -> None:
    """An atomic step touches one slot of a cluster."""
    names = (KEYS.totals, KEYS.last, KEYS.seen(1), KEYS.part("minutes:f:1"))
    assert len({sync_redis.cluster.key_slot(name.encode()) for name in names}) == 1
