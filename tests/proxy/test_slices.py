"""Long work in slices lets the loop run, and gives its result; alike in both programs."""

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from control_plane.publishing import slices as of_the_control_plane
from proxy import slices as of_the_sidecar

Run = Callable[..., Any]


@pytest.fixture(params=[of_the_sidecar, of_the_control_plane], ids=lambda module: module.__name__)
def run_in_slices(request: pytest.FixtureRequest) -> Run:
    """Return what runs work in slices: of either program."""
    run: Run = request.param.run_in_slices
    return run


def steps(
    number: int, each_s: float, closed: list[bool] | None = None
) -> Generator[None, None, str]:
    """Work of some steps that hold the loop for a while each."""
    try:
        for _ in range(number):
            until = time.perf_counter() + each_s
            while time.perf_counter() < until:
                pass
            yield
    finally:
        if closed is not None:
            closed.append(True)
    return "done"


async def test_the_result_is_the_generators(run_in_slices: Run) -> None:
    """What a generator returns comes out."""
    assert await run_in_slices(steps(3, 0.0)) == "done"


async def test_work_without_steps_is_done_at_once(run_in_slices: Run) -> None:
    """A generator may return before it yields."""
    assert await run_in_slices(steps(0, 0.0)) == "done"


async def test_an_exception_comes_out(run_in_slices: Run) -> None:
    """A refusal in the middle of the work is the caller's to handle."""

    def broken() -> Generator[None, None, None]:
        yield
        raise LookupError("bad")

    with pytest.raises(LookupError, match="bad"):
        await run_in_slices(broken())


async def test_the_loop_runs_between_slices(run_in_slices: Run) -> None:
    """100 ms of work in steps of 0.5 ms lets others run dozens of times."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await run_in_slices(steps(200, 0.0005), budget_s=0.002)
    task.cancel()
    # not a timed test: a slow machine gives more turns, not fewer
    assert turns >= 20


async def test_short_work_does_not_give_way(run_in_slices: Run) -> None:
    """A snapshot of a few flags must not wait for a busy loop at each line."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        turns += 1

    task = asyncio.create_task(other())
    await run_in_slices(steps(100, 0.0), budget_s=60.0)
    assert turns == 0
    await task


async def test_cancelled_work_is_closed(run_in_slices: Run) -> None:
    """What a generator holds is given back."""
    closed: list[bool] = []
    task = asyncio.create_task(run_in_slices(steps(1_000_000, 0.0, closed), budget_s=0.0))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == [True]
