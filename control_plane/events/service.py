"""Events: their way in, how they are counted, and what was counted.

A batch is counted in the step that finishes it, so it is counted once whatever dies when.
"""

import asyncio
import time
from datetime import date

import msgspec

from control_plane.documents import Packed
from control_plane.events.model import (
    EventDay,
    EventSummary,
    Sum,
    add_up,
    check_event,
    name_id,
    total,
)
from control_plane.events.store import EventStore
from control_plane.reports.model import SHARDS, Kind, Place
from control_plane.reports.service import Intake, rfc3339
from control_plane.store.keys import EventKeys
from control_plane.store.reports import Entry, ReportStore
from proxy.contract.events import EventBatch
from proxy.contract.reports import MAX_BATCH_BYTES

__all__ = ["EventService"]

_decoder = msgspec.json.Decoder(EventBatch)
_SHARDS = range(SHARDS[Kind.EVENTS])
_EPOCH = date(1970, 1, 1).toordinal()


class EventService:
    """The events of all environments."""

    def __init__(self, reports: ReportStore) -> None:
        self.intake = Intake(Kind.EVENTS, EventBatch, check_event, reports)
        self._reports = reports
        self._store = EventStore(reports.connections)
        self.clamped = 0
        """Items that were counted with another time than theirs, since this process started."""

    async def count(self, place: Place, shard: int, entries: list[Entry]) -> None:
        """Count batches of a shard and finish them; one that was finished is not counted again.

        Raises:
            RedisError: when some may not have been counted.
            msgspec.MsgspecError, ApiError: for a batch that cannot be read.
        """
        keys = EventKeys(place.project, place.environment, shard)
        for entry in entries:
            loop = asyncio.get_running_loop()
            sums, clamped = await loop.run_in_executor(self._reports.aside, _sums, entry)
            rows = [(name_id(name), name, day, one) for (name, day), one in sums.items()]
            if await self._store.count(keys, entry, rows, time.time_ns() // 1_000_000):
                self.clamped += clamped

    async def summary(self, project: str, environment: str, name: str) -> EventSummary:
        """Return what is counted of the events of a name."""
        shards = [EventKeys(project, environment, n) for n in _SHARDS]
        # first, so that what is not pending is in the figures
        balance = await self._reports.balance(shards)
        parts = await asyncio.gather(*(self._store.figures(keys, name_id(name)) for keys in shards))
        days: dict[int, Sum] = {}
        for part in parts:
            for day, one in part.days.items():
                days[day] = days.get(day, Sum(0, 0.0, 0.0)).plus(one)
        kept = [part.kept_since_ms for part in parts if part.kept_since_ms is not None]
        return EventSummary(
            project,
            environment,
            name,
            *total(days.values()),
            days={_date(day): EventDay(*one) for day, one in sorted(days.items())},
            kept_since=rfc3339(min(kept)) if kept else None,
            pending=balance.pending,
            parked=balance.parked,
        )


def _sums(entry: Entry) -> tuple[dict[tuple[str, int], Sum], int]:
    batch = _decoder.decode(Packed.found(entry.body).opened(MAX_BATCH_BYTES))
    return add_up(batch, entry.received_ms)


def _date(day: int) -> str:
    return date.fromordinal(_EPOCH + day).isoformat()
