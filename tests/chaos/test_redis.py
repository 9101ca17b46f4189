"""Redis dies, hangs, is cut off, is slow: sidecars go on, writes come back, nothing is lost."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio

from tests.chaos.counting import all_counted
from tests.chaos.evaluator import Evaluator
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
            note("Redis killed: all units counted", await all_counted(world, evaluator))
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
            await all_counted(world, evaluator)


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
            await all_counted(world, evaluator)


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
            await all_counted(world, evaluator)


async def test_redis_is_far_away(world: World) -> None:
    """With 300 ms more each way writes are slow, and all succeed."""
    async with world.evaluating() as evaluator:
        world.redis_lines[0].latency_s = 0.15
        for _ in rounds(3, 30):
            assert await world.publish_once()
            note("Redis 300 ms away: served after", await evaluator.all_see(world.step, 10))
        world.redis_lines[0].mend()
        await all_counted(world, evaluator)


async def test_redis_has_no_memory_left(world: World) -> None:
    """Nothing is evicted: writes are refused and reports wait, until there is room again."""
    async with (
        world.evaluating() as evaluator,
        redis.asyncio.Redis.from_url(world.redis.url) as client,
    ):
        for _ in rounds(1, 5):
            await world.publish()
            await client.config_set("maxmemory", "1")
            await _writes_fail(world)
            status, _ = await world.api("GET", "/api/v1/flags/greeting")
            assert status == 200
            await evaluator.all_see(world.step, 10)
            await until(lambda: _cannot_report(world), 20)
            await client.config_set("maxmemory", "0")
            took_s = await until(lambda: world.publish_once(), RECOVERY_S)
            took_s += await evaluator.all_see(world.step, RECOVERY_S - took_s)
            note("Redis without memory: write accepted and served once there is room", took_s)
            note("Redis without memory: all units counted", await all_counted(world, evaluator))


async def test_redis_is_restored_from_a_backup(world: World) -> None:
    """Acknowledged writes are gone: sidecars go back once, to what the backup had, and on."""
    files = world.directory / "appendonlydir"
    async with world.evaluating() as evaluator:
        for _ in rounds(1, 5):
            backup = shutil.copytree(files, world.directory / f"backup-{world.step}")
            restored = world.step
            for _ in range(5):
                await world.publish()
            await evaluator.all_see(world.step, 10)
            for target in evaluator.targets:
                target.restored = restored
            world.redis.kill()
            shutil.rmtree(files)
            shutil.copytree(backup, files)
            await asyncio.to_thread(world.redis.restart)
            await until(lambda r=restored: _all_at(evaluator, r), RECOVERY_S)
            await world.publish()
            note("Redis restored: change served after", await evaluator.all_see(world.step, 15))
    metrics = await world.metrics(world.metrics_urls[0])
    assert metrics["matrixflag_epochs_renewed_total"] >= 1


async def test_sidecars_come_and_go_while_redis_is_away(world: World) -> None:
    """A key that was good is good: a new sidecar gets its flags from the control plane's memory."""
    async with world.evaluating() as evaluator:
        world.redis.freeze()
        target = evaluator.targets[1]
        target.down = True
        await world.sidecars[1].stop()
        shutil.rmtree(world.directory / "cache-1")
        await world.sidecars[1].start()
        took_s = await until(lambda: _streams(world, 1), RECOVERY_S)
        note("Redis away: a new sidecar is served after", took_s)
        target.down = False
        world.redis.thaw()
        await world.publish()
        await evaluator.all_see(world.step, RECOVERY_S)


async def _streams(world: World, sidecar: int) -> bool:
    status = await world.status(sidecar)
    return status["sync"]["state"] == "streaming" and status["snapshot"] is not None


async def _all_at(evaluator: Evaluator, step: int) -> bool:
    return all(target.step == step for target in evaluator.targets)


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
