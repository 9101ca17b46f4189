"""What it costs to count a request: the control plane's own limiter, on the loop it runs on.

CPU of this process, of Redis' by its own account; the wait for the answer is the network's.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvloop

from control_plane.access.model import PRINCIPAL, Principal
from control_plane.limits.model import MAX_LIMIT, Kind
from control_plane.limits.service import RateLimiter
from control_plane.limits.store import QuotaStore
from control_plane.metrics import Metrics
from control_plane.store.connection import Connections, RedisLimits
from tests.bench.figures import Figure, informative
from tests.bench.scale import Scale
from tests.support.redis import RedisServer

__all__ = ["measure_limits"]

_AT_ONCE = 16


class _Request(dict[Any, Any]):
    """What a limiter looks at of a request: a principal and, of the peer, an address."""

    def __init__(self) -> None:
        super().__init__({PRINCIPAL: Principal("admin", "admin")})
        peer = {"peername": ("127.0.0.1", 1)}
        self.transport = SimpleNamespace(get_extra_info=peer.get)
        self.app: dict[Any, Any] = {}


def measure_limits(scale: Scale, _directory: Path) -> Iterator[Figure]:
    """Yield the CPU of a check, one at a time and several at once, and that of Redis."""
    with RedisServer() as server:
        checks = scale.reads * 4 // _AT_ONCE * _AT_ONCE or _AT_ONCE
        one_us, many_us = uvloop.run(_checked(server.url, checks))
        yield informative("a request counted in two quotas: CPU", one_us, "us")
        yield informative(f"  of {_AT_ONCE} at once, each", many_us, "us")
        with server.client() as client:
            stats: Any = client.info("commandstats")
            yield informative("  of Redis, each", stats["cmdstat_evalsha"]["usec_per_call"], "us")


async def _checked(url: str, checks: int) -> tuple[float, float]:
    """Return microseconds of CPU of a check, alone and among others."""
    metrics = Metrics()
    connections = Connections(url, RedisLimits(connections=8), metrics.observe_redis)
    limiter = RateLimiter(
        QuotaStore(connections),
        dict.fromkeys(Kind, MAX_LIMIT),
        MAX_LIMIT,
        wait_s=5.0,
        fail_open=True,
        refused=metrics.rate_limited,
        unchecked=metrics.rate_unchecked,
    )

    async def check(times: int) -> None:
        for _ in range(times):
            request: Any = _Request()
            await limiter(request, Kind.READ)

    async def cost_us(at_once: int) -> float:
        started = time.process_time()
        await asyncio.gather(*(check(checks // at_once) for _ in range(at_once)))
        return (time.process_time() - started) * 1e6 / checks

    await asyncio.gather(*(check(10) for _ in range(_AT_ONCE)))
    costs = await cost_us(1), await cost_us(_AT_ONCE)
    await connections.close()
    return costs
