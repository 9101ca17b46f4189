"""What is counted while the slot of its shard moves to another node, some keys at a time."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.crc import key_slot

from control_plane.events.model import Sum, name_id
from control_plane.events.store import EventStore
from control_plane.exposures.store import SubjectStore
from control_plane.store.connection import Connections, RedisError, RedisLimits
from control_plane.store.keys import EventKeys, subjects_key
from control_plane.store.reports import Arrival, Balance, Entry, Fate, ReportStore
from tests.control_plane.exposures.test_store import FLAG, Shown, expected, units_of
from tests.support.topologies import Cluster, Node

SHARD = 3
ROUNDS = 40


@pytest.fixture
async def connections(cluster: Cluster) -> AsyncIterator[Connections]:
    """Connections that do not wait long for a slot that is on its way."""
    await asyncio.to_thread(cluster.wait_in_step)
    cluster.flush()
    opened = Connections(cluster.url, RedisLimits(command_s=0.3, retries=1, backoff_s=0.02))
    yield opened
    await opened.close()


def ends_of(cluster: Cluster, key: str) -> tuple[int, Node, Node]:
    """Return a key's slot, the node that has it, and another."""
    source = cluster.owner(key)
    target = next(node for node in cluster.masters() if node is not source)
    return key_slot(key.encode()), source, target


async def test_units_are_counted_once(cluster: Cluster, connections: Connections) -> None:
    """A script is refused before it has written, so that it can be sent again."""
    store = SubjectStore(connections)
    chance = [(n * 7919) % 2400 for n in range(ROUNDS * 200)]
    shown: list[Shown] = [(unit, at % 997, "ab"[at % 3 % 2]) for at, unit in enumerate(chance)]
    parts = [shown[at::ROUNDS] for at in range(ROUNDS)]
    for part in parts[:5]:
        await store.count("p", "e", SHARD, [units_of(part)])
    slot, source, target = ends_of(cluster, subjects_key("p", "e", SHARD))
    cluster.open_slot(slot, source, target)
    refused = 0
    for part in parts[5:]:
        cluster.move_keys(slot, source, target, 1)
        try:
            await store.count("p", "e", SHARD, [units_of(part)])
        except RedisError:
            refused += 1
    cluster.move_keys(slot, source, target, 10_000)
    cluster.close_slot(slot, source, target)
    assert refused > 0
    async with asyncio.timeout(20):
        for part in parts:
            while not await _counted(store, part):  # noqa: ASYNC110 - the slot sets no event
                await asyncio.sleep(0.05)
    mine = [
        one
        for one in shown
        if any(units_of([one]).shards[SHARD])  # units of this shard alone
    ]
    found = await store.figures("p", "e", SHARD, FLAG.id)
    wanted = expected(mine)
    assert (found.units, found.several, found.variants) == (
        wanted.units,
        wanted.several,
        wanted.variants,
    )
    assert {day: n for day, n in found.days.items() if n} == wanted.days


async def _counted(store: SubjectStore, part: list[Shown]) -> bool:
    try:
        await store.count("p", "e", SHARD, [units_of(part)])
    except RedisError:
        return False
    return True


async def test_events_are_counted_once(cluster: Cluster, connections: Connections) -> None:
    """Counting and finishing stay one step."""
    reports, store, keys = ReportStore(connections), EventStore(connections), EventKeys("p", "e", 5)
    for number in range(ROUNDS):
        await reports.take(keys, 1, Arrival(f"{number}", number, 100, "pod", 3, b"{}", 1_000))
    waiting = await reports.read(keys, "me", ROUNDS)
    slot, source, target = ends_of(cluster, keys.stream)
    cluster.open_slot(slot, source, target)
    for entry in waiting:
        await _try(store, keys, entry)
        if entry is waiting[ROUNDS // 2]:
            cluster.move_keys(slot, source, target, 1)
    cluster.move_keys(slot, source, target, 10_000)
    cluster.close_slot(slot, source, target)
    async with asyncio.timeout(20):
        for entry in waiting:
            while not await _try(store, keys, entry):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
    days = (await store.figures(keys, name_id("buy"))).days
    assert days == {20_000: Sum(3 * ROUNDS, 1.5 * ROUNDS, 0.75 * ROUNDS)}
    assert await reports.balance([keys]) == Balance(3 * ROUNDS, 0, 3 * ROUNDS, 0, 0, 0)


async def _try(store: EventStore, keys: EventKeys, entry: Entry) -> bool:
    rows = [(name_id("buy"), "buy", 20_000, Sum(3, 1.5, 0.75))]
    try:
        await store.count(keys, entry, rows, 20_001 * 86_400_000)
    except RedisError:
        return False
    return True


async def test_an_id_stays_known(cluster: Cluster, connections: Connections) -> None:
    """Also one in a set that follows another, whichever of the two has moved."""
    store, keys = ReportStore(connections), EventKeys("p", "e", 2)

    async def take(number: int) -> Fate | None:
        try:
            arrival = Arrival(f"{number}", number, 100, "pod", 1, b"{}", 1_000)
            return await store.take(keys, 1, arrival)
        except RedisError:
            return None

    for number in range(600):
        assert await take(number) is Fate.STORED
    slot, source, target = ends_of(cluster, keys.stream)
    cluster.open_slot(slot, source, target)
    for _ in range(4):
        cluster.move_keys(slot, source, target, 1)
        assert {await take(number) for number in (3, 599)} <= {Fate.DUPLICATE, None}
    cluster.move_keys(slot, source, target, 10_000)
    cluster.close_slot(slot, source, target)
    async with asyncio.timeout(20):
        while await take(599) is None:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
    assert {await take(number) for number in range(600)} == {Fate.DUPLICATE}
    assert (await store.balance([keys])).pending == 600
