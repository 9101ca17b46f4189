"""The front door beside aiohttp: many requests changed at random, answered by both."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Figure, informative
from tests.bench.scale import Scale
from tests.proxy.ofrep.mutations import mutated
from tests.proxy.ofrep.wires import both_ends

__all__ = ["measure_front"]

_SHOWN = 3
_SEED = 7  # the tests' sample has another


def measure_front(scale: Scale, _directory: Path) -> Iterator[Figure]:
    """Yield how many were compared; fail if the two differed in any."""
    differences = asyncio.run(_differences(scale.requests))
    for difference in differences[:_SHOWN]:
        print(difference)
    if differences:
        raise RuntimeError(f"{len(differences)} of {scale.requests:,} requests differ")
    what = "requests changed at random that front door and aiohttp answer alike"
    yield informative(what, scale.requests, "")


async def _differences(count: int) -> list[str]:
    async with both_ends(origins=("https://a.example",)) as ends:
        found = [await ends.differ(parts) for parts in mutated(count, _SEED)]
    return [each for each in found if each]
