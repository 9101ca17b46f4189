"""Waiting that ends when the process is being stopped."""

import asyncio

from proxy.lifecycle import Lifecycle


async def test_waiting_ends_with_the_work() -> None:
    """And nothing is left running."""
    lifecycle = Lifecycle()
    work = asyncio.ensure_future(asyncio.sleep(0))
    await lifecycle.unless_stopping(work)
    assert work.done()
    assert not work.cancelled()


async def test_waiting_ends_when_stopping() -> None:
    """The work is cancelled."""
    lifecycle = Lifecycle()
    work = asyncio.ensure_future(asyncio.Event().wait())
    waiting = asyncio.create_task(lifecycle.unless_stopping(work))
    await asyncio.sleep(0)
    lifecycle.stopping.set()
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait([work])
    assert work.cancelled()


async def test_a_cancelled_wait_cancels_the_work() -> None:
    """A client that is gone leaves nothing behind."""
    lifecycle = Lifecycle()
    work = asyncio.ensure_future(asyncio.Event().wait())
    waiting = asyncio.create_task(lifecycle.unless_stopping(work))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting, work])
    assert work.cancelled()


def test_time_goes_on() -> None:
    """Since it was made."""
    lifecycle = Lifecycle()
    assert 0 <= lifecycle.uptime_s() <= lifecycle.uptime_s() < 60
