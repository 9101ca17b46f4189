"""The fleet as several replicas know it together, with a Redis that goes away and comes back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from control_plane.errors import TooManyRequests
from control_plane.fleet.model import DROPPED_MS, MISSING_MS, Filter
from control_plane.fleet.service import FleetService
from control_plane.fleet.store import FleetStore
from control_plane.publishing.replica import Replica
from control_plane.store.connection import Connections, RedisLimits
from control_plane.store.keys import FLEET_ENVIRONMENTS, FleetKeys
from proxy.contract.fleet import Fleet, FleetRevisions
from tests.control_plane.fleet.builders import standing
from tests.support.api import until
from tests.support.control_plane import put_flag
from tests.support.redis import RedisServer

PLACE = ("default", "production")
LIMITS = RedisLimits(connect_s=0.5, command_s=0.5, commit_s=2.0)


class Clock:
    """Unix milliseconds that a test moves on."""

    def __init__(self) -> None:
        self.now_ms = 1_900_000_000_000

    def __call__(self) -> int:
        return self.now_ms


class Plane:
    """One replica's fleet."""

    def __init__(self, replica: Replica, service: FleetService) -> None:
        self.replica = replica
        self.service = service

    def hear(
        self, instance: str, environment: str = "production", key: str = "", **members: object
    ) -> None:
        """Hear of an instance that serves what is current here."""
        pointer = self.replica.project("default").snapshots[environment].pointer()
        known = {"epoch": pointer.epoch, "revision": pointer.revision, "digest": pointer.digest}
        told = standing(instance, **(known | members))  # type: ignore[arg-type]
        self.service.hear("default", environment, told, key)

    async def fleet(self, environment: str = "production") -> Fleet:
        """Ask how the fleet stands."""
        told, _ = await self.service.fleet(
            "default", environment, wanted=Filter(), by=None, after=None, limit=500
        )
        return told

    async def names(self) -> set[str]:
        """Ask who there is."""
        return {item.instance for item in (await self.fleet()).items}

    async def revisions(self) -> FleetRevisions:
        """Ask how the last revisions spread."""
        return await self.service.revisions(*PLACE)


@asynccontextmanager
async def plane(url: str, clock: Clock, max_instances: int = 50_000) -> AsyncIterator[Plane]:
    """Run what of a control plane has to do with the fleet."""
    connections = Connections(url, LIMITS)
    try:
        async with Replica(url, LIMITS) as replica:
            assert await replica.wait_loaded(20)
            store = FleetStore(connections, max_instances)
            async with FleetService(
                replica, store, max_instances=max_instances, now_ms=clock
            ) as service:
                yield Plane(replica, service)
    finally:
        await connections.close()


@pytest.fixture
def clock() -> Clock:
    """A clock of the test's own, which all replicas have."""
    return Clock()


async def test_each_replica_knows_what_the_others_heard(redis_url: str, clock: Clock) -> None:
    """At once when asked: who wrote it, wrote it a second ago at most."""
    async with plane(redis_url, clock) as one, plane(redis_url, clock) as two:
        one.hear("a")
        two.hear("b")
        await one.fleet()
        assert await two.names() == {"a", "b"}
        assert await one.names() == {"a", "b"}
        two.hear("a", leaving=True)
        await two.fleet()
        assert await one.names() == {"b"}
        assert (await one.fleet()).complete


async def test_a_sidecar_that_goes_from_one_to_the_other_is_one(
    redis_url: str, clock: Clock
) -> None:
    """And what it told last counts, whichever replica writes first."""
    async with plane(redis_url, clock) as one, plane(redis_url, clock) as two:
        one.hear("a", application_version="1")
        clock.now_ms += 10
        two.hear("a", application_version="2")
        for _ in range(2):
            for each in (two, one):
                (item,) = (await each.fleet()).items
            assert item.application_version == "2"
    async with plane(redis_url, clock) as three:
        (item,) = (await three.fleet()).items
        assert item.application_version == "2"


async def test_what_another_published_is_current_at_once(redis_url: str, clock: Clock) -> None:
    """Who publishes by one and asks the other is not told that it is everywhere already."""
    async with plane(redis_url, clock) as one, plane(redis_url, clock) as two:
        two.hear("a")
        await two.replica._mirror.stop()  # as if it were slow to hear of changes
        await put_flag(one.replica, "f")
        current = one.replica.project("default").snapshots["production"].revision
        fleet = await two.fleet()
        assert (fleet.revision, fleet.states["behind"]) == (current, 1)


async def test_it_is_exchanged_without_anybody_asking(redis_url: str, clock: Clock) -> None:
    """Metrics ask nobody."""
    async with plane(redis_url, clock) as one, plane(redis_url, clock) as two:
        one.hear("a")

        async def known() -> bool:
            figures = two.service.figures.get(PLACE)
            return figures is not None and figures.states["current"] == 1

        await until(known)


