"""What it costs to know who asks, and to write down what they changed.

Passwords are hashed in the product's own threads; tokens are checked in this
process. What a change asks of Redis is what Redis' own MONITOR saw.
"""

import asyncio
import time
from collections.abc import Iterator
from itertools import dropwhile, takewhile
from pathlib import Path
from statistics import median
from typing import Any

from control_plane.users.passwords import Passwords
from control_plane.users.tokens import TokenMaker
from tests.bench.figures import Figure, below, informative
from tests.bench.scale import Scale
from tests.support.api import Api, running_api
from tests.support.redis import RedisServer

__all__ = ["measure_access"]

_FIRST_US, _AGAIN_US = 150.0, 10.0
_LOGINS = 16
_TICK_S = 0.001
_FLAG = "bench"
_PATH = f"/api/v1/flags/{_FLAG}"
_TAGS = "{default}", "{~rate}"
_BEGIN, _END = "the first change comes", "the last change came"


def measure_access(scale: Scale, _directory: Path) -> Iterator[Figure]:
    """Yield the cost of a password, of a token, and the round trips of an audited write."""
    alone_s, together_s, delay_s = asyncio.run(_logins(scale.repeats))
    yield informative("argon2id at 46 MiB, a password checked", alone_s * 1e3, "ms")
    yield informative(f"  {_LOGINS} at once, two at a time, until the last", together_s * 1e3, "ms")
    yield informative("  longest delay of the loop meanwhile", delay_s * 1e3, "ms")
    first_us, again_us = _tokens(scale.reads)
    yield below("an access token checked, the first time", first_us, _FIRST_US, "us")
    yield below("  again", again_us, _AGAIN_US, "us")
    with RedisServer() as server:
        trips = asyncio.run(_round_trips(server, scale.writes))
    what = "round trips to Redis of a change, which is audited and counted in two quotas"
    yield informative(what, trips, "")


async def _logins(turns: int) -> tuple[float, float, float]:
    """Return seconds of one check, of many at once, and the loop's longest delay by them."""
    passwords, delays = Passwords(), [0.0]
    stored = await passwords.hash("a password")

    async def once() -> float:
        start = time.perf_counter()
        assert await passwords.check(stored, "a password")
        return time.perf_counter() - start

    async def watch() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(_TICK_S)
            delays.append(time.perf_counter() - start - _TICK_S)

    try:
        alone = median([await once() for _ in range(turns)])
        watcher = asyncio.create_task(watch())
        start = time.perf_counter()
        await asyncio.gather(*(once() for _ in range(_LOGINS)))
        together = time.perf_counter() - start
        watcher.cancel()
        return alone, together, max(delays)
    finally:
        passwords.close()


def _tokens(count: int) -> tuple[float, float]:
    """Return microseconds of a check that verifies, and of one that remembers."""
    maker = TokenMaker(["a secret that is long enough for a bench"])
    tokens = [maker.make(f"user-{n}", f"session-{n}") for n in range(count)]
    took = []
    for _ in range(2):
        start = time.perf_counter()
        for token in tokens:
            assert maker.read(token) is not None
        took.append((time.perf_counter() - start) * 1e6 / count)
    return took[0], took[1]


async def _round_trips(server: RedisServer, writes: int) -> float:
    """Return how often a change of a flag asks Redis for something."""
    with server.client() as client:
        async with running_api(server.url) as api:
            body = {"type": "boolean", "value": True}
            await _ask(api, "POST", "/api/v1/flags", {"key": _FLAG, **body}, 201)
            with client.monitor() as monitor:
                counted = asyncio.create_task(asyncio.to_thread(_asked, monitor))
                client.echo(_BEGIN)
                for turn in range(writes):
                    await _ask(api, "PUT", _PATH, {**body, "value": turn % 2 == 0}, 200)
                client.echo(_END)
                return await counted / writes


def _asked(monitor: Any) -> int:
    """Return what clients asked for between the marks, but for a replica that waits for news.

    Of the project and its quotas: counting and the fleet go on by themselves meanwhile.
    """
    commands = (each["command"] for each in monitor.listen() if each["client_type"] == "tcp")
    between = takewhile(lambda c: _END not in c, dropwhile(lambda c: _BEGIN not in c, commands))
    about_it = (c for c in between if any(tag in c for tag in _TAGS))
    return sum(not command.startswith("XREAD") for command in about_it)


async def _ask(api: Api, method: str, path: str, body: dict[str, Any], status: int) -> None:
    reply = await api.ask(method, path, json=body)
    assert reply.status == status, reply.body
