"""An exception of a type that nobody expects, in every background task of both programs.

The tasks are not listed here: both programs are started by their composition roots, within this
process, and whatever then runs is broken, each where it waits. A new task is broken too, has to
have a name, and has to be in `docs/reliability.md`.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control_plane.app import serve
from control_plane.settings import EVERYTHING, Settings
from proxy.app import running
from proxy.settings import ProxySettings
from tests.chaos.world import ADMIN, SHOWN, until
from tests.support.administrator import ADMIN_TOKEN
from tests.support.reference import DOCS

RESTART_S = 30.0
_LOOKS = 15  # a task that is gone at one of them was of a request, or of a command to Redis

Task = asyncio.Task[Any]
_OF_A_REQUEST = ("RequestHandler.", "_guarded.", "Connection.", "serve")
_OF_A_TASK = ("to_thread", "Channel.", "AbstractConnection.")  # seen to its end before it goes on


class Surprise(Exception):
    """Nobody catches it by its name."""


def _raise(waiter: asyncio.Future[Any]) -> None:
    waiter.set_exception(Surprise("nobody thought of this"))


def _cancel(waiter: asyncio.Future[Any]) -> None:
    """A cancellation that nobody asked for, as a library's own tasks pass on."""
    waiter.cancel()


class Both:
    """Both programs in this process, and the tasks that each has of its own."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http
        self.api = ""
        self.ofrep = ""
        self.admin = ""
        self.tasks: dict[str, list[Task]] = {}

    async def took(self, program: str, before: set[Task]) -> None:
        """Note the tasks that a program has for long, all but those that were there before."""
        there = asyncio.all_tasks() - before
        for _ in range(_LOOKS):
            await asyncio.sleep(0.03)
            there &= asyncio.all_tasks()
        self.tasks[program] = [task for task in there if not _is_of_a_request(task)]

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        """Ask the control plane."""
        async with self.http.request(method, self.api + path, headers=ADMIN, **options) as answer:
            assert answer.ok, await answer.text()
            return await answer.json()

    async def evaluate(self, flag: str, unit: str) -> Any:
        """Ask the sidecar."""
        url = f"{self.ofrep}/ofrep/v1/evaluate/flags/{flag}"
        document = json.dumps({"context": {"targetingKey": unit}})
        async with self.http.post(url, data=document) as answer:
            return (await answer.json()).get("value")

    async def status(self) -> Any:
        """Return what the sidecar says of itself."""
        async with self.http.get(self.admin + "/statusz") as answer:
            return await answer.json()

    async def is_well(self, step: int) -> None:
        """Change a flag and see it served, show a unit something and see it delivered."""
        await self.ask("PUT", "/api/v1/flags/step", json=_step(step))
        await until(lambda: self._serves(step), RESTART_S)
        delivered = (await self.status())["exposures"]["delivered"]
        assert await self.evaluate("shown", f"unit-{step}") in ("A", "B")
        await until(lambda: self._delivered(delivered + 1), RESTART_S)

    async def _serves(self, step: int) -> bool:
        return bool(await self.evaluate("step", "u") == step)

    async def _delivered(self, count: int) -> bool:
        return bool((await self.status())["exposures"]["delivered"] >= count)


@pytest.fixture
async def both(redis_url: str, tmp_path: Path) -> AsyncIterator[Both]:
    """A control plane, then a sidecar with all that is optional."""
    stop = asyncio.Event()
    ready = tmp_path / "ready.json"
    settings = Settings(
        admin_token=ADMIN_TOKEN,
        admin_token_use=EVERYTHING,
        redis_url=redis_url,
        port=0,
        metrics_port=0,
        ready_file=str(ready),
    )
    async with aiohttp.ClientSession() as http:
        both = Both(http)
        before = asyncio.all_tasks()
        serving = asyncio.create_task(serve(settings, stop))
        await until(lambda: asyncio.to_thread(ready.exists), 20)
        both.api = json.loads(ready.read_text())["api"]
        for flag in (SHOWN, _step(0)):
            await both.ask("POST", "/api/v1/flags", json=flag)
        await both.took("control plane", before | {serving})
        key = await both.ask("POST", "/api/v1/keys", json={"kind": "sidecar"})
        proxy_settings = ProxySettings.load(
            {
                "MATRIXFLAG_CONTROL_PLANE_URL": both.api,
                "MATRIXFLAG_KEY": key["key"],
                "MATRIXFLAG_PORT": "0",
                "MATRIXFLAG_ADMIN_PORT": "0",
                "MATRIXFLAG_CACHE_DIR": str(tmp_path / "cache"),
                "MATRIXFLAG_EXPOSURES_INTERVAL_S": "0.1",
            },
            {},
        )
        before = asyncio.all_tasks()
        async with running(proxy_settings) as sidecar:
            both.ofrep, both.admin = sidecar.ofrep, sidecar.admin
            await both.is_well(1)
            await both.took("sidecar", before)
            yield both
        stop.set()
        await serving


@pytest.mark.parametrize("break_it", [_raise, _cancel])
async def test_every_background_task_survives(
    both: Both, break_it: Callable[[asyncio.Future[Any]], None], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, the task is there again, and both programs do all that they did."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # futures that came twice
    for program, tasks in both.tasks.items():
        for task in tasks:
            waiter = _waiter(task)
            if waiter is None:
                continue  # it waits for tasks that are broken themselves
            caplog.clear()
            await until(lambda t=task: _broken(t, break_it, caplog), RESTART_S)
            await until(lambda t=task: _waits(t), RESTART_S)
            assert not task.done(), f"{task.get_name()} of the {program} ended"
    await both.is_well(2)
    assert not [task for tasks in both.tasks.values() for task in tasks if task.done()]


async def test_every_background_task_has_a_name_that_is_documented(both: Both) -> None:
    """Who reads the failures of a task in the metrics finds out what it does."""
    page = (DOCS / "reliability.md").read_text()
    for program, tasks in both.tasks.items():
        rows = set(re.findall(rf"^\| `([\w ]+)` \| {program} \|", page, re.MULTILINE))
        assert {task.get_name() for task in tasks} == rows, program


async def _broken(
    task: Task, break_it: Callable[[asyncio.Future[Any]], None], caplog: pytest.LogCaptureFixture
) -> bool:
    """Break a task and return whether that was seen; where it waited may have been over already."""
    waiter = _waiter(task)
    if waiter is not None and not waiter.done():
        break_it(waiter)
    await asyncio.sleep(0.05)
    return await _complained(caplog)


async def _complained(caplog: pytest.LogCaptureFixture) -> bool:
    return any(record.levelno >= logging.WARNING for record in caplog.records)


async def _waits(task: Task) -> bool:
    return task.done() or task._fut_waiter is not None  # type: ignore[attr-defined]


def _waiter(task: Task) -> asyncio.Future[Any] | None:
    """Return the future that a task waits for in the end; None for one that waits for a group."""
    while True:
        awaited = task.get_coro()
        while (inner := getattr(awaited, "cr_await", None)) is not None:
            awaited = inner
            if getattr(awaited, "__qualname__", "") == "TaskGroup.__aexit__":
                return None
        waiter: asyncio.Future[Any] | None = task._fut_waiter  # type: ignore[attr-defined]
        if not isinstance(waiter, asyncio.Task):
            return waiter
        task = waiter


def _is_of_a_request(task: Task) -> bool:
    name = getattr(task.get_coro(), "__qualname__", "")
    return name.startswith((*_OF_A_REQUEST, *_OF_A_TASK))


def _step(value: int) -> dict[str, Any]:
    return {"key": "step", "type": "integer", "value": value, "enabled": True}
