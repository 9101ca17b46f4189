"""The collector does not walk what is held, and what was written since is swept, and then held."""

import asyncio
import contextlib
import gc
from collections.abc import Iterator

import pytest

from control_plane.garbage import sweep, tame_collector


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector as it was, afterwards; what was frozen stays so, as all tests are."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_no_writing_makes_the_oldest_generation_due() -> None:
    """However many objects are made that stay."""
    tame_collector()
    before = gc.get_stats()[2]["collections"]
    kept = [[number] for number in range(1_000_000)]
    assert gc.get_stats()[2]["collections"] == before
    assert len(kept) == 1_000_000


async def test_cycles_are_collected_by_the_sweep() -> None:
    """What remains is not looked at again."""
    tame_collector()
    frozen = gc.get_freeze_count()
    collected = asyncio.Event()

    def told(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2:
            collected.set()

    kept = [[number] for number in range(1_000)]
    gc.callbacks.append(told)
    sweeping = asyncio.create_task(sweep(every_s=0.001))
    try:
        async with asyncio.timeout(10):
            await collected.wait()
    finally:
        gc.callbacks.remove(told)
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
    assert gc.get_freeze_count() >= frozen + len(kept)
