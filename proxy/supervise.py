"""Keeps background work running: whatever it raises is logged, counted and tried again.

A background task that dies of an exception nobody expected is the quietest of failures: the
process lives, answers and grows stale. So everything that runs for as long as the process does is
run by `supervise`, which knows nothing of what the work is.

Rules:
- Only cancellation of the supervising task itself, and what ends the process (SystemExit,
  KeyboardInterrupt), gets through. A CancelledError that came from inside the work, of a task or a
  future that it waited for, is a failure like any other.
- Work that returns is started again too: it was meant to run for ever.
- Delays are drawn with full jitter, so that many sidecars that failed together do not come back
  together (Brooker, "Exponential Backoff And Jitter", 2015).
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

__all__ = ["Backoff", "supervise"]

_log = logging.getLogger(__name__)


class Backoff:
    """Delays that grow: drawn from 0 to `base_s`, to twice that, and so on up to `cap_s`.

    `draw` returns a float in [0, 1).
    """

    __slots__ = ("_draw", "attempts", "base_s", "cap_s")

    def __init__(
        self,
        base_s: float = 0.5,
        cap_s: float = 30.0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.base_s = base_s
        self.cap_s = cap_s
        self.attempts = 0
        self._draw = draw

    def next_s(self) -> float:
        """Return the next delay in seconds; the range doubles with each call."""
        # 2 ** 63 times any base is above any cap; the bound keeps the power a small number
        width = min(self.cap_s, self.base_s * 2.0 ** min(self.attempts, 63))
        self.attempts += 1
        return self._draw() * width

    def reset(self) -> None:
        """Start from `base_s` again: the last attempt was a success."""
        self.attempts = 0


async def supervise(
    name: str,
    work: Callable[[], Awaitable[None]],
    *,
    on_error: Callable[[str, BaseException], None],
    backoff: Backoff | None = None,
) -> None:
    """Run `work` for ever, again after each failure; returns only by being cancelled.

    `on_error(name, error)` is called for each failure, to count it; the log entry is made here.
    Work that ran for longer than the longest delay starts over with short ones.
    """
    backoff = backoff or Backoff()
    while True:
        started = time.monotonic()
        error = await _failure_of(work, name)
        if time.monotonic() - started > backoff.cap_s:
            backoff.reset()
        delay_s = backoff.next_s()
        _log.error("%s failed, again in %.1f s", name, delay_s, exc_info=error)
        try:
            on_error(name, error)
        except Exception:
            _log.exception("counting a failure of %s failed", name)
        await asyncio.sleep(delay_s)


async def _failure_of(work: Callable[[], Awaitable[None]], name: str) -> BaseException:
    """Return what ended the work; raises only what is meant for the supervisor itself."""
    try:
        await work()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error
    except Exception as error:
        return error
    return RuntimeError(f"{name} returned, and was meant to run for ever")
