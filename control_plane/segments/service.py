"""The use cases of segments: read, list, create, replace, patch, delete.

A segment is validated with all others of its project, also for what it does to those that name it:
a cycle cannot be made, not even by two writers at once, because each write is worked out again
when another came before it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UnsetType

from control_plane.audit.model import Author
from control_plane.documents import Precondition, invalid, merge_patch, same_document
from control_plane.errors import Conflict, NotFound
from control_plane.publishing.replica import Replica, now_rfc3339
from control_plane.publishing.state import Change, Edit, ProjectState, RecordKind, SegmentRecord
from control_plane.segments.model import (
    SegmentInput,
    SegmentResource,
    Written,
    segment_of,
    segment_resource,
)
from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import Segment
from proxy.contract.problems import Problem, has_errors
from proxy.engine import check_segment

__all__ = ["MAX_SEGMENTS", "SegmentService"]

MAX_SEGMENTS = 2_000
"""Segments of a project; every snapshot of the project carries all of them."""


class SegmentService:
    """The segments of all projects."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def get(self, project: str, key: str) -> SegmentResource:
        """Return a segment; raises NotFound."""
        return segment_resource(_found(self._replica.project(project), key))

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

    async def create(self, project: str, document: SegmentInput, author: Author) -> Written:
        """Create a segment.

        Raises:
            Invalid: with all problems; Conflict: there is one of that key.
        """
        key = document.key
        if isinstance(key, UnsetType):
            raise invalid([Problem("/key", ProblemCode.MISSING_FIELD, "key is missing")])

        def build(state: ProjectState) -> tuple[Segment, SegmentRecord | None]:
            if key in state.segments:
                raise Conflict(f"there is a segment {key!r}", code="segment_exists")
            if len(state.segments) >= MAX_SEGMENTS:
                raise Conflict(
                    f"{MAX_SEGMENTS} segments are all a project can have", code="too_many"
                )
            return segment_of(document, key), None

        return await self._write(project, "segment.create", author, build)

    async def replace(
        self,
        project: str,
        key: str,
        document: SegmentInput,
        author: Author,
        precondition: Precondition,
    ) -> Written:
        """Replace a segment; raises NotFound, PreconditionFailed, Invalid."""

        def build(state: ProjectState) -> tuple[Segment, SegmentRecord]:
            record = _found(state, key)
            precondition(record.version)
            _refuse_other_key(document, key)
            return segment_of(document, key), record

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

        def build(state: ProjectState) -> tuple[Segment, SegmentRecord]:
            record = _found(state, key)
            precondition(record.version)
            document = decode(merge_patch(record.segment, changes))
            _refuse_other_key(document, key)
            return segment_of(document, key), record

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
            precondition(_found(state, key).version)
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
        build: Callable[[ProjectState], tuple[Segment, SegmentRecord | None]],
    ) -> Written:
        result: list[Written] = []

        def change(state: ProjectState) -> Change:
            segment, old = build(state)
            problems = check_segment(segment, state.segment_documents)
            if has_errors(problems):
                raise invalid(problems)
            now = now_rfc3339()
            if old is not None and same_document(segment, old.segment):
                result[:] = [Written(segment_resource(old), problems)]
                return Change(action, author, now)
            version, created_at = (1, now) if old is None else (old.version + 1, old.created_at)
            record = SegmentRecord(segment, version, created_at, now)
            result[:] = [Written(segment_resource(record), problems)]
            return Change(action, author, now, (Edit(RecordKind.SEGMENT, segment.key, record),))

        await self._replica.commit(project, change)
        return result[0]


def _found(state: ProjectState, key: str) -> SegmentRecord:
    record = state.segments.get(key)
    if record is None:
        raise NotFound(f"there is no segment {key[:128]!r}", code="segment_not_found")
    return record


def _refuse_other_key(document: SegmentInput, key: str) -> None:
    given = document.key
    if not isinstance(given, UnsetType) and given != key:
        message = f"key is {key!r} and cannot become {given[:80]!r}"
        raise invalid([Problem("/key", ProblemCode.READ_ONLY, message)])
