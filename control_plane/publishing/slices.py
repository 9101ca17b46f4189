"""Runs long work in short slices, so that the event loop goes on answering in between.

The work is a generator that yields between pieces of well under a slice. What it reads may change
while it waits: whoever uses its result has to see that it still holds.
"""

import asyncio
from collections.abc import Generator
from time import perf_counter
from typing import TypeVar

__all__ = ["finish", "run_in_slices"]

T = TypeVar("T")

_SLICE_S = 0.003
"""Longest time held at once; a request that arrives meanwhile waits no longer than that."""


async def run_in_slices(work: Generator[None, None, T]) -> T:
    """Return what the generator returns, giving way to the loop after each slice."""
    until = perf_counter() + _SLICE_S
    while True:
        try:
            next(work)
        except StopIteration as stop:
            result: T = stop.value
            return result
        if perf_counter() >= until:
            await asyncio.sleep(0)
            until = perf_counter() + _SLICE_S


def finish(work: Generator[None, None, T]) -> T:
    """Return what the generator returns, at once; for work known to be small."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            result: T = stop.value
            return result