async def test_a_replica_that_starts_later_knows_all(redis_url: str, clock: Clock) -> None:
    """Though nobody is left who heard it; more than one reading takes at once."""
    async with plane(redis_url, clock) as one:
        for number in range(1_234):
            one.hear(f"i-{number}")
        await put_flag(one.replica, "f")
        for number in range(1_000):
            one.hear(f"i-{number}", serving_ms=0)
    async with plane(redis_url, clock) as two:
        fleet = await two.fleet()
        assert (fleet.states["current"], fleet.states["behind"]) == (1_000, 234)
        (spread,) = (await two.revisions()).items
        assert (spread.connected, spread.served, spread.waiting) == (1_234, 1_000, 234)
        assert spread.half_ms is not None
        assert spread.most_ms is None


async def test_a_revision_converges_whoever_hears_of_it(redis_url: str, clock: Clock) -> None:
    """Both replicas count the same, from what each heard and read."""
    async with plane(redis_url, clock) as one, plane(redis_url, clock) as two:
        one.hear("a")
        two.hear("b")
        await one.fleet(), await two.fleet(), await one.fleet()
        await put_flag(one.replica, "f")
        revision = one.replica.project("default").snapshots["production"].revision

        async def followed() -> bool:
            return two.replica.project("default").snapshots["production"].revision == revision

        await until(followed)
        one.hear("a", serving_ms=0)
        two.hear("b", serving_ms=0)
        await one.fleet(), await two.fleet()
        for each in (one, two):
            (spread,) = (await each.revisions()).items
            assert (spread.revision, spread.connected, spread.served) == (revision, 2, 2)
            assert spread.all_ms is not None


async def test_silence_becomes_missing_and_then_nothing(redis_url: str, clock: Clock) -> None:
    """In Redis too, unless somebody heard of it meanwhile."""
    async with plane(redis_url, clock) as one, plane(redis_url, clock) as two:
        one.hear("dead")
        one.hear("alive")
        await one.fleet()
        assert await two.names() == {"dead", "alive"}
        clock.now_ms += MISSING_MS
        two.hear("alive")
        fleet = await two.fleet()
        assert (fleet.states["current"], fleet.states["missing"]) == (1, 1)
        clock.now_ms += DROPPED_MS - MISSING_MS
        for each in (one, two):
            each.service._dropped_s -= 3600  # it is looked for every half minute
            await each.service._look()
        assert await two.names() == {"alive"}
        assert await one.names() == {"alive"}
        stored = await one.service._store._connections.commands.hkeys(
            FleetKeys(*PLACE).standings[0]
        )
        assert stored == [b"alive"]


async def test_a_full_environment_is_full_everywhere(redis_url: str, clock: Clock) -> None:
    """Two replicas that do not know of each other's instances cannot store more together."""
    async with plane(redis_url, clock, 3) as one, plane(redis_url, clock, 3) as two:
        for name in ("a", "b"):
            one.hear(name)
        for name in ("c", "d"):
            two.hear(name)
        await one.fleet(), await two.fleet()
        assert (
            await one.service._store._connections.commands.hlen(FleetKeys(*PLACE).standings[0]) == 3
        )


async def test_while_redis_is_away_a_replica_tells_what_it_knows(
    tmp_path: Path, clock: Clock
) -> None:
    """And that it is not all; afterwards all know all, and nothing was lost."""
    with RedisServer("redis", tmp_path) as server:
        async with plane(server.url, clock) as one, plane(server.url, clock) as two:
            one.hear("before")
            assert (await one.fleet()).complete
            assert await two.names() == {"before"}
            server.kill()
            one.hear("a")
            two.hear("b")
            one.service._exchanged_s = two.service._exchanged_s = None  # five seconds go by
            fleet = await one.fleet()
            assert not fleet.complete
            assert {item.instance for item in fleet.items} == {"before", "a"}
            assert not (await one.revisions()).complete
            server.restart()

            async def agreed() -> bool:
                return await one.names() == await two.names() == {"before", "a", "b"}

            await until(agreed)
            assert (await one.fleet()).complete


async def test_a_redis_that_hangs_holds_nobody_up(tmp_path: Path, clock: Clock) -> None:
    """Hearing does not ask it, and asking does not wait for it."""
    with RedisServer("redis", tmp_path) as server:
        async with plane(server.url, clock) as one:
            one.hear("a")
            await one.fleet()
            server.freeze()
            try:
                one.hear("b")
                async with asyncio.timeout(5):
                    answers = await asyncio.gather(*(one.names() for _ in range(20)))
                assert answers == [{"a", "b"}] * 20
            finally:
                server.thaw()


async def test_a_redis_that_lost_everything_is_filled_again(redis_url: str, clock: Clock) -> None:
    """With what is told next, and readers begin anew."""
    async with plane(redis_url, clock) as one, plane(redis_url, clock) as two:
        for number in range(5):
            one.hear(f"i-{number}")
        await one.fleet()
        assert len(await two.names()) == 5
        keys = FleetKeys(*PLACE)
        commands = one.service._store._connections.commands
        await commands.delete(*keys.standings, keys.revisions, FLEET_ENVIRONMENTS)
        clock.now_ms += 30_000
        one.hear("new")
        await one.fleet()
        assert "new" in await two.names()


