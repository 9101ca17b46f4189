"""Connections to Redis that heal by themselves, and never wait without end.

Three pools: one for commands, one for the few that carry megabytes and so take long, one for the
reads that block on purpose. A command that meets a broken connection is sent again a few times
within its deadline; every command that writes is safe to repeat, because it names the state it was
made for. One that gets no answer is not sent again: a server that hangs would be waited for several
times over. Knows nothing of what the commands mean.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import EqualJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = ["FOLLOW_BLOCK_S", "Connections", "Observer", "RedisError", "RedisLimits"]

T = TypeVar("T")

FOLLOW_BLOCK_S = 1.0
"""Longest wait for the next change; also how often a quiet project is checked."""

Observer = Callable[[str, float, bool], None]
"""Told of each command: its name, how long it took in seconds, and whether it succeeded."""


@dataclass(frozen=True, slots=True)
class RedisLimits:
    """How long to wait for Redis and how much of it to use. Times in seconds."""

    connect_s: float = 1.0
    """A server that is there answers in microseconds; a second covers a lost SYN."""
    command_s: float = 2.0
    """A command in all, waiting for a connection and repeats included. Above the stalls of a
    rewrite of the append-only file, below the patience of callers."""
    commit_s: float = 5.0
    """A write in all, waiting for other writes included; then it is 503."""
    large_s: float = 30.0
    """A command of megabytes: what ten thousand flags take on a machine that is busy."""
    connections: int = 32
    """Commands at once; further ones wait their turn within `command_s`."""


class Connections:
    """The pools of one process. Connects when first used; `close` when done."""

    def __init__(self, url: str, limits: RedisLimits, observe: Observer | None = None) -> None:
        self._observe = observe
        self.limits = limits
        self.commands = _client(url, limits, limits.command_s, 2)
        self.large = _client(url, limits, limits.large_s, 0)
        self.blocking = _client(url, limits, FOLLOW_BLOCK_S + limits.command_s, 0)

    async def run(self, name: str, command: Callable[[], Awaitable[T]]) -> T:
        """Return a command's answer within `command_s`, having told the observer about it.

        Raises:
            RedisError: when it did not succeed in time, repeats included.
        """

        async def in_time() -> T:
            try:
                async with asyncio.timeout(self.limits.command_s):
                    return await command()
            except TimeoutError:
                raise RedisTimeoutError(f"no answer in {self.limits.command_s:g} s") from None

        return await self.run_long(name, in_time)

    async def run_long(self, name: str, command: Callable[[], Awaitable[T]]) -> T:
        """Return the answer of a command that waits on purpose, or carries megabytes.

        It may take as long as each step of it comes within the time-out of its pool.

        Raises:
            RedisError: when it did not succeed.
        """
        started = perf_counter()
        try:
            answer = await command()
        except OSError as error:
            # What a pool lets through while a server dies, a reset for one.
            self._tell(name, started, succeeded=False)
            raise RedisConnectionError(str(error)) from error
        except RedisError:
            self._tell(name, started, succeeded=False)
            raise
        self._tell(name, started, succeeded=True)
        return answer

    async def close(self) -> None:
        """Close all connections."""
        await self.commands.aclose()
        await self.large.aclose()
        await self.blocking.aclose()

    def _tell(self, name: str, started: float, *, succeeded: bool) -> None:
        if self._observe is not None:
            self._observe(name, perf_counter() - started, succeeded)


def _client(url: str, limits: RedisLimits, timeout_s: float, repeats: int) -> redis.Redis:
    # A unix socket has no keep-alive, and its connection takes no such argument.
    tcp = {} if url.startswith("unix:") else {"socket_keepalive": True}
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=limits.connections,
        timeout=limits.command_s,
        socket_connect_timeout=limits.connect_s,
        socket_timeout=timeout_s,
        **tcp,
        retry=Retry(
            EqualJitterBackoff(cap=0.2, base=0.02),
            repeats,
            # Read-only is who was the master before a fail-over, and kept our connections: they
            # are made anew, to whoever has the address now.
            supported_errors=(RedisConnectionError, ReadOnlyError),
        ),
    )
    return redis.Redis.from_pool(pool)
