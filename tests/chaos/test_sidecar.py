"""A sidecar is killed or frozen: the others notice nothing, and it is back at once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.counting import all_counted
from tests.chaos.figures import note
from tests.chaos.long import rounds
from tests.chaos.machines import holds
from tests.chaos.world import World, running_world, until

START_S = 20.0
RECOVERY_S = 45.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One control plane, two sidecars."""
    async with running_world(tmp_path, sidecars=2) as world:
        yield world


async def test_a_sidecar_is_killed(world: World) -> None:
    """What was reported stays; the next one serves from disk, though nothing else is there."""
    async with world.evaluating() as evaluator:
        for _ in rounds(1, 5):
            await world.publish()
            await evaluator.all_see(world.step, 10)
            await until(lambda: _on_disk(world), 20)
            counted = set(evaluator.units)
            await all_counted(world, evaluator)
            target = evaluator.targets[0]
            target.down, failures = True, target.failures
            world.sidecars[0].kill()
            world.control_planes[0].kill()
            await until(lambda t=target, n=failures: _more(t.failures, n), 15)  # all answers came
            evaluator.lost_memory(target, counted)
            await world.sidecars[0].start()
            took_s = await until(lambda: _serves_from_disk(world), START_S)
            note("sidecar killed: serves from disk after restart", took_s)
            target.down = False
            await world.control_planes[0].start()
            await world.publish()
            note("sidecar killed: follows again", await evaluator.all_see(world.step, RECOVERY_S))
            await world.healthy(RECOVERY_S)
        await all_counted(world, evaluator)


async def test_a_sidecar_is_frozen(world: World) -> None:
    """Its applications wait and are answered; it takes up what was published meanwhile."""
    async with world.evaluating() as evaluator:
        for _ in rounds(1, 5):
            world.sidecars[0].freeze()
            await world.publish()
            target = evaluator.targets[1]
            await until(lambda t=target: _at(t.step, world.step), 15)
            assert evaluator.targets[0].step < world.step
            world.sidecars[0].thaw()
            note("sidecar frozen: follows again", await evaluator.all_see(world.step, RECOVERY_S))
            await all_counted(world, evaluator)


async def _at(step: int, wanted: int) -> bool:
    return step >= wanted


async def _more(failures: int, before: int) -> bool:
    return failures > before


async def _on_disk(world: World) -> bool:
    """Return whether the cache of the first sidecar has what it serves."""
    return holds(world.directory / "cache-0", (await world.status())["snapshot"]["digest"])


async def _serves_from_disk(world: World) -> bool:
    snapshot = (await world.status())["snapshot"]
    return snapshot is not None and snapshot["source"] == "disk"
