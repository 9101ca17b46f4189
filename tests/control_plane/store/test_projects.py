"""The atomic steps and reads, on each kind of server."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis

from control_plane.store.connection import Connections, RedisLimits
from control_plane.store.keys import HISTORY_VERSIONS, MAX_CHANGES, ProjectKeys
from control_plane.store.projects import Commit, Position, ProjectStore, Write
from control_plane.store.scripts import COMMIT

FIRST = Position("e", 1, "h1")
META = {"schema": "1", "epoch": "e", "sequence": "1", "head": "h1"}
KEYS = ProjectKeys("p")


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[ProjectStore]:
    """A store with one project, at its first step."""
    connections = Connections(store_url, RedisLimits())
    made = ProjectStore(connections)
    assert await made.create("p", META, {"production": b"{}"}, b"audit")
    yield made
    await connections.close()


@pytest.fixture
def client(store_url: str) -> redis.Redis:
    """A plain client of the same server."""
    return redis.Redis.from_url(store_url)


def step(
    before: Position, *writes: Write, head: str = "", meta: dict[str, str] | None = None
) -> Commit:
    """Return the step that follows on a position."""
    after = Position(before.epoch, before.sequence + 1, head or f"h{before.sequence + 1}")
    return Commit(before, after, b"change", b"audit", meta or {}, writes)


def everything(client: redis.Redis) -> dict[bytes, bytes | None]:
    """Return all that a server holds."""
    return {key: client.dump(key) for key in client.scan_iter()}


async def test_a_project_is_made_once(store: ProjectStore) -> None:
    """The second time says so and changes nothing."""
    assert not await store.create("p", META | {"head": "other"}, {}, b"")
    assert (await store.positions(["p"]))["p"] == FIRST
    assert await store.names() == {"p"}
    loaded = await store.load("p")
    assert loaded is not None
    assert (loaded.meta["epoch"], loaded.environments) == ("e", {"production": b"{}"})


async def test_a_step_writes_all_of_it(store: ProjectStore, client: redis.Redis) -> None:
    """Records, history, audit, log, position and revisions."""
    writes = (
        Write("flags", "a", b'{"\xc3\xa4":1}', b"1 first"),
        Write("segments", "s", b"{}"),
        Write("keys", "k", b"{}"),
    )
    assert await store.commit("p", step(FIRST, *writes, meta={"revision:production": "2"}))
    loaded = await store.load("p")
    assert loaded is not None
    assert loaded.flags == {"a": b'{"\xc3\xa4":1}'}
    assert (loaded.segments, loaded.keys) == ({"s": b"{}"}, {"k": b"{}"})
    assert loaded.meta["revision:production"] == "2"
    assert (await store.positions(["p"]))["p"] == Position("e", 2, "h2")
    assert await store.changes("p", 1) == [(2, b"change")]
    assert await store.history("p", "a", 0, 10) == [b"first"]
    assert client.xlen(KEYS.audit) == 2
    assert await store.commit("p", step(Position("e", 2, "h2"), Write("flags", "a", None, b"2 x")))
    loaded = await store.load("p")
    assert loaded is not None
    assert loaded.flags == {}


@pytest.mark.parametrize(
    "before",
    [
        Position("other", 1, "h1"),
        Position("e", 2, "h1"),
        Position("e", 0, "h1"),
        Position("e", 1, "x"),
    ],
    ids=["epoch", "ahead", "behind", "head"],
)
async def test_a_step_from_elsewhere_writes_nothing(
    store: ProjectStore, client: redis.Redis, before: Position
) -> None:
    """Not a single key, whichever part of the position differs."""
    was = everything(client)
    assert not await store.commit("p", step(before, Write("flags", "a", b"{}", b"1 x")))
    assert not await store.commit("none", step(before, Write("flags", "a", b"{}", b"1 x")))
    assert everything(client) == was


async def test_a_step_that_fails_in_the_middle_writes_nothing(
    store: ProjectStore, client: redis.Redis
) -> None:
    """What can fail comes first: a log that reaches further than the data."""
    client.xadd(KEYS.changes, {"change": "x"}, id="99-0")
    was = everything(client)
    with pytest.raises(redis.ResponseError):
        await store.commit("p", step(FIRST, Write("flags", "a", b"{}", b"1 x")))
    assert everything(client) == was


async def test_of_many_steps_from_one_position_one_is_taken(store: ProjectStore) -> None:
    """The others are told."""
    results = await asyncio.gather(
        *(
            store.commit("p", step(FIRST, Write("flags", f"f{n}", b"{}"), head=f"x{n}"))
            for n in range(20)
        )
    )
    assert sum(results) == 1
    loaded = await store.load("p")
    assert loaded is not None
    assert len(loaded.flags) == 1


async def test_scripts_are_sent_again_to_a_server_that_forgot_them(
    store: ProjectStore, client: redis.Redis
) -> None:
    """A restarted server has an empty cache of scripts."""
    assert await store.commit("p", step(FIRST))
    client.script_flush()
    assert await store.commit("p", step(Position("e", 2, "h2")))


async def test_log_and_history_stay_bounded(store: ProjectStore, client: redis.Redis) -> None:
    """However many changes there are."""
    position = FIRST
    now = b"9999999999999 "
    for number in range(MAX_CHANGES + 300):
        commit = step(position, Write("flags", "a", b"{}", now + b"%d" % number))
        assert await store.commit("p", commit)
        position = commit.after
    assert client.xlen(KEYS.changes) < MAX_CHANGES + 200  # trimmed in whole nodes of 100
    assert client.llen(KEYS.flag_history("a")) == HISTORY_VERSIONS
    assert (await store.history("p", "a", 0, 1)) == [b"%d" % (MAX_CHANGES + 299)]


async def test_an_epoch_is_renewed_once(store: ProjectStore, client: redis.Redis) -> None:
    """Of replicas that all saw the loss, one is first; the log starts anew."""
    client.xadd(KEYS.changes, {"change": "of the lost future"}, id="500-0")
    after = [Position(f"new{n}", 2, f"head{n}") for n in range(5)]
    results = await asyncio.gather(
        *(store.renew("p", FIRST, each, b"reload", b"audit", "later") for each in after)
    )
    assert sum(results) == 1
    position = (await store.positions(["p"]))["p"]
    assert position is not None
    assert (position.epoch[:3], position.sequence) == ("new", 2)
    assert await store.changes("p", 0) == [(2, b"reload")]
    assert await store.commit("p", step(position, head="h3"))


async def test_a_change_is_waited_for(store: ProjectStore) -> None:
    """And none is an empty answer after a while."""
    waiting = asyncio.create_task(store.follow({"p": 1}))
    assert await store.commit("p", step(FIRST))
    assert await waiting == {"p": [(2, b"change")]}
    assert await store.follow({"p": 2}) == {}


async def test_what_is_not_there_is_none(store: ProjectStore) -> None:
    """No data, no position, no versions."""
    assert await store.load("none") is None
    assert await store.positions(["none", "p"]) == {"none": None, "p": FIRST}
    assert await store.history("p", "none", 0, 10) == []


def test_all_keys_of_a_project_are_in_one_slot(client: redis.Redis) -> None:
    """By the hash tag, whatever a flag is called: a Cluster takes the step, too."""
    names = [getattr(KEYS, n) for n in ("meta", "flags", "segments", "keys", "changes", "audit")]
    names += [KEYS.flag_history("x"), KEYS.flag_history("{other}:flag")]
    assert all(name.startswith("mf:{p}:") for name in names)
    assert "KEYS[" in COMMIT
    assert "'mf:" not in COMMIT
