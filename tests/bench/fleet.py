"""A fleet that tells a control plane what it serves: what a report costs, and an answer of all.

The reporters are sockets, each request written at once and its answer read, because 5,000 real
sidecars would measure themselves. Costs are of the control plane's process, its exchange with Redis
once a second included, and of the Redis server.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import redis

from loadtests.percentiles import percentile
from loadtests.usage import cpu_s, resident_mb
from proxy.contract.fleet import FLEET_PATH, FLEET_REVISIONS_PATH, STANDING_PATH, Standing
from tests.bench.client import Client
from tests.bench.figures import Figure, below, informative
from tests.bench.scale import Scale
from tests.support.administrator import ADMIN_TOKEN, ADMINISTRATOR
from tests.support.processes import running, wait_for_json
from tests.support.redis import RedisServer

__all__ = ["measure_fleet"]

_CONNECTIONS = 100
_REPORT_US = 500.0  # 10,000 sidecars each half minute: a sixth of a core; a change: 5 s of one
_ANSWER_MS = 100.0
_SETTLED_S = 2.5  # what was heard is exchanged each second
_ANSWERS = 20


class _Plane(NamedTuple):
    """A control plane, its Redis, and what asks and tells."""

    pid: int
    redis_pid: int
    redis: redis.Redis
    api: Client
    address: tuple[str, int]
    key: str


class _Used(NamedTuple):
    """CPU seconds of the control plane and of Redis, and how long it took by the clock."""

    cpu_s: float
    redis_s: float
    took_s: float


def measure_fleet(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield what a report costs, alone and in the burst after a change, and what answers take."""
    with ExitStack() as stack:
        plane = _start(stack, directory)
        count = scale.sidecars
        held_mb, held_bytes = resident_mb(plane.pid), _used_memory(plane)
        used = _told(plane, _requests(plane, count, close=True))
        yield _cost(f"fleet of {count:,}: CPU of a report, a connection each", used, count)
        yield informative("  of Redis", used.redis_s * 1e6 / count, "us")
        memory = (resident_mb(plane.pid) - held_mb) * 1e3 / count
        yield informative("  memory of the control plane, each", memory, "kB")
        yield informative(
            "  memory of Redis, each", (_used_memory(plane) - held_bytes) / 1e3 / count, "kB"
        )
        flag = {"key": "bench", "type": "boolean", "value": True, "enabled": True}
        plane.api.ask("POST", "/api/v1/flags", flag, 201)
        used = _told(plane, _requests(plane, count))
        yield _cost("  CPU of a report in the burst after a change", used, count)
        yield informative("  the burst, from first to last answer", used.took_s, "s")
        fleet = plane.api.ask("GET", FLEET_PATH)
        spread = plane.api.ask("GET", FLEET_REVISIONS_PATH)["items"][0]
        if fleet["states"]["current"] != count or spread["served"] != count:
            raise RuntimeError(f"not all were heard: {fleet['states']}, {spread}")
        yield from _answers(plane, count)


def _answers(plane: _Plane, count: int) -> Iterator[Figure]:
    for what, path in (("who serves what", FLEET_PATH), ("revisions", FLEET_REVISIONS_PATH)):
        times = []
        for _ in range(_ANSWERS):
            plane.api.ask("GET", path)
            times.append(plane.api.took_s * 1e3)
        name = f"fleet of {count:,}: GET {what}, p50"
        yield below(name, percentile(times, 50), _ANSWER_MS, "ms")


def _start(stack: ExitStack, directory: Path) -> _Plane:
    server = stack.enter_context(RedisServer("redis", directory))
    ready = directory / "ready.json"
    arguments = ["control-plane", "--port", "0", "--ready-file", ready]
    environ = {"REDIS_URL": server.url, **ADMINISTRATOR, "METRICS_PORT": "0"}
    log = directory / "control-plane.log"
    process = stack.enter_context(running(arguments, log, environ))
    url = wait_for_json(ready, process, log)["api"]
    parts = urlsplit(url)
    api = stack.enter_context(Client(url, ADMIN_TOKEN))
    key = api.ask("POST", "/api/v1/keys", {"kind": "sidecar"}, 201)["key"]
    client = stack.enter_context(server.client())
    redis_pid = int(client.info("server")["process_id"])  # type: ignore[index]
    assert parts.hostname is not None
    assert parts.port is not None
    return _Plane(process.pid, redis_pid, client, api, (parts.hostname, parts.port), key)


def _requests(plane: _Plane, count: int, *, close: bool = False) -> list[bytes]:
    """Return one request of each sidecar that serves what is current; some lose the connection."""
    current = plane.api.ask("GET", FLEET_PATH)
    standing = Standing(
        instance="",
        application="shop",
        application_version="1.4.2",
        version="0.1.0",
        labels={"node": "node-17", "namespace": "shop"},
        epoch=current["epoch"],
        revision=current["revision"],
        digest=current["digest"],
        serving_ms=20,
        age_ms=20,
        state="streaming",
        uptime_ms=1_000_000,
    )
    head = (
        f"POST {STANDING_PATH} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {plane.key}\r\n"
        f"Content-Type: application/json\r\n{'Connection: close' if close else 'X-Y: z'}\r\n"
    )
    made = []
    for number in range(count):
        told = msgspec.structs.replace(standing, instance=f"shop-{number:05}-7f9c4d")
        body = msgspec.json.encode(told)
        made.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return made


def _told(plane: _Plane, requests: Sequence[bytes]) -> _Used:
    before_s, redis_s = cpu_s(plane.pid), cpu_s(plane.redis_pid)
    started_s = time.perf_counter()
    asyncio.run(_tell(plane.address, requests))
    took_s = time.perf_counter() - started_s
    time.sleep(_SETTLED_S)
    return _Used(cpu_s(plane.pid) - before_s, cpu_s(plane.redis_pid) - redis_s, took_s)


async def _tell(address: tuple[str, int], requests: Sequence[bytes]) -> None:
    """Send all requests, over so many connections at once."""
    waiting = list(requests)

    async def work() -> None:
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while waiting:
            request = waiting.pop()
            if reader is None or writer is None:
                reader, writer = await asyncio.open_connection(*address)
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 204"):
                raise RuntimeError(f"a report was not taken: {answer[:200]!r}")
            if b"Connection: close" in request:
                writer.close()
                reader = writer = None
        if writer is not None:
            writer.close()

    await asyncio.gather(*(work() for _ in range(_CONNECTIONS)))


def _cost(name: str, used: _Used, count: int) -> Figure:
    return below(name, used.cpu_s * 1e6 / count, _REPORT_US, "us")


def _used_memory(plane: _Plane) -> int:
    info: Any = plane.redis.info("memory")
    return int(info["used_memory"])
