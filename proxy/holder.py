"""Holds the one snapshot that is being served, and knows how old it is.

`offer` takes whole snapshots, for disk, stream, poll and file alike, `follow` what changed since
the one that is served. Both end in the same load path: what was read is verified, compiled aside
in slices, and becomes current by swapping one reference. What is refused leaves the last good one
in place. Where bytes come from, and when, is not known here; the blobs of its long unit lists are
asked for from whoever offers a snapshot, once it is known which it needs.

Rules:
- `Served` is one atomic record: header, entries, digest, blobs and compiled form never come from
  two snapshots, so no reader can see one's revision with the other's answers.
- With `trust` nothing is served that a trusted key has not signed, but for a file.
- What a change left as it was is neither read, hashed nor compiled again.
- Within an epoch of one project and environment an older revision is refused. Another epoch is
  taken, because a restore must not wedge a fleet, and counted, because it should be rare. Epochs
  have no order: which of two is over, the time tells at which each was last known as current.
- Age is the time since the source last confirmed that this digest is current, by a monotonic
  clock. Counted from what was on disk it is marked estimated, because it hangs on two wall clocks.
  A change says what is current and not since when that is known: age goes on.
- Not thread-safe; all of it belongs to the event loop.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import cast

from proxy.contract.snapshot import (
    MAX_SNAPSHOT_BYTES,
    Entry,
    EntryKind,
    EntryName,
    Snapshot,
    SnapshotHeader,
    SnapshotRefused,
    Verify,
    change_snapshot,
    changed_entries,
    encode_header,
    read_snapshot,
    snapshot_pieces,
)
from proxy.contract.steps import Steps
from proxy.contract.sync import Delta
from proxy.contract.units import UNIT_BYTES, blobs_of
from proxy.engine import CompiledSnapshot, compile_changes, compile_snapshot
from proxy.slices import run_in_slices
from proxy.trust import Trust

__all__ = ["Holder", "LoadBlobs", "OutOfStep", "Served", "Subscriber"]

_log = logging.getLogger(__name__)

_APART_MS = 15_000  # replicas that are well ask their store each second, and say so in heartbeats
_ENTRIES_A_STEP = 1_000
_ALARMING = ("signature", "rolled_back")  # no accident of the way here: an attack, or a mistake
_MAX_AGE_MS = 10 * 366 * 24 * 3600 * 1000  # ten years; what an upstream may claim is bounded


@dataclass(frozen=True, slots=True)
class Served:
    """A snapshot that is, or was, current. `source` is `control-plane`, `disk` or `file`."""

    snapshot: Snapshot = field(repr=False)
    compiled: CompiledSnapshot = field(repr=False)
    source: str
    blobs: Mapping[str, bytes] = field(repr=False, default_factory=dict)
    """The blobs of its unit lists, by their digests, and no others."""
    blobs_missing: int = 0
    """How many it needs besides; the flags that need them are quarantined."""

    @property
    def header(self) -> SnapshotHeader:
        """The first line."""
        return self.snapshot.header

    @property
    def entries(self) -> Mapping[EntryName, Entry]:
        """All other lines, in any order."""
        return self.snapshot.entries

    @property
    def body_bytes(self) -> int:
        """How long it is in writing."""
        return len(encode_header(self.header)) + 1 + self.snapshot.size

    def body(self) -> Steps[list[bytes]]:
        """Return it in writing, in pieces, step by step: it is not kept in that form."""
        return snapshot_pieces(self.header, self.entries)

    @property
    def blob_bytes(self) -> int:
        """How much memory the blobs take; what finds units in them takes little more."""
        return sum(map(len, self.blobs.values()))

    @property
    def units(self) -> int:
        """How many units the long lists hold, those of a part that lists share once."""
        return self.blob_bytes // UNIT_BYTES


class OutOfStep(Exception):
    """A change does not begin where what is served ends: one was missed, or it is of the past."""


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
        async with self._loading:
            with self._counting_refusals(source):
                snapshot = await run_in_slices(
                    read_snapshot(body, self.max_snapshot_bytes, self._verify(source))
                )
                self._check(snapshot.header, age_ms)
                served = self.served
                same = served is not None and _same_record(served.header, snapshot.header)
                if served is None or not same:
                    served = await self._load(snapshot, None, source, blobs)
            # what the source knew when the bytes came has aged while they were read and compiled
            age_ms = _bounded(age_ms) + round((self._clock() - received_s) * 1000)
            if same:
                served = self.served = replace(served, source=source)
                self._confirm(age_ms, estimated=estimated)
            else:
                self.swap(served, age_ms=age_ms, estimated=estimated)
            return served

    async def follow(
        self, delta: Delta, epoch: str, source: str, *, blobs: LoadBlobs | None = None
    ) -> Served:
        """Apply what changed in an epoch since the revision that is served; return what is then.

        It waits its turn among offers, and knows only then what is served. Of the blobs only those
        of segments that changed are asked for.

        Raises:
            OutOfStep: it does not begin at what is served, or nothing is.
            SnapshotRefused: and what was served before is served on.
            Exception: what `blobs` raised; the same.
        """
        async with self._loading:
            held = self.served
            if held is None or (held.header.epoch, held.header.revision) != (epoch, delta.from_):
                raise OutOfStep
            with self._counting_refusals(source):
                snapshot, changed = await run_in_slices(
                    change_snapshot(
                        held.snapshot,
                        delta.to,
                        delta.digest,
                        _lines(delta),
                        [(cast(EntryKind, entry.kind), entry.key) for entry in delta.removed],
                        delta.header,
                        self.max_snapshot_bytes,
                        self._verify(source),
                    )
                )
                self._check(snapshot.header, 0)
                served = await self._load(snapshot, changed, source, blobs)
            self._exchange(served)
            return served

    def swap(self, served: Served, *, age_ms: int = 0, estimated: bool = False) -> None:
        """Make a snapshot current, known as such so long ago, and tell the subscribers."""
        self._confirmed_at_s = self._clock() - _bounded(age_ms) / 1000
        self.age_estimated = estimated
        self._exchange(served)

    def _exchange(self, served: Served) -> None:
        old, self.served = self.served, served
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

    @contextmanager
    def _counting_refusals(self, source: str) -> Iterator[None]:
        try:
            yield
        except SnapshotRefused as refused:
            self._count_refusal(refused, source)
            raise

    def _verify(self, source: str) -> Verify | None:
        """Return what has to be asked about a header first."""
        return None if self.trust is None or source == "file" else self.trust.verify

    async def _load(
        self,
        snapshot: Snapshot,
        changed: set[EntryName] | None,
        source: str,
        blobs: LoadBlobs | None,
    ) -> Served:
        """Return a verified snapshot ready to be served, its blobs fetched and all compiled.

        `changed` are the entries that are others than in what is served, None if that is not known.
        """
        held = self.served
        if held is None or changed is None or self._touches_blobs(snapshot, changed, held):
            needed = await run_in_slices(_needed_blobs(snapshot))
            loaded = await self._load_blobs(snapshot.header, needed, blobs)
            missing = len(needed) - len(loaded)
        else:
            loaded, missing = held.blobs, 0
        if held is None:
            compiled = await run_in_slices(compile_snapshot(snapshot.entries, None, loaded))
            return Served(snapshot, compiled, source, loaded, missing)
        if changed is None:
            changed = await run_in_slices(changed_entries(held.entries, snapshot.entries))
        compiled = await run_in_slices(
            compile_changes(snapshot.entries, changed, held.compiled, loaded)
        )
        if _scope(held.header) != _scope(snapshot.header):
            self.epoch_changes += 1
            _log.warning(
                "history starts anew: %s of epoch %s replaces %s of epoch %s",
                _place(snapshot.header),
                snapshot.header.epoch,
                _place(held.header),
                held.header.epoch,
            )
        return Served(snapshot, compiled, source, loaded, missing)

    async def _load_blobs(
        self, header: SnapshotHeader, needed: Mapping[str, int], load: LoadBlobs | None
    ) -> Mapping[str, bytes]:
        if load is None or not needed:
            return {}
        held = self.served.blobs if self.served is not None else {}
        blobs = await load(header, needed, held)
        return {digest: blobs[digest] for digest in needed if digest in blobs}

    @staticmethod
    def _touches_blobs(snapshot: Snapshot, changed: set[EntryName], held: Served) -> bool:
        """Return whether other blobs may be needed than those that are held."""
        if held.blobs_missing:
            return True
        segments = [name for name in changed if name[0] == "segment"]
        return any(
            blobs_of({name: entries[name] for name in segments if name in entries})
            for entries in (held.entries, snapshot.entries)
        )

    def _check(self, header: SnapshotHeader, age_ms: int) -> None:
        """Refuse what is not to be served though it is whole: content that is over."""
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


def _lines(delta: Delta) -> list[bytes]:
    try:
        return [line.encode() for line in delta.set]
    except UnicodeEncodeError:
        raise SnapshotRefused("malformed", "a line that is no UTF-8") from None


def _needed_blobs(snapshot: Snapshot) -> Steps[dict[str, int]]:
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
