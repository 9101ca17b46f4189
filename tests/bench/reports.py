"""Reports at the control plane as a process: what taking and counting an exposure costs, and keeps.

Batches are as sidecars send them, 5,000 exposures each, compressed, each unit once. Sent a first
time they are taken and counted; sent again they are known, which costs what taking does, and
nothing is counted. What a unit keeps is what the server's memory grows by, everything included.
"""

import asyncio
import gzip
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from control_plane.exposures.model import Subject, SubjectUnits, unit_hash
from control_plane.exposures.store import SubjectStore
from control_plane.reports.model import SHARDS, Kind
from control_plane.store.connection import Connections, RedisLimits
from loadtests.usage import cpu_s
from tests.bench.client import Client
from tests.bench.figures import Figure, at_least, below, informative
from tests.bench.scale import Scale
from tests.control_plane.reports.builders import batch, encoded, uuid7
from tests.support.administrator import ADMIN_TOKEN, ADMINISTRATOR
from tests.support.processes import running, wait_for_json
from tests.support.redis import KINDS, RedisServer

__all__ = ["measure_reports"]

_ITEMS = 5_000
_SENDERS = 4
_ACCEPTED = 50_000  # a second and core
_UNIT_BYTES = 64
_COUNTED_S = 300.0


def measure_reports(scale: Scale, directory: Path) -> Iterator[Figure]:
    """Yield the cost of an exposure in CPU, and what a unit takes of Redis."""
    with RedisServer("valkey") as redis:
        environ = {"REDIS_URL": redis.url, **ADMINISTRATOR}
        ready, log = directory / "ready.json", directory / "log"
        ports = ("--port", "0", "--metrics-port", "0", "--ready-file", ready)
        with running(["control-plane", *ports], log, environ) as process:
            addresses = wait_for_json(ready, process, log)
            yield from _throughput(addresses["api"], process.pid, redis.pid, scale.exposures)
            yield informative("  longest delay of the loop", _lag_ms(addresses["metrics"]), "ms")
    for kind in KINDS:
        for units in (1_000, scale.exposed // 10, scale.exposed):
            with RedisServer(kind) as server:
                # many small subjects: of one it is not to be told from what connections take
                subjects = max(1, scale.exposed // 20_000) if units == 1_000 else 1
                yield from asyncio.run(_memory(kind, server.url, units, subjects))


def _throughput(api: str, pid: int, redis_pid: int, items: int) -> Iterator[Figure]:
    with Client(api, ADMIN_TOKEN) as client:
        for flag in ("checkout", "banner"):
            document = {"key": flag, "type": "boolean", "value": True, "enabled": True}
            client.ask("POST", "/api/v1/flags", document, expect=201)
        key = client.ask("POST", "/api/v1/keys", {"kind": "sidecar"}, expect=201)["key"]
        bodies = [_body(number) for number in range(max(1, items // _ITEMS))]
        count = len(bodies) * _ITEMS
        used_s, redis_s, start_s = cpu_s(pid), cpu_s(redis_pid), time.perf_counter()
        _send(api, key, bodies)
        taken_s = time.perf_counter() - start_s
        while client.ask("GET", "/api/v1/exposures/summary?flag=checkout")["pending"]:
            if time.perf_counter() - start_s > _COUNTED_S:
                raise RuntimeError("what was taken is not counted")
            time.sleep(0.05)
        all_s = time.perf_counter() - start_s
        used_s, redis_s = cpu_s(pid) - used_s, cpu_s(redis_pid) - redis_s
        again_s = cpu_s(pid)
        _send(api, key, bodies)
        again_s = cpu_s(pid) - again_s
    name = f"exposures, {count:,} over HTTP"
    yield at_least(f"{name}: taken, a second and core", count / again_s, _ACCEPTED, "")
    yield informative("  CPU to take one", again_s * 1e6 / count, "us")
    yield informative("  CPU to count one", (used_s - again_s) * 1e6 / count, "us")
    yield informative("  CPU of Redis for one, taken and counted", redis_s * 1e6 / count, "us")
    yield informative("  taken while others are counted, a second", count / taken_s, "")
    yield informative("  taken and counted, a second", count / all_s, "")
    yield informative("  bytes of one on the wire", sum(map(len, bodies)) / count, "bytes")


def _lag_ms(metrics: str) -> float:
    with urlopen(metrics + "/metrics") as answer:
        (line,) = (line for line in answer if line.startswith(b"matrixflag_loop_lag_seconds"))
    return float(line.split()[1]) * 1e3


def _body(number: int) -> bytes:
    """Return a compressed batch; units are ids as they are in use, flags and rules few."""
    chance = random.Random(number)
    now_ms = time.time_ns() // 1_000_000
    items = [
        {
            "flag": chance.choice(("checkout", "banner")),
            "variant": chance.choice(("on", "off")),
            "unit": f"{chance.getrandbits(64):x}",
            "unit_attribute": "targetingKey",
            "rule_id": None,
            "reason": "SPLIT",
            "epoch": "5fd0c3",
            "revision": 42,
            "first_seen_ms": now_ms - chance.randrange(300_000),
            "count": 1,
        }
        for _ in range(_ITEMS)
    ]
    return gzip.compress(encoded(batch(*items, id=uuid7())), 6)


def _send(api: str, key: str, bodies: list[bytes]) -> None:
    """Send all batches over some connections, each until it is taken."""
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
    }

    def send(share: list[bytes]) -> None:
        parts = urlsplit(api)
        connection = HTTPConnection(parts.hostname or "", parts.port, 60)
        for body in share:
            connection.request("POST", "/api/v1/exposures", body, headers)
            answer = connection.getresponse()
            told = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status} {told[:300]!r}")
        connection.close()

    with ThreadPoolExecutor(_SENDERS) as pool:
        # the list raises what they raise
        list(pool.map(send, [bodies[start::_SENDERS] for start in range(_SENDERS)]))


async def _memory(kind: str, url: str, units: int, subjects: int) -> list[Figure]:
    """Return what a unit takes when subjects of two variants have so many each, over a month."""
    connections = Connections(url, RedisLimits(command_s=30))
    store, redis = SubjectStore(connections), connections.commands
    now_ms = time.time_ns() // 1_000_000
    await _count(store, _subject("to load the script", range(8), now_ms))
    before = await _used_bytes(redis)
    start_s = time.perf_counter()
    for number in range(subjects):
        for some in _chunks(units):
            await _count(store, _subject(f"checkout-{number}", some, now_ms))
    took_s = time.perf_counter() - start_s
    used = await _used_bytes(redis) - before
    keys = sizes = 0
    count = units * subjects
    async for key in redis.scan_iter("mf:*", count=1000):
        keys += 1
        sizes += await redis.memory_usage(key, samples=0)
    await connections.close()
    return [
        below(f"{kind}: a unit of {units:,}", used / count, _UNIT_BYTES, "bytes"),
        informative("  by MEMORY USAGE of its keys", sizes / count, "bytes"),
        informative("  units to a key", count / keys, ""),
        informative("  counted, a second", count / took_s, ""),
    ]


def _chunks(units: int) -> Iterator[range]:
    for start in range(0, units, 20_000):
        yield range(start, min(start + 20_000, units))


def _subject(flag: str, numbers: range, now_ms: int) -> SubjectUnits:
    subject = SubjectUnits(Subject.of_flag(flag))
    for number in numbers:
        at_ms = now_ms - number * 7919 % 30 * 86_400_000
        unit = unit_hash("targetingKey", f"user-{number}")
        subject.add(unit, at_ms, ("on", "off")[number % 2])
    return subject


async def _count(store: SubjectStore, subject: SubjectUnits) -> None:
    await asyncio.gather(
        *(store.count("default", "production", n, [subject]) for n in range(SHARDS[Kind.EXPOSURES]))
    )


async def _used_bytes(redis: Any) -> int:
    used: int = (await redis.info("memory"))["used_memory"]
    return used
