"""The use cases of segments: read, list, create, replace, patch, delete.

A segment is validated with all others of its project, also for what it does to those that name it:
a cycle cannot be made, not even by two writers at once, because each write is worked out again
when another came before it.

Lists that are too long for a record are made into blobs before the write, in small steps; what they
are made from is compared in the write, so that nothing is lost between the two.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.audit.model import Author
from control_plane.documents import (
    NO_FLAWS,
    Flaws,
    Precondition,
    decode_flawed,
    invalid,
    merge_patch,
    same_document,
)
from control_plane.errors import Conflict, NotFound
from control_plane.publishing.checks import StillChecking, at_once
from control_plane.publishing.replica import Replica
from control_plane.publishing.slices import run_in_slices
from control_plane.publishing.state import (
    Change,
    Edit,
    Name,
    ProjectState,
    RecordKind,
    SegmentRecord,
    segments_in,
)
from control_plane.segments.lists import NewLists, new_lists
from control_plane.segments.model import (
    SegmentInput,
    SegmentResource,
    Written,
    check_units,
    segment_of,
    segment_resource,
)
from control_plane.times import now_rfc3339
from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import Segment
from proxy.contract.problems import Problem, has_errors
from proxy.contract.steps import Steps
from proxy.contract.units import INLINE_UNITS
from proxy.engine import checking_segment

__all__ = ["MAX_SEGMENTS", "SegmentService", "find_segment"]

MAX_SEGMENTS = 2_000
"""Segments of a project; every snapshot of the project carries all of them."""

_ATTEMPTS = 5  # at lists that change while blobs are made of them

_RESERVED = "units"  # as the last part of a key; `/units` below another segment would hide it


class SegmentService:
    """The segments of all projects."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def get(self, project: str, key: str) -> SegmentResource:
        """Return a segment; raises NotFound."""
        return segment_resource(find_segment(self._replica.project(project), key))

    def page(
        self, project: str, tags: frozenset[str], prefix: str, after: str | None, limit: int
    ) -> tuple[list[SegmentResource], str | None]:
        """Return segments in the order of keys, and the key the next page starts after, if any."""
        segments = self._replica.project(project).segments
        wanted = sorted(
            key
            for key, record in segments.items()
            if key.startswith(prefix)
            and (after is None or key > after)
            and tags.issubset(record.segment.tags)
        )
        items = [segment_resource(segments[key]) for key in wanted[:limit]]
        return items, wanted[limit - 1] if len(wanted) > limit else None

    async def create(
        self, project: str, document: SegmentInput, author: Author, flaws: Flaws = NO_FLAWS
    ) -> Written:
        """Create a segment. With `flaws` nothing is, and all that is wrong is told.

        Raises:
            Invalid: with all problems; Conflict: there is one of that key.
        """
        with flaws.first():
            key = _new_key(document)

        def build(state: ProjectState) -> _Built:
            with flaws.first():
                if key in state.segments:
                    raise Conflict(f"there is a segment {key!r}", code="segment_exists")
                if len(state.segments) >= MAX_SEGMENTS:
                    raise Conflict(
                        f"{MAX_SEGMENTS} segments are all a project can have", code="too_many"
                    )
                check_units(document, None)
                return _Built(segment_of(document, key), None, flaws)

        return await self._write(project, "segment.create", author, build)

    async def replace(
        self,
        project: str,
        key: str,
        document: SegmentInput,
        author: Author,
        precondition: Precondition,
        flaws: Flaws = NO_FLAWS,
    ) -> Written:
        """Replace a segment; raises NotFound, PreconditionFailed, Invalid.

        With `flaws` nothing is, and all that is wrong is told.
        """

        def build(state: ProjectState) -> _Built:
            with flaws.first():
                record = _changeable(state, key, precondition)
                check_units(document, record.segment)
                segment = segment_of(document, key, record.segment)
                return _Built(segment, record, _with_other_key(flaws, document, key))

        return await self._write(project, "segment.replace", author, build)

    async def patch(
        self,
        project: str,
        key: str,
        changes: Mapping[str, Any],
        decode: Callable[[bytes], SegmentInput],
        author: Author,
        precondition: Precondition,
    ) -> Written:
        """Apply a merge patch to a segment; raises as `replace`, and what `decode` raises."""

        def build(state: ProjectState) -> _Built:
            record = _changeable(state, key, precondition)
            # `units` counts what the record names by digests: only what is sent is compared.
            short = msgspec.structs.replace(record.segment, units=UNSET)
            document, flaws = decode_flawed(decode, merge_patch(short, changes))
            with flaws.first():
                check_units(document, record.segment)
                segment = segment_of(document, key, record.segment)
                return _Built(segment, record, _with_other_key(flaws, document, key))

        return await self._write(project, "segment.patch", author, build)

    async def delete(
        self, project: str, key: str, author: Author, precondition: Precondition, *, force: bool
    ) -> None:
        """Delete a segment.

        Flags that still name it, if forced, answer `PARSE_ERROR` until they are mended.

        Raises:
            NotFound, PreconditionFailed; Conflict: `segment_in_use`, unless forced.
        """

        def build(state: ProjectState) -> Change:
            precondition(find_segment(state, key).version)
            users = state.users(RecordKind.SEGMENT, key)
            if users and not force:
                named = ", ".join(f"{user.kind} {user.key!r}" for user in users[:20])
                raise Conflict(
                    f"segment {key!r} is used by {len(users)}: {named}", code="segment_in_use"
                )
            edits = (Edit(RecordKind.SEGMENT, key, None),)
            return Change("segment.delete", author, now_rfc3339(), edits)

        await self._replica.commit(project, build)

    async def _write(
        self,
        project: str,
        action: str,
        author: Author,
        build: "Callable[[ProjectState], _Built]",
    ) -> Written:
        result: list[Written] = []
        made: tuple[Segment, NewLists] | None = None
        done: tuple[int, _Built, list[Problem]] | None = None

        def change(state: ProjectState) -> Change:
            if done is not None and done[0] == state.sequence:
                _, built, found = done
            else:
                built = build(state)
                found = at_once(state, built, _problems_of(built.segment, state))
            segment, old, flaws = built
            problems = flaws.joined(found)
            if has_errors(problems):
                raise invalid(problems)
            lists = _lists_of(segment, made)
            if lists is not None:
                segment = lists.put_into(segment)
            now = now_rfc3339()
            if old is not None and same_document(segment, old.segment):
                result[:] = [Written(segment_resource(old), problems)]
                return Change(action, author, now)
            version, created_at = (1, now) if old is None else (old.version + 1, old.created_at)
            record = SegmentRecord(segment, version, created_at, now)
            result[:] = [Written(segment_resource(record), problems)]
            edits = (Edit(RecordKind.SEGMENT, segment.key, record),)
            return Change(action, author, now, edits, {} if lists is None else lists.blobs)

        for _ in range(_ATTEMPTS):
            try:
                await self._replica.commit(project, change)
            except StillChecking as more:
                built: _Built = more.made
                done = more.sequence, built, await run_in_slices(more.steps)
            except _TooLongError as long:
                segment = long.segment
                lists = await run_in_slices(new_lists(segment.included, segment.excluded))
                made = segment, lists
            else:
                return result[0]
        raise Conflict("others changed the segment meanwhile, again and again", code="contended")


