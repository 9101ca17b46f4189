"""Disks that are full, files that are torn: nothing that runs depends on them."""

from pathlib import Path

from tests.chaos.counting import all_counted
from tests.chaos.figures import note
from tests.chaos.machines import holds, small_disk
from tests.chaos.world import World, running_world, until
from tests.support.redis import RedisServer

RECOVERY_S = 45.0


async def test_the_disk_of_a_sidecar_is_full(tmp_path: Path) -> None:
    """Nothing can be cached or spooled: it is said, kept in memory, and done when there is room."""
    with small_disk(tmp_path / "disk", 1) as disk:
        environ = {"MATRIXFLAG_CACHE_DIR": str(disk.path / "cache")}
        async with (
            running_world(tmp_path, environ=environ) as world,
            world.evaluating() as evaluator,
        ):
            disk.fill()
            await world.publish()
            await evaluator.all_see(world.step, 10)
            await until(lambda: _counted(world, "sync", "cache"), 30)
            world.sync_lines[0].cut()
            await until(lambda: _counted(world, "exposures", "spool"), 30)
            disk.free()
            world.sync_lines[0].mend()
            await world.publish()
            note("disk full: change served after", await evaluator.all_see(world.step, RECOVERY_S))
            note("disk full: all counted", await all_counted(world, evaluator))
            balance = (await world.status())["exposures"]
            assert balance["lost"] == balance["parked"] == 0
            await until(lambda: _is_cached(world, disk.path / "cache"), 90)


async def test_the_disk_of_redis_is_full(tmp_path: Path) -> None:
    """Writes are refused; once there is room again, what was acknowledged is there."""
    with small_disk(tmp_path / "disk", 4) as disk:
        redis = RedisServer(directory=disk.path)
        async with (
            running_world(tmp_path, redis=redis) as world,
            world.evaluating() as evaluator,
        ):
            await world.publish()
            disk.fill()
            assert not await world.publish_once()
            await evaluator.all_see(world.step, 10)
            disk.free()
            redis.kill()  # it has ended by itself, as it should with `appendfsync always`
            redis.restart()
            await world.publish()
            note("disk of Redis full: served after", await evaluator.all_see(world.step, 15))
            await all_counted(world, evaluator)


async def test_the_newest_cache_file_is_torn(tmp_path: Path) -> None:
    """A start without a control plane takes the older of the two."""
    async with running_world(tmp_path) as world:
        await world.publish()
        async with world.evaluating():
            await until(lambda: _is_cached(world, tmp_path / "cache-0"), 20)
        before = world.step - 1
        world.control_planes[0].kill()
        world.sidecars[0].kill()
        newest = max((tmp_path / "cache-0").glob("snapshot-*"), key=lambda p: p.stat().st_mtime_ns)
        newest.write_bytes(newest.read_bytes()[:-100])
        await world.sidecars[0].start()
        await until(lambda: _serves(world, before), 20)
        await world.control_planes[0].start()
        await until(lambda: _serves(world, world.step), RECOVERY_S)


async def test_all_of_the_cache_is_garbage(tmp_path: Path) -> None:
    """It starts, says so, waits for the control plane, and never answers what is not true."""
    async with running_world(tmp_path) as world:
        async with world.evaluating():
            await until(lambda: _is_cached(world, tmp_path / "cache-0"), 20)
        world.control_planes[0].kill()
        world.sidecars[0].kill()
        for path in (tmp_path / "cache-0").rglob("*"):
            if path.is_file():
                path.write_bytes(b"\xff{garbage" * 1000)
        await world.sidecars[0].start()
        status = await world.status()
        assert status["snapshot"] is None
        assert not status["ready"]
        await until(lambda: _counted(world, "sync", "cache"), 20)
        await world.control_planes[0].start()
        await until(lambda: _serves(world, world.step), RECOVERY_S)


async def _counted(world: World, part: str, kind: str) -> bool:
    return bool((await world.status())[part]["errors"].get(kind))


async def _is_cached(world: World, cache: Path) -> bool:
    return holds(cache, (await world.status())["snapshot"]["digest"])


async def _serves(world: World, step: int) -> bool:
    url = world.ofrep_urls[0] + "/ofrep/v1/evaluate/flags/step"
    async with world.http.post(url, data=b"{}") as answer:
        return answer.status == 200 and (await answer.json())["value"] == step
