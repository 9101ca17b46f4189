"""Waiting for what is new, without queues."""

import asyncio

import pytest

from control_plane.publishing.subscriptions import Subscriptions
from proxy.contract.sync import SnapshotPointer


class Source:
    """What is current, and may change."""

    def __init__(self) -> None:
        self.subscriptions = Subscriptions()
        self.pointer = SnapshotPointer("e", 1, "d1")

    def publish(self, revision: int) -> None:
        """Make another revision current."""
        self.pointer = SnapshotPointer("e", revision, f"d{revision}")
        self.subscriptions.notify("p", "production")


@pytest.fixture
def source() -> Source:
    """A source at revision 1."""
    return Source()


async def test_what_is_current_comes_at_once(source: Source) -> None:
    """Unless it is known already."""
    with source.subscriptions.open("p", "production", lambda: source.pointer, None) as fresh:
        assert (await fresh.wait()).revision == 1
    with source.subscriptions.open(
        "p", "production", lambda: source.pointer, source.pointer
    ) as knowing:
        waiting = asyncio.create_task(knowing.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        source.publish(2)
        assert (await waiting).revision == 2


async def test_a_slow_follower_gets_the_newest_alone(source: Source) -> None:
    """Nothing piles up for it."""
    with source.subscriptions.open("p", "production", lambda: source.pointer, None) as slow:
        await slow.wait()
        for revision in range(2, 1_000):
            source.publish(revision)
        assert (await slow.wait()).revision == 999
        waiting = asyncio.create_task(slow.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()


async def test_being_woken_for_nothing_is_not_passed_on(source: Source) -> None:
    """The same pointer again is no news; going back to an earlier content is."""
    with source.subscriptions.open("p", "production", lambda: source.pointer, None) as follower:
        await follower.wait()
        waiting = asyncio.create_task(follower.wait())
        source.publish(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        source.publish(2)
        await waiting
        source.publish(1)
        assert (await follower.wait()).revision == 1


async def test_it_is_an_iterator(source: Source) -> None:
    """For those who write loops."""
    seen = []
    with source.subscriptions.open("p", "production", lambda: source.pointer, None) as follower:
        async for pointer in follower:
            seen.append(pointer.revision)
            if len(seen) == 3:
                break
            source.publish(pointer.revision + 1)
    assert seen == [1, 2, 3]


async def test_closed_ones_are_forgotten(source: Source) -> None:
    """Closing twice does no harm."""
    opened = [
        source.subscriptions.open("p", name, lambda: source.pointer, None)
        for name in ("a", "a", "b")
    ]
    assert source.subscriptions.count() == 3
    for subscription in (*opened, *opened):
        subscription.close()
    assert source.subscriptions.count() == 0


async def test_followers_of_other_environments_sleep_on(source: Source) -> None:
    """A change in production wakes nobody in staging."""
    with source.subscriptions.open(
        "p", "staging", lambda: source.pointer, source.pointer
    ) as follower:
        waiting = asyncio.create_task(follower.wait())
        await asyncio.sleep(0)
        source.publish(2)
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
