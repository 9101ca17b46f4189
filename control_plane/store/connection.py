"""Connections to Redis that heal by themselves, and never wait without end.

Three clients: one for commands, one for the few that carry megabytes and so take long, one for the
reads that block on purpose. Each has a pool of connections to each server it talks to; which that
is, of a single server, of what Sentinels watch or of a Cluster, is `store.topology`'s to know, and
what is sent again, where and how often, `store.client`'s. Knows nothing of what commands mean.

So that code works in every topology:

- Keys of one command, one script and one transaction share a hash tag, `{...}`. A command, script
  or transaction that does not is refused in a Cluster, and only there.
- Scripts: `run_script = connections.commands.register_script(TEXT)` once, then
  `await connections.run("name", lambda: run_script(keys=[...], args=[...]))`. All keys are among
  `keys`, at least one. A server that does not know the script is sent it. With `client=` the same
  script runs on another of the three clients, or is added to a pipeline.
- A script may be sent twice, when a connection broke before it was known what became of it: it says
  for which state it is meant, or which id it applies, and finds its own first attempt.
- With `RedisLimits.replicas`, what a script wrote is on so many replicas when it returns; else
  NotReplicated, a RedisError, is raised, and it is as if the answer was lost. A script that finds
  its own first attempt therefore writes something again, an EXPIRE for one: Redis waits for what
  this connection wrote last, and nobody may have waited for the first attempt. What may be lost,
  or only reads, is registered with `waited=False`.
- Pipelines: `pipeline(transaction=False)` may concern any keys, and each part goes where it
  belongs, in no common order. `pipeline(transaction=True)` concerns one slot, and is not waited for
  on replicas. There is no WATCH, no publish and subscribe.
- Blocking reads: `connections.blocking.xread` and `.xreadgroup`, of any streams, with `block` up
  to `FOLLOW_BLOCK_S`, in `run_long`. In a Cluster streams of several slots are looked at every
  50 ms. Entries that XREADGROUP gave to a connection that broke are pending, to be claimed.
- What concerns servers, as INFO or SCAN do: each client of `await connections.commands.masters()`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from control_plane.store.address import parse_address
from control_plane.store.client import Client, NotReplicated, PoolLimits, Script
from control_plane.store.topology import Servers, servers_of

__all__ = [
    "FOLLOW_BLOCK_S",
    "Connections",
    "NotReplicated",
    "Observer",
    "RedisError",
    "RedisLimits",
]

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
    """Commands at once to each server; further ones wait their turn within `command_s`."""
    retries: int = 3
    """Repeats of a command whose connection broke, or that was refused by a server that is not
    the master. Enough for a server that restarts at once or a demotion; a fail-over of seconds is
    waited out by the caller, who gets 503 and `Retry-After`."""
    backoff_s: float = 0.2
    """Longest pause before a repeat; the first is a tenth of it, with jitter."""
    replicas: int = 0
    """Replicas that must have a write before it is answered. 0: the master's answer is enough."""
    replicas_s: float = 0.5
    """How long they are waited for; then the write is answered as if Redis were away."""


class Connections:
    """The clients of one process. Connects when first used; `close` when done."""

    def __init__(self, url: str, limits: RedisLimits, observe: Observer | None = None) -> None:
        address = parse_address(url)
        self._observe = observe
        self.limits = limits
        self.servers: Servers = servers_of(address, limits.connect_s)
        scripts: dict[str, Script] = {}

        def client(timeout_s: float, repeats: int) -> Client:
            pool = PoolLimits(
                timeout_s=timeout_s,
                connect_s=limits.connect_s,
                wait_s=limits.command_s,
                connections=limits.connections,
                repeats=repeats,
                refusals=limits.retries,
                backoff_s=limits.backoff_s,
                replicas=limits.replicas,
                replicas_s=limits.replicas_s,
            )
            return Client(self.servers, address.options, pool, scripts)

        self.commands = client(limits.command_s, limits.retries)
        self.large = client(limits.large_s, 0)
        self.blocking = client(FOLLOW_BLOCK_S + limits.command_s, 0)

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
        task = asyncio.current_task()
        cancelled = 0 if task is None else task.cancelling()
        try:
            answer = await command()
        except OSError as error:
            # What a pool lets through while a server dies, a reset for one.
            self._failed(name, started)
            raise RedisConnectionError(str(error)) from error
        except RedisError:
            self._failed(name, started)
            raise
        finally:
            # redis-py sends within asyncio.wait_for, which in Python 3.11 swallows a cancellation
            # that comes as the sending ends. Whoever cancelled may be waiting for it.
            if task is not None and task.cancelling() > cancelled:
                raise asyncio.CancelledError
        self._tell(name, started, succeeded=True)
        return answer

    async def close(self) -> None:
        """Close all connections."""
        await self.servers.close()
        await self.commands.aclose()
        await self.large.aclose()
        await self.blocking.aclose()

    def _failed(self, name: str, started: float) -> None:
        # A server that hangs may not be the master any more when it is asked next.
        self.servers.doubt()
        self._tell(name, started, succeeded=False)

    def _tell(self, name: str, started: float, *, succeeded: bool) -> None:
        if self._observe is not None:
            self._observe(name, perf_counter() - started, succeeded)
