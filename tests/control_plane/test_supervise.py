"""Background work goes on whatever it raises, and ends when it is done or told to."""

import asyncio

import pytest

from control_plane.supervise import supervise


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
