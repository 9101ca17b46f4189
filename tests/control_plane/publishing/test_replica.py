"""Reading and writing through a replica, on real servers."""

import asyncio
import json

import pytest
import redis

from control_plane.audit.model import AuditEntry
from control_plane.environments.model import Project
from control_plane.errors import Conflict, Invalid, NotFound, Unavailable
from control_plane.publishing import replica as replica_module
from control_plane.publishing.mirror import SMALL_EDITS
from control_plane.publishing.replica import Replica
from control_plane.publishing.state import Change, Edit, ProjectState, RecordKind
from control_plane.store.keys import KEYS, ProjectKeys
from proxy.contract.definitions import DEFAULT_ENVIRONMENTS
from tests.control_plane.publishing.replicas import LIMITS, WAIT_S, body, until_same
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
    host, port = replica._connections.servers.masters[0]
    return f"redis://{host}:{port}"


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
    """By readers and writers."""
    with pytest.raises(NotFound):
        replica.project("nope")
    with pytest.raises(NotFound):
        await replica.commit("nope", lambda _: change())
    with pytest.raises(NotFound):
        replica.environment("nope", "production")
    with pytest.raises(NotFound):
        replica.environment("default", "nope")


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


async def test_a_listener_is_told_of_a_change_made_elsewhere(
    two: tuple[Replica, Replica],
) -> None:
    """Once it is current here: of each environment that it changes, and of no other."""
    one, other = two
    heard: list[tuple[str, str, int]] = []
    first = other.environment("default", "production").revision

    def listen(project: str, environment: str) -> None:
        heard.append((project, environment, other.environment(project, environment).revision))

    other.on_change(listen)
    for number in range(3):
        await put(one, FLAG, "a", flag_record("a", value=str(number)))
    await until_same(one, other)
    assert sorted(heard) == [
        ("default", environment, revision)
        for environment in ("development", "production", "staging")
        for revision in range(first + 1, first + 4)
    ]


async def test_replicas_derive_the_same_deltas(two: tuple[Replica, Replica]) -> None:
    """Byte for byte: whoever moves from the one to the other goes on."""
    one, other = two
    start = one.environment("default", "production").pointer()
    put_c, put_a = (Edit(FLAG, key, flag_record(key)) for key in "ca")
    await one.commit("default", lambda _: change(put_c, put_a))
    await until_same(one, other)
    await put(other, FLAG, "b", flag_record("b"))
    await until_same(one, other)
    drop_c, put_b = Edit(FLAG, "c", None), Edit(FLAG, "b", flag_record("b", 2, value="y"))
    await one.commit("default", lambda _: change(put_b, drop_c))
    many = [Edit(FLAG, f"f-{n}", flag_record(f"f-{n}")) for n in range(SMALL_EDITS + 1)]
    await one.commit("default", lambda _: change(*many))
    await until_same(one, other)
    mine, theirs = (
        each.deltas("default", "production").since(start.epoch, start.revision) for each in two
    )
    assert mine is not None
    assert len(mine) == 4
    assert mine == theirs


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


async def test_a_snapshot_too_large_is_refused_with_the_sizes(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sidecars would not read is not published, and the way back stays open."""
    await put(replica, FLAG, "a", flag_record("a", value="x" * 10_000))
    monkeypatch.setattr(replica_module, "MAX_PUBLISHED_BYTES", 5_000)
    with pytest.raises(Invalid, match="at most 5000") as refused:
        await put(replica, FLAG, "b", flag_record("b"))
    assert refused.value.code == "snapshot_too_large"
    for environment in DEFAULT_ENVIRONMENTS:
        assert repr(environment) in refused.value.detail
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
    """Connections stay open and nothing comes: one time-out ends it for all who stand in line."""
    async with Replica(redis_server.url, LIMITS) as replica:
        assert await replica.wait_loaded(WAIT_S)
        redis_server.freeze()
        try:
            async with asyncio.timeout(LIMITS.command_s * 2):
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


async def test_a_repeated_command_finds_its_first_attempt_behind_the_change_of_another(
    two: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored is no conflict with itself because somebody went on from it."""
    one, other = two
    commit = one.store.commit

    async def answer_lost(*arguments: object) -> bool:
        monkeypatch.setattr(one.store, "commit", commit)
        assert await commit(*arguments)  # type: ignore[arg-type]
        await other._mirror.realign("default")
        await put(other, FLAG, "b", flag_record("b"))
        return await commit(*arguments)  # type: ignore[arg-type]

    def create(state: ProjectState) -> Change:
        if "a" in state.flags:
            raise Conflict("there is a flag 'a'")
        return change(Edit(FLAG, "a", flag_record("a")))

    monkeypatch.setattr(one.store, "commit", answer_lost)
    await one.commit("default", create)
    assert one.project("default").flags.keys() == {"a", "b"}
    assert (one.project("default").sequence, one.conflicts) == (3, 0)


async def test_a_project_made_twice_by_a_repeated_command_is_made(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own first attempt is not somebody else's project."""
    create = replica.store.create

    async def sent_twice(*arguments: object) -> bool:
        assert await create(*arguments)  # type: ignore[arg-type]
        return await create(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(replica.store, "create", sent_twice)
    assert (await replica.create_project(Project("mobile"), AUTHOR)).name == "mobile"
    with pytest.raises(AssertionError):  # the first attempt already finds it
        await replica.create_project(Project("mobile"), AUTHOR)


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
