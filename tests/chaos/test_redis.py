"""Redis dies, hangs, is cut off, is slow: sidecars go on, writes come back, nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.counting import all_counted
from tests.chaos.figures import note
from tests.chaos.long import rounds
from tests.chaos.world import World, running_world, until

RECOVERY_S = 15.0
"""From the moment that Redis answers again until a write is with all sidecars."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One control plane, two sidecars."""
    async with running_world(tmp_path, sidecars=2) as world:
        yield world


async def _writes_fail(world: World) -> None:
    """A write is refused, or not answered, and changes nothing that anybody sees."""
    assert not await world.publish_once()


async def test_redis_is_killed_and_comes_back(world: World) -> None:
    """Evaluations do not notice; acknowledged writes are there; the next one is published."""
    async with world.evaluating() as evaluator:
        for _ in rounds(1, 5):
            await world.publish()
            world.redis.kill()
            await _writes_fail(world)
            await evaluator.all_see(world.step, 10)
            await until(lambda: _cannot_report(world), 20)
            await asyncio.to_thread(world.redis.restart)
            took_s = await until(lambda: world.publish_once(), RECOVERY_S)
            took_s += await evaluator.all_see(world.step, RECOVERY_S - took_s)
            note("Redis killed: write accepted and served after restart", took_s)
            note("Redis killed: all units counted", await all_counted(world, evaluator, 40))
    status, flag = await world.api("GET", "/api/v1/flags/step")
    assert (status, flag["value"]) == (200, world.step)


async def test_redis_hangs(world: World) -> None:
    """It is stopped with its connections open: writes answer in time, reads and sync go on."""
    async with world.evaluating() as evaluator:
        for _ in rounds(1, 5):
            world.redis.freeze()
            refused_s = await _seconds_of(_writes_fail(world))
            note("Redis frozen: a write is refused after", refused_s)
            status, _ = await world.api("GET", "/api/v1/flags/greeting")
            assert status == 200
            world.redis.thaw()
            took_s = await until(lambda: world.publish_once(), RECOVERY_S)
            took_s += await evaluator.all_see(world.step, RECOVERY_S - took_s)
            note("Redis frozen: write accepted and served after it goes on", took_s)
            await all_counted(world, evaluator, 40)


async def test_the_network_to_redis_is_cut(world: World) -> None:
    """Connections are reset, then refused; the control plane heals by itself."""
    async with world.evaluating() as evaluator:
        for _ in rounds(1, 5):
            world.redis_lines[0].cut()
            await _writes_fail(world)
            # and it says so to its sidecars, whose age shows it
            await until(lambda: _older_than(world, 1.0), 30)
            world.redis_lines[0].mend()
            took_s = await until(lambda: world.publish_once(), RECOVERY_S)
            took_s += await evaluator.all_see(world.step, RECOVERY_S - took_s)
            note("Redis cut off: write accepted and served after", took_s)
            await all_counted(world, evaluator, 40)


async def test_redis_vanishes_without_a_word(world: World) -> None:
    """Connections stay half open: time-outs notice, new connections take their place."""
    async with world.evaluating() as evaluator:
        for _ in rounds(1, 5):
            world.redis_lines[0].vanish()
            await _writes_fail(world)
            world.redis_lines[0].mend()
            took_s = await until(lambda: world.publish_once(), RECOVERY_S)
            took_s += await evaluator.all_see(world.step, RECOVERY_S - took_s)
            note("Redis half open: write accepted and served after", took_s)
            await all_counted(world, evaluator, 40)


async def test_redis_is_far_away(world: World) -> None:
    """With 300 ms more each way writes are slow, and all succeed."""
    async with world.evaluating() as evaluator:
        world.redis_lines[0].latency_s = 0.15
        for _ in rounds(3, 30):
            assert await world.publish_once()
            note("Redis 300 ms away: served after", await evaluator.all_see(world.step, 10))
        world.redis_lines[0].mend()
        await all_counted(world, evaluator, 40)


async def _older_than(world: World, age_s: float) -> bool:
    """Return whether a sidecar knows that what it serves was not confirmed for so long."""
    status = await world.status()
    age: float = status["snapshot"]["age_s"]
    return age > age_s and status["sync"]["state"] == "streaming"


async def _cannot_report(world: World) -> bool:
    """Return whether a sidecar has exposures that the control plane cannot store."""
    status = await world.status()
    return bool(status["exposures"]["errors"].get("http_503"))


async def _seconds_of(work: object) -> float:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await work  # type: ignore[misc]
    return loop.time() - started
