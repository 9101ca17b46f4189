"""Memory: nothing of an old snapshot stays, and letting it go does not hold the loop."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Iterator, Mapping

import pytest

from proxy.garbage import Undertaker, sweep, tame_collector
from proxy.holder import Holder
from tests.support.snapshots import make_snapshot
from tests.support.units import in_segment, long_list, names


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector as it was, afterwards; what was frozen stays so, as all tests are."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


async def test_a_snapshot_holds_no_cycles() -> None:
    """So it is freed without the collector, which is what freezing relies on."""
    holder = Holder()
    gc.disable()
    try:
        await holder.offer(make_snapshot({"f": True})[1], "file")
        assert holder.served is not None
        first = weakref.ref(holder.served.compiled.flags["f"].evaluate)
        await holder.offer(make_snapshot({"f": False}, revision=2)[1], "file")
        assert first() is None
    finally:
        gc.enable()


async def test_old_parts_are_let_go_in_slices() -> None:
    """Other tasks run in between, and in the end nothing is left."""
    holder, undertaker = Holder(), Undertaker()
    holder.subscribe(undertaker.swapped)
    letting_go = asyncio.create_task(undertaker.run())
    flags = {f"f{number}": True for number in range(500)}
    await holder.offer(make_snapshot(flags)[1], "file")
    assert undertaker.kept == 0
    changed = {key: number % 2 == 0 for number, key in enumerate(flags)}
    await holder.offer(make_snapshot(changed, revision=2)[1], "file")
    assert undertaker.kept == 250 + 500, "the flags that changed, and all lines"
    async with asyncio.timeout(10):
        while undertaker.kept:  # noqa: ASYNC110 - only a test wants to know when it is done
            await asyncio.sleep(0)
    letting_go.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await letting_go


async def test_the_blobs_of_long_lists_are_let_go_in_slices_too() -> None:
    """A million units are hundreds of them."""
    holder, undertaker = Holder(), Undertaker()
    holder.subscribe(undertaker.swapped)
    units = long_list(names(9_000))

    async def blobs(*_: object) -> Mapping[str, bytes]:
        return units.blobs

    flag, segment = in_segment(units)
    _, body = make_snapshot({"f": flag}, more=segment)
    await holder.offer(body, "control-plane", blobs=blobs)
    await holder.offer(make_snapshot({"f": False}, revision=2)[1], "control-plane")
    assert undertaker.kept == 1 + 2 + 4, "the flag, two lines, and the blobs"


def test_the_oldest_generation_is_left_alone() -> None:
    """However much lives: to find that ten thousand flags do, they need not be walked."""
    tame_collector()
    walks = gc.get_stats()[2]["collections"]
    kept = [[number] for number in range(1_000_000)]
    assert gc.get_stats()[1]["collections"] > 50
    assert gc.get_stats()[2]["collections"] == walks
    del kept


async def test_the_sweep_finds_what_lived_for_long() -> None:
    """A cycle that grew old before it was garbage is freed in the end."""

    class Cycle:
        pass

    tame_collector()
    cycle = Cycle()
    cycle.self = cycle  # type: ignore[attr-defined]
    gone = asyncio.Event()
    weakref.finalize(cycle, gone.set)
    gc.collect(1)  # which makes it old
    del cycle
    gc.collect(1)
    assert not gone.is_set()
    sweeping = asyncio.create_task(sweep(every_s=0.01))
    await asyncio.wait_for(gone.wait(), 10)
    sweeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sweeping
