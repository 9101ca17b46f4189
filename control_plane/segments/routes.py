"""`/api/v1/segments`: segments over HTTP, and their units as lines of JSON below them."""

import asyncio
from functools import partial
from typing import Any
from urllib.parse import quote

from aiohttp import hdrs, web

from control_plane.access.requests import author_of
from control_plane.documents import invalid
from control_plane.flags.responses import note_headers
from control_plane.keys import REPLICA, UNITS
from control_plane.publishing.slices import run_in_slices
from control_plane.segments.lines import UnitLines, encode_lines
from control_plane.segments.model import SegmentInput, SegmentResource, Written
from control_plane.segments.service import SegmentService
from control_plane.web.documents import (
    body_pieces,
    check_media_type,
    decode_document,
    read_document,
    read_flawed,
)
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
_LINES = "application/x-ndjson"

_MAX_LINES_BYTES = 128 * 1024 * 1024
"""Of the units of a segment as lines: two full lists of UUIDs are 104 MB. They are read as they
come, so that this much is never held."""

_WRITE_TIMEOUT_S = 30.0
"""A reader of units that takes nothing for so long is dropped."""


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
    document, _, flaws = await read_flawed(request, SegmentInput, "segment")
    project = query_scope(request).project
    written = await _segments(request).create(project, document, author_of(request), flaws)
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
    document, _, flaws = await read_flawed(request, SegmentInput, "segment")
    written = await _segments(request).replace(
        query_scope(request).project,
        request.match_info["key"],
        document,
        author_of(request),
        partial(check_if_match, request),
        flaws,
    )
    return _written(written)


async def patch_segment(request: web.Request) -> web.StreamResponse:
    """Apply a merge patch to a segment."""
    changes = await read_document(request, dict[str, Any])
    written = await _segments(request).patch(
        query_scope(request).project,
        request.match_info["key"],
        changes,
        partial(decode_document, kind=SegmentInput, parts="segment"),
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


async def read_units(request: web.Request) -> web.StreamResponse:
    """Stream the units of a segment."""
    project, key = query_scope(request).project, request.match_info["key"]
    units = request.app[UNITS]
    etag = etag_of(units.version(project, key))
    if not_modified(request, etag):
        return not_modified_response(etag)
    if request.method == hdrs.METH_HEAD:
        return web.Response(headers={hdrs.ETAG: etag, hdrs.CONTENT_TYPE: _LINES})
    found = await units.read(project, key)
    response = web.StreamResponse(
        headers={hdrs.ETAG: etag_of(found.version), hdrs.CONTENT_TYPE: _LINES}
    )
    await response.prepare(request)
    for word, piece in found.pieces():
        if piece:
            async with asyncio.timeout(_WRITE_TIMEOUT_S):
                await response.write(encode_lines(word, piece))
        await asyncio.sleep(0)
    await response.write_eof()
    return response


async def change_units(request: web.Request) -> web.StreamResponse:
    """Put units into lists, move them, take them out."""
    return await _write_units(request, replace=False)


async def replace_units(request: web.Request) -> web.StreamResponse:
    """Replace both lists."""
    return await _write_units(request, replace=True)


async def _write_units(request: web.Request, *, replace: bool) -> web.StreamResponse:
    project, key = query_scope(request).project, request.match_info["key"]
    check_media_type(request, (_LINES,))
    units = request.app[UNITS]
    check_if_match(request, units.version(project, key))
    lines = UnitLines(removing=not replace)
    async for piece in body_pieces(request, _MAX_LINES_BYTES):
        await run_in_slices(lines.feed(piece))
        if lines.full:
            break
    await run_in_slices(lines.end())
    if lines.problems:
        raise invalid(lines.problems)
    segment = await units.change(
        project,
        key,
        lines.changes,
        author_of(request),
        partial(check_if_match, request),
        replace=replace,
    )
    return json_response(segment, etag=etag_of(segment.version))


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


_ONE = "/api/v1/segments/{key:.+(?<!/units)(?<!/units/)}"
"""Where a segment is: never where the units of another are, whatever it is called."""

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
    # Before those of a segment, whose pattern would take these paths for keys.
    Route(
        method="GET",
        path="/api/v1/segments/{key:.+}/units",
        handler=read_units,
        summary="Read a segment's units",
        permission=Permission.READ,
        tag="segments",
        params=(PROJECT, _KEY, IF_NONE_MATCH),
        responses={200: "Lines of JSON, `application/x-ndjson`.", 304: None},
        description="A line for each unit, included ones first, each list in order. Sent back "
        "with PUT it changes nothing.",
    ),
    Route(
        method="POST",
        path="/api/v1/segments/{key:.+}/units",
        handler=change_units,
        summary="Add, move and remove units",
        permission=Permission.WRITE,
        tag="segments",
        params=(PROJECT, _KEY, IF_MATCH),
        body=str,
        example='{"include":"user-1"}\n{"exclude":"user-2"}\n{"remove":"user-3"}\n',
        media_types=(_LINES,),
        responses={200: SegmentResource},
        description="A line of JSON for each unit. All of them are done, in order, or none: what "
        "is wrong is listed by the number of its line. A unit is in one list at most.",
    ),
    Route(
        method="PUT",
        path="/api/v1/segments/{key:.+}/units",
        handler=replace_units,
        summary="Replace a segment's units",
        permission=Permission.WRITE,
        tag="segments",
        params=(PROJECT, _KEY, IF_MATCH),
        body=str,
        example='{"include":"user-1"}\n{"exclude":"user-2"}\n',
        media_types=(_LINES,),
        responses={200: SegmentResource},
        description="A line of JSON for each unit: those and no others are in the lists.",
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=get_segment,
        summary="Read a segment",
        permission=Permission.READ,
        tag="segments",
        params=(PROJECT, _KEY, IF_NONE_MATCH),
        responses={200: SegmentResource, 304: None},
    ),
    Route(
        method="PUT",
        path=_ONE,
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
        path=_ONE,
        handler=patch_segment,
        summary="Change parts of a segment",
        permission=Permission.WRITE,
        tag="segments",
        params=(PROJECT, _KEY, IF_MATCH),
        body=dict[str, Any],
        example={"included": ["user-1", "user-2"]},
        media_types=(_MERGE_PATCH, JSON),
        responses={200: SegmentResource},
        description="A JSON merge patch (RFC 7396) of what a read gives. Where one of several "
        "members is needed, as in a condition, another takes its place; no null is needed.",
    ),
    Route(
        method="DELETE",
        path=_ONE,
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
