"""The copy in memory, on real servers: it follows, it writes, it heals."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import redis

from control_plane.audit.model import AuditEntry
from control_plane.environments.model import Project
from control_plane.errors import Conflict, Invalid, NotFound, Unavailable
from control_plane.publishing import replica as replica_module
from control_plane.publishing.replica import Replica
from control_plane.publishing.state import Change, Edit, ProjectState, RecordKind
from control_plane.store.connection import RedisLimits
from control_plane.store.keys import KEYS, MAX_CHANGES, ProjectKeys
from tests.support.definitions import (
    AUTHOR,
    change,
    flag_record,
    put,
    remove,
    segment_record,
)
from tests.support.redis import RedisServer

FLAG = RecordKind.FLAG
LIMITS = RedisLimits(connect_s=0.5, command_s=0.5, commit_s=2.0)
WAIT_S = 20.0


async def until_same(*replicas: Replica) -> None:
    """Return when all replicas stand at the same change; there is no event for what others did."""
    async with asyncio.timeout(WAIT_S):
        while len({(r.project("default").epoch, r.project("default").head) for r in replicas}) > 1:  # noqa: ASYNC110 - several processes in one, no shared event
            await asyncio.sleep(0.01)


@pytest.fixture
async def two(store_url: str) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two replicas of one server, of each kind."""
    async with Replica(store_url) as one, Replica(store_url) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        yield one, other


@pytest.fixture
async def replica(redis_url: str) -> AsyncIterator[Replica]:
    """A loaded replica."""
    async with Replica(redis_url) as loaded:
        assert await loaded.wait_loaded(WAIT_S)
        yield loaded


def body(replica: Replica, environment: str = "production") -> bytes:
    """Return what a replica serves to sidecars."""
    return replica.project("default").snapshots[environment].body()


async def test_an_empty_redis_gets_the_default_project(two: tuple[Replica, Replica]) -> None:
    """Once, also when two replicas start together; so the first call of a newcomer works."""
    one, other = two
    assert sorted(one.project("default").environments) == ["development", "production", "staging"]
    assert one.project("default").epoch == other.project("default").epoch


async def test_who_wrote_reads_what_was_written(two: tuple[Replica, Replica]) -> None:
    """At once, on the replica that took the write."""
    await put(two[0], FLAG, "a", flag_record("a"))
    assert two[0].project("default").flags["a"] == flag_record("a")


async def test_other_replicas_follow_and_serve_the_same_bytes(
    two: tuple[Replica, Replica],
) -> None:
    """Flags, segments and removals, header included."""
    one, other = two
    for number in range(20):
        await put(one, FLAG, f"f-{number % 7}", flag_record(f"f-{number % 7}", value=str(number)))
    await put(other, RecordKind.SEGMENT, "s", segment_record("s"))
    await remove(one, FLAG, "f-3")
    await until_same(one, other)
    assert body(one) == body(other)
    assert other.reloads == 0


async def test_a_replica_that_starts_later_serves_the_same_bytes(
    two: tuple[Replica, Replica], store_url: str
) -> None:
    """Loading gives what following gave."""
    await put(two[0], FLAG, "a", flag_record("a"))
    await put(two[0], RecordKind.SEGMENT, "s", segment_record("s"))
    async with Replica(store_url) as third:
        assert await third.wait_loaded(WAIT_S)
        assert body(third) == body(two[0])


async def test_writes_of_two_replicas_all_arrive(two: tuple[Replica, Replica]) -> None:
    """A hundred racing writers lose nothing and undo nothing."""

    def count_up(state: ProjectState) -> Change:
        record = state.flags.get("n")
        value = 0 if record is None else int(record.flag.variants["a"])
        version = 1 if record is None else record.version + 1
        return change(Edit(FLAG, "n", flag_record("n", version, value=str(value + 1))))

    async def write(replica: Replica, times: int) -> None:
        for _ in range(times):
            while True:
                try:
                    await replica.commit("default", count_up)
                except Conflict:
                    continue
                break

    await asyncio.gather(*(write(replica, 25) for replica in two for _ in range(2)))
    await until_same(*two)
    assert two[0].project("default").flags["n"].flag.variants["a"] == "100"
    assert two[0].project("default").flags["n"].version == 100


async def test_a_write_that_always_loses_is_a_conflict(two: tuple[Replica, Replica]) -> None:
    """After five tries, so that nobody waits for ever."""
    one, other = two
    tried = 0

    def beaten(state: ProjectState) -> Change:
        nonlocal tried
        tried += 1
        with redis.Redis.from_url(other_url) as client:
            client.hset(ProjectKeys("default").meta, mapping={"head": f"other-{tried}"})
        return change(Edit(FLAG, "a", flag_record("a")))

    other_url = url_of(other)
    with pytest.raises(Conflict):
        await one.commit("default", beaten)
    assert tried == 5


