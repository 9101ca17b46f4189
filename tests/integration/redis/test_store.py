"""The suite of the store, again: against Sentinel and Cluster, of Redis and of Valkey.

A single server has it in `tests/control_plane/store`.
"""

from tests.control_plane.store.test_projects import *  # noqa: F403 - every test of it
from tests.integration.redis.conftest import client  # noqa: F401 - not the one of a single server
