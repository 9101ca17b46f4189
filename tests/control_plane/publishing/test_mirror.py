"""How the copy stays right, on real servers, whatever becomes of Redis."""

import asyncio
import json
from datetime import timedelta

import pytest
import redis

from control_plane.environments.model import Project
from control_plane.errors import Unavailable
from control_plane.publishing import mirror
from control_plane.publishing.changes import just_after
from control_plane.publishing.replica import Replica
from control_plane.publishing.state import Edit, RecordKind
from control_plane.store.keys import MAX_CHANGES, ProjectKeys
from control_plane.times import now_rfc3339
from tests.control_plane.publishing.replicas import LIMITS, WAIT_S, body, dump, restore, until_same
from tests.support.definitions import (
    AUTHOR,
    change,
    flag_record,
    put,
)
from tests.support.redis import RedisServer

FLAG = RecordKind.FLAG
_FAR = timedelta(minutes=6)


async def test_a_change_too_large_for_the_log_is_read_anew(two: tuple[Replica, Replica]) -> None:
    """The log stays small, and replicas get there all the same."""
    one, other = two
    edits = [Edit(FLAG, f"f-{n}", flag_record(f"f-{n}", value="x" * 1_000)) for n in range(300)]
    await one.commit("default", lambda _: change(*edits))
    await until_same(one, other)
    assert body(one) == body(other)
    assert other.reloads == 1


async def test_a_replica_that_missed_changes_reads_everything(
    redis_url: str, replica: Replica
) -> None:
    """Its place in the log is gone: a gap is seen, and never skipped."""
    async with Replica(redis_url) as late:
        assert await late.wait_loaded(WAIT_S)
        await late._mirror.stop()
        for number in range(MAX_CHANGES + 300):
            await put(replica, FLAG, "a", flag_record("a", number + 1, value=str(number)))
        late._mirror.start()
        await until_same(replica, late)
        assert late.reloads == 1
        assert body(late) == body(replica)


async def test_redis_away_at_the_start_is_waited_for(redis_server: RedisServer) -> None:
    """The process runs, says that it has nothing, and loads when Redis comes."""
    redis_server.kill()
    async with Replica(redis_server.url, LIMITS) as replica:
        assert not await replica.wait_loaded(0.3)
        assert not replica.redis_ok
        with pytest.raises(Unavailable):
            replica.project("default")
        redis_server.restart()
        assert await replica.wait_loaded(WAIT_S)


async def test_revisions_going_back_renew_the_epoch(redis_server: RedisServer) -> None:
    """Redis lost what it had acknowledged: sidecars must take the older content, and do."""
    async with Replica(redis_server.url, LIMITS) as one, Replica(redis_server.url) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        await put(one, FLAG, "a", flag_record("a"))
        with redis_server.client() as client:
            saved = dump(client)
            await put(one, FLAG, "b", flag_record("b"))
            await until_same(one, other)
            epoch = one.project("default").epoch
            restore(client, saved)
        async with asyncio.timeout(WAIT_S):
            while one.project("default").epoch == epoch:  # noqa: ASYNC110 - seen in time
                await asyncio.sleep(0.01)
        await until_same(one, other)
        assert one.epochs_renewed + other.epochs_renewed == 1
        assert one.project("default").flags.keys() == {"a"}
        assert body(one) == body(other)
        await put(other, FLAG, "c", flag_record("c"))
        assert other.project("default").flags.keys() == {"a", "c"}


async def test_a_log_that_lost_its_end_is_not_waited_on(replica: Replica, redis_url: str) -> None:
    """The position says that there was a change, the log has none: everything is read."""
    async with Replica(redis_url) as late:
        assert await late.wait_loaded(WAIT_S)
        await late._mirror.stop()
        await put(replica, FLAG, "a", flag_record("a"))
        with redis.Redis.from_url(redis_url) as client:
            client.delete(ProjectKeys("default").changes)
        late._mirror.start()
        await until_same(replica, late)
        assert late.reloads == 1
        assert late.epochs_renewed == 0


@pytest.mark.parametrize("written", [1, 2, 5])
async def test_another_history_is_seen_however_long_it_is(
    redis_server: RedisServer, written: int
) -> None:
    """Lost and written anew, up to the same number or beyond: counting alone would not tell."""
    async with Replica(redis_server.url, LIMITS) as one:
        assert await one.wait_loaded(WAIT_S)
        with redis_server.client() as client:
            saved = dump(client)
            await put(one, FLAG, "lost", flag_record("lost"))
            await one._mirror.stop()
            restore(client, saved)
        async with Replica(redis_server.url, LIMITS) as other:
            assert await other.wait_loaded(WAIT_S)
            for number in range(written):
                await put(other, FLAG, "instead", flag_record("instead", number + 1))
            epoch = one.project("default").epoch
            one._mirror.start()
            await until_same(one, other)
            assert one.project("default").epoch != epoch
            assert one.project("default").flags.keys() == {"instead"}


