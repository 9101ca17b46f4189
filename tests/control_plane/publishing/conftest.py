"""Replicas on real servers."""

from collections.abc import AsyncIterator

import pytest

from control_plane.publishing.replica import Replica
from tests.control_plane.publishing.replicas import WAIT_S


@pytest.fixture
async def two(store_url: str) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two replicas of one server, of each kind."""
    async with Replica(store_url) as one, Replica(store_url) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        yield one, other


@pytest.fixture
async def replica(redis_url: str) -> AsyncIterator[Replica]:
    """A loaded replica."""
    async with Replica(redis_url) as loaded:
        assert await loaded.wait_loaded(WAIT_S)
        yield loaded
