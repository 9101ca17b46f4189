"""Collects exposures: one record per flag, variant and unit in an hour. Pure, bounded.

A repeat within the hour is counted: into the record while that waits here, as deduplicated in any
case. Records that were handed out are remembered as hashes in two generations, each of a fixed
size; when both are full the older is forgotten, and a unit seen again is then reported again, which
the analysis tolerates. So memory is bounded whatever the traffic.

Rules: `add` is on the way of every tracked evaluation, so it does little; the hour is that of the
wall clock passed in; what does not fit is counted as lost, never waited for.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice

import msgspec

from proxy.contract.exposures import Exposure
from proxy.contract.units import MAX_UNIT_CHARS

__all__ = ["ExposureBuffer", "Seen"]

_HOUR_MS = 3_600_000
_GENERATION = 100_000
"""Hashes in one generation of what was handed out: some 6 MB each."""


class Seen(msgspec.Struct, frozen=True):
    """One exposure as it happened: what `Exposure` has except when and how often."""

    flag: str
    variant: str
    unit: str
    unit_attribute: str
    rule_id: str | None
    reason: str
    epoch: str
    revision: int


class _Record:
    __slots__ = ("count", "first_seen_ms", "seen")

    def __init__(self, seen: Seen, now_ms: int) -> None:
        self.seen = seen
        self.first_seen_ms = now_ms
        self.count = 1


class ExposureBuffer:
    """What waits to be reported. `len` is the number of records.

    At any time `received == deduplicated + lost + taken + len(buffer)`.
    """

    __slots__ = (
        "_current",
        "_finished",
        "_generation",
        "_handed_out",
        "_handed_out_before",
        "_hour",
        "_max_pending",
        "deduplicated",
        "lost",
        "received",
        "taken",
    )

    def __init__(self, max_pending: int, generation: int = _GENERATION) -> None:
        self._max_pending = max_pending
        self._generation = generation
        # of the process
        self.received = 0
        self.deduplicated = 0
        self.lost = 0
        self.taken = 0
        self._finished: deque[_Record] = deque()
        # of the hour
        self._hour = 0
        self._current: dict[tuple[str, str, str], _Record] = {}
        self._handed_out: set[int] = set()
        self._handed_out_before: set[int] = set()

    def __len__(self) -> int:
        return len(self._finished) + len(self._current)

    def add(self, seen: Seen, now_ms: int) -> None:
        """Take one exposure in. `now_ms` is Unix time."""
        self.received += 1
        if now_ms // _HOUR_MS != self._hour:
            self._turn(now_ms // _HOUR_MS)
        key = (seen.flag, seen.variant, seen.unit)
        record = self._current.get(key)
        if record is not None:
            record.count += 1
            self.deduplicated += 1
            return
        mark = hash(key)
        if mark in self._handed_out or mark in self._handed_out_before:
            self.deduplicated += 1
        elif len(self) >= self._max_pending or len(seen.unit) > MAX_UNIT_CHARS:
            self.lost += 1
        else:
            self._current[key] = _Record(seen, now_ms)

    def take(self, limit: int, disguise: Callable[[str], str] | None = None) -> list[Exposure]:
        """Return at most `limit` records, oldest hour first, and forget all but their marks.

        `disguise` replaces the units.
        """
        records: list[_Record] = []
        while self._finished and len(records) < limit:
            records.append(self._finished.popleft())
        keys = list(islice(self._current, limit - len(records)))
        for key in keys:
            records.append(self._current.pop(key))
            self._mark(hash(key))
        self.taken += len(records)
        return [_exposure(record, disguise) for record in records]

    def _turn(self, hour: int) -> None:
        """Begin another hour: everybody counts anew, what waits keeps its own hour."""
        self._hour = hour
        self._finished.extend(self._current.values())
        self._current.clear()
        self._handed_out = set()
        self._handed_out_before = set()

    def _mark(self, mark: int) -> None:
        if len(self._handed_out) >= self._generation:
            self._handed_out_before = self._handed_out
            self._handed_out = set()
        self._handed_out.add(mark)


def _exposure(record: _Record, disguise: Callable[[str], str] | None) -> Exposure:
    seen = record.seen
    return Exposure(
        flag=seen.flag,
        variant=seen.variant,
        unit=seen.unit if disguise is None else disguise(seen.unit),
        unit_attribute=seen.unit_attribute,
        rule_id=seen.rule_id,
        reason=seen.reason,
        epoch=seen.epoch,
        revision=seen.revision,
        first_seen_ms=record.first_seen_ms,
        count=record.count,
    )