def url_of(replica: Replica) -> str:
    """Return the address of a replica's server."""
    arguments = replica._connections.commands.connection_pool.connection_kwargs
    return f"redis://{arguments['host']}:{arguments['port']}/{arguments.get('db', 0)}"


async def test_a_change_without_edits_writes_nothing(replica: Replica, redis_url: str) -> None:
    """No revision, no audit entry."""
    keys = ProjectKeys("default")
    with redis.Redis.from_url(redis_url) as client:
        before = client.xlen(keys.audit), client.hget(keys.meta, "sequence")
        await replica.commit("default", lambda _: change())
        assert (client.xlen(keys.audit), client.hget(keys.meta, "sequence")) == before


async def test_what_a_builder_raises_is_raised_and_nothing_is_written(replica: Replica) -> None:
    """Refusals are the features' to word."""

    def refuse(_: ProjectState) -> Change:
        raise Invalid("no")

    with pytest.raises(Invalid, match="no"):
        await replica.commit("default", refuse)
    assert replica.project("default").sequence == 1


async def test_an_unknown_project_is_not_found(replica: Replica) -> None:
    """By readers, writers and subscribers."""
    with pytest.raises(NotFound):
        replica.project("nope")
    with pytest.raises(NotFound):
        await replica.commit("nope", lambda _: change())
    with pytest.raises(NotFound):
        replica.subscribe("nope", "production")
    with pytest.raises(NotFound):
        replica.subscribe("default", "nope")


async def test_each_change_leaves_an_audit_entry(replica: Replica, redis_url: str) -> None:
    """Who, from where, what: in the same step."""
    await put(replica, FLAG, "a", flag_record("a"))
    with redis.Redis.from_url(redis_url) as client:
        ((_, fields),) = client.xrevrange(ProjectKeys("default").audit, count=1)
    entry = AuditEntry(**json.loads(fields[b"entry"]))
    assert (entry.actor, entry.address, entry.action) == ("tester", "192.0.2.1", "test")
    assert (entry.targets, entry.count) == (["flag:a"], 1)
    assert int(fields[b"sequence"]) == replica.project("default").sequence


async def test_every_version_of_a_flag_is_kept(replica: Replica) -> None:
    """Newest first, the deletion too, and the number goes on after it."""
    for version in (1, 2, 3):
        await put(replica, FLAG, "a", flag_record("a", version, value=str(version)))
    await remove(replica, FLAG, "a")
    entries = await replica.history("default", "a", 0, 10)
    assert [entry.version for entry in entries] == [4, 3, 2, 1]
    assert entries[0].flag is None
    assert entries[1].flag is not None
    assert entries[1].flag.variants == {"a": "3"}
    assert await replica.last_version("default", "a") == 4


async def test_a_subscriber_is_told_of_a_change_made_elsewhere(
    two: tuple[Replica, Replica],
) -> None:
    """Once, however many changes came meanwhile: what is current is what counts."""
    one, other = two
    with other.subscribe("default", "production") as subscription:
        first = await subscription.wait()
        for number in range(10):
            await put(one, FLAG, "a", flag_record("a", value=str(number)))
        await until_same(one, other)
        async with asyncio.timeout(WAIT_S):
            pointer = await subscription.wait()
        assert pointer == one.project("default").snapshots["production"].pointer()
        assert pointer.revision == first.revision + 10
    assert other.subscribers == 0


async def test_a_new_project_is_found_by_other_replicas(two: tuple[Replica, Replica]) -> None:
    """With its default environments, and writable from both."""
    one, other = two
    await one.create_project(Project("mobile"), AUTHOR)
    with pytest.raises(Conflict):
        await one.create_project(Project("mobile"), AUTHOR)
    async with asyncio.timeout(WAIT_S):
        while "mobile" not in other.projects:  # noqa: ASYNC110 - another process would not say
            await asyncio.sleep(0.01)
    await other.commit("mobile", lambda _: change(Edit(FLAG, "a", flag_record("a"))))
    assert other.project("mobile").flags.keys() == {"a"}
    assert other.project("default").flags.keys() == set()


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


