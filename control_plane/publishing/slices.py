"""Runs long work in short slices, so that the event loop goes on answering in between.

The work is what `proxy.contract.steps` says. What it reads may change while it waits: whoever uses
its result has to see that it still holds. The sidecar has the same in `proxy.slices`; neither
program may import the other's, and one test holds both to the same behaviour.
"""

import asyncio
import time
from typing import TypeVar

from proxy.contract.steps import Steps

__all__ = ["run_in_slices"]

T = TypeVar("T")


async def run_in_slices(steps: Steps[T], budget_s: float = 0.003) -> T:
    """Return the result of the work, letting the loop run whenever `budget_s` is used up.

    The loop is held for `budget_s` and one step at most. 3 ms leaves room below the 5 ms that the
    loop may be held for. Cancelled, it closes the work.
    """
    clock = time.perf_counter
    deadline = clock() + budget_s
    try:
        while True:
            next(steps)
            if clock() >= deadline:
                await asyncio.sleep(0)
                deadline = clock() + budget_s
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        steps.close()
