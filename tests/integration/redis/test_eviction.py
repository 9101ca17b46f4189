"""Behind Sentinels and in a Cluster: a single server is in `tests/control_plane/store`."""

from tests.control_plane.store.test_eviction import test_every_kind_of_server_is_asked

__all__ = ["test_every_kind_of_server_is_asked"]
