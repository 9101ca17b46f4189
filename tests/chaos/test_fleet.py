"""Sidecars die, are cut off and leave; two control planes on one Redis tell the same of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.figures import note
from tests.chaos.world import World, running_world, until

MISSING_S = 2.0
TOLD_S = 15.0
ENVIRON = {
    "MATRIXFLAG_STANDING_INTERVAL_S": "0.3",
    "MATRIXFLAG_APPLICATION": "shop",
    "MATRIXFLAG_LABELS": "region=eu",
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Two control planes, three sidecars that are missed soon."""
    async with running_world(
        tmp_path,
        control_planes=2,
        sidecars=3,
        environ=ENVIRON,
        control_plane_environ={"MATRIXFLAG_FLEET_MISSING_S": str(MISSING_S)},
    ) as world:
        yield world


async def fleet(world: World, via: int) -> Any:
    """Ask a control plane how the fleet stands."""
    status, document = await world.api("GET", "/api/v1/fleet", via=via)
    assert status == 200, document
    return document


async def are(world: World, via: int, complete: bool = True, **states: int) -> bool:
    """Return whether a control plane knows so many instances in these states, and no others."""
    found = await fleet(world, via)
    known = {state: count for state, count in found["states"].items() if count}
    return bool(known == states and found["complete"] is complete)


async def test_sidecars_die_and_leave(world: World) -> None:
    """Who dies is missing after a while, who leaves is gone at once, on both control planes."""
    for via in (0, 1):
        await until(lambda v=via: are(world, v, current=3), TOLD_S)
    await world.publish()
    took_s = 0.0
    for via in (0, 1):
        took_s += await until(lambda v=via: are(world, v, current=3), TOLD_S)
        found = await fleet(world, via)
        assert {item["application"] for item in found["items"]} == {"shop"}
    note("change: all sidecars told that they serve it", took_s)
    _, spread = await world.api("GET", "/api/v1/fleet/revisions", via=1)
    assert spread["items"][0]["connected"] == spread["items"][0]["served"] == 3
    note("change: served by the last of three sidecars", spread["items"][0]["all_ms"] / 1000)

    world.sidecars[0].kill()
    took_s = await until(lambda: are(world, 0, current=2, missing=1), TOLD_S)
    note(f"sidecar killed: missing ({MISSING_S:g} s of silence)", took_s)
    await until(lambda: are(world, 1, current=2, missing=1), TOLD_S)
    (missing,) = [i for i in (await fleet(world, 1))["items"] if i["state"] == "missing"]
    assert missing["instance"] == "sidecar-0"

    await world.sidecars[1].stop()
    for via in (0, 1):  # two missing ones would stay so
        await until(lambda v=via: are(world, v, current=1, missing=1), TOLD_S)
    await world.sidecars[0].start()
    for via in (0, 1):
        await until(lambda v=via: are(world, v, current=2), TOLD_S)


async def test_a_sidecar_that_is_cut_off_falls_behind(world: World) -> None:
    """It serves on, and the control planes say that they do not hear of it."""
    await until(lambda: are(world, 0, current=3), TOLD_S)
    async with world.evaluating() as evaluator:
        world.sync_lines[2].cut()
        await world.publish()
        await until(lambda: are(world, 0, current=2, missing=1), TOLD_S)
        world.sync_lines[2].mend()
        await evaluator.all_see(world.step, 40)
        note("sidecar cut off: told again", await until(lambda: are(world, 1, current=3), TOLD_S))


async def test_the_fleet_is_known_in_part_without_redis(world: World) -> None:
    """A control plane tells what it heard itself, and that this is not all; then all again."""
    await until(lambda: are(world, 0, current=3), TOLD_S)
    world.redis.kill()
    found: list[Any] = []

    async def both_say_so() -> bool:
        found[:] = await asyncio.gather(fleet(world, 0), fleet(world, 1))
        return not any(each["complete"] for each in found)

    await until(both_say_so, 20)
    world.redis.restart()
    took_s = 0.0
    for via in (0, 1):
        took_s += await until(lambda v=via: are(world, v, current=3), 20)
    note("Redis back: both control planes know the whole fleet", took_s)
