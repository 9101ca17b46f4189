"""A Redis that evicts is found out, however it is reached; the store's own servers do not."""

import redis

from control_plane.store.connection import Connections, RedisLimits
from control_plane.store.eviction import evicting
from tests.support.redis import RedisServer


async def test_a_server_that_evicts_is_named_with_its_policy() -> None:
    """By its address; one that keeps everything is not."""
    with RedisServer() as server:
        connections = Connections(server.url, RedisLimits())
        assert await evicting(connections) == {}
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        (found,) = (await evicting(connections)).items()
        assert found == (server.url.split("//")[1].split("/")[0], "allkeys-lru")
        await connections.close()


async def test_every_kind_of_server_is_asked(store_url: str) -> None:
    """Behind Sentinels and in a Cluster the masters are."""
    connections = Connections(store_url, RedisLimits())
    assert await evicting(connections) == {}
    await connections.close()
