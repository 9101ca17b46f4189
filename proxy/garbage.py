"""Keeps Python's memory management from holding the event loop.

Two things would hold it for tens of milliseconds at 10,000 flags, each time a snapshot changes:
- the cyclic collector walking everything that lives, when its oldest generation is due. A snapshot
  holds no cycles, so that generation is collected by `sweep` only, once an hour.
- freeing all of the old snapshot at once. Its parts are kept back and let go a few at a time.

Belongs to the process: only `proxy.app` calls it. Measured in `tests/proxy/test_garbage.py`.
"""

import asyncio
import gc
import time
from collections import deque

from proxy.holder import Served

__all__ = ["Undertaker", "sweep", "tame_collector"]

_YOUNG, _MIDDLE = 700, 10  # Python's own; collecting these takes less than a millisecond or two
_NEVER = 1_000_000
_SWEEP_EVERY_S = 3600.0
_SLICE_S = 0.002
_AT_ONCE = 50


def tame_collector() -> None:
    """Leave the oldest generation to `sweep`. What lives already is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)


async def sweep(every_s: float = _SWEEP_EVERY_S) -> None:
    """Collect the oldest generation once in a while: cycles that lived for long, mostly none.

    Holds the loop for some 7 ms per 1,000 flags, which is why it is rare.
    """
    while True:
        await asyncio.sleep(every_s)
        gc.collect()


class Undertaker:
    """Lets go of old snapshots in slices. `swapped` is a subscriber of the holder."""

    def __init__(self) -> None:
        self._kept: deque[list[object]] = deque()
        self._work = asyncio.Event()

    @property
    def kept(self) -> int:
        """How many parts are still to be let go."""
        return sum(map(len, self._kept))

    def swapped(self, old: Served | None, new: Served) -> None:
        """Keep back what only the old snapshot holds."""
        if old is not None:
            if new.snapshot is not old.snapshot:
                gone: list[object] = list(new.compiled.replaced(old.compiled))
                self._kept += [gone, list(old.entries.values()), list(old.blobs.values())]
            if old.defaults is not None and old.defaults is not new.defaults:
                self._kept.append(list(old.defaults.values()))
            self._work.set()

    async def run(self) -> None:
        """Let go for ever, `_SLICE_S` at a time."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._kept:
                await self._let_go(self._kept[0])
                self._kept.popleft()

    async def _let_go(self, parts: list[object]) -> None:
        deadline_s = time.perf_counter() + _SLICE_S
        while parts:
            del parts[-_AT_ONCE:]
            if time.perf_counter() >= deadline_s:
                await asyncio.sleep(0)
                deadline_s = time.perf_counter() + _SLICE_S
