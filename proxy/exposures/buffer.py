"""Collects exposures: one record per flag, variant and unit in an hour. Pure, bounded.

A repeat within the hour is counted: into the record while that waits here, as deduplicated in any
case. Records that were handed out are remembered as marks (`proxy.reporting.recent`); when there
are too many, a unit seen again is reported again, which the analysis tolerates.

The hour is that of the wall clock passed in. It turns when the clock goes on to another hour, and
when it goes back by more than one: a clock that is set back across the turn of an hour, or swings
around it, turns nothing, and who was seen in the later hour is not reported again in the earlier.

Memory: `max_pending` records, whose texts have 256 characters each on average at most, and the
marks, some 16 MB. With 50,000 records that is 33 MB of ordinary units, and 70 MB of the longest.

Rules: `add` is on the way of every tracked evaluation, so it does little; what does not fit is
counted as lost, never waited for. Who reports can be told to wait: `room_for` is for them.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

import msgspec

from proxy.contract.exposures import Exposure
from proxy.contract.reports import MAX_BATCH_ITEMS
from proxy.contract.units import MAX_UNIT_CHARS
from proxy.reporting.recent import GENERATION, Recent

__all__ = ["ExposureBuffer", "Seen"]

_HOUR_MS = 3_600_000
_MEAN_CHARS = 256
"""Of the texts of a record, on average; ordinary units have 40. Clients may report 2,000."""


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
    __slots__ = ("chars", "count", "first_seen_ms", "seen")

    def __init__(self, seen: Seen, now_ms: int, chars: int) -> None:
        self.seen = seen
        self.first_seen_ms = now_ms
        self.count = 1
        self.chars = chars


class ExposureBuffer:
    """What waits to be reported. `len` is the number of records.

    At any time `received == deduplicated + lost + taken + len(buffer)`. `disguise` is what units
    are replaced by when they are handed out.
    """

    __slots__ = (
        "_chars",
        "_current",
        "_disguise",
        "_finished",
        "_handed_out",
        "_hour",
        "_max_chars",
        "_max_pending",
        "deduplicated",
        "lost",
        "received",
        "taken",
    )

    def __init__(
        self,
        max_pending: int,
        disguise: Callable[[str], str] = str,
        *,
        generation: int = GENERATION,
    ) -> None:
        self._max_pending = max_pending
        self._max_chars = max_pending * _MEAN_CHARS
        self._disguise = disguise
        # of the process
        self.received = 0
        self.deduplicated = 0
        self.lost = 0
        self.taken = 0
        self._chars = 0
        self._finished: deque[_Record] = deque()
        # of the hour
        self._hour = 0
        self._current: dict[tuple[str, str, str], _Record] = {}
        self._handed_out = Recent(generation)

    def __len__(self) -> int:
        return len(self._finished) + len(self._current)

    @property
    def has_batch(self) -> bool:
        """Whether there is a full one."""
        return len(self) >= MAX_BATCH_ITEMS

    def room_for(self, several: Sequence[Seen], *, ever: bool = False) -> bool:
        """Return whether all of them fit, none being a repeat; `ever` asks it of an empty buffer.

        With `add` right after it nothing of them is lost.
        """
        count, chars = (0, 0) if ever else (len(self), self._chars)
        return count + len(several) <= self._max_pending and (
            chars + sum(map(_chars, several)) <= self._max_chars
        )

    def add(self, seen: Seen, now_ms: int) -> None:
        """Take one exposure in. `now_ms` is Unix time."""
        self.received += 1
        hour = now_ms // _HOUR_MS
        if hour != self._hour and hour != self._hour - 1:
            self._turn(hour)
        key = (seen.flag, seen.variant, seen.unit)
        record = self._current.get(key)
        if record is not None:
            record.count += 1
            self.deduplicated += 1
            return
        if hash(key) in self._handed_out:
            self.deduplicated += 1
            return
        chars = _chars(seen)
        if (
            len(self) >= self._max_pending
            or self._chars + chars > self._max_chars
            or len(seen.unit) > MAX_UNIT_CHARS
        ):
            self.lost += 1
        else:
            self._chars += chars
            self._current[key] = _Record(seen, now_ms, chars)

    def take(self, limit: int = MAX_BATCH_ITEMS) -> list[Exposure]:
        """Return at most `limit` records, oldest hour first, and forget all but their marks."""
        records: list[_Record] = []
        while self._finished and len(records) < limit:
            records.append(self._finished.popleft())
        keys = list(islice(self._current, limit - len(records)))
        for key in keys:
            records.append(self._current.pop(key))
            self._handed_out.add(hash(key))
        self.taken += len(records)
        self._chars -= sum(record.chars for record in records)
        return [self._exposure(record) for record in records]

    def _turn(self, hour: int) -> None:
        """Begin another hour: everybody counts anew, what waits keeps its own hour."""
        self._hour = hour
        self._finished.extend(self._current.values())
        self._current.clear()
        self._handed_out.clear()

    def _exposure(self, record: _Record) -> Exposure:
        seen = record.seen
        return Exposure(
            flag=seen.flag,
            variant=seen.variant,
            unit=self._disguise(seen.unit),
            unit_attribute=seen.unit_attribute,
            rule_id=seen.rule_id,
            reason=seen.reason,
            epoch=seen.epoch,
            revision=seen.revision,
            first_seen_ms=record.first_seen_ms,
            count=record.count,
        )


def _chars(seen: Seen) -> int:
    """Return the characters of the texts that are a record's own; others belong to the flags."""
    more = len(seen.reason) + len(seen.rule_id or "")
    return len(seen.unit) + len(seen.unit_attribute) + more
