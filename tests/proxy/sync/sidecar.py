"""The source of a sidecar at work, for tests, with short delays and what it fills."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from proxy.admission import Admission
from proxy.engine import evaluate
from proxy.holder import Holder, Served
from proxy.supervise import Backoff, supervise
from proxy.sync import SyncSettings, SyncStatus
from proxy.sync.source import run_control_plane_source
from tests.proxy.sync.control_plane import KEY, Handler

__all__ = ["FAST", "Sidecar", "answers", "running"]

FAST: dict[str, Any] = {
    "idle_s": 0.5,
    "connect_timeout_s": 1.0,
    "answer_timeout_s": 1.0,
    "fetch_timeout_s": 5.0,
    "poll_interval_s": 0.05,
    "reconcile_interval_s": 30.0,
    "stream_retry_interval_s": 0.05,
    "backoff_base_s": 0.01,
    "backoff_cap_s": 0.05,
    "denied_backoff_base_s": 0.05,
    "denied_backoff_cap_s": 0.1,
    "cache_interval_s": 0.0,
    "confirm_interval_s": 0.05,
    "blob_patience_s": 0.0,
}


class Sidecar:
    """What a running source fills."""

    def __init__(self, admission: Admission | None = None) -> None:
        self.holder = Holder(admission=admission)
        self.status = SyncStatus()
        self.swaps: asyncio.Queue[Served] = asyncio.Queue()
        self.holder.subscribe(lambda _, new: self.swaps.put_nowait(new))

    @property
    def value(self) -> Any:
        """The value of flag `a`."""
        return self.value_for(None)

    def value_for(self, unit: str | None) -> Any:
        """Return the value of flag `a` for a unit, or its error code."""
        assert self.holder.served is not None
        context = {} if unit is None else {"targetingKey": unit}
        answer = evaluate(self.holder.served.compiled, "a", context, 0)
        return answer.error_code or answer.value

    async def swapped(self, *, to: str | None = None) -> Served:
        """Wait for the next swap, or the one to a digest."""
        async with asyncio.timeout(10):
            while True:
                served = await self.swaps.get()
                if to in (None, served.header.digest):
                    return served

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds that gives no event of its own."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - what is looked at is plain data
                await asyncio.sleep(0.005)

    async def counted(self, kind: str, times: int = 1) -> None:
        """Wait until failures of a kind were counted."""
        await self.until(lambda: self.status.errors[kind] >= times)


@asynccontextmanager
async def running(
    url: str, *others: str, sidecar: Sidecar | None = None, **more: Any
) -> AsyncIterator[Sidecar]:
    """Run the source as the sidecar does, with short delays, against one replica or several."""
    sidecar = sidecar or Sidecar()
    settings = SyncSettings(**({"control_plane_urls": (url, *others), "key": KEY} | FAST | more))

    async def source() -> None:
        await run_control_plane_source(sidecar.holder, sidecar.status, session, settings)

    async with aiohttp.ClientSession() as session:
        task = asyncio.create_task(
            supervise(
                "sync",
                source,
                on_error=lambda *_: sidecar.status.fail("internal", "sync"),
                backoff=Backoff(0.01, 0.05),
            )
        )
        try:
            yield sidecar
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait([task])


def answers(status: int, **headers: str) -> Handler:
    """Return a handler that refuses."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    return handler
