"""Background work goes on whatever it raises, and ends when it is done or told to."""

import asyncio

import pytest

from control_plane.supervise import stop, supervise


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError(), RecursionError()])
async def test_any_failure_is_told_and_the_work_starts_again(error: BaseException) -> None:
    """A cancellation that came from within too; work that returns has done what there was to do."""
    failures: list[tuple[str, BaseException]] = []
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise error

    async with asyncio.timeout(10):
        await supervise("work", work, lambda *failure: failures.append(failure))
    assert (runs, failures) == (2, [("work", error)])


async def test_it_ends_when_it_is_cancelled() -> None:
    """In the middle of the work, and of the pause after a failure."""
    begun = asyncio.Event()

    async def fails() -> None:
        begun.set()
        raise ValueError

    for work in (begun.wait, fails):
        begun.clear()
        task = asyncio.create_task(supervise("work", work))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_work_that_swallows_a_cancellation_is_stopped_all_the_same() -> None:
    """As code of others does whose wait was over in that very moment."""
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await stop(*tasks, None)
    assert all(task.done() for task in tasks)
    await stop()
