"""Fixtures that all tests may use; what they are stands in `tests/support`."""

import functools
import gc
import os

import pytest
import redis.utils
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

_LONG = (
    "tests/chaos",
    "tests/fuzz",
    "tests/bench",
    "tests/integration",
    "tests/test_error_shape.py",
    "tests/proxy/engine/test_bounds.py",
)
"""Where a file takes up to a minute or two, most of it spent waiting."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let workers begin with what is long, or one of them would end minutes after all others."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


def pytest_collection_finish() -> None:
    """Leave half a million objects of collected tests out of each look for garbage: they stay."""
    gc.collect()
    gc.freeze()


# The library reads the metadata of its own package for each connection, which was half the time of
# starting a control plane, and of that the tests start thousands.
redis.utils.get_lib_version = functools.cache(redis.utils.get_lib_version)
