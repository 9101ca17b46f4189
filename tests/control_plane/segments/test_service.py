"""Segments through the service: above all, that no two writers make a cycle."""

import asyncio

import pytest

from control_plane.errors import ApiError, Invalid
from control_plane.publishing.replica import Replica
from control_plane.segments.model import SegmentInput
from control_plane.segments.service import SegmentService
from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import Condition
from tests.support.definitions import AUTHOR, any_version

WAIT_S = 20.0


def naming(other: str | None) -> SegmentInput:
    """Return a segment that names another, or nobody."""
    return SegmentInput(when=Condition(any=[]) if other is None else Condition(segment=other))


async def make(service: SegmentService, key: str, other: str | None = None) -> None:
    """Create a segment."""
    document = naming(other)
    await service.create("default", SegmentInput(key=key, when=document.when), AUTHOR)


async def test_two_racing_writers_on_two_replicas_cannot_make_a_cycle(store_url: str) -> None:
    """Each alone would be fine; one of the two is refused, however often it is tried."""
    async with Replica(store_url) as one, Replica(store_url) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        left, right = SegmentService(one), SegmentService(other)
        for number in range(25):
            a, b = f"a-{number}", f"b-{number}"
            await make(left, a)
            await make(left, b)
            async with asyncio.timeout(WAIT_S):
                while b not in other.project("default").segments:  # noqa: ASYNC110 - a replica
                    await asyncio.sleep(0.005)
            results = await asyncio.gather(
                left.replace("default", a, naming(b), AUTHOR, any_version),
                right.replace("default", b, naming(a), AUTHOR, any_version),
                return_exceptions=True,
            )
            refused = [result for result in results if isinstance(result, ApiError)]
            assert len(refused) == 1
            assert isinstance(refused[0], Invalid)
            assert [p.code for p in refused[0].problems] == [ProblemCode.SEGMENT_CYCLE]


async def test_a_cycle_over_several_segments_is_found(redis_url: str) -> None:
    """However long, with the way around it in the message."""
    async with Replica(redis_url) as replica:
        assert await replica.wait_loaded(WAIT_S)
        service = SegmentService(replica)
        await make(service, "s-0")
        for number in range(1, 10):
            await make(service, f"s-{number}", f"s-{number - 1}")
        with pytest.raises(Invalid, match="s-0 -> s-9 -> s-8"):
            await service.replace("default", "s-0", naming("s-9"), AUTHOR, any_version)
        with pytest.raises(Invalid, match="contains itself"):
            await service.replace("default", "s-0", naming("s-0"), AUTHOR, any_version)


async def test_a_segment_in_use_cannot_lose_the_race_against_its_user(store_url: str) -> None:
    """Deleted here and named there at once: either it stays, or nobody names it."""
    async with Replica(store_url) as one, Replica(store_url) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        left, right = SegmentService(one), SegmentService(other)
        for number in range(10):
            a, b = f"a-{number}", f"b-{number}"
            await make(left, a)
            async with asyncio.timeout(WAIT_S):
                while a not in other.project("default").segments:  # noqa: ASYNC110 - a replica
                    await asyncio.sleep(0.005)
            results = await asyncio.gather(
                left.delete("default", a, AUTHOR, any_version, force=False),
                right.create("default", SegmentInput(key=b, when=naming(a).when), AUTHOR),
                return_exceptions=True,
            )
            assert sum(isinstance(result, ApiError) for result in results) == 1
