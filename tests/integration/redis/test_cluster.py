"""A Cluster loses a master, and moves slots, under load: written to again, and nothing lost."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.crc import key_slot

from control_plane.store.keys import ProjectKeys
from tests.integration.redis.load import LIMITS, Load, check
from tests.support.api import Api, running_api, until
from tests.support.topologies import Cluster, Node

PATIENT_S = 10.0
"""Where every write is to succeed in the end, however busy the machine is."""


@asynccontextmanager
async def loaded(
    cluster: Cluster, name: str, project: str, **limits: float
) -> AsyncIterator[tuple[Load, Load]]:
    """Run two control planes with load on two projects, the second in another slot than `default`.

    Checks on leaving that both are well and that nothing was lost.
    """
    given = LIMITS | limits
    async with (
        running_api(cluster.url, **given) as one,
        running_api(cluster.url, **given) as two,
    ):
        reply = await one.ask("POST", "/api/v1/projects", json={"key": project, "name": project})
        assert reply.status in (201, 409)
        await until(lambda: knows(two, project))
        async with Load((one, two), name) as first, Load((one, two), name, project) as second:
            await first.go_on()
            await second.go_on()
            yield first, second
            await first.go_on()
            await second.go_on()
        for api in (one, two):
            reply = await api.ask("GET", "/health")
            assert reply.status == 200, reply.body
    for load in (first, second):
        print(f"{name}: longest time without a write {load.longest_gap_s:.2f} s", load.answers)
    await check(cluster.url, first, second)


async def knows(api: Api, project: str) -> bool:
    """Return whether a replica has found a project that another made."""
    return (await api.ask("GET", f"/api/v1/flags?project={project}")).status == 200


def projects() -> Iterator[str]:
    """Yield names."""
    return (f"p{number}" for number in range(100_000))


def slot_of(project: str) -> int:
    """Return the slot of a project."""
    return key_slot(ProjectKeys(project).meta.encode())


@pytest.mark.parametrize("lose", [Node.kill, Node.freeze], ids=["killed", "frozen"])
async def test_a_master_is_lost_under_load(cluster: Cluster, lose: Callable[[Node], None]) -> None:
    """That of one project; the other one's goes on, and both are written to again."""
    await asyncio.to_thread(cluster.wait_in_step)
    old = cluster.owner(ProjectKeys("default").meta)
    other = next(p for p in projects() if cluster.owner(ProjectKeys(p).meta) is not old)
    async with loaded(cluster, lose.__name__, other) as (_, second):
        lose(old)
        await second.go_on()
        await asyncio.to_thread(cluster.wait_other_owner, ProjectKeys("default").meta, old)
        if lose is Node.kill:
            old.start()
        else:
            old.thaw()


async def test_slots_move_under_load(cluster: Cluster) -> None:
    """To another node and back, by the tool that people use."""
    await asyncio.to_thread(cluster.wait_in_step)
    # The tool moves the first slots of a node: a project among its first is moved soon.
    owner = {m: cluster.first_slot(m) for m in cluster.masters()}
    project, source = next(
        (p, node)
        for p in projects()
        for node, first in owner.items()
        if 0 <= slot_of(p) - first < 40
    )
    target = next(node for node in owner if node is not source)
    async with loaded(cluster, "moved", project, redis_timeout_s=PATIENT_S) as (first, second):
        for start, end in ((source, target), (target, source)):
            await asyncio.to_thread(cluster.reshard, start, end, 60)
            await first.go_on()
            await second.go_on()
            if start is source:
                assert cluster.owner(ProjectKeys(project).meta) is target
    for load in (first, second):
        assert "write 503" not in load.answers


async def test_a_slot_that_is_half_moved_is_waited_for(cluster: Cluster) -> None:
    """Writes of several keys are refused until all have arrived; then they go on at once."""
    await asyncio.to_thread(cluster.wait_in_step)
    source = cluster.owner(ProjectKeys("default").meta)
    target = next(node for node in cluster.masters() if node is not source)
    slot = slot_of("default")
    other = next(p for p in projects() if cluster.owner(ProjectKeys(p).meta) not in (source,))
    async with loaded(cluster, "half", other, redis_timeout_s=PATIENT_S) as (first, second):
        cluster.open_slot(slot, source, target)
        cluster.move_keys(slot, source, target, 3)
        await second.go_on()
        await asyncio.sleep(0.3)  # to be met by writes
        cluster.move_keys(slot, source, target, 1000)
        await first.go_on()  # at the other node, by its leave: the slot is not given away yet
        cluster.close_slot(slot, source, target)
        await first.go_on()
        assert cluster.owner(ProjectKeys("default").meta) is target
    for load in (first, second):
        assert "write 503" not in load.answers