@pytest.mark.parametrize("clock", ["2020-01-01T00:00:00.000Z", "2099-01-01T00:00:00.000Z"])
async def test_a_new_epoch_is_published_after_all_that_went_before(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    """Also by a clock that is behind: sidecars tell by the time which of two epochs came first."""
    async with Replica(redis_server.url, LIMITS) as replica:
        assert await replica.wait_loaded(WAIT_S)
        with redis_server.client() as client:
            saved = dump(client)
            await put(replica, FLAG, "lost", flag_record("lost"))
            before = replica.project("default").snapshots["production"].published.at
            monkeypatch.setattr(mirror, "now_rfc3339", lambda: clock)
            epoch = replica.project("default").epoch
            restore(client, saved)
        async with asyncio.timeout(WAIT_S):
            while replica.project("default").epoch == epoch:  # noqa: ASYNC110 - seen in time
                await asyncio.sleep(0.01)
        published = {s.published.at for s in replica.project("default").snapshots.values()}
        assert len(published) == 1
        assert published.pop() == max(clock, just_after(before))


async def test_a_backup_of_an_earlier_epoch_gets_a_new_one_too(
    redis_server: RedisServer,
) -> None:
    """Its own epoch was over: what is restored is given to sidecars as something new."""
    async with Replica(redis_server.url, LIMITS) as one, Replica(redis_server.url, LIMITS) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        first = one.project("default").epoch
        with redis_server.client() as client:
            saved = dump(client)
            await one._mirror.renew("default", first)
            await until_same(one, other)
            second = one.project("default").epoch
            restore(client, saved)
        async with asyncio.timeout(WAIT_S):
            while {first, second} & {r.project("default").epoch for r in (one, other)}:  # noqa: ASYNC110 - seen in time
                await asyncio.sleep(0.01)
        await until_same(one, other)
        assert body(one) == body(other)


async def test_a_sidecar_that_is_ahead_tells_of_a_loss_nobody_saw(
    redis_server: RedisServer,
) -> None:
    """All replicas were down while Redis went back: the sidecar's revision gives it away."""
    with redis_server.client() as client:
        async with Replica(redis_server.url) as before:
            assert await before.wait_loaded(WAIT_S)
            saved = dump(client)
            await put(before, FLAG, "a", flag_record("a"))
            pointer = before.project("default").snapshots["production"].pointer()
        restore(client, saved)
    async with Replica(redis_server.url) as replica:
        assert await replica.wait_loaded(WAIT_S)
        await replica.witness("default", "production", "of-another-epoch", 1_000)
        assert replica.epochs_renewed == 0
        await replica.witness("default", "production", pointer.epoch, pointer.revision)
        assert replica.epochs_renewed == 1
        renewed = replica.project("default").epoch
        assert renewed != pointer.epoch
        # One that claims whatever it likes does not make everybody fetch everything at once again.
        await replica.witness("default", "production", renewed, 1_000_000)
        assert replica.epochs_renewed == 1


@pytest.mark.parametrize("ahead_s", [-60, 60])
async def test_a_sidecar_of_a_later_epoch_tells_of_a_backup_from_before_it(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    """All replicas were down meanwhile, and the clock that the later epoch had may be ahead.

    What is published then is later than what the sidecar holds, so that it is taken.
    """
    with redis_server.client() as client:
        async with Replica(redis_server.url) as before:
            assert await before.wait_loaded(WAIT_S)
            saved = dump(client)
            first = before.project("default").epoch
            then = just_after(now_rfc3339(), timedelta(seconds=ahead_s))
            monkeypatch.setattr(mirror, "now_rfc3339", lambda: then)
            await before._mirror.renew("default", first)
            held = before.project("default").snapshots["production"].header()
            monkeypatch.undo()
        restore(client, saved)
    async with Replica(redis_server.url) as replica:
        assert await replica.wait_loaded(WAIT_S)
        assert replica.project("default").epoch == first
        claim = ("default", "production", held.epoch, held.revision)
        await replica.witness(*claim)
        old = replica.project("default").snapshots["production"].published.at
        for published in (old, "9999-01-01T00:00:00.000Z", just_after(now_rfc3339(), _FAR)):
            await replica.witness(*claim, published)
        assert replica.epochs_renewed == 0
        await replica.witness(*claim, held.created_at)
        assert replica.epochs_renewed == 1
        renewed = replica.project("default").snapshots["production"].header()
        assert renewed.epoch not in (first, held.epoch)
        assert renewed.created_at > held.created_at


async def test_a_project_gone_from_redis_is_served_on_and_not_written(
    replica: Replica, redis_url: str
) -> None:
    """An empty Redis is no reason to take all flags from everybody."""
    await put(replica, FLAG, "a", flag_record("a"))
    with redis.Redis.from_url(redis_url) as client:
        saved = dump(client)
        client.flushall()
        async with asyncio.timeout(WAIT_S):
            while replica.verified_age_ms() < 1_500:  # noqa: ASYNC110 - it must be seen to grow
                await asyncio.sleep(0.05)
        assert replica.project("default").flags.keys() == {"a"}
        with pytest.raises(Unavailable, match="not in Redis"):
            await put(replica, FLAG, "b", flag_record("b"))
        restore(client, saved)
    async with asyncio.timeout(WAIT_S):
        while replica.verified_age_ms() > 1_500:  # noqa: ASYNC110 - restored is seen in time
            await asyncio.sleep(0.05)
    await put(replica, FLAG, "b", flag_record("b"))


async def test_data_of_another_schema_is_refused_and_the_last_good_stays(
    replica: Replica, redis_url: str
) -> None:
    """A newer control plane wrote it: to guess would be to serve the wrong users."""
    await put(replica, FLAG, "a", flag_record("a"))
    keys = ProjectKeys("default")
    with redis.Redis.from_url(redis_url) as client:
        client.hset(keys.meta, mapping={"schema": "99", "epoch": "another"})
        async with asyncio.timeout(WAIT_S):
            while replica.failures == 0:  # noqa: ASYNC110 - a counter
                await asyncio.sleep(0.01)
        assert replica.project("default").flags.keys() == {"a"}
        client.hset(keys.meta, mapping={"schema": "1"})
        async with asyncio.timeout(WAIT_S):
            while replica.project("default").epoch != "another":  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)


async def test_a_project_that_cannot_be_read_keeps_no_other_from_being_served(
    replica: Replica, redis_url: str
) -> None:
    """At the start, and while it is followed; and it comes when it can be read."""
    await replica.create_project(Project("odd"), AUTHOR)
    keys = ProjectKeys("odd")
    with redis.Redis.from_url(redis_url) as client:
        client.hset(keys.meta, mapping={"schema": "99", "epoch": "another"})
        async with Replica(redis_url) as other:
            assert await other.wait_loaded(WAIT_S)
            with pytest.raises(Unavailable):
                other.project("odd")
            await put(replica, FLAG, "a", flag_record("a"))
            await until_same(replica, other)
            client.hset(keys.meta, mapping={"schema": "1"})
            async with asyncio.timeout(WAIT_S):
                while "odd" not in other.projects:  # noqa: ASYNC110 - another process mended it
                    await asyncio.sleep(0.01)
            assert other.project("odd").epoch == "another"


async def test_a_change_that_cannot_be_read_holds_up_no_other_project(
    replica: Replica, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is met once, and not again each time that somebody changes something elsewhere."""
    monkeypatch.setattr(mirror, "_VERIFY_S", 3600.0)
    state = await replica.create_project(Project("a-odd"), AUTHOR)
    keys, number = ProjectKeys("a-odd"), state.sequence + 1
    later = {"kind": "flag", "key": "a", "record": {"of": "a later version"}}
    unreadable = {"previous": state.head, "head": "next", "at": "", "put": [later]}
    async with Replica(redis_url) as other:
        assert await other.wait_loaded(WAIT_S)
        with redis.Redis.from_url(redis_url) as client:
            client.hset(keys.meta, mapping={"sequence": number, "head": "next"})
            client.xadd(keys.changes, {"change": json.dumps(unreadable)}, id=f"{number}-0")
        async with asyncio.timeout(WAIT_S):
            while not other.failures:  # noqa: ASYNC110 - a counter
                await asyncio.sleep(0.01)
        for version in range(1, 11):
            await put(replica, FLAG, "a", flag_record("a", version, value=str(version)))
            await until_same(replica, other)
        assert other.failures == 1
        assert other.project("a-odd").head == state.head
        with pytest.raises(Unavailable, match="cannot be read"):
            await other.commit("a-odd", lambda _: change(Edit(FLAG, "b", flag_record("b"))))


async def test_following_survives_an_exception_nobody_thought_of(
    two: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that ends silently is the failure others had."""
    one, other = two
    follow = other.store.follow
    fail = asyncio.Event()

    async def once_broken(
        after: dict[str, int], wait_s: float
    ) -> dict[str, list[tuple[int, bytes]]]:
        if not fail.is_set():
            fail.set()
            raise KeyError("surprise")
        return await follow(after, wait_s)

    monkeypatch.setattr(other.store, "follow", once_broken)
    async with asyncio.timeout(WAIT_S):
        await fail.wait()
    await put(one, FLAG, "a", flag_record("a"))
    await until_same(one, other)
    assert other.failures == 1