async def test_what_cannot_be_read_is_in_nobodys_way(redis_url: str, clock: Clock) -> None:
    """An environment that is not there, as a stray writing of another version's."""
    async with plane(redis_url, clock) as one:
        commands = one.service._store._connections.commands
        await commands.hset(FLEET_ENVIRONMENTS, "none/nowhere", 3)
        one.hear("a")
        assert await one.names() == {"a"}
        assert (await one.fleet()).complete


async def test_goodbyes_of_the_last_moment_are_written(redis_url: str, clock: Clock) -> None:
    """A replica that stops leaves what it heard to the others."""
    async with plane(redis_url, clock) as one:
        one.hear("a")
    async with plane(redis_url, clock) as two:
        assert await two.names() == {"a"}


async def test_one_key_pushes_out_none_of_anothers(redis_url: str, clock: Clock) -> None:
    """Whoever makes names up fills what is left, and their own share; on all replicas."""
    async with plane(redis_url, clock, 10) as one, plane(redis_url, clock, 10) as two:
        for number in range(10):
            one.hear(f"made-up-{number}", key="bad")
        with pytest.raises(TooManyRequests, match="its share") as caught:
            one.hear("made-up-10", key="bad")
        assert caught.value.code == "fleet_full"
        good = {f"good-{number}" for number in range(4)}
        for number, name in enumerate(sorted(good)):
            (one, two)[number % 2].hear(name, key="good")

        async def all_know() -> bool:
            return good <= await one.names() and good <= await two.names()

        await until(all_know)
        for number in range(100):
            for each in (one, two):
                with suppress(TooManyRequests):
                    each.hear(f"another-{number}", key="bad")
                with suppress(TooManyRequests):
                    each.hear(f"goodbye-{number}", key="bad", leaving=True)
        for each in (one, two):
            names = await each.names()
            assert good <= names
            assert len(names) <= 10
        keys = FleetKeys(*PLACE)
        commands = one.service._store._connections.commands
        stored = {name.decode() for name in await commands.hkeys(keys.standings[0])}
        assert good <= stored
        assert len(stored) <= 10
        assert one.service.standings["displaced"] >= 2


async def test_who_is_displaced_while_it_is_written_goes_too(
    redis_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or they would keep the place in Redis of who came for them, whom no other replica knew."""
    async with plane(redis_url, clock, 4) as one, plane(redis_url, clock, 4) as two:
        for name in ("a", "b", "c", "d"):
            one.hear(name, key="old")
        await one.fleet()
        drop = one.service._store.drop

        async def and_meanwhile(*args: Any) -> None:
            await drop(*args)
            monkeypatch.setattr(one.service._store, "drop", drop)
            one.hear("f", key="new")

        one.hear("e", key="new")
        monkeypatch.setattr(one.service._store, "drop", and_meanwhile)
        await one.fleet()
        assert one.service.standings["displaced"] == 2

        async def all_know() -> bool:
            return await one.names() == await two.names() == {"c", "d", "e", "f"}

        await until(all_know)


async def test_a_share_is_as_large_as_anothers(redis_url: str, clock: Clock) -> None:
    """Who comes later gets as much, and no more; who is alone gets all of it."""
    async with plane(redis_url, clock, 9) as one:
        for key in ("a", "b", "c"):
            for number in range(9):
                with suppress(TooManyRequests):
                    one.hear(f"{key}-{number}", key=key)
        counts = Counter(name[0] for name in await one.names())
        assert counts == {"a": 3, "b": 3, "c": 3}
        one.hear("a-8", key="a", application_version="2")
        assert "a-8" in await one.names()


async def test_a_sidecar_may_come_with_another_key(redis_url: str, clock: Clock) -> None:
    """While keys are being changed: it is the same one, and counts for the new key."""
    async with plane(redis_url, clock, 3) as one:
        for number in range(3):
            one.hear(f"i-{number}", key="old")
        for number in range(3):
            one.hear(f"i-{number}", key="new")
        assert await one.names() == {"i-0", "i-1", "i-2"}
        assert {h.key for h in one.service._fleets[PLACE].instances.values()} == {"new"}
        one.hear("i-0", key="new", leaving=True)
        one.hear("i-3", key="old")
        assert await one.names() == {"i-1", "i-2", "i-3"}


async def test_goodbyes_of_nobody_take_no_room(redis_url: str, clock: Clock) -> None:
    """They are kept for a while so that what was heard before comes to nothing; as room allows."""
    async with plane(redis_url, clock, 5) as one:
        for number in range(20):
            one.hear(f"nobody-{number}", key="bad", leaving=True)
        await one.fleet()
        for number in range(5):
            one.hear(f"i-{number}", key="good")
        await one.fleet()
        await one.fleet()
        keys = FleetKeys(*PLACE)
        commands = one.service._store._connections.commands
        stored = {name.decode() for name in await commands.hkeys(keys.standings[0])}
        assert stored == {f"i-{number}" for number in range(5)}
