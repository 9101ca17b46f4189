"""A whole installation of real processes, with a line between any two that a test can break.

    Redis <- redis_lines[i] - control_planes[i] <- sync_lines[j] - sidecars[j] <- evaluator

A sync line has all control planes as its targets, as a balancer before them has. Addresses stay the
same over restarts. `running_world` starts all of it, defines the flags that the evaluator knows and
waits until each sidecar serves them; at the end everything is ended, by its process id.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import zip_longest
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import aiohttp

from tests.chaos.evaluator import Evaluator, evaluating
from tests.chaos.lines import Address, Line
from tests.chaos.long import LONG
from tests.chaos.namespaces import Machine
from tests.chaos.programs import Program
from tests.support.administrator import ADMIN_TOKEN, ADMINISTRATOR
from tests.support.ports import free_port
from tests.support.redis import RedisServer

__all__ = ["ADMIN", "SHOWN", "World", "running_world", "until"]

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
_PAUSE_S = 0.01 if LONG else 0.03
_LOOK_S = 0.02
_SLACK = 8  # connections that are kept for the next request
_LEFT_S = 30.0


def _served(**production: Any) -> dict[str, Any]:
    return {"environments": {"production": {"enabled": True, **production}}}


GREETING: dict[str, Any] = {
    "key": "greeting",
    "type": "string",
    "variants": {"german": "hallo", "english": "hello"},
    **_served(
        rules=[
            {
                "id": "germans",
                "when": {"attribute": "country", "op": "in", "values": ["DE"]},
                "serve": {"variant": "german"},
            }
        ],
        fallthrough={"variant": "english"},
    ),
}
SHOWN: dict[str, Any] = {
    "key": "shown",
    "type": "string",
    "track": True,
    "variants": {"a": "A", "b": "B"},
    **_served(
        fallthrough={
            "rollout": {
                "arms": [{"variant": "a", "weight": 50_000}, {"variant": "b", "weight": 50_000}]
            }
        }
    ),
}


class Footprint(NamedTuple):
    """What a program has of what must not become more and more."""

    descriptors: int
    tasks: float


class World:
    """What runs, and how to break it."""

    def __init__(
        self, directory: Path, http: aiohttp.ClientSession, redis: RedisServer | None = None
    ) -> None:
        self.directory = directory
        self.http = http
        self.redis = redis or RedisServer(directory=directory)
        self.redis_lines: list[Line] = []
        self.sync_lines: list[Line] = []
        self.control_planes: list[Program] = []
        self.sidecars: list[Program] = []
        self.api_urls: list[str] = []
        self.metrics_urls: list[str] = []
        self.ofrep_urls: list[str] = []
        self.admin_urls: list[str] = []
        self.step = 0
        """The latest that is published for certain."""
        self.tried = 0
        """The latest that anybody tried to publish."""
        self._etag: str | None = None
        self.sidecar_key = ""
        self.key: str | None = None
        """What evaluations are asked for with, where the environment has keys."""

    # what users do

    async def api(self, method: str, path: str, *, via: int = 0, **options: Any) -> tuple[int, Any]:
        """Ask a control plane as administrator; return status and document."""
        url = self.api_urls[via] + path
        async with self.http.request(method, url, headers=ADMIN, **options) as answer:
            return answer.status, await answer.json() if answer.content_length else None

    async def publish_once(self, via: int = 0) -> bool:
        """Try to make the step one larger; return whether a control plane said that it is.

        Each is meant for what the last has left: one whose answer was lost, and that comes late,
        must not undo a later one.
        """
        self.tried = step = self.tried + 1
        flag = {"key": "step", "type": "integer", "value": step, "enabled": True}
        try:
            status = await self._put_step(flag, via)
            if status == 412:  # one that was thought lost was written after all
                status = await self._put_step(flag, via)
        except (aiohttp.ClientError, OSError, TimeoutError):
            self._etag = None
            return False
        if status != 200:
            return False
        self.step = step
        return True

    async def _put_step(self, flag: dict[str, Any], via: int) -> int:
        """Write the flag over the state that is known, which is read first if it is not."""
        url = f"{self.api_urls[via]}/api/v1/flags/{flag['key']}"
        if self._etag is None:
            async with self.http.get(url, headers=ADMIN) as answer:
                if answer.status != 200:
                    return answer.status
                self._etag = answer.headers["ETag"]
        headers = {**ADMIN, "If-Match": self._etag}
        async with self.http.put(url, headers=headers, json=flag) as answer:
            self._etag = answer.headers["ETag"] if answer.status == 200 else None
            return answer.status

    async def publish(self, via: int = 0, within_s: float = 30.0) -> int:
        """Publish a larger step, trying until a control plane takes it; return the step."""
        await until(lambda: self.publish_once(via), within_s)
        return self.step

    @asynccontextmanager
    async def evaluating(self) -> AsyncIterator[Evaluator]:
        """Ask all sidecars meanwhile; every answer must be right, and nothing be left behind."""
        before = [await self.footprint(*program) for program in self.programs()]
        async with evaluating(self.ofrep_urls, lambda: self.tried, _PAUSE_S, self.key) as evaluator:
            await evaluator.all_see(self.step, 10)
            yield evaluator
        for program, footprint in zip(self.programs(), before, strict=True):
            if program[0].starts == 1:  # else it has begun anew, with nothing
                await self._leaves_nothing(program, footprint)

    def programs(self) -> list[tuple[Program, str]]:
        """Return all programs of ours, and where their metrics are."""
        programs = [*self.control_planes, *self.sidecars]
        return list(zip(programs, [*self.metrics_urls, *self.admin_urls], strict=True))

    async def footprint(self, program: Program, metrics_url: str) -> Footprint:
        """Return how many descriptors and tasks a program has."""
        tasks = (await self.metrics(metrics_url))["matrixflag_tasks"]
        pooled = [line.address[1] for line in self.redis_lines]  # bounded by a setting
        return Footprint(program.descriptors(pooled), tasks)

    async def _leaves_nothing(self, program: tuple[Program, str], before: Footprint) -> None:
        """Wait until a program has no more than it had; connections in reserve aside."""

        async def is_no_larger() -> bool:
            nonlocal now
            now = await self.footprint(*program)
            return all(n <= b + _SLACK for n, b in zip(now, before, strict=True))

        now = before
        try:
            await until(is_no_larger, _LEFT_S)
        except AssertionError:
            raise AssertionError(f"{program[0].name} had {before}, and has {now}") from None

    # what operators see

    async def status(self, sidecar: int = 0) -> dict[str, Any]:
        """Return what a sidecar says of itself."""
        async with self.http.get(self.admin_urls[sidecar] + "/statusz") as answer:
            document: dict[str, Any] = await answer.json()
            return document

    async def metrics(self, url: str) -> dict[str, float]:
        """Return samples by name and labels as they stand there."""
        async with self.http.get(url + "/metrics") as answer:
            text = await answer.text()
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    async def healthy(self, within_s: float) -> float:
        """Return the seconds until all streams are up and confirmed, and Redis is seen."""
        started = monotonic()
        for number in range(len(self.sidecars)):
            await until(lambda n=number: self._fresh(n), within_s - (monotonic() - started))
        for number in range(len(self.control_planes)):
            await until(lambda n=number: self._sees_redis(n), within_s - (monotonic() - started))
        return monotonic() - started

    async def _fresh(self, sidecar: int) -> bool:
        metrics = await self.metrics(self.admin_urls[sidecar])
        return metrics['matrixflag_sync_state{state="streaming"}'] == 1

    async def _sees_redis(self, control_plane: int) -> bool:
        async with self.http.get(self.api_urls[control_plane] + "/health") as answer:
            return answer.status == 200

    # what comes and goes

    async def _line(
        self, stack: AsyncExitStack, targets: Sequence[Address], on: Machine | None
    ) -> Line:
        """Return a line that programs on a machine, or here, can connect to."""
        line = Line(targets, "127.0.0.1" if on is None else on.here)
        await stack.enter_async_context(line)
        if on is not None:
            on.ports.append(line.address[1])
        return line

    async def _add_control_plane(
        self, stack: AsyncExitStack, environ: Mapping[str, str], on: Machine | None
    ) -> None:
        redis_port = int(self.redis.url.rpartition(":")[2].partition("/")[0])
        line = await self._line(stack, [("127.0.0.1", redis_port)], on)
        self.redis_lines.append(line)
        here = "127.0.0.1" if on is None else on.address
        port, metrics_port = free_port(), free_port()
        host, line_port = line.address
        number = len(self.control_planes)
        program = Program(
            self.directory,
            f"control-plane-{number}",
            ["control-plane", "--host", here, "--port", str(port), "--metrics-host", here],
            {
                "REDIS_URL": f"redis://{host}:{line_port}/0",
                **ADMINISTRATOR,
                "METRICS_PORT": str(metrics_port),
                **environ,
            },
            () if on is None else on.before,
        )
        stack.push_async_callback(program.close)
        self.control_planes.append(program)
        self.api_urls.append(f"http://{here}:{port}")
        self.metrics_urls.append(f"http://{here}:{metrics_port}")

    async def _add_sidecar(
        self,
        stack: AsyncExitStack,
        key: str,
        environ: Mapping[str, str],
        before: Sequence[str],
        on: Machine | None,
    ) -> None:
        line = await self._line(stack, [_address(url) for url in self.api_urls], on)
        self.sync_lines.append(line)
        here = "127.0.0.1" if on is None else on.address
        port, admin_port = free_port(), free_port()
        host, line_port = line.address
        number = len(self.sidecars)
        program = Program(
            self.directory,
            f"sidecar-{number}",
            ["proxy", "--port", str(port), "--admin-port", str(admin_port)],
            {
                "MATRIXFLAG_HOST": here,
                "MATRIXFLAG_ADMIN_HOST": here,
                "MATRIXFLAG_ALLOW_ANONYMOUS": "false" if on is None else "true",
                "MATRIXFLAG_CONTROL_PLANE_URL": f"http://{host}:{line_port}",
                "MATRIXFLAG_KEY": key,
                "MATRIXFLAG_CACHE_DIR": str(self.directory / f"cache-{number}"),
                "MATRIXFLAG_EXPOSURES_INTERVAL_S": "0.2",
                "MATRIXFLAG_INSTANCE": f"sidecar-{number}",
                **environ,
            },
            before if on is None else on.before,
        )
        stack.push_async_callback(program.close)
        self.sidecars.append(program)
        self.ofrep_urls.append(f"http://{here}:{port}")
        self.admin_urls.append(f"http://{here}:{admin_port}")


@asynccontextmanager
async def running_world(
    directory: Path,
    *,
    control_planes: int = 1,
    sidecars: int = 1,
    redis: RedisServer | None = None,
    environ: Mapping[str, str] | None = None,
    environs: Sequence[Mapping[str, str]] = (),
    control_plane_environ: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
    control_planes_on: Machine | None = None,
    sidecars_on: Machine | None = None,
) -> AsyncIterator[World]:
    """Run an installation; `environ` and `before` are for its sidecars, `environs` for each one.

    Programs run here, or on a machine of their own; lines that they connect to are on its cable.
    """
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15))
        )
        world = World(directory, http, redis)
        stack.enter_context(world.redis)
        for _ in range(control_planes):
            await world._add_control_plane(stack, control_plane_environ or {}, control_planes_on)
        await asyncio.gather(*(program.start() for program in world.control_planes))
        for flag in (GREETING, SHOWN, {"key": "step", "type": "integer", "value": 0}):
            status, document = await world.api("POST", "/api/v1/flags", json=flag)
            assert status == 201, document
        await world.publish()
        status, key = await world.api("POST", "/api/v1/keys", json={"kind": "sidecar"})
        assert status == 201, key
        world.sidecar_key = key["key"]
        for _, own in zip_longest(range(sidecars), environs, fillvalue={}):
            settings = {**(environ or {}), **own}
            await world._add_sidecar(stack, key["key"], settings, before, sidecars_on)
        await asyncio.gather(*(program.start() for program in world.sidecars))
        await world.healthy(20)
        yield world
        for programs in (world.sidecars, world.control_planes):
            await asyncio.gather(*(program.close() for program in programs))


async def until(condition: Callable[[], Any], within_s: float) -> float:
    """Return the seconds until something outside of this process is so; it announces nothing."""
    started = monotonic()
    while True:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            if await condition():
                return monotonic() - started
        assert monotonic() - started < within_s, f"not within {within_s:.1f} s"
        await asyncio.sleep(_LOOK_S)


def _address(url: str) -> Address:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, int(port)
