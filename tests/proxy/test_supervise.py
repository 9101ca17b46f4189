"""Work that must run for ever does, whatever it raises."""

import asyncio
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.supervise import Backoff, supervise


class Surprise(Exception):
    """An exception of a type that nobody expects."""


class Work:
    """Fails in the given ways, one a start, then runs on; `runs` is set when it does."""

    def __init__(self, *failures: Callable[[], object]) -> None:
        self._failures = list(failures)
        self.starts = 0
        self.runs = asyncio.Event()

    async def __call__(self) -> None:
        self.starts += 1
        if self._failures:
            self._failures.pop(0)()
            return
        self.runs.set()
        await asyncio.Event().wait()


def fail(error: BaseException) -> Callable[[], None]:
    def raiser() -> None:
        raise error

    return raiser


async def watched(work: Work, errors: list[tuple[str, BaseException]]) -> None:
    """Supervise the work until it runs."""
    task = asyncio.create_task(
        supervise("work", work, on_error=lambda *e: errors.append(e), backoff=Backoff(0.001, 0.01))
    )
    async with asyncio.timeout(5):
        await work.runs.wait()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "error",
    [Surprise("x"), KeyError(1), MemoryError(), RecursionError(), ExceptionGroup("g", [OSError()])],
    ids=lambda e: type(e).__name__,
)
async def test_any_exception_is_counted_and_the_work_starts_again(error: Exception) -> None:
    """The type of an exception decides nothing."""
    errors: list[tuple[str, BaseException]] = []
    work = Work(fail(error), fail(error))
    await watched(work, errors)
    assert errors == [("work", error), ("work", error)]
    assert work.starts == 3


async def test_work_that_returns_is_started_again() -> None:
    """It was meant to run for ever, so an end is a failure."""
    errors: list[tuple[str, BaseException]] = []
    await watched(Work(lambda: None), errors)
    assert [type(error) for _, error in errors] == [RuntimeError]


async def test_a_cancellation_from_within_does_not_end_it() -> None:
    """Waiting for something that was cancelled raises CancelledError in whoever waited."""
    errors: list[tuple[str, BaseException]] = []
    await watched(Work(fail(asyncio.CancelledError())), errors)
    assert [type(error) for _, error in errors] == [asyncio.CancelledError]


async def test_a_failing_count_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    """What is done about a failure may fail too."""
    work = Work(fail(Surprise()))

    def on_error(_name: str, _error: BaseException) -> None:
        raise Surprise

    task = asyncio.create_task(
        supervise("work", work, on_error=on_error, backoff=Backoff(0.001, 0.01))
    )
    async with asyncio.timeout(5):
        await work.runs.wait()
    task.cancel()
    assert "counting a failure of work failed" in caplog.text


async def test_each_failure_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """A failure nobody can look into will be there tomorrow."""
    await watched(Work(fail(Surprise("broken"))), [])
    assert "work failed" in caplog.text
    assert "Surprise: broken" in caplog.text


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt])
def test_the_end_of_the_process_gets_through(end: type[BaseException]) -> None:
    """Supervision must not keep a process from stopping."""
    work = fail(end())

    async def run() -> None:
        work()

    with pytest.raises(end):
        asyncio.run(supervise("work", run, on_error=lambda *_: None))


def test_delays_double_up_to_the_cap_and_start_over() -> None:
    """Full jitter: the drawn share of a range that doubles."""
    backoff = Backoff(0.5, 30.0, draw=lambda: 0.999999)
    drawn = [round(backoff.next_s(), 2) for _ in range(9)]
    assert drawn == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    backoff.reset()
    assert backoff.next_s() < 0.5


def test_delays_are_spread_over_the_whole_range() -> None:
    """A thousand that failed together come back spread from nothing to the whole range."""
    delays = [Backoff(10.0, 10.0).next_s() for _ in range(1000)]
    assert min(delays) < 1.0
    assert max(delays) > 9.0


@given(
    base=st.floats(0.0, 1e3),
    cap=st.floats(0.0, 1e6),
    draw=st.floats(0.0, 1.0, exclude_max=True),
    attempts=st.integers(0, 5000),
)
def test_a_delay_is_never_negative_nor_above_the_cap(
    base: float, cap: float, draw: float, attempts: int
) -> None:
    """However long it goes on."""
    backoff = Backoff(base, cap, draw=lambda: draw)
    backoff.attempts = attempts
    assert all(0.0 <= backoff.next_s() <= cap for _ in range(3))


async def test_long_lived_work_starts_over_with_short_delays() -> None:
    """A failure after days is no continuation of the failures of the first minute."""
    backoff = Backoff(0.001, 0.02, draw=lambda: 0.5)
    lives = itertools.count()
    done = asyncio.Event()

    async def work() -> None:
        life = next(lives)
        if life == 3:
            await asyncio.sleep(0.05)  # longer than the cap
        if life == 4:
            done.set()
            await asyncio.Event().wait()
        raise Surprise

    task = asyncio.create_task(supervise("work", work, on_error=lambda *_: None, backoff=backoff))
    async with asyncio.timeout(5):
        await done.wait()
    task.cancel()
    assert backoff.attempts == 1
