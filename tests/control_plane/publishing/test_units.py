"""Long lists in the replicas: blobs are there before what names them, and go with it."""

import asyncio
from collections.abc import Iterable

import pytest
import redis

from control_plane.publishing.replica import Replica
from control_plane.publishing.state import Change, Edit, RecordKind, SegmentRecord
from control_plane.publishing.units import StoredBlob, blob_of, decode_units, stored_blob
from control_plane.store.keys import ProjectKeys
from proxy.contract.definitions import Segment, UnitList, UnitLists
from proxy.contract.steps import finish
from proxy.contract.units import digest_of, hash_unit
from tests.control_plane.publishing.replicas import WAIT_S, body, dump, restore, until_same
from tests.support.definitions import AT, AUTHOR, flag_record, put, remove
from tests.support.units import names

SEGMENT, FLAG = RecordKind.SEGMENT, RecordKind.FLAG
KEYS = ProjectKeys("default")


def blob(units: Iterable[str]) -> tuple[str, StoredBlob]:
    """Return a blob of units and its digest."""
    made = stored_blob({hash_unit(unit) or b"": unit for unit in units})
    return digest_of(made.hashes), made


def listing(key: str, units: list[str], version: int = 1) -> Change:
    """Return the change that gives a segment one blob of units."""
    digest, made = blob(units)
    lists = UnitLists(included=UnitList(len(units), [digest]))
    record = SegmentRecord(Segment(key=key, units=lists), version, AT, AT)
    return Change("test", AUTHOR, AT, (Edit(SEGMENT, key, record),), {digest: made})


async def give(replica: Replica, key: str, units: list[str], version: int = 1) -> str:
    """Commit a segment with a blob of units, and return its digest."""
    await replica.commit("default", lambda _: listing(key, units, version))
    return blob(units)[0]


def test_a_stored_blob_is_read_as_what_it_was() -> None:
    """The digest says that all of it is there, in order."""
    digest, made = blob(names(2_500))
    assert finish(blob_of(digest, made.units)) == made.hashes
    assert sorted(decode_units(made.units) or []) == sorted(names(2_500))


@pytest.mark.parametrize(
    "data", [b"", b"[", b"[1]", b'["u-0"]', b'{"a":1}', b'["u-1","u-0"]', b"\xff"]
)
def test_what_is_not_the_blob_of_a_digest_is_none(data: bytes) -> None:
    """Whatever was done to the data."""
    assert finish(blob_of(blob(["u-0", "u-1", "u-2"])[0], data)) is None


async def test_replicas_hold_the_blobs_of_all_lists(two: tuple[Replica, Replica]) -> None:
    """Whoever wrote them; and serve the same."""
    one, other = two
    digest = await give(one, "a", names(2_000))
    await until_same(one, other)
    assert set(one.project("default").blobs) == {digest}
    assert one.project("default").blobs == other.project("default").blobs
    assert (one.blobs_read, other.blobs_read) == (0, 1)
    assert body(one) == body(other)


async def test_a_blob_goes_with_the_last_list_that_names_it(
    two: tuple[Replica, Replica], store_url: str
) -> None:
    """From memory everywhere, and from Redis in the same step."""
    one, other = two
    client = redis.Redis.from_url(store_url)
    first = await give(one, "a", names(2_000))
    await give(one, "b", names(2_000))
    second = await give(one, "a", names(2_001), 2)
    assert set(client.hkeys(KEYS.units)) == {first.encode(), second.encode()}
    await until_same(one, other)
    await remove(other, SEGMENT, "b")
    assert client.hkeys(KEYS.units) == [second.encode()]
    await until_same(one, other)
    for replica in two:
        assert set(replica.project("default").blobs) == {second}
    await remove(other, SEGMENT, "a")
    assert client.exists(KEYS.units) == 0


async def test_a_list_that_changes_while_it_is_read_is_read_as_it_became(
    redis_url: str, replica: Replica
) -> None:
    """The change log names a blob that is gone already: the whole project is read instead."""
    async with Replica(redis_url) as late:
        assert await late.wait_loaded(WAIT_S)
        await late._mirror.stop()
        for version in range(1, 4):
            await give(replica, "a", names(2_000 + version), version)
        late._mirror.start()
        await until_same(replica, late)
        assert late.project("default").blobs == replica.project("default").blobs
        assert late.project("default").lacking() == set()
        assert late.reloads == 1


async def test_what_is_held_is_not_read_again(redis_url: str, replica: Replica) -> None:
    """A project that is read anew, for what reason ever, keeps its blobs."""
    await give(replica, "a", names(2_000))
    async with replica._mirror.lock("default"):
        await replica._mirror.reload("default")
    assert len(replica.project("default").blobs) == 1
    assert replica.blobs_read == 0


async def test_units_that_are_lost_cost_their_segment_alone(
    redis_url: str, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    """Changes of everything else are followed; the loss is in the log."""
    digest = await give(replica, "a", names(2_000))
    redis.Redis.from_url(redis_url).hdel(KEYS.units, digest)
    async with Replica(redis_url) as late:
        assert await late.wait_loaded(WAIT_S)
        assert late.project("default").incomplete_segments() == ["a"]
        assert "units of 1 segments of project default are not in Redis: a" in caplog.text
        await put(replica, FLAG, "f", flag_record("f"))
        record = replica.project("default").segments["a"]
        await put(replica, SEGMENT, "a", SegmentRecord(record.segment, 2, AT, AT))
        await until_same(replica, late)
        assert late.reloads == 0
        await give(replica, "a", names(2_001), 3)
        await until_same(replica, late)
        assert late.project("default").incomplete_segments() == []


async def test_units_that_one_replica_lost_are_whole_when_another_puts_them(
    redis_url: str, replica: Replica
) -> None:
    """Also when the list is the same as before."""
    digest = await give(replica, "a", names(2_000))
    client = redis.Redis.from_url(redis_url)
    client.hdel(KEYS.units, digest)
    async with Replica(redis_url) as late, Replica(redis_url) as third:
        assert await late.wait_loaded(WAIT_S)
        assert await third.wait_loaded(WAIT_S)
        await give(late, "a", names(2_000), 2)
        assert client.hkeys(KEYS.units) == [digest.encode()]
        await until_same(late, third)
        for one in (late, third):
            assert one.project("default").lacking() == set()


async def test_a_backup_brings_its_units_along(redis_url: str, replica: Replica) -> None:
    """Redis goes back: the lists are those of then."""
    client = redis.Redis.from_url(redis_url)
    digest = await give(replica, "a", names(2_000))
    saved = dump(client)
    await give(replica, "a", names(3_000), 2)
    restore(client, saved)
    async with asyncio.timeout(WAIT_S):
        while set(replica.project("default").blobs) != {digest}:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.02)
    assert replica.epochs_renewed == 1


async def test_megabytes_of_units_are_one_step(store_url: str) -> None:
    """Each blob an argument of its own; five megabytes go through."""
    async with Replica(store_url) as replica:
        assert await replica.wait_loaded(WAIT_S)
        texts = names(100_000, "a-unit-of-some-length-such-as-people-have")
        parts = [blob(texts[n : n + 1_000]) for n in range(0, 100_000, 1_000)]
        lists = UnitLists(included=UnitList(100_000, [digest for digest, _ in parts]))
        record = SegmentRecord(Segment(key="a", units=lists), 1, AT, AT)
        change = Change("test", AUTHOR, AT, (Edit(SEGMENT, "a", record),), dict(parts))
        await replica.commit("default", lambda _: change)
        found = await replica.units("default", [parts[7][0], "0" * 64])
        assert found == {parts[7][0]: parts[7][1].units}
