"""Where the process is in its life: when it began, whether it is being stopped.

One object, shared by the two HTTP servers and the composition root. It knows no signals.
"""

import asyncio
import time
from typing import Any

__all__ = ["Lifecycle"]


class Lifecycle:
    """Times are monotonic seconds. `stopping` is set once and stays set."""

    __slots__ = ("_began_s", "stopping")

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self.stopping = asyncio.Event()

    def uptime_s(self) -> float:
        """Return the seconds since the process was composed."""
        return time.monotonic() - self._began_s

    async def unless_stopping(self, work: asyncio.Future[Any]) -> None:
        """Wait until `work` is done or the process is being stopped, whichever comes first."""
        stop = asyncio.ensure_future(self.stopping.wait())
        try:
            both: set[asyncio.Future[Any]] = {work, stop}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            work.cancel()
