"""Sentinel and Cluster, started once for all that asks for them.

group      each topology, of Redis and of Valkey, with a password, for suites that run on all
store_url  its address, emptied: the fixture of the same name elsewhere is a single server's
client     a plain client, to look into what is stored
sentinel   of one module, to be broken
cluster    of one module, to be broken
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import redis
from redis.cluster import RedisCluster

from tests.support.reference import DOCS, between
from tests.support.topologies import Cluster, SentinelGroup

PASSWORD = "p4ss/@word"


@pytest.fixture(
    scope="session",
    params=[(kind, group) for group in (SentinelGroup, Cluster) for kind in ("redis", "valkey")],
    ids=lambda param: f"{param[0]} {param[1].__name__}",
)
def group(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """Servers that want a password."""
    kind, made = request.param
    with made(tmp_path_factory.mktemp("group"), kind, PASSWORD) as running:
        yield running


@pytest.fixture
def store_url(group: Any, client: redis.Redis) -> str:
    """The address of the servers, emptied."""
    if isinstance(group, Cluster):
        group.flush()
    else:
        client.flushall()
    return str(group.url).replace(PASSWORD, quote(PASSWORD, safe=""))


@pytest.fixture
def client(group: Any) -> Iterator[redis.Redis]:
    """A plain client, of the master or of the whole Cluster."""
    made: Any
    if isinstance(group, SentinelGroup):
        made = group.master().client()
    else:
        made = RedisCluster(host="127.0.0.1", port=group.nodes[0].port, password=PASSWORD)
    yield made
    made.close()


def documented(*names: str) -> list[str]:
    """Return the settings of `docs/redis.md` as arguments, without the time that tests shorten."""
    text = (DOCS / "redis.md").read_text()
    arguments = []
    for name in names:
        found = between(name).search(text)
        assert found is not None
        for line in found[2].splitlines()[1:-1]:
            key, value = line.split(" ", 1)
            if key != "cluster-node-timeout":
                arguments += [f"--{key}", value.strip('"')]
    return arguments


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    """A master, two replicas and three Sentinels, of Valkey, set as the guide says."""
    given = documented("server", "replicated")
    with SentinelGroup(tmp_path_factory.mktemp("sentinel"), "valkey", "", *given) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three masters with a replica each, of Redis, set as the guide says."""
    given = documented("server", "replicated", "cluster")
    with Cluster(tmp_path_factory.mktemp("cluster"), "redis", "", *given) as running:
        yield running
