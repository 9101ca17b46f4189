"""Runs long synchronous work on the event loop in slices short enough for nobody to notice.

The pure parts (`proxy.contract.snapshot`, `proxy.engine`) write long work as generators that yield
between small steps. Threads would not help: they would hold the interpreter all the same.
"""

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

__all__ = ["run_in_slices"]

T = TypeVar("T")


async def run_in_slices(steps: Generator[None, None, T], budget_s: float = 0.003) -> T:
    """Return the generator's result, letting the loop run whenever `budget_s` is used up.

    The loop is held for `budget_s` and one step at most. 3 ms leaves room below the 5 ms that the
    loop may be held for. Cancelled, it closes the generator.
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
