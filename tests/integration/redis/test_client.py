"""What the client promises in every topology, asked of each, of Redis and of Valkey."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest
from redis.exceptions import AuthenticationError, DataError, ResponseError

from control_plane.store.client import keys_of
from control_plane.store.connection import Connections, NotReplicated, RedisError, RedisLimits
from tests.integration.redis.conftest import PASSWORD
from tests.support.topologies import Cluster, free_ports

APART = [f"k{number}" for number in range(30)]
"""Keys of thirty slots, of all nodes."""

COUNT = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


@pytest.fixture
async def connections(store_url: str) -> AsyncIterator[Connections]:
    """Connections to each of them."""
    made = Connections(store_url, RedisLimits())
    yield made
    await made.close()


async def flush_scripts(connections: Connections) -> None:
    """Have all servers forget all scripts."""
    for server in (await connections.commands.masters()).values():
        await server.script_flush()


async def test_a_pipeline_goes_wherever_its_keys_are(connections: Connections) -> None:
    """Answers come in the order of the commands, errors among them."""
    async with connections.commands.pipeline(transaction=False) as pipe:
        for number, key in enumerate(APART):
            pipe.set(key, number)
        assert await pipe.execute() == [True] * len(APART)
        pipe.lpush(APART[3], "x")
        for key in APART:
            pipe.get(key)
        answers = await pipe.execute(raise_on_error=False)
    assert isinstance(answers[0], ResponseError)
    assert [int(answer) for answer in answers[1:]] == list(range(len(APART)))
    async with connections.commands.pipeline(transaction=False) as pipe:
        pipe.get(APART[0])
        pipe.lpush(APART[3], "x")
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await pipe.execute()


async def test_a_transaction_is_of_one_slot(group: Any, connections: Connections) -> None:
    """Where it is refused nothing of it was done."""
    async with connections.commands.pipeline(transaction=True) as pipe:
        pipe.set("{a}x", 1)
        pipe.incr("{a}x")
        pipe.hgetall("{a}none")
        assert await pipe.execute() == [True, 2, {}]
        for key in APART:
            pipe.set(key, 1)
        if isinstance(group, Cluster):
            with pytest.raises(DataError):
                await pipe.execute()
            assert await connections.commands.get(APART[0]) is None
        else:
            assert await pipe.execute() == [True] * len(APART)


async def test_scripts_are_known_wherever_they_run(connections: Connections) -> None:
    """On servers that never saw them, alone, in a pipeline, and in a transaction."""
    count = connections.commands.register_script(COUNT)
    for client in (connections.commands, connections.large):
        await flush_scripts(connections)
        assert await count(keys=["{a}n"], args=[1], client=client)
    await flush_scripts(connections)
    async with connections.commands.pipeline(transaction=False) as pipe:
        for key in APART:
            await count(keys=[key], args=[7], client=pipe)
        assert await pipe.execute() == [7] * len(APART)
    await flush_scripts(connections)
    async with connections.commands.pipeline(transaction=True) as pipe:
        await count(keys=["{a}n"], args=[1], client=pipe)
        await count(keys=["{a}n"], args=[1], client=pipe)
        assert await pipe.execute() == [3, 4]


async def test_streams_of_many_slots_are_read_together(connections: Connections) -> None:
    """What is there already at once; what comes while waiting; nothing after the time."""
    streams: dict[Any, Any] = dict.fromkeys(APART, "0-0")
    xread = connections.blocking.xread
    assert await xread(streams) in ([], {}, None)
    started = monotonic()
    assert await xread(streams, block=200) in ([], {}, None)
    assert monotonic() - started >= 0.15
    waiting = asyncio.create_task(xread(streams, count=10, block=10_000))
    await asyncio.sleep(0.1)
    await connections.commands.xadd(APART[17], {"a": "1"}, id="5-0")
    assert await waiting == [[APART[17].encode(), [(b"5-0", {b"a": b"1"})]]]
    for key in APART[:3]:
        await connections.commands.xadd(key, {"b": "2"}, id="6-0")
    found = dict(await xread(streams, count=10))
    assert set(found) == {APART[n].encode() for n in (0, 1, 2, 17)}


async def test_groups_read_streams_of_many_slots(connections: Connections) -> None:
    """Each entry is given to one consumer, and acknowledged where it is."""
    commands = connections.commands
    for key in APART[:8]:
        await commands.xgroup_create(key, "g", id="0", mkstream=True)
        await commands.xadd(key, {"of": key})
    streams: dict[Any, Any] = dict.fromkeys(APART[:8], ">")
    found = await connections.blocking.xreadgroup("g", "c1", streams, count=5, block=1000)
    assert {name.decode() for name, _ in found} == set(APART[:8])
    assert not await connections.blocking.xreadgroup("g", "c2", streams, count=5, block=50)
    for name, entries in found:
        assert await commands.xack(name, "g", *(entry for entry, _ in entries)) == 1
        assert (await commands.xpending(name, "g"))["pending"] == 0


async def test_what_concerns_servers_is_asked_of_each(group: Any, connections: Connections) -> None:
    """An answer of some node would look like one of all."""
    commands = connections.commands
    assert await commands.ping()
    await commands.set("here", 1)
    held = [
        key
        for server in (await commands.masters()).values()
        async for key in server.scan_iter("here")
    ]
    assert held == [b"here"]
    if isinstance(group, Cluster):
        with pytest.raises(DataError, match="masters"):
            await commands.scan()
        with pytest.raises(DataError, match="masters"):
            await commands.config_set("maxmemory", "0")
        with pytest.raises(DataError, match="one slot"):
            await commands.mget(APART)


async def test_replicas_are_waited_for(store_url: str) -> None:
    """There is one, in a Cluster, and there are never five."""
    limits = RedisLimits(replicas=1, replicas_s=1.0)
    connections = Connections(store_url, limits)
    count = connections.commands.register_script(COUNT)
    assert await count(keys=["n"], args=[1]) == 1
    await flush_scripts(connections)
    assert await count(keys=["n"], args=[1]) == 2
    async with connections.commands.pipeline(transaction=False) as pipe:
        await count(keys=["n"], args=[1], client=pipe)
        pipe.get("n")
        assert await pipe.execute() == [3, b"3"]
    await connections.close()
    connections = Connections(store_url, replace(limits, replicas=5, replicas_s=0.1))
    count = connections.commands.register_script(COUNT)
    with pytest.raises(NotReplicated, match="of 5 replicas"):
        await connections.run("count", lambda: count(keys=["n"], args=[1]))
    assert await connections.commands.get("n") == b"4"
    with pytest.raises(ResponseError):  # nothing was written: that is what is said
        await count(keys=["n"], args=["no number"])
    unwaited = connections.commands.register_script(COUNT + " -- twice", waited=False)
    assert await unwaited(keys=["n"], args=[1]) == 5
    await connections.close()


async def test_a_master_without_replicas_refuses_when_it_is_told_to(
    connections: Connections,
) -> None:
    """As `min-replicas-to-write` has it; nothing of the script was done."""
    count = connections.commands.register_script(COUNT)
    masters = (await connections.commands.masters()).values()
    for server in masters:
        await server.config_set("min-replicas-to-write", "5")
    try:
        with pytest.raises(RedisError, match="NOREPLICAS"):
            await connections.run("count", lambda: count(keys=["n"], args=[1]))
    finally:
        for server in masters:
            await server.config_set("min-replicas-to-write", "0")
    assert await connections.run("count", lambda: count(keys=["n"], args=[1])) == 1


async def test_a_wrong_password_is_said_without_saying_it(group: Any) -> None:
    """At once: nobody else knows better."""
    connections = Connections(group.url.replace(PASSWORD, "hunter2"), RedisLimits())
    started = monotonic()
    with pytest.raises(RedisError) as caught:
        await connections.run("get", lambda: connections.commands.get("a"))
    assert monotonic() - started < 2
    assert "hunter2" not in str(caught.value)
    if not isinstance(group, Cluster):
        assert isinstance(caught.value, AuthenticationError)
    else:
        assert "WRONGPASS" in str(caught.value) or "invalid" in str(caught.value)
    await connections.close()


async def test_who_is_dead_from_the_start_is_passed_over(store_url: str) -> None:
    """One of those that the address names is enough."""
    scheme, _, rest = store_url.partition("://")
    user, _, hosts = rest.rpartition("@")
    first, _, others = hosts.partition(",")
    (dead,) = free_ports(1)
    address = f"{scheme}://{user}@127.0.0.1:{dead},{others}"
    connections = Connections(address, RedisLimits())
    assert await connections.run("set", lambda: connections.commands.set("a", 1))
    await connections.close()
    assert first not in address


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (("GET", "a"), ["a"]),
        (("XGROUP CREATE", "a", "g", "$"), ["a"]),
        (("EVALSHA", "sha", 2, "a", "b", "x"), ["a", "b"]),
        (("EVAL", "return 1", 0, "x"), []),
        (("XREAD", b"COUNT", "1", b"STREAMS", "a", "b", "0", "0"), ["a", "b"]),
        (("XREADGROUP", "GROUP", "STREAMS", "c", b"STREAMS", "a", ">"), ["a"]),
        (("DEL", "a", "b"), ["a", "b"]),
        (("BLPOP", "a", "b", 1), ["a", "b"]),
        (("PING",), []),
        (("CONFIG SET", "maxmemory", "1"), []),
    ],
    ids=lambda value: str(value[0]) if value else "",
)
def test_the_keys_of_a_command_are_found(command: Any, keys: list[str]) -> None:
    """As redis-py puts commands."""
    assert list(keys_of(command)) == keys
