"""Fixtures that all tests may use; what they are stands in `tests/support`."""

from hypothesis import settings

from tests.support.api import api
from tests.support.redis import (
    redis_server,
    redis_url,
    session_redis,
    session_valkey,
    store_url,
)

__all__ = ["api", "redis_server", "redis_url", "session_redis", "session_valkey", "store_url"]

# An example that is slow is no failure: two cores are shared with whatever else runs.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")
