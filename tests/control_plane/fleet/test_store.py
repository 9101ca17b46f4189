"""Standings in Redis: the latest of each is kept, news are read once and in order."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from control_plane.fleet.model import Heard
from control_plane.fleet.revisions import Convergence
from control_plane.fleet.store import FleetStore
from control_plane.store.connection import Connections, RedisLimits
from control_plane.store.keys import FleetKeys
from tests.control_plane.fleet.builders import standing

PLACE = ("default", "production")


@pytest.fixture
async def connections(store_url: str) -> AsyncIterator[Connections]:
    """Connections to each kind of server."""
    made = Connections(store_url, RedisLimits(command_s=10.0))
    yield made
    await made.close()


def heard(number: int, at_ms: int = 1_000, revision: int = 1) -> Heard:
    """Return what was heard of an instance."""
    return Heard(standing(f"i-{number:04}", revision, labels={"region": "eu"}), at_ms)


async def read_all(store: FleetStore, since: int = 0) -> tuple[int, list[Heard]]:
    """Read what is new, to its end; return the number reached."""
    found: list[Heard] = []
    more = True
    while more:
        since, some, more = await store.read(PLACE, since)
        found += some
    return since, found


async def test_what_was_written_is_read_as_it_was(connections: Connections) -> None:
    """Once, in pieces, and then what is new alone."""
    store = FleetStore(connections)
    written = [heard(number) for number in range(1_100)]
    assert await store.write(PLACE, written) == []
    reached, found = await read_all(store)
    assert found == written
    assert await read_all(store, reached) == (reached, [])
    again = [heard(number, 2_000) for number in (7, 3)]
    await store.write(PLACE, again)
    assert (await read_all(store, reached))[1] == again
    assert len((await read_all(store))[1]) == 1_100
    assert await read_all(FleetStore(connections)) != (0, [])


async def test_what_was_heard_earlier_does_not_replace_what_was_heard_later(
    connections: Connections,
) -> None:
    """Whichever replica writes first."""
    store = FleetStore(connections)
    await store.write(PLACE, [heard(1, 2_000, 2)])
    reached, _ = await read_all(store)
    await store.write(PLACE, [heard(1, 1_999, 1)])
    assert await read_all(store, reached) == (reached, [])
    assert (await read_all(store))[1] == [heard(1, 2_000, 2)]


async def test_there_is_room_for_so_many(connections: Connections) -> None:
    """Who is known is written on; who was one too many is told."""
    store = FleetStore(connections, max_instances=2)
    left = ["i-0002", "i-0003", "i-0004"]
    assert await store.write(PLACE, [heard(number) for number in range(5)]) == left
    assert await store.write(PLACE, [heard(number, 2_000) for number in range(5)]) == left
    assert (await read_all(store))[1] == [heard(0, 2_000), heard(1, 2_000)]


async def test_only_who_is_silent_is_dropped(connections: Connections) -> None:
    """Another replica may have heard of one that is silent here."""
    store = FleetStore(connections)
    await store.write(PLACE, [heard(1, 1_000), heard(2, 5_000)])
    await store.drop(PLACE, ["i-0001", "i-0002", "i-0003"], 1_000)
    assert (await read_all(store))[1] == [heard(2, 5_000)]


async def test_marks_tell_of_every_writing(connections: Connections) -> None:
    """Also after everything was lost, when what counts would begin again where it was."""
    store = FleetStore(connections)
    seen = []
    for number in range(3):
        await store.write(PLACE, [heard(number)])
        await store.write(("other", "staging"), [heard(number)])
        seen.append((await store.marks())[PLACE])
        reached, _ = await read_all(store)
        for key in FleetKeys(*PLACE).standings:
            await connections.commands.delete(key)
        await store.write(PLACE, [heard(9)])
        assert (await read_all(store, reached))[1] == [heard(9)]
    assert len(set(seen)) == 3
    assert set(await store.marks()) == {PLACE, ("other", "staging")}


async def test_a_fail_over_that_lost_the_last_writings_is_read_again(
    connections: Connections,
) -> None:
    """Numbers went back, and what is written now has one that a reader has passed."""
    store = FleetStore(connections)
    await store.write(PLACE, [heard(number) for number in range(5)])
    reached, _ = await read_all(store)
    await connections.commands.set(FleetKeys(*PLACE).standings[2], reached - 3)
    await store.write(PLACE, [heard(9)])
    assert heard(9) in (await read_all(store, reached))[1]


async def test_writers_at_once_lose_nothing(connections: Connections) -> None:
    """A reader that goes on from where it was sees each of them."""
    stores = [FleetStore(connections) for _ in range(4)]
    await asyncio.gather(
        *(
            store.write(PLACE, [heard(number)])
            for number in range(100)
            for store in (stores[number % 4],)
        )
    )
    _, found = await read_all(stores[0])
    assert {each.standing.instance for each in found} == {f"i-{n:04}" for n in range(100)}


def spread(revision: int, known: int) -> Convergence:
    """Return how a revision spread, as far as it is known."""
    return Convergence("e1", revision, 1_000, 9, known, 0, 5, None, None)


async def test_of_a_revision_the_most_is_kept(connections: Connections) -> None:
    """And what is too old is removed."""
    store = FleetStore(connections)
    await store.write_spread(PLACE, [spread(1, 3), spread(2, 1)])
    await store.write_spread(PLACE, [spread(1, 2), spread(2, 4)])
    found = sorted(await store.read_spread(PLACE), key=lambda each: each.revision)
    assert found == [spread(1, 3), spread(2, 4)]
    await store.drop_spread(PLACE, found[:1])
    assert await store.read_spread(PLACE) == [spread(2, 4)]


async def test_everything_lives_for_a_while(connections: Connections) -> None:
    """An environment that nobody serves leaves nothing behind."""
    store = FleetStore(connections)
    await store.write(PLACE, [heard(1)])
    await store.write_spread(PLACE, [spread(1, 1)])
    keys = FleetKeys(*PLACE)
    for key in (*keys.standings, keys.revisions):
        assert 7_000 < await connections.commands.ttl(key) <= 7_200
