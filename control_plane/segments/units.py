"""The use cases of a segment's units: read them all, put, move and take out some, replace all.

The hashes of long lists are in memory, the units are in Redis. So a write works out by hashes what
changes, fetches the units of the blobs that do, makes those anew, and commits; when the segment has
changed meanwhile, it does so again. One write of this process is worked out at a time: a million
units are 80 MB while they are.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from control_plane.audit.model import Author
from control_plane.documents import Precondition, invalid
from control_plane.errors import Conflict, Unavailable
from control_plane.publishing.replica import Replica
from control_plane.publishing.slices import run_in_slices
from control_plane.publishing.state import Change, Edit, ProjectState, RecordKind, SegmentRecord
from control_plane.segments.lists import (
    ListChange,
    NewLists,
    OldList,
    UnitChanges,
    divide,
    is_long,
    long_list,
    needed,
    rebuild,
    short_list,
    work_out,
)
from control_plane.segments.model import SegmentResource, segment_resource
from control_plane.segments.packed import pack, unpack
from control_plane.segments.service import find_segment
from control_plane.times import now_rfc3339
from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import Segment, UnitList
from proxy.contract.problems import Problem
from proxy.contract.units import EMPTY_BLOB, MAX_UNITS

__all__ = ["UnitService", "Units"]

_ATTEMPTS = 25  # at a segment that others change meanwhile; each is a few milliseconds
_BLOBS_AT_ONCE = 16  # read from Redis: 2 MB
_PATIENCE_S = 30.0  # of a write, for those before it; a million units take some seconds


class Units(NamedTuple):
    """The units of a segment as they were at one version."""

    version: int
    included: Sequence[bytearray]
    """Packed, in ranges; see `lists.divide`."""
    excluded: Sequence[bytearray]

    def pieces(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the units in order, included ones first, each piece with the word of its list.

        A piece is made in a few milliseconds.
        """
        for word, parts in (("include", self.included), ("exclude", self.excluded)):
            for part in parts:
                yield word, sorted(unpack(part))


