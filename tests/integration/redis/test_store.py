"""The suite of the store, against Sentinel and Cluster, of Redis and of Valkey.

A single server has it in `tests/control_plane/store`.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster

from tests.control_plane.store.test_projects import *  # noqa: F403 - every test of it, again
from tests.support.topologies import Cluster, SentinelGroup


@pytest.fixture(scope="module", params=["redis", "valkey"])
def kind(request: pytest.FixtureRequest) -> str:
    """The server."""
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=[SentinelGroup, Cluster], ids=["sentinel", "cluster"])
def group(
    request: pytest.FixtureRequest, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """The servers, with a password."""
    with request.param(tmp_path_factory.mktemp("group"), kind, "p4ss/@word") as made:
        yield made


@pytest.fixture
def store_url(group: Any, client: redis.Redis) -> str:
    """The address of the servers, emptied."""
    if isinstance(group, Cluster):
        group.flush()
    else:
        client.flushall()
    return group.url.replace("p4ss/@word", "p4ss%2F%40word")


@pytest.fixture
def client(group: Any) -> Iterator[redis.Redis]:
    """A plain client, to look into what is stored."""
    if isinstance(group, SentinelGroup):
        with group.master().client() as made:
            yield made
        return
    node = group.nodes[0]
    made = RedisCluster(host="127.0.0.1", port=node.port, password="p4ss/@word")
    yield made
    made.close()
