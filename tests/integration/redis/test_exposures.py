"""The suite of the exposures' store, again: against Sentinel and Cluster, of each server."""

from tests.control_plane.exposures.test_store import *  # noqa: F403 - every test of it
from tests.control_plane.exposures.test_store import SHARDS, ExposureStore, put, uuid7
from tests.support.topologies import Cluster


async def test_shards_are_spread_over_the_nodes(group, connections) -> None:
    """Each of the nodes of a Cluster has some, so that they share the load."""
    store = ExposureStore(connections)
    for _ in range(8 * SHARDS):
        await put(store, uuid7())
    holding = [
        address
        for address, node in (await connections.commands.masters()).items()
        if [key async for key in node.scan_iter("mf:exposures:*")]
    ]
    assert len(holding) == (3 if isinstance(group, Cluster) else 1)
