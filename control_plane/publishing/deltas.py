"""The last changes of one environment, each as the finished event that tells of it. Pure.

    revision   40      41      42      43        what is current
    events         40>41   41>42   42>43         since(41) = [41>42, 42>43]

Rules:
- The events follow on one another without a gap, within one epoch; what does not follow on the
  last, or is too large to be told, begins the log again, empty.
- Bounded: `MAX_EVENTS`, `MAX_LOG_BYTES` in all; the oldest make way.
- Whoever asks has to hold what the log knows: with another digest at that revision it is another
  history, and there is nothing to tell.
"""

from control_plane.publishing.events import delta_event
from control_plane.publishing.snapshots import LineChanges
from proxy.contract.snapshot import SnapshotHeader
from proxy.contract.sync import SnapshotPointer

__all__ = ["MAX_EVENTS", "MAX_LOG_BYTES", "DeltaLog"]

MAX_EVENTS = 256
"""Changes kept: some minutes of the busiest, days of most environments."""

MAX_LOG_BYTES = 4 * 1024 * 1024
"""Of all events of one environment. Beyond it, a snapshot is the smaller thing to send."""


class DeltaLog:
    """The log of one environment; starts empty."""

    __slots__ = ("_before", "_events", "_head", "size")

    def __init__(self) -> None:
        self._before: list[SnapshotPointer] = []  # what each event is a change of
        self._events: list[bytes] = []
        self._head: SnapshotPointer | None = None  # what the last event leads to
        self.size = 0
        """Bytes of the events."""

    def __len__(self) -> int:
        return len(self._events)

    def add(self, before: SnapshotPointer, header: SnapshotHeader, changes: LineChanges) -> None:
        """Take note of a change: from what, to what, and the lines that differ."""
        event = delta_event(before.revision, header, changes)
        if event is None or before != self._head or header.epoch != before.epoch:
            self._before.clear()
            self._events.clear()
            self.size = 0
        self._head = SnapshotPointer(header.epoch, header.revision, header.digest)
        if event is None or header.epoch != before.epoch:
            return
        self._before.append(before)
        self._events.append(event)
        self.size += len(event)
        while len(self._events) > MAX_EVENTS or self.size > MAX_LOG_BYTES:
            self.size -= len(self._events.pop(0))
            del self._before[0]

    def since(self, epoch: str, revision: int, digest: str | None = None) -> list[bytes] | None:
        """Return the events after a revision; None unless the log knows it, with this digest."""
        if not self._before:
            return None
        place = revision - self._before[0].revision
        if not 0 <= place < len(self._before):
            return None
        known = self._before[place]
        if (known.epoch, known.revision) != (epoch, revision):
            return None
        if digest is not None and digest != known.digest:
            return None
        return self._events[place:]
