"""Long work that lets others in between."""

import asyncio
from collections.abc import Generator
from time import perf_counter

import pytest

from control_plane.publishing.slices import finish, run_in_slices


def work(steps: int, step_s: float = 0.0) -> Generator[None, None, int]:
    """Yield so many times, each after some work, and return the number."""
    for _ in range(steps):
        until = perf_counter() + step_s
        while perf_counter() < until:
            pass
        yield
    return steps


async def test_others_run_while_long_work_does() -> None:
    """Thirty slices leave room for as many turns of somebody else."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert await run_in_slices(work(100, 0.001)) == 100
    task.cancel()
    assert turns >= 20


@pytest.mark.parametrize("steps", [0, 1, 1_000])
async def test_the_result_is_the_generators(steps: int) -> None:
    """Either way of running it."""
    assert await run_in_slices(work(steps)) == steps
    assert finish(work(steps)) == steps


async def test_what_work_raises_is_raised() -> None:
    """And not swallowed between two slices."""

    def broken() -> Generator[None, None, None]:
        yield
        raise KeyError("x")

    with pytest.raises(KeyError):
        await run_in_slices(broken())
    with pytest.raises(KeyError):
        finish(broken())