async def test_a_snapshot_too_large_is_refused_with_the_sizes(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sidecars would not read is not published, and the way back stays open."""
    await put(replica, FLAG, "a", flag_record("a", value="x" * 10_000))
    monkeypatch.setattr(replica_module, "MAX_PUBLISHED_BYTES", 5_000)
    with pytest.raises(Invalid, match="at most 5000") as refused:
        await put(replica, FLAG, "b", flag_record("b"))
    assert refused.value.code == "snapshot_too_large"
    await put(replica, FLAG, "a", flag_record("a", 2, value="x" * 9_000))
    assert replica.project("default").flags["a"].version == 2


async def test_every_key_in_redis_is_declared(replica: Replica, redis_url: str) -> None:
    """One module tells what there is; nothing is stored beside it."""
    await put(replica, FLAG, "a", flag_record("a"))
    patterns = [row.pattern.replace("{P}", "{default}").partition("<")[0] for row in KEYS]
    with redis.Redis.from_url(redis_url) as client:
        types = {key.decode(): client.type(key).decode() for key in client.scan_iter()}
    assert types
    for key, kind in types.items():
        matching = [row for row, p in zip(KEYS, patterns, strict=True) if key.startswith(p)]
        assert kind in {row.type for row in matching}, key


# Bad times


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


async def test_while_redis_is_away_reads_go_on_and_writes_are_refused_in_time(
    redis_server: RedisServer,
) -> None:
    """Kill -9, restart: nothing acknowledged is lost, and writes work again by themselves."""
    async with Replica(redis_server.url, LIMITS) as replica:
        assert await replica.wait_loaded(WAIT_S)
        await put(replica, FLAG, "a", flag_record("a"))
        epoch, before = replica.project("default").epoch, body(replica)
        redis_server.kill()
        async with asyncio.timeout(LIMITS.commit_s + 1):
            with pytest.raises(Unavailable) as refused:
                await put(replica, FLAG, "b", flag_record("b"))
        assert int(refused.value.headers["Retry-After"]) >= 1
        assert body(replica) == before
        assert not replica.redis_ok
        age_ms = replica.verified_age_ms()
        await asyncio.sleep(0.05)
        assert replica.verified_age_ms() >= age_ms + 50
        redis_server.restart()
        async with asyncio.timeout(WAIT_S):
            while not replica.redis_ok:  # noqa: ASYNC110 - a state, not an event
                await asyncio.sleep(0.01)
        await put(replica, FLAG, "b", flag_record("b"))
        assert replica.project("default").flags.keys() == {"a", "b"}
        assert replica.project("default").epoch == epoch
        assert replica.epochs_renewed == 0


async def test_a_server_that_hangs_does_not_hang_writers(redis_server: RedisServer) -> None:
    """Connections stay open and nothing comes: the time-out of the write ends it, for all."""
    async with Replica(redis_server.url, LIMITS) as replica:
        assert await replica.wait_loaded(WAIT_S)
        redis_server.freeze()
        try:
            async with asyncio.timeout(LIMITS.commit_s * 2):
                results = await asyncio.gather(
                    *(put(replica, FLAG, f"f-{n}", flag_record(f"f-{n}")) for n in range(20)),
                    return_exceptions=True,
                )
        finally:
            redis_server.thaw()
        assert {type(result) for result in results} == {Unavailable}
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    await put(replica, FLAG, "after", flag_record("after"))
                except Unavailable:
                    continue
                break


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


async def test_following_survives_an_exception_nobody_thought_of(
    two: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that ends silently is the failure others had."""
    one, other = two
    follow = other.store.follow
    fail = asyncio.Event()

    async def once_broken(after: dict[str, int]) -> dict[str, list[tuple[int, bytes]]]:
        if not fail.is_set():
            fail.set()
            raise KeyError("surprise")
        return await follow(after)

    monkeypatch.setattr(other.store, "follow", once_broken)
    async with asyncio.timeout(WAIT_S):
        await fail.wait()
    await put(one, FLAG, "a", flag_record("a"))
    await until_same(one, other)
    assert other.failures == 1


async def test_a_repeated_command_finds_its_own_first_attempt(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer was lost, not the write: it is no conflict, and is not done twice."""
    commit = replica.store.commit

    async def sent_twice(*arguments: object) -> bool:
        assert await commit(*arguments)  # type: ignore[arg-type]
        return await commit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(replica.store, "commit", sent_twice)
    await put(replica, FLAG, "a", flag_record("a"))
    state = replica.project("default")
    assert (state.sequence, state.flags.keys()) == (2, {"a"})
    assert replica.conflicts == 0
    assert state.snapshots["production"].revision == 2


def dump(client: redis.Redis) -> dict[bytes, bytes]:
    """Return all data of a server, as a backup would have it."""
    return {key: client.dump(key) or b"" for key in client.scan_iter()}


def restore(client: redis.Redis, saved: dict[bytes, bytes]) -> None:
    """Put a backup in the place of all data, as one step."""
    with client.pipeline(transaction=True) as pipe:
        pipe.flushall()
        for key, value in saved.items():
            pipe.restore(key, 0, value)
        pipe.execute()
