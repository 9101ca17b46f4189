"""The control plane dies, hangs, is restarted or cut off: sidecars go on and catch up."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.counting import all_counted
from tests.chaos.figures import note
from tests.chaos.long import rounds
from tests.chaos.world import World, running_world, until

RECOVERY_S = 45.0
"""From the moment that a control plane can be reached until what it publishes is served: the
longest pause between two attempts, 30 s, and a start."""

IDLE_S = 30.0
"""After so long without a heartbeat a stream is taken for dead."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One control plane, two sidecars."""
    async with running_world(tmp_path, sidecars=2) as world:
        yield world


async def test_the_control_plane_is_killed_and_comes_back(world: World) -> None:
    """Sidecars serve on from memory, find it again by themselves, and report what they kept."""
    async with world.evaluating() as evaluator:
        for _ in rounds(1, 5):
            await world.publish()
            await evaluator.all_see(world.step, 10)
            world.control_planes[0].kill()
            await until(lambda: _waits_with_exposures(world), 20)
            await world.control_planes[0].start()
            await world.publish()
            took_s = await evaluator.all_see(world.step, RECOVERY_S)
            note("control plane killed: change served after restart", took_s)
            await world.healthy(RECOVERY_S)
            note("control plane killed: all counted", await all_counted(world, evaluator))


async def test_the_control_plane_hangs(world: World) -> None:
    """Its connections stay open and silent: sidecars age, and go on with what they have."""
    async with world.evaluating() as evaluator:
        for _ in rounds(1, 5):
            world.control_planes[0].freeze()
            await until(lambda: _reports_time_out(world), 30)
            assert (await world.status())["ready"]
            world.control_planes[0].thaw()
            await world.publish()
            took_s = await evaluator.all_see(world.step, RECOVERY_S)
            note("control plane frozen: change served after it goes on", took_s)
            await world.healthy(RECOVERY_S)
            await all_counted(world, evaluator)


async def test_the_network_to_the_control_plane_is_cut(world: World) -> None:
    """One sidecar is cut off and serves what it has; the other is not held up."""
    async with world.evaluating() as evaluator:
        for _ in rounds(1, 5):
            world.sync_lines[0].cut()
            await world.publish()
            target = evaluator.targets[1]
            await until(lambda t=target: _at(t.step, world.step), 10)
            assert evaluator.targets[0].step < world.step
            world.sync_lines[0].mend()
            took_s = await evaluator.all_see(world.step, RECOVERY_S)
            note("sidecar cut off: change served after", took_s)
            await world.healthy(RECOVERY_S)
            await all_counted(world, evaluator)


async def test_a_stream_is_half_open(world: World) -> None:
    """The peer vanishes without a FIN: the watchdog leaves the stream, and a new one is opened."""
    async with world.evaluating() as evaluator:
        streams = world.sync_lines[0].accepted
        world.sync_lines[0].vanish()
        world.sync_lines[0].mend()
        await world.publish()
        took_s = await evaluator.all_see(world.step, IDLE_S + RECOVERY_S)
        note("stream half open: change served after", took_s)
        assert world.sync_lines[0].accepted > streams
        errors = (await world.status())["sync"]["errors"]
        assert errors.get("idle", 0) + errors.get("timeout", 0) >= 1
        await all_counted(world, evaluator)


async def test_the_control_plane_is_far_away(world: World) -> None:
    """With 300 ms there and back each change is served, in order."""
    async with world.evaluating() as evaluator:
        for line in world.sync_lines:
            line.latency_s = 0.15
        for _ in rounds(3, 30):
            await world.publish()
            note("control plane 300 ms away: served after", await evaluator.all_see(world.step, 10))
        for line in world.sync_lines:
            line.mend()
        await all_counted(world, evaluator)


async def _at(step: int, wanted: int) -> bool:
    return step >= wanted


async def _waits_with_exposures(world: World) -> bool:
    """Return whether a sidecar noticed, and keeps what it cannot deliver."""
    status = await world.status()
    waits: int = status["exposures"]["pending"]
    return status["sync"]["state"] == "disconnected" and waits > 0


async def _reports_time_out(world: World) -> bool:
    status = await world.status()
    return bool(status["exposures"]["errors"].get("timeout"))
