"""How long the last revisions took to be served by all that were connected when they came. Pure.

When a revision is published, the instances connected at that moment are those to wait for. Each
is counted when it is first known to serve the revision or a later one, by the time since which it
does; one that leaves, or is dropped, is waited for no more. So a revision that is overtaken before
somebody got to serve it counts from the one that this instance did serve.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from math import ceil

import msgspec

from proxy.contract.fleet import Standing
from proxy.contract.sync import SnapshotPointer

__all__ = ["MAX_REVISIONS", "Convergence", "Revisions"]

MAX_REVISIONS = 20
"""Revisions of an environment that are remembered, the last ones."""

_HALF = 0.5
_MOST = 0.99


class Convergence(msgspec.Struct, frozen=True):
    """How one revision spread, as it is kept and told. Times are Unix milliseconds, or durations.

    `connected` are the instances that were to serve it: `served` do or did, `gone` left before
    they told. `half_ms`, `most_ms` and `all_ms` are how long after it was published half, 99 % and
    all of those that did not go served it; null until then.
    """

    epoch: str
    revision: int
    published_ms: int
    connected: int
    served: int
    gone: int
    half_ms: int | None
    most_ms: int | None
    all_ms: int | None

    @property
    def known(self) -> int:
        """Of how many instances it is known what became: of two figures the larger is later."""
        return self.served + self.gone


class _Spreading:
    """A revision on its way."""

    __slots__ = ("after_ms", "connected", "figures", "gone", "pointer", "published_ms", "waiting")

    def __init__(self, pointer: SnapshotPointer, published_ms: int, connected: set[str]) -> None:
        self.pointer = pointer
        self.published_ms = published_ms
        self.connected = len(connected)
        self.waiting = connected
        self.gone = 0
        self.after_ms: list[int] = []
        self.figures: Convergence | None = None  # until something changes

    def told(self) -> Convergence:
        """Return the figures; sorts, so what did not change is not worked out again."""
        if self.figures is None:
            self.after_ms.sort()
            whole = self.connected - self.gone
            self.figures = Convergence(
                epoch=self.pointer.epoch,
                revision=self.pointer.revision,
                published_ms=self.published_ms,
                connected=self.connected,
                served=len(self.after_ms),
                gone=self.gone,
                half_ms=self._after(ceil(whole * _HALF)),
                most_ms=self._after(ceil(whole * _MOST)),
                all_ms=self._after(whole),
            )
        return self.figures

    def _after(self, count: int) -> int | None:
        if not 0 < count <= len(self.after_ms):
            return None
        return self.after_ms[count - 1]


class Revisions:
    """The last revisions of one environment."""

    __slots__ = ("_here", "_stored", "_unwritten")

    def __init__(self) -> None:
        self._here: deque[_Spreading] = deque(maxlen=MAX_REVISIONS)  # seen from their beginning
        self._stored: dict[tuple[str, int], Convergence] = {}  # what other replicas saw of it
        self._unwritten = False

    def published(self, pointer: SnapshotPointer, published_ms: int, connected: set[str]) -> None:
        """Begin to wait for those that are connected."""
        self._here.append(_Spreading(pointer, published_ms, connected))
        self._unwritten = True

    def served(self, standing: Standing, since_ms: int) -> None:
        """Note what an instance serves, and since when, Unix milliseconds."""
        name, revision = standing.instance, standing.revision
        if revision is None:
            return
        for spreading in self._here:
            if (
                name in spreading.waiting
                and spreading.pointer.epoch == standing.epoch
                and spreading.pointer.revision <= revision
            ):
                spreading.waiting.discard(name)
                spreading.after_ms.append(max(0, since_ms - spreading.published_ms))
                spreading.figures = None
                self._unwritten = True

    def gone(self, name: str) -> None:
        """Wait for an instance no more."""
        for spreading in self._here:
            if name in spreading.waiting:
                spreading.waiting.discard(name)
                spreading.gone += 1
                spreading.figures = None
                self._unwritten = True

    def newest_first(self) -> list[Convergence]:
        """Return the last revisions, as this replica or another saw them, whoever knows more."""
        known = dict(self._stored)
        for spreading in self._here:
            ours = spreading.told()
            theirs = known.get((ours.epoch, ours.revision))
            if theirs is None or theirs.known <= ours.known:
                known[ours.epoch, ours.revision] = ours
        order = sorted(known.values(), key=_newest_first)
        return order[:MAX_REVISIONS]

    def take_stored(self, stored: Iterable[Convergence]) -> list[Convergence]:
        """Note what is in Redis; return what of it is too old to be kept there."""
        found = sorted(stored, key=_newest_first)
        self._stored = {(each.epoch, each.revision): each for each in found[:MAX_REVISIONS]}
        return found[MAX_REVISIONS:]

    def unwritten(self) -> Iterator[Convergence]:
        """Yield what is to be written to Redis since it was last asked for."""
        if not self._unwritten:
            return
        self._unwritten = False
        for spreading in self._here:
            stored = self._stored.get((spreading.pointer.epoch, spreading.pointer.revision))
            if stored is None or stored.known < spreading.told().known:
                yield spreading.told()

    def write_again(self) -> None:
        """Note that what was to be written was not."""
        self._unwritten = True


def _newest_first(convergence: Convergence) -> tuple[int, int]:
    return -convergence.published_ms, -convergence.revision
