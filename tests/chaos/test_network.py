"""A network that loses packets, or all of them: real TCP has to cope, and so do we."""

import asyncio
from pathlib import Path

from tests.chaos.counting import all_counted
from tests.chaos.figures import note
from tests.chaos.long import LONG, rounds
from tests.chaos.namespaces import machine
from tests.chaos.world import running_world

LOSS = 0.05
SERVED_S = 45.0
SILENCE_S = 60.0 if LONG else 5.0


async def test_a_sidecar_loses_packets(tmp_path: Path) -> None:
    """With 5 % lost both ways every change is served, in order, and every unit is counted once."""
    with machine() as far:
        async with (
            running_world(tmp_path, sidecars=2, sidecars_on=far) as world,
            world.evaluating() as evaluator,
        ):
            far.lose(LOSS)
            for _ in rounds(10, 200):
                await world.publish()
                note("5 % loss to sidecars: served after", await evaluator.all_see(world.step, 45))
            note("5 % loss to sidecars: all counted", await all_counted(world, evaluator))


async def test_redis_loses_packets(tmp_path: Path) -> None:
    """With 5 % lost between Redis and the control plane writes are slower, or tried again."""
    with machine() as far:
        async with (
            running_world(tmp_path, control_planes_on=far) as world,
            world.evaluating() as evaluator,
        ):
            far.lose(LOSS)
            for _ in rounds(10, 200):
                await world.publish()
                note("5 % loss to Redis: served after", await evaluator.all_see(world.step, 45))
            note("5 % loss to Redis: all counted", await all_counted(world, evaluator))


async def test_no_packet_arrives_for_a_while(tmp_path: Path) -> None:
    """Nobody is told; what was sent meanwhile arrives later, or is asked for again."""
    with machine() as far:
        async with (
            running_world(tmp_path, sidecars=2, sidecars_on=far) as world,
            world.evaluating() as evaluator,
        ):
            far.silence()
            await world.publish()
            await asyncio.sleep(SILENCE_S)  # how long it lasts is what is injected
            assert all(target.step < world.step for target in evaluator.targets)
            far.mend()
            took_s = await evaluator.all_see(world.step, SERVED_S)
            note(f"no packet for {SILENCE_S:.0f} s: served after", took_s)
            await all_counted(world, evaluator)
