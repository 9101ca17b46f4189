"""Holds the one snapshot that is being served, and knows how old it is.

`offer` is the only way in, for disk, stream, poll and file alike: bytes are read and verified,
compiled aside in slices, and become current by swapping one reference. What is refused leaves the
last good one in place. Where bytes come from, and when, is not known here; the blobs of its long
unit lists are asked for from whoever offers a snapshot, once it is known which it needs.

Rules:
- `Served` is one atomic record: header, digest, body, blobs and compiled form never come from two
  snapshots, so no reader can see one's revision with the other's answers.
- With `trust` nothing is served that a trusted key has not signed, but for a file.
- Within an epoch of one project and environment an older revision is refused. Another epoch is
  taken, because a restore must not wedge a fleet, and counted, because it should be rare. Epochs
  have no order: which of two is over, the time tells at which each was last known as current.
- Age is the time since the source last confirmed that this digest is current, by a monotonic
  clock. Counted from what was on disk it is marked estimated, because it hangs on two wall clocks.
- Not thread-safe; all of it belongs to the event loop.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field, replace

from proxy.contract.digest import SnapshotDigest
from proxy.contract.snapshot import (
    MAX_SNAPSHOT_BYTES,
    Entry,
    EntryKind,
    Snapshot,
    SnapshotHeader,
    SnapshotRefused,
    changed_entries,
    read_snapshot,
)
from proxy.contract.units import UNIT_BYTES, blobs_of
from proxy.engine import CompiledSnapshot, compile_changes, compile_snapshot
from proxy.slices import run_in_slices
from proxy.trust import Trust

__all__ = ["Holder", "LoadBlobs", "Served", "Subscriber"]

_log = logging.getLogger(__name__)

_APART_MS = 15_000  # replicas that are well ask their store each second, and say so in heartbeats
_ENTRIES_A_STEP = 1_000
_ALARMING = ("signature", "rolled_back")  # no accident of the way here: an attack, or a mistake
_MAX_AGE_MS = 10 * 366 * 24 * 3600 * 1000  # ten years; what an upstream may claim is bounded


@dataclass(frozen=True, slots=True)
class Served:
    """A snapshot that is, or was, current. `source` is `control-plane`, `disk` or `file`."""

    header: SnapshotHeader
    compiled: CompiledSnapshot = field(repr=False)
    entries: Mapping[tuple[EntryKind, str], Entry] = field(repr=False)
    digest: SnapshotDigest = field(repr=False)
    body: bytes = field(repr=False)
    source: str
    blobs: Mapping[str, bytes] = field(repr=False, default_factory=dict)
    """The blobs of its unit lists, by their digests, and no others."""

    @property
    def blob_bytes(self) -> int:
        """How much memory the blobs take; what finds units in them takes little more."""
        return sum(map(len, self.blobs.values()))

    @property
    def units(self) -> int:
        """How many units the long lists hold, those of a part that lists share once."""
        return self.blob_bytes // UNIT_BYTES


Subscriber = Callable[[Served | None, Served], None]

LoadBlobs = Callable[
    [SnapshotHeader, Mapping[str, int], Mapping[str, bytes]], Awaitable[Mapping[str, bytes]]
]
"""Given a snapshot's header, the digests of the blobs that it needs, with the most bytes each may
have, and the blobs of what is being served: returns the needed ones, each verified. What is left
out makes the segments that need it unusable. What it raises leaves what is served in place."""


class Holder:
    """The current snapshot, None before the first.

    `clock` returns seconds of a monotonic clock. Without `trust` no signature is asked for.
    """

    def __init__(
        self,
        max_snapshot_bytes: int = MAX_SNAPSHOT_BYTES,
        clock: Callable[[], float] = time.monotonic,
        trust: Trust | None = None,
    ) -> None:
        self.max_snapshot_bytes = max_snapshot_bytes
        self.trust = trust
        self._clock = clock
        self._subscribers: list[Subscriber] = []
        self._loading = asyncio.Lock()
        self._first = asyncio.Event()
        self.refusals: Counter[str] = Counter()
        self.epoch_changes = 0
        # of the snapshot being served
        self.served: Served | None = None
        self.age_estimated = False
        self._confirmed_at_s = 0.0

    async def offer(
        self,
        body: bytes,
        source: str,
        *,
        blobs: LoadBlobs | None = None,
        age_ms: int = 0,
        estimated: bool = False,
    ) -> Served:
        """Verify, compile and serve a snapshot; return what is served then.

        `blobs` is asked for those that it needs, if any, once it is verified; without it there are
        none. `age_ms` is how long ago the source knew it to be current. Offers wait for each other,
        and for each other's blobs. One that is what is being served already only confirms it.

        Raises:
            SnapshotRefused: and what was served before is served on.
            Exception: what `blobs` raised; the same.
        """
        received_s = self._clock()
        verify = None if self.trust is None or source == "file" else self.trust.verify
        async with self._loading:
            try:
                snapshot = await run_in_slices(read_snapshot(body, self.max_snapshot_bytes, verify))
                self._refuse_rollback(snapshot.header, age_ms)
                served = self.served
                same = served is not None and _same_record(served.header, snapshot.header)
                loaded = {} if same else await self._load_blobs(snapshot, blobs)
            except SnapshotRefused as refused:
                self._count_refusal(refused, source)
                raise
            if served is not None and same:
                served = self.served = replace(served, source=source)
            else:
                served = await self._compile(snapshot, loaded, body, source)
            # what the source knew when the bytes came has aged while they were read and compiled
            age_ms = _bounded(age_ms) + round((self._clock() - received_s) * 1000)
            if served is self.served:
                self._confirm(age_ms, estimated=estimated)
            else:
                self.swap(served, age_ms=age_ms, estimated=estimated)
            return served

    def swap(self, served: Served, *, age_ms: int = 0, estimated: bool = False) -> None:
        """Make a snapshot current and tell the subscribers."""
        old, self.served = self.served, served
        self._confirmed_at_s = self._clock() - _bounded(age_ms) / 1000
        self.age_estimated = estimated
        self._first.set()
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(old, served)
            except Exception:
                _log.exception("a subscriber to new snapshots failed")

    def confirm(self, digest: str, verified_age_ms: int = 0) -> bool:
        """Take note that the source knew this digest to be current, so many milliseconds ago.

        Returns False, and does nothing, when another digest is being served, or none.
        """
        if self.served is None or self.served.header.digest != digest:
            return False
        self._confirm(verified_age_ms, estimated=False)
        return True

    def outlives(self, epoch: str, age_ms: int) -> bool:
        """Return whether another epoch is over, that was known as current so long ago.

        A replica that was cut off when its project got a new epoch still has the old one.
        """
        own_age_ms = self.age_ms()
        if self.served is None or own_age_ms is None or self.age_estimated:
            return False
        return epoch != self.served.header.epoch and age_ms > own_age_ms + _APART_MS

    def age_ms(self) -> int | None:
        """Return how long ago what is served was last known to be current; None before."""
        if self.served is None:
            return None
        return max(0, round((self._clock() - self._confirmed_at_s) * 1000))

    async def wait_first(self, timeout_s: float) -> Served | None:
        """Return what is served, waiting for the first snapshot if need be; None when none came."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._first.wait()
        except TimeoutError:
            pass
        return self.served

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber(old, new)` at each swap, `old` None at the first; returns the way out.

        Called in the middle of the swap, before anything else runs: it must be quick.
        """
        self._subscribers.append(subscriber)

        def unsubscribe() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return unsubscribe

    async def _load_blobs(self, snapshot: Snapshot, load: LoadBlobs | None) -> Mapping[str, bytes]:
        if load is None:
            return {}
        needed = await run_in_slices(_needed_blobs(snapshot))
        if not needed:
            return {}
        held = self.served.blobs if self.served is not None else {}
        blobs = await load(snapshot.header, needed, held)
        return {digest: blobs[digest] for digest in needed if digest in blobs}

    async def _compile(
        self, snapshot: Snapshot, blobs: Mapping[str, bytes], body: bytes, source: str
    ) -> Served:
        old = self.served
        if old is None:
            compiled = await run_in_slices(compile_snapshot(snapshot.entries, None, blobs))
        else:
            changed = await run_in_slices(changed_entries(old.entries, snapshot.entries))
            compiled = await run_in_slices(
                compile_changes(snapshot.entries, changed, old.compiled, blobs)
            )
        if old is not None and _scope(old.header) != _scope(snapshot.header):
            self.epoch_changes += 1
            _log.warning(
                "history starts anew: %s of epoch %s replaces %s of epoch %s",
                _place(snapshot.header),
                snapshot.header.epoch,
                _place(old.header),
                old.header.epoch,
            )
        return Served(
            snapshot.header, compiled, snapshot.entries, snapshot.digest, body, source, blobs
        )

    def _refuse_rollback(self, header: SnapshotHeader, age_ms: int) -> None:
        held = self.served.header if self.served is not None else None
        if held is None or _place(held) != _place(header):
            return
        if self.outlives(header.epoch, age_ms):
            raise SnapshotRefused(
                "rolled_back",
                f"epoch {header.epoch[:80]}, known as current {age_ms // 1000} s ago, "
                "and a later one is being served",
            )
        if held.epoch == header.epoch and header.revision < held.revision:
            raise SnapshotRefused(
                "rolled_back", f"revision {header.revision}, and {held.revision} is being served"
            )

    def _count_refusal(self, refused: SnapshotRefused, source: str) -> None:
        self.refusals[refused.reason] += 1
        if refused.reason in _ALARMING:
            kept = "nothing is served" if self.served is None else "the last good one is served on"
            _log.error("a snapshot from %s is refused, %s: %s", source, kept, refused)

    def _confirm(self, age_ms: int, *, estimated: bool) -> None:
        """Move the time of confirmation forward; what was known better stays known."""
        at_s = self._clock() - _bounded(age_ms) / 1000
        if self.age_estimated and not estimated:
            self._confirmed_at_s, self.age_estimated = at_s, False
        elif self.age_estimated == estimated:
            self._confirmed_at_s = max(self._confirmed_at_s, at_s)


def _needed_blobs(snapshot: Snapshot) -> Generator[None, None, dict[str, int]]:
    """Return the digests of the blobs, each with the most bytes it can have, yielding in between.

    A blob that two lists have is as long as the shorter of them at most.
    """
    needed: dict[str, int] = {}
    for number, (name, entry) in enumerate(snapshot.entries.items()):
        if name[0] == "segment":
            for digest, most in blobs_of({name: entry}).items():
                needed[digest] = min(most, needed.get(digest, most))
            yield
        elif number % _ENTRIES_A_STEP == 0:
            yield
    return needed


def _scope(header: SnapshotHeader) -> tuple[str, str, str]:
    """Return what a revision counts within."""
    return header.project, header.environment, header.epoch


def _place(header: SnapshotHeader) -> str:
    return f"{header.project}/{header.environment}"


def _same_record(a: SnapshotHeader, b: SnapshotHeader) -> bool:
    return _scope(a) == _scope(b) and a.revision == b.revision and a.digest == b.digest


def _bounded(age_ms: int) -> int:
    return max(0, min(age_ms, _MAX_AGE_MS))
