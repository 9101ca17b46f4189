"""What goes on failing is said at once, and then now and then."""

import asyncio
import logging

import pytest

from control_plane.keys import REPLICA, USERS
from control_plane.publishing import mirror
from control_plane.repeats import EVERY_S, Repeats
from control_plane.users import directory
from tests.support.api import running_api
from tests.support.redis import RedisServer


def test_it_is_said_at_once_and_then_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    """However often it fails meanwhile."""
    now_s = 1000.0
    repeats = Repeats(logging.getLogger("test"), "it fails", lambda: now_s)
    for _ in range(9):
        repeats.warn("gone")
    assert caplog.messages == ["it fails: gone"]
    now_s += EVERY_S
    repeats.warn("still gone")
    repeats.warn("still gone")
    now_s += EVERY_S
    repeats.warn("gone")
    now_s += 10 * EVERY_S
    repeats.warn("gone again")
    assert caplog.messages[1:] == [
        "it fails: still gone (8 more times since this was last said)",
        "it fails: gone (1 more times since this was last said)",
        "it fails: gone again",
    ]


async def test_a_redis_that_is_away_is_said_once_by_each_part(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """And not for each time that it is asked."""
    async with running_api(redis_server.url, redis_timeout_s=1.0) as api:
        caplog.clear()
        redis_server.kill()
        parts = (api.app[REPLICA]._mirror, api.app[USERS]._directory)
        async with asyncio.timeout(60):
            while min(part._unfollowed._unsaid for part in parts) < 2:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.05)
    for name in (mirror.__name__, directory.__name__):
        said = [r for r in caplog.records if r.name == name and "cannot be followed" in r.message]
        assert len(said) == 1, [r.message for r in said]
