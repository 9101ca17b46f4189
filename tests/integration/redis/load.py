"""Writers and a reader that go on while Redis is broken, and what must hold afterwards.

Each writer owns a flag and sets it to 1, 2, 3, ...; it goes on to the next number only when the
last one was acknowledged. So a write that is lost, or applied twice, shows in the flag's history.
The reader polls a snapshot all the time.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Self

from tests.support.api import Api, running_api, until

__all__ = ["LIMITS", "Load", "check"]

LIMITS: dict[str, Any] = {
    "redis_timeout_s": 2.0,
    "redis_connect_timeout_s": 0.5,
    "redis_wait_replicas": 1,
}
"""Shorter than the defaults, as all here; a write is answered when a replica has it."""

_ANSWER_S = 20.0  # hangs, if it takes longer: a write gets ten seconds at most, and three in line
_WRITERS = 4


class Load:
    """Writes and reads at several replicas of the control plane. A context manager."""

    def __init__(self, apis: Sequence[Api], name: str, project: str = "default") -> None:
        self.name = name
        self.project = project
        self.acknowledged: dict[str, int] = {}
        self.answers: Counter[str] = Counter()
        self.longest_gap_s = 0.0
        self._apis = apis
        self._last = monotonic()
        self._work: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        key = await self._apis[0].make_key("sidecar", name="reader", environment="production")
        flags = [f"{self.name}-{number}" for number in range(_WRITERS)]
        for flag in flags:
            reply = await self._apis[0].ask("POST", self._path(""), json=_flag(flag, 0))
            assert reply.status == 201, reply.body
            self.acknowledged[flag] = 0
        for api in self._apis:
            await until(lambda api=api: self._knows(api, flags[-1]))
        self._last = monotonic()
        self._tasks = [
            asyncio.create_task(self._write(self._apis[n % len(self._apis)], flag))
            for n, flag in enumerate(flags)
        ]
        self._tasks += [asyncio.create_task(self._read(api, key["key"])) for api in self._apis]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception) and error is None:
                raise result

    async def go_on(self, timeout_s: float = 30.0, writes: int = 3) -> None:
        """Return when each writer has had some more writes acknowledged."""
        before = dict(self.acknowledged)
        async with asyncio.timeout(timeout_s):
            while any(self.acknowledged[flag] < before[flag] + writes for flag in before):
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    async def _knows(self, api: Api, flag: str) -> bool:
        return (await api.ask("GET", self._path(f"/{flag}"))).status == 200

    async def _write(self, api: Api, flag: str) -> None:
        number = 1
        while True:
            async with asyncio.timeout(_ANSWER_S):
                reply = await api.ask("PUT", self._path(f"/{flag}"), json=_flag(flag, number))
            self.answers[f"write {reply.status}"] += 1
            if reply.status == 200:
                now = monotonic()
                self.longest_gap_s = max(self.longest_gap_s, now - self._last)
                self._last = now
                self.acknowledged[flag] = number
                number += 1
            elif reply.status == 409:  # the other replica was faster, five times over
                assert reply.json["code"] == "contended", reply.body
            else:
                assert reply.status == 503, reply.body
                assert "Retry-After" in reply.headers
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.005)

    async def _read(self, api: Api, key: str) -> None:
        epoch, revision = "", 0
        while True:
            async with asyncio.timeout(_ANSWER_S):
                reply = await api.ask("GET", "/api/v1/sync/snapshot", token=key)
            assert reply.status == 200, reply.body
            self.answers["read 200"] += 1
            tag = reply.headers["ETag"].split("-")
            # What was seen and never acknowledged may be lost; then there is a new epoch.
            assert tag[0] != epoch or int(tag[1]) >= revision, "a replica went back"
            epoch, revision = tag[0], int(tag[1])
            await asyncio.sleep(0.05)

    def _path(self, rest: str) -> str:
        return f"/api/v1/flags{rest}?project={self.project}"


async def check(url: str, *loads: Load) -> None:
    """Assert that all that was acknowledged is stored, in order, and nothing of it twice."""
    async with running_api(url) as api:
        for load in loads:
            for flag, number in load.acknowledged.items():
                path = f"/api/v1/history?flag={flag}&project={load.project}&limit=100"
                reply = await api.ask("GET", path)
                assert reply.status == 200, reply.body
                newest_first = [int(item["flag"]["name"]) for item in reply.json["items"]]
                stored = newest_first[::-1]
                # The last one may have been stored without an answer.
                assert stored[-1] in (number, number + 1), (flag, number, stored)
                assert stored == list(range(stored[0], stored[-1] + 1)), (flag, stored)


def _flag(key: str, number: int) -> dict[str, Any]:
    return {"key": key, "type": "boolean", "value": True, "enabled": True, "name": str(number)}
