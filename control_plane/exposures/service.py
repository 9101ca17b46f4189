"""Exposures: their way in, how they are counted, and what was counted.

Counting happens aside, from the streams (`reports.aggregation`): units of batches are written to
the shards they belong to, and then the batches are finished. What dies in between leaves batches
that are counted again, which changes nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from datetime import date
from typing import TypeVar

import msgspec

from control_plane.documents import Packed
from control_plane.exposures.model import (
    ExposureSummary,
    Subject,
    check_exposure,
    fold,
)
from control_plane.exposures.store import SubjectStore
from control_plane.publishing.slices import run_in_slices
from control_plane.reports.model import SHARDS, Kind, Place
from control_plane.reports.service import Intake, keys_of, rfc3339
from control_plane.store.reports import Entry, ReportStore
from proxy.contract.exposures import ExposureBatch
from proxy.contract.reports import MAX_BATCH_BYTES

__all__ = ["ExposureService"]

_decoder = msgspec.json.Decoder(ExposureBatch)
_SHARDS = range(SHARDS[Kind.EXPOSURES])
_EPOCH = date(1970, 1, 1).toordinal()

K = TypeVar("K")


class ExposureService:
    """The exposures of all environments. `flags_of` returns the flags of a project."""

    def __init__(self, reports: ReportStore, flags_of: Callable[[str], Container[str]]) -> None:
        self.intake = Intake(Kind.EXPOSURES, ExposureBatch, check_exposure, reports)
        self._reports = reports
        self._subjects = SubjectStore(reports.connections)
        self._flags_of = flags_of
        self.clamped = 0
        """Items that were counted with another time than theirs, since this process started."""
        self.unknown = 0
        """Items of flags that there are not."""

    async def count(self, place: Place, shard: int, entries: list[Entry]) -> None:
        """Count batches of a shard and finish them; counting one again changes nothing.

        Raises:
            RedisError: when they may not have been counted.
            msgspec.MsgspecError, ApiError: for a batch that cannot be read; none is counted.
        """
        loop = asyncio.get_running_loop()
        batches = await loop.run_in_executor(self._reports.aside, _opened, entries)
        folded = await run_in_slices(fold(batches, self._flags_of(place.project)))
        await asyncio.gather(
            *(
                self._subjects.count(place.project, place.environment, part, folded.subjects)
                for part in _SHARDS
            )
        )
        await self._reports.finish(keys_of(place, shard), entries)
        self.clamped += folded.clamped
        self.unknown += folded.unknown

    async def summary(
        self,
        project: str,
        environment: str,
        *,
        flag: str | None = None,
        experiment: str | None = None,
        phase: int = 0,
    ) -> ExposureSummary:
        """Return what is counted of a flag, or of a phase of an experiment."""
        if experiment is not None:
            subject = Subject.of_experiment(experiment, phase)
        else:
            subject = Subject.of_flag(flag or "")
        # first, so that what is not pending is in the figures
        balance = await self._reports.balance(
            [keys_of(Place(Kind.EXPOSURES, project, environment), n) for n in _SHARDS]
        )
        parts = await asyncio.gather(
            *(self._subjects.figures(project, environment, n, subject.id) for n in _SHARDS)
        )
        days: dict[str, dict[str, int]] = {}
        for (day, variant), units in sorted(_sum(part.days for part in parts).items()):
            days.setdefault(_date(day), {})[variant] = units
        firsts = [part.first_ms for part in parts if part.first_ms is not None]
        lasts = [part.last_ms for part in parts if part.last_ms is not None]
        return ExposureSummary(
            project=project,
            environment=environment,
            flag=flag,
            experiment=experiment,
            phase=phase if experiment is not None else None,
            units=sum(part.units for part in parts),
            several=sum(part.several for part in parts),
            variants=dict(sorted(_sum(part.variants for part in parts).items())),
            days=days,
            first_at=rfc3339(min(firsts)) if firsts else None,
            last_at=rfc3339(max(lasts)) if lasts else None,
            pending=balance.pending,
            parked=balance.parked,
        )


def _opened(entries: list[Entry]) -> list[tuple[ExposureBatch, int]]:
    return [
        (_decoder.decode(Packed.found(e.body).opened(MAX_BATCH_BYTES)), e.received_ms)
        for e in entries
    ]


def _sum(parts: Iterable[Mapping[K, int]]) -> Counter[K]:
    total: Counter[K] = Counter()
    for part in parts:
        total.update(part)
    return total


def _date(day: int) -> str:
    return date.fromordinal(_EPOCH + day).isoformat()
