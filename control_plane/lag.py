"""How late the event loop runs: the first sign that something holds it, seen before callers do."""

import asyncio
from time import perf_counter
from types import TracebackType
from typing import Self

from control_plane.supervise import Failed, stop, supervise, unnoted

__all__ = ["LoopLag"]

_INTERVAL_S = 0.25
_KEPT = 40  # measurements, ten seconds of them


class LoopLag:
    """Measures while entered. A process has one."""

    def __init__(self, failed: Failed = unnoted) -> None:
        self._failed = failed
        self._lags: list[float] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def worst_s(self) -> float:
        """The longest delay of the last ten seconds, in seconds."""
        return max(self._lags, default=0.0)

    async def __aenter__(self) -> Self:
        work = supervise("loop lag", self._measure, self._failed)
        self._task = asyncio.create_task(work, name="loop lag")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await stop(self._task)

    async def _measure(self) -> None:
        while True:
            due = perf_counter() + _INTERVAL_S
            await asyncio.sleep(_INTERVAL_S)
            self._lags = [*self._lags[1 - _KEPT :], max(0.0, perf_counter() - due)]