class UnitService:
    """The units of the segments of all projects."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._turn = asyncio.Lock()

    def version(self, project: str, key: str) -> int:
        """Return the version of a segment; raises NotFound."""
        return find_segment(self._replica.project(project), key).version

    async def read(self, project: str, key: str) -> Units:
        """Return all units of a segment.

        Raises:
            NotFound; Conflict: `missing_blob`; Unavailable: Redis did not answer.
        """
        for _ in range(_ATTEMPTS):
            record = find_segment(self._replica.project(project), key)
            segment = record.segment
            if isinstance(segment.units, UnsetType):
                short = (segment.included, segment.excluded)
                packed = [bytearray(b"".join([pack(unit) for unit in set(part)])) for part in short]
                return Units(record.version, packed[:1], packed[1:])
            digests = [_digests(segment.units.included), _digests(segment.units.excluded)]
            stored = await self._fetch(project, [*digests[0], *digests[1]])
            parts = [[stored.get(digest, b"") for digest in part] for part in digests]
            included, excluded = [await run_in_slices(divide(part)) for part in parts]
            if included is not None and excluded is not None:
                return Units(record.version, included, excluded)
            await self._look_again(project, record)
        raise _contended()

    async def change(
        self,
        project: str,
        key: str,
        changes: UnitChanges,
        author: Author,
        precondition: Precondition,
        *,
        replace: bool,
    ) -> SegmentResource:
        """Do to the units of a segment what is said of them, or have those said and no others.

        Raises:
            NotFound, PreconditionFailed; Invalid: a list would be too long; Conflict: `contended`,
            `missing_blob`; Unavailable: Redis did not answer, or others write long lists.
        """
        async with self._its_turn():
            for _ in range(_ATTEMPTS):
                state = self._replica.project(project)
                record = find_segment(state, key)
                precondition(record.version)
                try:
                    lists = await self._made(state, record, changes, replace=replace)
                    if lists is None:
                        return segment_resource(record)
                    action = "segment.units.replace" if replace else "segment.units.change"
                    made = _Write(record, lists.put_into(record.segment), lists, action, author)
                    await self._replica.commit(project, made.build)
                except _ChangedError:
                    continue
                return segment_resource(made.record)
        raise _contended()

    async def _made(
        self, state: ProjectState, record: SegmentRecord, changes: UnitChanges, *, replace: bool
    ) -> NewLists | None:
        """Return the lists of a segment after a change, or None when they are what they were."""
        segment = record.segment
        old = _empty() if replace else _old_lists(segment, state)
        if old is None:
            raise _lost(segment.key)
        worked_out = await run_in_slices(work_out(changes, *old))
        _check_counts(*worked_out)
        if not replace and not any(part.changes(0, 256) for part in worked_out):
            return None
        long = is_long(*worked_out)
        pairs = list(zip(old, worked_out, strict=True))
        wanted = set().union(*(needed(part, change, long=long) for part, change in pairs))
        stored = await self._fetch(state.name, wanted)
        try:
            lists = await run_in_slices(rebuild(old, worked_out, stored))
        except KeyError:
            await self._look_again(state.name, record)
            raise _ChangedError from None
        if replace and _same_lists(segment, lists) and not _is_incomplete(state, segment.key):
            return None
        return lists

    @asynccontextmanager
    async def _its_turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable("others write long lists of units", retry_after_s=5) from None
        try:
            yield
        finally:
            self._turn.release()

    async def _look_again(self, project: str, record: SegmentRecord) -> None:
        """Return when the segment has changed: units that are not there were those of before.

        Raises:
            Conflict: `missing_blob`, they were not; NotFound; Unavailable.
        """
        await self._replica.catch_up(project)
        if find_segment(self._replica.project(project), record.segment.key) == record:
            raise _lost(record.segment.key)

    async def _fetch(self, project: str, digests: Collection[str]) -> dict[str, bytes]:
        """Return the units of blobs as they are stored, a few at a time."""
        found: dict[str, bytes] = {}
        order = list(digests)
        for start in range(0, len(order), _BLOBS_AT_ONCE):
            found |= await self._replica.units(project, order[start : start + _BLOBS_AT_ONCE])
        return found


class _ChangedError(Exception):
    """The segment is not what the lists were made for any more."""


class _Write:
    """One attempt to give a segment lists that were made for it as it was."""

    def __init__(
        self,
        before: SegmentRecord,
        segment: Segment,
        lists: NewLists,
        action: str,
        author: Author,
    ) -> None:
        self._before = before
        self._blobs = lists.blobs
        self._action = action
        self._author = author
        now = now_rfc3339()
        self.record = SegmentRecord(segment, before.version + 1, before.created_at, now)

    def build(self, state: ProjectState) -> Change:
        """Return the change; raises _ChangedError, and NotFound."""
        key = self.record.segment.key
        if find_segment(state, key) != self._before:
            raise _ChangedError
        edits = (Edit(RecordKind.SEGMENT, key, self.record),)
        return Change(self._action, self._author, self.record.updated_at, edits, self._blobs)


def _empty() -> tuple[OldList, OldList]:
    return short_list(()), short_list(())


def _old_lists(segment: Segment, state: ProjectState) -> tuple[OldList, OldList] | None:
    """Return the lists of a segment, or None when a blob is not there."""
    if isinstance(segment.units, UnsetType):
        return short_list(segment.included), short_list(segment.excluded)
    included = long_list(segment.units.included, state.blobs)
    excluded = long_list(segment.units.excluded, state.blobs)
    return None if included is None or excluded is None else (included, excluded)


def _digests(units: UnitList | UnsetType) -> list[str]:
    return [] if units is UNSET else [d for d in units.blobs if d != EMPTY_BLOB]


def _same_lists(segment: Segment, lists: NewLists) -> bool:
    """Return whether a segment has these units already, in whatever order."""
    return (
        segment.units == lists.units
        and set(segment.included) == set(lists.included)
        and set(segment.excluded) == set(lists.excluded)
    )


def _is_incomplete(state: ProjectState, key: str) -> bool:
    return key in state.incomplete_segments()


def _check_counts(included: ListChange, excluded: ListChange) -> None:
    problems = [
        Problem(
            "",
            ProblemCode.TOO_MANY,
            f"{change.size} {name} units, at most {MAX_UNITS} are allowed",
            "give the others a segment of their own, and name both in a condition",
        )
        for name, change in (("included", included), ("excluded", excluded))
        if change.size > MAX_UNITS
    ]
    if problems:
        raise invalid(problems)


def _lost(key: str) -> Conflict:
    return Conflict(
        f"Redis has lost a part of the units of segment {key!r}; PUT all of them again",
        code="missing_blob",
    )


def _contended() -> Conflict:
    return Conflict("others changed the segment meanwhile, again and again", code="contended")
