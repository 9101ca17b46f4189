"""What becomes of the lists of a segment when units are put in, moved and taken out. Pure.

Lists are short, in the segment's record, or long, in blobs; both together decide which. The hashes
of long ones are at hand, the units of a blob have to be fetched. So it is done in three steps:

1. `work_out` tells by the hashes alone what changes, by the first byte of the hash;
2. `needed` names the blobs whose units are to be fetched: those that change, or all of a list that
   is divided otherwise than before;
3. `rebuild` makes the new lists, with the blobs that are new.

A unit is in one list at most, so the last word on it counts. Work on many units is a generator
that yields between pieces of a few milliseconds. Of many units no objects are kept: see `packed`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.publishing.units import StoredBlob, decode_units, stored_blob
from control_plane.segments.packed import pack, unpack
from proxy.contract.definitions import Segment, UnitList, UnitLists
from proxy.contract.units import (
    EMPTY_BLOB,
    INLINE_UNITS,
    UNIT_BYTES,
    blob_count,
    digest_of,
    hash_unit,
)

__all__ = [
    "EXCLUDE",
    "INCLUDE",
    "REMOVE",
    "ListChange",
    "NewLists",
    "OldList",
    "UnitChanges",
    "divide",
    "is_long",
    "long_list",
    "needed",
    "new_lists",
    "rebuild",
    "short_list",
    "work_out",
]

INCLUDE, EXCLUDE, REMOVE = range(3)
"""What is said of a unit: the list it shall be in, or none."""

_TOPS = 256  # first bytes of a hash
_UNITS_A_STEP = 1_000
_UNITS_A_RANGE = 4_096  # sorted at once
_MARKS_A_BLOB = 16  # of its units, that tell where the ranges begin


class UnitChanges:
    """What is said of units, in order, divided by the first byte of their hashes.

    Hashes are worked out again when they are needed: to keep them takes as much as the units.
    """

    __slots__ = ("_units", "_words")

    def __init__(self) -> None:
        self._units = [bytearray() for _ in range(_TOPS)]
        self._words = [bytearray() for _ in range(_TOPS)]

    def add(self, word: int, unit: str) -> None:
        """Add one; the unit has a hash."""
        top = (hash_unit(unit) or b"\0")[0]
        self._units[top] += pack(unit)
        self._words[top].append(word)

    def said(self, top: int) -> tuple[list[str], bytearray]:
        """Return the units whose hashes begin with a byte, and the word on each."""
        return unpack(self._units[top]), self._words[top]


class OldList(NamedTuple):
    """A list as it is: digests and hashes of its blobs. A short one is as if it had one blob.

    `units` are those of a short list, stored by the digest of that blob.
    """

    size: int
    digests: list[str]
    blobs: list[bytes]
    units: Mapping[str, bytes] | None = None

    def hashes(self, top: int) -> set[bytes]:
        """Return the hashes that begin with a byte."""
        blob = self.blobs[top * len(self.blobs) // _TOPS]
        start, stop = _between(blob, top, top + 1)
        return {blob[at : at + UNIT_BYTES] for at in range(start, stop, UNIT_BYTES)}


class ListChange(NamedTuple):
    """What changes in a list, by first byte: new hashes in order, their units packed; old ones."""

    size: int
    """Units in the list afterwards."""
    added: dict[int, tuple[bytes, bytes]]
    removed: dict[int, set[bytes]]

    def changes(self, low: int, high: int) -> bool:
        """Return whether hashes whose first byte is from `low` to before `high` come or go."""
        return any(top in self.added or top in self.removed for top in range(low, high))


class NewLists(NamedTuple):
    """The lists of a segment as its record has them, and the blobs that were made."""

    included: list[str]
    excluded: list[str]
    units: UnitLists | UnsetType
    blobs: dict[str, StoredBlob]

    def put_into(self, segment: Segment) -> Segment:
        """Return the segment with these lists."""
        return msgspec.structs.replace(
            segment, included=self.included, excluded=self.excluded, units=self.units
        )


def short_list(units: Sequence[str]) -> OldList:
    """Return a list that is in the record; its units have hashes."""
    blob = stored_blob({hash_unit(unit) or b"": unit for unit in units})
    digest = digest_of(blob.hashes)
    size = len(blob.hashes) // UNIT_BYTES
    return OldList(size, [digest], [blob.hashes], {digest: blob.units})


def long_list(units: UnitList | UnsetType, blobs: Mapping[str, bytes]) -> OldList | None:
    """Return a list that is in blobs, or None when one of them is not there."""
    if isinstance(units, UnsetType):
        return short_list(())
    held = [b"" if d == EMPTY_BLOB else blobs.get(d) for d in units.blobs]
    found = [blob for blob in held if blob is not None]
    if len(found) < len(held):
        return None
    return OldList(units.count, units.blobs, found)


def work_out(
    changes: UnitChanges, included: OldList, excluded: OldList
) -> Generator[None, None, tuple[ListChange, ListChange]]:
    """Return what changes in the two lists, yielding between pieces."""
    lists = (included, excluded)
    sizes = [old.size for old in lists]
    added: tuple[dict[int, tuple[bytes, bytes]], ...] = ({}, {})
    removed: tuple[dict[int, set[bytes]], ...] = ({}, {})
    for top in range(_TOPS):
        units, words = yield from _last_words(changes, top)
        if not units:
            continue
        for which, old in enumerate(lists):
            held = old.hashes(top)
            yield
            new = sorted(h for h, word in words.items() if word == which and h not in held)
            gone = {h for h, word in words.items() if word != which and h in held}
            if new:
                yield
                added[which][top] = b"".join(new), b"".join([pack(units[h]) for h in new])
            if gone:
                removed[which][top] = gone
            sizes[which] += len(new) - len(gone)
            yield
    first, second = (ListChange(sizes[n], added[n], removed[n]) for n in range(2))
    return first, second


def needed(old: OldList, change: ListChange, *, long: bool) -> set[str]:
    """Return the digests of the blobs whose units `rebuild` has to be given."""
    kept = _kept(old, change, long=long)
    if old.units is not None or not change.size:
        return set()
    parts = len(old.blobs)
    width = _TOPS // parts
    return {
        digest
        for number, digest in enumerate(old.digests)
        if digest != EMPTY_BLOB
        and not (kept and not change.changes(number * width, (number + 1) * width))
    }


def rebuild(
    lists: tuple[OldList, OldList],
    changes: tuple[ListChange, ListChange],
    fetched: Mapping[str, bytes],
) -> Generator[None, None, NewLists]:
    """Return the new lists, yielding between pieces.

    Raises:
        KeyError: `fetched`, by digest, lacks units that `needed` names, or they cannot be read.
    """
    made: dict[str, StoredBlob] = {}
    long = is_long(*changes)
    results: list[UnitList] = []
    for old, change in zip(lists, changes, strict=True):
        results.append((yield from _rebuilt(old, change, fetched, made, long=long)))
    included, excluded = results
    if long:
        made.pop(EMPTY_BLOB, None)
        units = UnitLists(*(part if part.count else UNSET for part in results))
        return NewLists([], [], units, made)
    units_of = {digest: decode_units(blob.units) or [] for digest, blob in made.items()}
    short = [sorted(units_of[part.blobs[0]]) for part in (included, excluded)]
    return NewLists(short[0], short[1], UNSET, {})


def new_lists(included: Sequence[str], excluded: Sequence[str]) -> Generator[None, None, NewLists]:
    """Return lists made of nothing but these units, yielding between pieces."""
    changes = UnitChanges()
    for word, units in ((INCLUDE, included), (EXCLUDE, excluded)):
        for number, unit in enumerate(units, start=1):
            changes.add(word, unit)
            if number % _UNITS_A_STEP == 0:
                yield
    empty = short_list(())
    worked_out = yield from work_out(changes, empty, empty)
    return (yield from rebuild((empty, empty), worked_out, {}))


def is_long(included: ListChange, excluded: ListChange) -> bool:
    """Return whether there are more units than a record holds itself."""
    return included.size + excluded.size > INLINE_UNITS


def divide(
    parts: Sequence[bytes],
) -> Generator[None, None, list[bytearray] | None]:
    """Return the units of stored blobs, packed, in ranges: all of one before all of the next.

    None when one cannot be read. A range has some thousands, which `unpack` and a sort bring in
    order; one sort of a million would hold the loop for a second.
    """
    marks: list[str] = []
    total = 0
    for part in parts:
        units = decode_units(part)
        if units is None:
            return None
        marks += units[:: len(units) // _MARKS_A_BLOB + 1]
        total += len(units)
        yield
    marks.sort()
    ranges = total // _UNITS_A_RANGE + 1
    marks = [marks[len(marks) * number // ranges] for number in range(1, ranges)]
    found = [bytearray() for _ in range(ranges)]
    for part in parts:
        for number, unit in enumerate(decode_units(part) or ()):
            found[bisect_right(marks, unit)] += pack(unit)
            if number % _UNITS_A_STEP == 0:
                yield
    return found


def _last_words(
    changes: UnitChanges, top: int
) -> Generator[None, None, tuple[dict[bytes, str], dict[bytes, int]]]:
    """Return units by their hashes, and what was said last of each."""
    texts: dict[bytes, str] = {}
    last: dict[bytes, int] = {}
    units, words = changes.said(top)
    for start in range(0, len(units), _UNITS_A_STEP):
        stop = start + _UNITS_A_STEP
        for unit, word in zip(units[start:stop], words[start:stop], strict=True):
            unit_hash = hash_unit(unit) or b""
            texts[unit_hash] = unit
            last[unit_hash] = word
        yield
    return texts, last


def _kept(old: OldList, change: ListChange, *, long: bool) -> bool:
    """Return whether the list is divided as before, so that a blob without change stays."""
    return long and old.units is None and len(old.blobs) == blob_count(change.size)


def _rebuilt(
    old: OldList,
    change: ListChange,
    fetched: Mapping[str, bytes],
    made: dict[str, StoredBlob],
    *,
    long: bool,
) -> Generator[None, None, UnitList]:
    parts = blob_count(change.size) if long else 1
    kept = _kept(old, change, long=long)
    width = _TOPS // parts
    stored = fetched if old.units is None else old.units
    digests: list[str] = []
    for number in range(parts):
        low, high = number * width, (number + 1) * width
        if kept and not change.changes(low, high):
            digests.append(old.digests[number])
            continue
        units: dict[bytes, str] = {}
        if change.size:
            yield from _read(units, old, stored, low, high)
        for top in range(low, high):
            for unit_hash in change.removed.get(top, ()):
                units.pop(unit_hash, None)  # not read where nothing is left
            hashes, new = change.added.get(top, (b"", b""))
            for place, unit in enumerate(unpack(new)):
                units[hashes[place * UNIT_BYTES : (place + 1) * UNIT_BYTES]] = unit
        yield
        blob = stored_blob(units)
        digest = digest_of(blob.hashes)
        digests.append(digest)
        made[digest] = blob
        yield
    return UnitList(change.size, digests)


def _read(
    units: dict[bytes, str], old: OldList, stored: Mapping[str, bytes], low: int, high: int
) -> Generator[None, None, None]:
    """Add the units of a list whose hashes begin with a byte from `low` to before `high`."""
    parts = len(old.blobs)
    for number in range(low * parts // _TOPS, (high * parts - 1) // _TOPS + 1):
        blob, digest = old.blobs[number], old.digests[number]
        if not blob:
            continue
        texts = decode_units(stored[digest])
        if texts is None or len(texts) * UNIT_BYTES != len(blob):
            raise KeyError(digest)
        yield
        start, stop = _between(blob, low, high)
        for at in range(start, stop, UNIT_BYTES):
            units[blob[at : at + UNIT_BYTES]] = texts[at // UNIT_BYTES]
        yield


def _between(blob: bytes, low: int, high: int) -> tuple[int, int]:
    """Return where in a blob the hashes are whose first byte is from `low` to before `high`."""
    tops = blob[::UNIT_BYTES]
    return bisect_left(tops, low) * UNIT_BYTES, bisect_left(tops, high) * UNIT_BYTES
