"""Runs what must not be left half done, whatever happens to who waits for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["to_its_end"]

T = TypeVar("T")


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of the work. Being cancelled waits for its end first.

    A thread cannot be cancelled: it would go on beside whatever is done next.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # there is nobody left to be told
        raise
