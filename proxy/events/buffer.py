"""Holds the events that wait to be reported, as the bytes they are sent as. Pure, bounded.

Bounded in bytes, because events differ a hundredfold in size. An id is remembered for an hour,
unless 100,000 others come within it (`proxy.reporting.recent`), and nowhere else: the control plane
tells batches apart, not events. What does not fit is refused before anything of it is taken: who
sends it still has it.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from proxy.contract.reports import MAX_BATCH_BYTES, MAX_BATCH_ITEMS
from proxy.reporting.recent import GENERATION, Recent

__all__ = ["EventBuffer", "Written"]

_REMEMBERED_S = 3600.0
_OVERHEAD_BYTES = 100  # of each event, besides its bytes


class Written(NamedTuple):
    """An event by its id, and as JSON; whether its time was moved to what can be counted."""

    id: str
    body: bytes
    clamped: bool = False


class EventBuffer:
    """What waits to be reported. `len` is the number of events.

    At any time `received == deduplicated + taken + len(buffer)`; nothing is lost here.
    """

    __slots__ = (
        "_bytes",
        "_max_bytes",
        "_recent",
        "_turned_s",
        "_waiting",
        "deduplicated",
        "lost",
        "received",
    )

    def __init__(self, max_bytes: int, *, generation: int = GENERATION) -> None:
        self._max_bytes = max_bytes
        self.received = 0
        self.deduplicated = 0
        self.lost = 0
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._recent = Recent(generation)
        self._turned_s = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def has_batch(self) -> bool:
        """Whether there is a full one."""
        return len(self._waiting) >= MAX_BATCH_ITEMS or self._bytes >= MAX_BATCH_BYTES

    def room_for(self, events: Sequence[Written], *, ever: bool = False) -> bool:
        """Return whether all of them fit; `ever` asks it of an empty buffer."""
        used = 0 if ever else self._bytes
        return used + sum(map(_size, events)) <= self._max_bytes

    def add(self, event: Written, now_s: float) -> bool:
        """Take an event for which there is room; False for one that came before, by its id.

        `now_s` is monotonic.
        """
        self.received += 1
        if now_s - self._turned_s > _REMEMBERED_S:
            self._recent.turn()
            self._turned_s = now_s
        mark = hash(event.id)
        if mark in self._recent:
            self.deduplicated += 1
            return False
        self._recent.add(mark)
        self._waiting.append(event.body)
        self._bytes += _size(event)
        return True

    def take(self) -> list[msgspec.Raw]:
        """Hand out the oldest, a batch's worth."""
        taken: list[msgspec.Raw] = []
        size = 0
        while self._waiting and len(taken) < MAX_BATCH_ITEMS and size < MAX_BATCH_BYTES:
            body = self._waiting.popleft()
            size += len(body)
            taken.append(msgspec.Raw(body))
        self._bytes -= size + len(taken) * _OVERHEAD_BYTES
        return taken


def _size(event: Written) -> int:
    return len(event.body) + _OVERHEAD_BYTES
