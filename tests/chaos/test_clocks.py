"""The time of day jumps by hours, both ways, under programs that run."""

from pathlib import Path

import pytest

from tests.chaos.counting import all_counted
from tests.chaos.figures import note
from tests.chaos.machines import Clock
from tests.chaos.world import World, running_world, until

HOURS = (5, -5, 0, -20)
FRESH_S = 25.0
"""Two heartbeats and some: the age of content that is confirmed all the time."""


@pytest.mark.parametrize("whose", ["sidecars", "control planes"])
async def test_a_clock_jumps(tmp_path: Path, whose: str) -> None:
    """Changes are served as quickly as ever, age does not follow the clock, every unit counts."""
    clock = Clock(tmp_path)
    sidecars = clock.environ if whose == "sidecars" else {}
    control_planes = clock.environ if whose == "control planes" else {}
    async with (
        running_world(tmp_path, environ=sidecars, control_plane_environ=control_planes) as world,
        world.evaluating() as evaluator,
    ):
        for hours in HOURS:
            clock.jump(hours * 3600)
            await world.publish()
            took_s = await evaluator.all_see(world.step, 15)
            note(f"the clock of {whose} jumps: served after", took_s)
            status = await world.status()
            assert status["snapshot"]["age_s"] < FRESH_S
            assert not status["snapshot"]["age_estimated"]
            await all_counted(world, evaluator)


async def test_a_clock_is_wrong_by_more_than_a_day(tmp_path: Path) -> None:
    """What seems to be from another day is kept apart and said to be; nothing is lost."""
    clock = Clock(tmp_path)
    async with (
        running_world(tmp_path, control_plane_environ=clock.environ) as world,
        world.evaluating() as evaluator,
    ):
        clock.jump(-30 * 3600)
        await world.publish()
        await evaluator.all_see(world.step, 15)
        await until(lambda: _parks(world), 30)
        assert (await world.status())["exposures"]["lost"] == 0


async def _parks(world: World) -> bool:
    return bool((await world.status())["exposures"]["parked"])
