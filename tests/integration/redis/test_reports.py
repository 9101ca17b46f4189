"""The suite of the batches' store, again: against Sentinel and Cluster, of each server."""

from control_plane.store.keys import ReportKeys
from tests.control_plane.store.test_reports import *  # noqa: F403 - every test of it
from tests.control_plane.store.test_reports import arrival
from tests.support.topologies import Cluster


async def test_shards_are_spread_over_the_nodes(group, connections, store) -> None:
    """Each of the nodes of a Cluster has some, so that they share the load."""
    for shard in range(8):
        await store.take(ReportKeys("exposures", "p", "e", shard), 1, arrival(shard))
    holding = [
        address
        for address, node in (await connections.commands.masters()).items()
        if [key async for key in node.scan_iter("mf:exposures:*")]
    ]
    assert len(holding) == (3 if isinstance(group, Cluster) else 1)
