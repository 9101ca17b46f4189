"""`/api/v1/segments`: segments over HTTP."""

from functools import partial
from typing import Any
from urllib.parse import quote

from aiohttp import web

from control_plane.access.requests import author_of
from control_plane.flags.responses import note_headers
from control_plane.keys import REPLICA
from control_plane.segments.model import SegmentInput, SegmentResource, Written
from control_plane.segments.service import SegmentService
from control_plane.web.documents import decode_document, read_document
from control_plane.web.paging import encode_cursor, query_cursor, query_limit
from control_plane.web.params import query_bool, query_scope
from control_plane.web.respond import (
    check_if_match,
    etag_of,
    json_response,
    no_content,
    not_modified,
    not_modified_response,
    page,
)
from control_plane.web.routing import (
    CURSOR,
    IF_MATCH,
    IF_NONE_MATCH,
    JSON,
    LIMIT,
    PROJECT,
    Page,
    Param,
    Permission,
    Route,
)

__all__ = ["ROUTES"]

_MERGE_PATCH = "application/merge-patch+json"


async def list_segments(request: web.Request) -> web.StreamResponse:
    """Answer a page of segments."""
    items, last = _segments(request).page(
        query_scope(request).project,
        frozenset(request.query.getall("tag", [])),
        request.query.get("prefix", ""),
        query_cursor(request),
        query_limit(request),
    )
    return page(items, None if last is None else encode_cursor(last))


async def create_segment(request: web.Request) -> web.StreamResponse:
    """Create a segment."""
    document = await read_document(request, SegmentInput)
    project = query_scope(request).project
    written = await _segments(request).create(project, document, author_of(request))
    location = f"/api/v1/segments/{quote(written.resource.key)}"
    if "project" in request.query:
        location += f"?project={quote(project)}"
    return _written(written, 201, location)


async def get_segment(request: web.Request) -> web.StreamResponse:
    """Answer one segment."""
    segment = _segments(request).get(query_scope(request).project, request.match_info["key"])
    etag = etag_of(segment.version)
    if not_modified(request, etag):
        return not_modified_response(etag)
    return json_response(segment, etag=etag)


async def replace_segment(request: web.Request) -> web.StreamResponse:
    """Replace a segment."""
    document = await read_document(request, SegmentInput)
    written = await _segments(request).replace(
        query_scope(request).project,
        request.match_info["key"],
        document,
        author_of(request),
        partial(check_if_match, request),
    )
    return _written(written)


async def patch_segment(request: web.Request) -> web.StreamResponse:
    """Apply a merge patch to a segment."""
    changes = await read_document(request, dict[str, Any])
    written = await _segments(request).patch(
        query_scope(request).project,
        request.match_info["key"],
        changes,
        partial(decode_document, kind=SegmentInput),
        author_of(request),
        partial(check_if_match, request),
    )
    return _written(written)


async def delete_segment(request: web.Request) -> web.StreamResponse:
    """Delete a segment."""
    await _segments(request).delete(
        query_scope(request).project,
        request.match_info["key"],
        author_of(request),
        partial(check_if_match, request),
        force=query_bool(request, "force") or False,
    )
    return no_content()


def _written(written: Written, status: int = 200, location: str | None = None) -> web.Response:
    return json_response(
        written.resource,
        status=status,
        etag=etag_of(written.resource.version),
        location=location,
        headers=note_headers(written.warnings),
    )


def _segments(request: web.Request) -> SegmentService:
    return SegmentService(request.app[REPLICA])


_KEY = Param("key", "path", required=True, description="The segment's key; may contain slashes.")

ROUTES = (
    Route(
        method="GET",
        path="/api/v1/segments",
        handler=list_segments,
        summary="List segments",
        permission=Permission.READ,
        tag="segments",
        params=(
            PROJECT,
            Param("tag", description="Only segments with this tag; repeat it for several."),
            Param("prefix", description="Only segments whose key begins like this."),
            LIMIT,
            CURSOR,
        ),
        responses={200: Page[SegmentResource]},
    ),
    Route(
        method="POST",
        path="/api/v1/segments",
        handler=create_segment,
        summary="Create a segment",
        permission=Permission.WRITE,
        tag="segments",
        params=(PROJECT,),
        body=SegmentInput,
        example={
            "key": "beta",
            "name": "Beta users",
            "when": {"attribute": "plan", "op": "in", "values": ["beta", "staff"]},
        },
        responses={201: SegmentResource},
    ),
    Route(
        method="GET",
        path="/api/v1/segments/{key:.+}",
        handler=get_segment,
        summary="Read a segment",
        permission=Permission.READ,
        tag="segments",
        params=(PROJECT, _KEY, IF_NONE_MATCH),
        responses={200: SegmentResource, 304: None},
    ),
    Route(
        method="PUT",
        path="/api/v1/segments/{key:.+}",
        handler=replace_segment,
        summary="Replace a segment",
        permission=Permission.WRITE,
        tag="segments",
        params=(PROJECT, _KEY, IF_MATCH),
        body=SegmentInput,
        example={
            "key": "beta",
            "name": "Beta users",
            "when": {"attribute": "plan", "op": "in", "values": ["beta", "staff"]},
        },
        responses={200: SegmentResource},
    ),
    Route(
        method="PATCH",
        path="/api/v1/segments/{key:.+}",
        handler=patch_segment,
        summary="Change parts of a segment",
        permission=Permission.WRITE,
        tag="segments",
        params=(PROJECT, _KEY, IF_MATCH),
        body=dict[str, Any],
        example={"included": ["user-1", "user-2"]},
        media_types=(_MERGE_PATCH, JSON),
        responses={200: SegmentResource},
        description="A JSON merge patch (RFC 7396) of what a read gives.",
    ),
    Route(
        method="DELETE",
        path="/api/v1/segments/{key:.+}",
        handler=delete_segment,
        summary="Delete a segment",
        permission=Permission.WRITE,
        tag="segments",
        params=(
            PROJECT,
            _KEY,
            Param("force", type=bool, description="Also while it is used; users then fail."),
            IF_MATCH,
        ),
        responses={204: None},
    ),
)
