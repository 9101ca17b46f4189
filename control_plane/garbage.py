"""Keeps Python's cyclic collector from holding the event loop.

When its oldest generation is due it walks all that lives, which at 10,000 flags takes a third of
a second; and it becomes due when many flags are written, above all by an import. Records hold no
cycles, so what there is of them in that generation is little: it is collected once an hour.

Belongs to the process: only `control_plane.app` calls it. The sidecar has its own, `proxy.garbage`;
neither program may import the other's.
"""

import asyncio
import gc

__all__ = ["sweep", "tame_collector"]

_YOUNG, _MIDDLE = 700, 10  # Python's own; collecting these takes a millisecond or two
_NEVER = 1_000_000
_SWEEP_EVERY_S = 3600.0


def tame_collector() -> None:
    """Leave the oldest generation to `sweep`. What lives already is never looked at again."""
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)


async def sweep(every_s: float = _SWEEP_EVERY_S) -> None:
    """Collect the oldest generation once in a while: what was written since, which then stays.

    Holds the loop for some 25 ms for each 1,000 flags written since, which is why it is rare.
    """
    while True:
        await asyncio.sleep(every_s)
        gc.collect()
        gc.freeze()
