"""Fixtures that all tests may use; what they are stands in `tests/support`."""

from tests.support.api import api
from tests.support.redis import (
    redis_server,
    redis_url,
    session_redis,
    session_valkey,
    store_url,
)

__all__ = ["api", "redis_server", "redis_url", "session_redis", "session_valkey", "store_url"]
