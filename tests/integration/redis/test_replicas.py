"""What replicas of the control plane do with several projects, against every topology."""

import asyncio

from control_plane.environments.model import Project
from control_plane.publishing.replica import Replica
from control_plane.publishing.state import RecordKind
from tests.control_plane.publishing.conftest import two  # noqa: F401 - a fixture
from tests.control_plane.publishing.replicas import WAIT_S
from tests.control_plane.publishing.test_replica import (  # noqa: F401 - tests, again
    test_a_replica_that_starts_later_serves_the_same_bytes,
    test_an_empty_redis_gets_the_default_project,
    test_other_replicas_follow_and_serve_the_same_bytes,
    test_who_wrote_reads_what_was_written,
    test_writes_of_two_replicas_all_arrive,
)
from tests.support.control_plane import AUTHOR
from tests.support.definitions import flag_record, put

NAMES = ("default", "alpha", "beta", "gamma", "delta")


async def test_projects_are_followed_wherever_they_lie(store_url: str) -> None:
    """In a Cluster each has its own slot; what one replica writes, the other serves."""
    async with Replica(store_url) as one, Replica(store_url) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        for name in NAMES[1:]:
            await one.create_project(Project(name), AUTHOR)
        async with asyncio.timeout(WAIT_S):
            while len(other.projects) < len(NAMES):  # noqa: ASYNC110 - found by looking
                await asyncio.sleep(0.02)
        for number in range(5):
            for name in NAMES:
                writer = (one, other)[number % 2]
                await put(writer, RecordKind.FLAG, f"f{number}", flag_record(f"f{number}"), name)
        async with asyncio.timeout(WAIT_S):
            while any(  # noqa: ASYNC110 - found by looking
                one.project(name).head != other.project(name).head for name in NAMES
            ):
                await asyncio.sleep(0.02)
        for name in NAMES:
            assert len(other.project(name).flags) == 5
        assert one.reloads == other.reloads == 0
