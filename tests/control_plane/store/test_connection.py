"""Commands in bounded time, and what is told of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from urllib.parse import urlsplit

import pytest

from control_plane.store.connection import Connections, RedisError, RedisLimits
from tests.support.redis import RedisServer

LIMITS = RedisLimits(connect_s=0.3, command_s=0.3, connections=2)


class Told:
    """Remembers what an observer is told."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, bool]] = []

    def __call__(self, name: str, seconds: float, succeeded: bool) -> None:
        assert seconds >= 0
        self.commands.append((name, succeeded))


async def test_commands_are_told_with_their_outcome(redis_server: RedisServer) -> None:
    """A server that comes back is used again, without a new pool."""
    told = Told()
    connections = Connections(redis_server.url, LIMITS, told)
    ping = connections.commands.ping
    await connections.run("ping", ping)
    redis_server.kill()
    with pytest.raises(RedisError):
        await connections.run("ping", ping)
    redis_server.restart()
    await connections.run("ping", ping)
    await connections.close()
    assert told.commands == [("ping", True), ("ping", False), ("ping", True)]


async def test_a_server_that_hangs_is_given_up_in_time(redis_server: RedisServer) -> None:
    """Nothing is repeated; and more commands than connections do not wait longer."""
    limits = replace(LIMITS, command_s=1.0)  # in a row they would take three
    connections = Connections(redis_server.url, limits)
    await connections.run("ping", connections.commands.ping)
    redis_server.freeze()
    started = monotonic()
    results = await asyncio.gather(
        *(connections.run("ping", connections.commands.ping) for _ in range(6)),
        return_exceptions=True,
    )
    took_s = monotonic() - started
    redis_server.thaw()
    assert all(isinstance(result, RedisError) for result in results)
    assert took_s < 2 * limits.command_s
    # What answers late is not taken for the answer to something else.
    for text in (b"a", b"b", b"c", b"d"):
        echo = connections.commands.echo
        assert await connections.run("echo", lambda echo=echo, text=text: echo(text)) == text
    await connections.close()


async def test_a_long_command_has_no_deadline_in_all(redis_server: RedisServer) -> None:
    """What is large takes its time, and is told of like the others."""
    told = Told()
    connections = Connections(redis_server.url, LIMITS, told)

    async def long() -> None:
        await asyncio.sleep(LIMITS.command_s * 1.5)

    await connections.run_long("load", long)
    with pytest.raises(RedisError, match="no answer in"):
        await connections.run("ping", long)
    await connections.close()
    assert told.commands == [("load", True), ("ping", False)]


async def test_a_broken_connection_is_replaced_within_the_command(
    redis_server: RedisServer,
) -> None:
    """Restarted between two commands: the caller does not notice."""
    connections = Connections(redis_server.url, LIMITS)
    await connections.run("ping", connections.commands.ping)
    redis_server.kill()
    redis_server.restart()
    assert await connections.run("ping", connections.commands.ping)
    await connections.close()


@asynccontextmanager
async def address(*servers: RedisServer) -> AsyncIterator[tuple[str, list[RedisServer]]]:
    """Yield an address, and the servers of which the first is behind it for new connections."""
    behind = list(servers)
    tasks: set[asyncio.Task[None]] = set()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
        sink.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = urlsplit(behind[0].url).port
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
        for pair in ((reader, back_writer), (back_reader, writer)):
            tasks.add(asyncio.create_task(pump(*pair)))

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", behind
        server.close()
        await asyncio.wait(tasks)


async def test_a_master_that_was_demoted_is_left() -> None:
    """It keeps our connections after a fail-over, and would refuse writes on them for ever."""
    with RedisServer() as old, RedisServer() as new:
        async with address(old, new) as (url, behind):
            connections = Connections(url, LIMITS)
            script = connections.commands.register_script("return redis.call('INCR', KEYS[1])")
            assert await connections.run("count", lambda: script(keys=["a"])) == 1
            with old.client() as client:
                client.replicaof("127.0.0.1", urlsplit(new.url).port)
            behind.reverse()
            assert await connections.run("count", lambda: script(keys=["a"])) == 1
            with new.client() as client:
                assert client.get("a") == b"1"
            await connections.close()


async def test_a_cancelled_command_is_no_failure_of_redis(redis_server: RedisServer) -> None:
    """A caller who hangs up says nothing about the server."""
    told = Told()
    connections = Connections(redis_server.url, LIMITS, told)
    waiting = asyncio.create_task(
        connections.run("wait", lambda: connections.blocking.blpop(["none"], timeout=1))
    )
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await connections.close()
    assert told.commands == []


async def test_a_cancellation_that_is_swallowed_is_one_nevertheless() -> None:
    """The library does so in a moment that is short and comes; who stops a task waits for it."""
    connections = Connections("redis://127.0.0.1:1", LIMITS)

    async def swallow() -> int:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return 1

    async def fail() -> int:
        await swallow()
        raise RedisError("after all")

    for command in (swallow, fail):
        for run in (connections.run, connections.run_long):
            working = asyncio.create_task(run("x", command))
            await asyncio.sleep(0)
            working.cancel()
            await asyncio.wait({working})
            assert working.cancelled()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await run("x", command)
    await connections.close()
