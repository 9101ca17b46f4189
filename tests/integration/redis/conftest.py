"""Sentinel and Cluster, each started once for a module, as few of them as there are kinds."""

from collections.abc import Iterator

import pytest

from tests.support.topologies import Cluster, SentinelGroup


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    """A master, two replicas and three Sentinels of Debian's Redis."""
    with SentinelGroup(tmp_path_factory.mktemp("sentinel")) as group:
        yield group


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three masters with a replica each, of Debian's Redis."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as group:
        yield group
