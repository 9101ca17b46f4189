"""Usage: its way in, and what is told of it.

Counts are of flags that there are; what sidecars tell of others is added up as one, because whoever
may evaluate can make up names. So a batch with unknown flags waits while this replica does not know
the current definitions.
"""

import time
from collections.abc import Callable, Container

from control_plane.errors import Unavailable
from control_plane.reports.model import Kind, Place
from control_plane.reports.service import Intake, rfc3339
from control_plane.store.keys import ReportKeys, UsageKeys
from control_plane.store.reports import Arrival, Fate, ReportStore
from control_plane.usage.model import (
    OTHER,
    SPANS,
    FlagUsage,
    Span,
    UsageRow,
    add_up,
    check_count,
    rows_of,
)
from control_plane.usage.store import UsageStore
from proxy.contract.usage import UsageBatch

__all__ = ["UsageService"]


class UsageService:
    """The usage of all environments.

    `flags_of` returns the flags of a project, `is_current` says whether they are those of now.
    """

    def __init__(
        self,
        reports: ReportStore,
        flags_of: Callable[[str], Container[str]],
        is_current: Callable[[], bool],
    ) -> None:
        self.intake = Intake(Kind.USAGE, UsageBatch, check_count, reports, self._keep)
        self._store = UsageStore(reports.connections)
        self._flags_of = flags_of
        self._is_current = is_current
        self.clamped = 0
        """Items that were counted with another time than theirs, since this process started."""
        self.unknown = 0
        """Items of flags that there are not."""

    async def _keep(
        self, place: Place, keys: ReportKeys, hour: int, arrival: Arrival, batch: UsageBatch
    ) -> Fate:
        added = add_up(batch, arrival.received_ms, self._flags_of(place.project))
        if added.unknown and not self._is_current():
            raise Unavailable("the definitions may be older than this usage; send it again")
        usage = UsageKeys(place.project, place.environment)
        fate = await self._store.apply(usage, hour, arrival, added)
        if fate is Fate.STORED:
            self.clamped += added.clamped
            self.unknown += added.unknown
        return fate

    async def last(self, project: str, environment: str) -> dict[str, int]:
        """Return when each flag was evaluated last, Unix ms; those that never were are left out."""
        return await self._store.last(UsageKeys(project, environment))

    async def last_of(self, project: str, environment: str, flags: list[str]) -> dict[str, int]:
        """Return the same of some flags."""
        return await self._store.last_of(UsageKeys(project, environment), flags)

    async def flag(self, project: str, environment: str, flag: str) -> FlagUsage:
        """Return when a flag was evaluated last, and all its counts."""
        now_ms = time.time_ns() // 1_000_000
        last = (await self.last_of(project, environment, [flag])).get(flag)
        keys = UsageKeys(project, environment)
        minutes, hours, days = [await self._rows(keys, span, flag, now_ms) for span in SPANS]
        at = None if last is None else rfc3339(last)
        return FlagUsage(flag, at, minutes, hours, days)

    async def _rows(self, keys: UsageKeys, span: Span, flag: str, now_ms: int) -> list[UsageRow]:
        parts = await self._store.parts(keys, span, flag, now_ms)
        return [
            UsageRow(
                at=rfc3339(at_ms),
                variants=dict(sorted((name, n) for name, n in counts.items() if name)),
                without_variant=counts.get(None, 0),
                other=counts.get(OTHER, 0),
            )
            for at_ms, counts in rows_of(span, parts, now_ms)
        ]
