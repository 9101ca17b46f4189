"""Tests of the loop lag."""

import asyncio
import time

from control_plane.lag import LoopLag
from tests.support.api import until


async def test_a_loop_that_was_held_shows() -> None:
    """The worst delay is at least most of what the loop was held for."""
    async with LoopLag() as lag:
        assert lag.worst_s == 0.0
        await asyncio.sleep(0.01)
        time.sleep(0.6)  # noqa: ASYNC251 - holding the loop is what is measured
        await until(lambda: _held(lag))


async def test_it_ends_when_left() -> None:
    """No task stays behind."""
    before = asyncio.all_tasks()
    async with LoopLag():
        pass
    assert asyncio.all_tasks() == before


async def _held(lag: LoopLag) -> bool:
    return lag.worst_s > 0.2
