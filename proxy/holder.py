"""Holds the one snapshot that is being served, and knows how old it is.

`offer` takes whole snapshots, for disk, stream, poll and file alike, `follow` what changed since
the one that is served. Both end in the same load path: what was read is verified, compiled aside
in slices, and becomes current by swapping one reference. What is refused leaves the last good one
in place. Where bytes come from, and when, is not known here; the blobs of its long unit lists are
asked for from whoever offers a snapshot, once it is known which it needs.

Rules:
- `Served` is one atomic record: header, entries, digest, blobs and compiled form never come from
  two snapshots, so no reader can see one's revision with the other's answers.
- What a change left as it was is neither read, hashed nor compiled again.
- What is not signed, of another place or older than what was seen is refused (`proxy.admission`).
  Another epoch is taken, and counted, because it should be rare. Epochs have no order: which of two
  is over, the time tells at which each was last known as current.
- Age is the time since the source last confirmed that this digest is current, by a monotonic
  clock. Counted from what was on disk it is marked estimated, because it hangs on two wall clocks.
  A change says what is current and not since when that is known: age goes on.
- From the maximum age on, which comes with the snapshot, its flags leave the decision to the
  application (`watch_age`); the next confirmation ends that at once. They stay compiled.
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

from proxy.admission import Admission, place_of, scope_of
from proxy.contract.snapshot import (
    MAX_SNAPSHOT_BYTES,
    Entry,
    EntryKind,
    EntryName,
    RefusalReason,
    Snapshot,
    SnapshotHeader,
    SnapshotRefused,
    change_snapshot,
    changed_entries,
    encode_header,
    read_snapshot,
    snapshot_pieces,
)
from proxy.contract.steps import Steps
from proxy.contract.sync import Delta
from proxy.contract.units import UNIT_BYTES, blobs_of
from proxy.engine import (
    CompiledFlag,
    CompiledSnapshot,
    code_defaults,
    compile_changes,
    compile_snapshot,
)
from proxy.slices import run_in_slices

__all__ = ["Holder", "LoadBlobs", "OutOfStep", "Served", "Subscriber"]

_log = logging.getLogger(__name__)

_APART_MS = 15_000  # replicas that are well ask their store each second, and say so in heartbeats
_ENTRIES_A_STEP = 1_000
_LOOK_EVERY_S = 0.5  # at the age, which may have another bound by then
_ALARMING = ("signature", "misplaced", "rolled_back")  # no accident on the way: an attack, perhaps
_REFUSED: dict[RefusalReason, str] = {
    "signature": "no key that this sidecar trusts has signed it",
    "misplaced": "it is of another project or environment than this sidecar was given",
    "rolled_back": "it is older than one that this sidecar has seen",
    "schema": "it has another format than this sidecar reads",
    "too_large": "it is larger than this sidecar takes",
}
"""For everybody who may ask for an evaluation: nothing of what came, and nothing of the settings.
What is not here is damage."""
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
    defaults: dict[str, CompiledFlag] | None = field(repr=False, default=None)
    """What answers in the place of its flags while they are too old; else None."""

    @property
    def header(self) -> SnapshotHeader:
        """The first line."""
        return self.snapshot.header

    @property
    def entries(self) -> Mapping[EntryName, Entry]:
        """All other lines, in any order."""
        return self.snapshot.entries

    @property
    def flags(self) -> dict[str, CompiledFlag]:
        """What answers, by the keys of its flags."""
        return self.compiled.flags if self.defaults is None else self.defaults

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

    `clock` returns seconds of a monotonic clock. `max_age_s` is taken in the place of the
    snapshot's own, 0 for never.
    """

    def __init__(
        self,
        max_snapshot_bytes: int = MAX_SNAPSHOT_BYTES,
        clock: Callable[[], float] = time.monotonic,
        *,
        admission: Admission | None = None,
        max_age_s: float | None = None,
    ) -> None:
        self.max_snapshot_bytes = max_snapshot_bytes
        self.admission = admission or Admission()
        self._own_max_age_s = max_age_s
        self._clock = clock
        self._subscribers: list[Subscriber] = []
        self._loading = asyncio.Lock()
        self._first = asyncio.Event()
        self.refusals: Counter[str] = Counter()
        self.epoch_changes = 0
        self.stale_times = 0
        """Times that flags came to be too old."""
        self._refused: tuple[str, RefusalReason] | None = None  # while nothing is served
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
                    read_snapshot(body, self.max_snapshot_bytes, self.admission.verify(source))
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
                served = await self._aged(served, self._clock() - age_ms / 1000)
                self.swap(served, age_ms=age_ms, estimated=estimated)
            return self.served or served

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
                        self.admission.verify(source),
                    )
                )
                self._check(snapshot.header, 0)
                served = await self._load(snapshot, changed, source, blobs)
            self._exchange(await self._aged(served, self._confirmed_at_s))
            return self.served or served

    def swap(self, served: Served, *, age_ms: int = 0, estimated: bool = False) -> None:
        """Make a snapshot current, known as such so long ago, and tell the subscribers."""
        self._confirmed_at_s = self._clock() - _bounded(age_ms) / 1000
        self.age_estimated = estimated
        self._exchange(served)

    async def watch_age(self) -> None:
        """Have flags leave the decision to the application once they are too old, for ever."""
        while True:
            await asyncio.sleep(self._look_in_s())
            served = self.served
            if served is None or served.defaults is not None or not self._is_stale(served.header):
                continue
            aged = await self._aged(served, self._confirmed_at_s)
            # meanwhile it may have been confirmed, or another have come
            if self.served is not None and self.served.compiled is served.compiled:
                self._exchange(replace(self.served, defaults=aged.defaults))

    @property
    def max_age_s(self) -> float | None:
        """The age from which what is served is too old; None for never, and before the first."""
        return None if self.served is None else self._max_age_s(self.served.header)

    def _max_age_s(self, header: SnapshotHeader) -> float | None:
        own = self._own_max_age_s
        return header.max_age_s if own is None else own or None

    def _is_stale(self, header: SnapshotHeader, confirmed_at_s: float | None = None) -> bool:
        max_age_s = self._max_age_s(header)
        at_s = self._confirmed_at_s if confirmed_at_s is None else confirmed_at_s
        return max_age_s is not None and self._clock() - at_s > max_age_s

    def _look_in_s(self) -> float:
        """Return in how many seconds to look at the age."""
        max_age_s = self.max_age_s
        if max_age_s is None:
            return _LOOK_EVERY_S
        left_s = self._confirmed_at_s + max_age_s - self._clock()
        return min(_LOOK_EVERY_S, max(0.01, left_s))

    async def _aged(self, served: Served, confirmed_at_s: float) -> Served:
        """Return what is to be served of what was confirmed at a time, and is too old perhaps."""
        if not self._is_stale(served.header, confirmed_at_s):
            return served
        return replace(served, defaults=await run_in_slices(code_defaults(served.compiled)))

    def _exchange(self, served: Served) -> None:
        if served.defaults is not None and not self._is_stale(served.header):
            served = replace(served, defaults=None)
        old, self.served, self._refused = self.served, served, None
        self.admission.seen(served.header)
        self._note_age(old, served)
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

    @property
    def refusal(self) -> str | None:
        """What was wrong with the snapshot that came last, while there is none that is served."""
        if self._refused is None:
            return None
        source, reason = self._refused
        told = _REFUSED.get(reason, "it is damaged")
        return f"the snapshot from the {source.replace('-', ' ')} was refused ({reason}: {told})"

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
            self.refusals[refused.reason] += 1
            if self.served is None:
                self._refused = source, refused.reason
            if refused.reason in _ALARMING:
                kept = "nothing is served" if self.served is None else "the last good one stays"
                _log.error("a snapshot from %s is refused, %s: %s", source, kept, refused)
            raise

    def _note_age(self, old: Served | None, new: Served) -> None:
        was_stale = old is not None and old.defaults is not None
        if was_stale == (new.defaults is not None):
            return
        age_s = (self.age_ms() or 0) / 1000
        if was_stale:
            _log.warning("flags were confirmed %.0f s ago: they are answered again", age_s)
            return
        self.stale_times += 1
        _log.error(
            "flags were last confirmed %.0f s ago, more than %g s: applications get their own"
            " defaults until they are confirmed",
            age_s,
            self.max_age_s or 0,
        )

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
        if scope_of(held.header) != scope_of(snapshot.header):
            self.epoch_changes += 1
            _log.warning(
                "history starts anew: %s of epoch %s replaces %s of epoch %s",
                place_of(snapshot.header),
                snapshot.header.epoch,
                place_of(held.header),
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
        here = held is not None and place_of(held) == place_of(header)
        if here and self.outlives(header.epoch, age_ms):
            raise SnapshotRefused(
                "rolled_back",
                f"epoch {header.epoch[:80]}, known as current {age_ms // 1000} s ago, "
                "and a later one is being served",
            )
        self.admission.check(header)

    def _confirm(self, age_ms: int, *, estimated: bool) -> None:
        """Move the time of confirmation forward; what was known better stays known."""
        at_s = self._clock() - _bounded(age_ms) / 1000
        if self.age_estimated and not estimated:
            self._confirmed_at_s, self.age_estimated = at_s, False
        elif self.age_estimated == estimated:
            self._confirmed_at_s = max(self._confirmed_at_s, at_s)
        served = self.served
        if served is not None and served.defaults is not None and not self._is_stale(served.header):
            self._exchange(served)


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


def _same_record(a: SnapshotHeader, b: SnapshotHeader) -> bool:
    same = scope_of(a) == scope_of(b) and a.revision == b.revision and a.digest == b.digest
    return same and a.signed_by == b.signed_by


def _bounded(age_ms: int) -> int:
    return max(0, min(age_ms, _MAX_AGE_MS))
