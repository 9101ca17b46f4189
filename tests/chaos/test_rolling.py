"""Two control planes are replaced one after the other, under load; no write and no unit is lost."""

import asyncio
import itertools
from pathlib import Path

from tests.chaos.counting import all_counted
from tests.chaos.figures import note
from tests.chaos.long import LONG, rounds
from tests.chaos.world import World, running_world


async def test_a_rolling_restart_of_two_control_planes(tmp_path: Path) -> None:
    """Somebody publishes all the while, at whichever is up; sidecars go from one to the other."""
    sidecars = 6 if LONG else 2
    async with (
        running_world(tmp_path, control_planes=2, sidecars=sidecars) as world,
        world.evaluating() as evaluator,
    ):
        up = [True, True]
        publishing = asyncio.create_task(_publish(world, up))
        for _ in rounds(1, 5):
            for number, program in enumerate(world.control_planes):
                up[number] = False
                await program.stop()
                await program.start()
                up[number] = True
                note("rolling restart: sidecars back", await world.healthy(60))
        publishing.cancel()
        [refused] = await asyncio.gather(publishing, return_exceptions=True)
        assert isinstance(refused, asyncio.CancelledError), refused
        await world.publish()
        note("rolling restart: last change served", await evaluator.all_see(world.step, 60))
        note("rolling restart: all counted", await all_counted(world, evaluator))


async def _publish(world: World, up: list[bool]) -> None:
    """Publish some ten times a second, and be refused only by one that is going down."""
    for number in itertools.count():
        via = number % 2
        if up[via] and not await world.publish_once(via):
            assert not up[via], "a control plane that is up refused a write"
        await asyncio.sleep(0.1)
