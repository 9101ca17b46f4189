"""Commands in bounded time, and what is told of them."""

import asyncio
from time import monotonic

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
    connections = Connections(redis_server.url, LIMITS)
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
    assert took_s < 2 * LIMITS.command_s
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
