"""Keeps background work running: whatever it raises is logged, counted and tried again.

Everything that runs for as long as the process does is run by `supervise`, under a name, so that
none of it ends unseen. The sidecar has its own, `proxy.supervise`; neither program may import the
other's.

Rules:
- Only cancellation of the supervising task itself, and what ends the process, gets through. A
  CancelledError from inside of the work, of something it waited for, is a failure like any other.
- Work that returns has done what there was to do, and is not started again.
- Pauses are short, because Redis is near and replicas are few; drawn, so that they spread.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

__all__ = ["Failed", "stop", "supervise", "unnoted"]

logger = logging.getLogger(__name__)

Failed = Callable[[str, BaseException], None]
"""Told the name of work that failed, and why: to count it."""

_ASK_AGAIN_S = 0.1  # between two cancellations of a task that did not end
_PAUSE_S = 0.1, 2.0  # drawn from here; nothing that runs here may rest for longer


def unnoted(_name: str, _error: BaseException) -> None:
    """Count nothing."""


async def supervise(
    name: str, work: Callable[[], Awaitable[None]], failed: Failed = unnoted
) -> None:
    """Run `work` until it returns, again after each failure."""
    while (error := await _failure_of(work)) is not None:
        pause_s = random.uniform(*_PAUSE_S)  # noqa: S311 - spreads retries, guards nothing
        logger.error("%s failed, again in %.1f s", name, pause_s, exc_info=error)
        failed(name, error)
        await asyncio.sleep(pause_s)


async def stop(*tasks: "asyncio.Task[None] | None") -> None:
    """Cancel tasks until they have ended; None stands for one that was never begun.

    More than once, because what is awaited may finish in that moment and swallow a cancellation
    (asyncio.wait_for of Python 3.11 does), and the task would go on.
    """
    left = {task for task in tasks if task is not None}
    while left := {task for task in left if not task.done()}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_ASK_AGAIN_S)


async def _failure_of(work: Callable[[], Awaitable[None]]) -> BaseException | None:
    """Return what ended the work, None if it ended well; raises what is for the supervisor."""
    try:
        await work()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error
    except Exception as error:
        return error
    return None