class _Built(NamedTuple):
    """What a write makes a segment: that, what it replaces, and what its body says amiss."""

    segment: Segment
    old: SegmentRecord | None
    flaws: Flaws


def _problems_of(segment: Segment, state: ProjectState) -> Steps[list[Problem]]:
    documents, concerned = state.segment_documents, related_segments(state, segment)
    return checking_segment(segment, documents, concerned=concerned)


def related_segments(state: ProjectState, segment: Segment) -> set[str]:
    """Return the segments that name this one, directly or through others, and all those name.

    What this one names is taken from `segment`, which is about to be written.
    """
    related = {segment.key}
    todo = [segment.key]
    while todo:
        for key in state.segments_naming(todo.pop()):
            if key not in related:
                related.add(key)
                todo.append(key)
    todo = [*related, *segments_in((segment.when,))]
    related.update(todo)
    while todo:
        for kind, key in state.uses(Name(RecordKind.SEGMENT, todo.pop())):
            if kind is RecordKind.SEGMENT and key not in related:
                related.add(key)
                todo.append(key)
    return related


class _TooLongError(Exception):
    """The lists of a segment have to be made into blobs first."""

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment.key)
        self.segment = segment


def _lists_of(segment: Segment, made: tuple[Segment, NewLists] | None) -> NewLists | None:
    """Return what was made of a segment's long lists; None when they are short.

    Raises:
        _TooLongError: nothing was made, or of other lists.
    """
    if len(segment.included) + len(segment.excluded) <= INLINE_UNITS:
        return None
    if made is not None:
        before, lists = made
        if (before.included, before.excluded) == (segment.included, segment.excluded):
            return lists
    raise _TooLongError(segment)


def find_segment(state: ProjectState, key: str) -> SegmentRecord:
    """Return a segment; raises NotFound."""
    record = state.segments.get(key)
    if record is None:
        raise NotFound(f"there is no segment {key[:128]!r}", code="segment_not_found")
    return record


def _changeable(state: ProjectState, key: str, precondition: Precondition) -> SegmentRecord:
    """Return a segment that is to be changed; raises NotFound, PreconditionFailed."""
    if key not in state.segments:
        detail = f"there is no segment {key[:128]!r}; POST creates one"
        raise NotFound(detail, code="segment_not_found")
    record = find_segment(state, key)
    precondition(record.version)
    return record


def _new_key(document: SegmentInput) -> str:
    """Return the key of a segment to be; raises Invalid."""
    key = document.key
    if isinstance(key, UnsetType):
        raise invalid([Problem("/key", ProblemCode.MISSING_FIELD, "key is missing")])
    if key.rpartition("/")[2] == _RESERVED:
        message = f"the last part of a segment's key cannot be {_RESERVED!r}"
        hint = f".../{_RESERVED} is where the units of a segment are"
        raise invalid([Problem("/key", ProblemCode.INVALID_KEY, message, hint)])
    return key


def _with_other_key(flaws: Flaws, document: SegmentInput, key: str) -> Flaws:
    """Return the flaws of a body, and that its key is another than the segment's, if it is."""
    given = document.key
    if isinstance(given, UnsetType) or given == key:
        return flaws
    message = f"key is {key!r} and cannot become {given[:80]!r}"
    problem = Problem("/key", ProblemCode.READ_ONLY, message)
    return flaws._replace(problems=[*flaws.problems, problem])
