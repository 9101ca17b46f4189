"""Many sidecars in one process, without their ports: the real source and holder of each.

    python -m loadtests.fleet_sidecars '{"urls": [...], "key": "...", "count": 1000, ...}'

Started by `loadtests.fleet`, which reads what this writes, a JSON object a line:

    {"ready": revision}                     all serve a snapshot and have a stream
    {"revision": r, "times": [...]}         all serve revision r; when each began to, monotonic s
    {"state": {...}}                        after each line of its input: how they stand

Each sidecar has an HTTP session of its own, as a process of its own would; some of them evaluate a
flag all the time. The event loop and the collector are set up as in the sidecar.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import uvloop

from proxy.engine import evaluate
from proxy.garbage import tame_collector
from proxy.holder import Holder, Served
from proxy.supervise import supervise
from proxy.sync import SyncSettings, SyncStatus
from proxy.sync.source import run_control_plane_source

__all__ = ["FLAG", "FleetSettings"]

FLAG = "fleet-changes"
"""The flag that changes, and that is evaluated; a boolean."""

_EVALUATE_EVERY_S = 0.02
_READY_POLL_S = 0.05
_AT_ONCE = 50  # sidecars that start at a time


class FleetSettings(msgspec.Struct, kw_only=True):
    """What the process is told. `evaluating` is how many of the sidecars evaluate."""

    urls: tuple[str, ...]
    key: str
    first: int
    count: int
    evaluating: int


class _Sidecar:
    """One of them. `revision` is what it serves."""

    def __init__(self, number: int, fleet: "_Fleet") -> None:
        self.holder = Holder()
        self.status = SyncStatus()
        self.revision = -1
        self._fleet = fleet
        self._name = f"fleet-{number}"
        self.holder.subscribe(self._swapped)

    async def run(self, settings: FleetSettings, session: aiohttp.ClientSession) -> None:
        """Be a sidecar, for ever."""
        sync = SyncSettings(control_plane_urls=settings.urls, key=settings.key, instance=self._name)

        async def source() -> None:
            await run_control_plane_source(self.holder, self.status, session, sync)

        await supervise("sync", source, on_error=self._failed)

    def _swapped(self, old: Served | None, new: Served) -> None:
        revision = new.header.revision
        first = revision if old is None else self.revision + 1
        self.revision = revision
        self._fleet.reached(range(first, revision + 1))

    def _failed(self, name: str, error: BaseException) -> None:
        self.status.fail("internal", f"{name}: {error!r}")


class _Fleet:
    """All of them, and what they did."""

    def __init__(self, settings: FleetSettings) -> None:
        self._settings = settings
        self._times: dict[int, list[float]] = {}
        self.connected: list[float] = []
        self.evaluations = 0
        self.wrong: Counter[str] = Counter()
        self.longest_gap_s = 0.0
        numbers = range(settings.first, settings.first + settings.count)
        self.sidecars = [_Sidecar(number, self) for number in numbers]

    def reached(self, revisions: range) -> None:
        """Note that a sidecar serves these, or later ones, from now on."""
        now = time.monotonic()
        for revision in revisions:
            times = self._times.setdefault(revision, [])
            times.append(now)
            if len(times) == len(self.sidecars):
                del self._times[revision]
                _say({"revision": revision, "times": times})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run them while the context lasts."""
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_create_end.append(self._connected)
        async with AsyncExitStack() as stack:
            tasks = []
            for number, sidecar in enumerate(self.sidecars):
                connector = aiohttp.TCPConnector(limit=8)
                session = aiohttp.ClientSession(connector=connector, trace_configs=[tracing])
                await stack.enter_async_context(session)
                tasks.append(asyncio.create_task(sidecar.run(self._settings, session)))
                if number % _AT_ONCE == _AT_ONCE - 1:
                    await sidecar.holder.wait_first(60.0)
            tasks.append(asyncio.create_task(self._evaluate()))
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    async def _connected(self, *_: Any) -> None:
        self.connected.append(time.monotonic())

    async def _evaluate(self) -> None:
        some = self.sidecars[: self._settings.evaluating]
        while True:
            began = time.monotonic()
            for sidecar in some:
                served = sidecar.holder.served
                if served is None:
                    continue
                answer = evaluate(served.compiled, FLAG, {"targetingKey": "u"}, 0)
                self.evaluations += 1
                if answer.error_code or not isinstance(answer.value, bool):
                    self.wrong[str(answer.error_code)] += 1
            await asyncio.sleep(_EVALUATE_EVERY_S)
            self.longest_gap_s = max(self.longest_gap_s, time.monotonic() - began)

    def streaming(self) -> int:
        """Return how many have a stream."""
        return sum(sidecar.status.state == "streaming" for sidecar in self.sidecars)

    def state(self) -> dict[str, Any]:
        """Return how they stand; what was counted is counted anew from then on."""
        errors: Counter[str] = Counter()
        deltas: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        for sidecar in self.sidecars:
            errors.update(sidecar.status.errors)
            deltas.update(sidecar.status.deltas)
            refused.update(sidecar.holder.refusals)
        connected, self.connected = self.connected, []
        gap_s, self.longest_gap_s = self.longest_gap_s, 0.0
        return {
            "streaming": self.streaming(),
            "revision": min(sidecar.revision for sidecar in self.sidecars),
            "connected": connected,
            "evaluations": self.evaluations,
            "wrong": dict(self.wrong),
            "longest_gap_s": gap_s,
            "errors": dict(errors),
            "deltas": dict(deltas),
            "refused": dict(refused),
        }


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _main(settings: FleetSettings) -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    fleet = _Fleet(settings)
    async with fleet.running():
        while fleet.streaming() < settings.count:  # noqa: ASYNC110 - they announce nothing
            await asyncio.sleep(_READY_POLL_S)
        tame_collector()
        _say({"ready": max(sidecar.revision for sidecar in fleet.sidecars)})
        while await commands.readline():
            _say({"state": fleet.state()})


if __name__ == "__main__":
    uvloop.run(_main(msgspec.json.decode(sys.argv[1], type=FleetSettings)))
