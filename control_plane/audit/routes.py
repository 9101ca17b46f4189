"""`/api/v1/history` and `/api/v1/revert` over HTTP."""

from functools import partial

from aiohttp import web

from control_plane.access.requests import author_of
from control_plane.audit.model import HistoryEntry, RevertInput
from control_plane.audit.service import HistoryService
from control_plane.flags.model import FlagResource
from control_plane.flags.responses import REBUCKET, query_rebucket, written_response
from control_plane.keys import REPLICA
from control_plane.web.documents import read_document
from control_plane.web.paging import encode_cursor, query_cursor, query_limit
from control_plane.web.params import invalid_parameter, query_scope
from control_plane.web.respond import check_if_match, page
from control_plane.web.routing import (
    CURSOR,
    ENVIRONMENT,
    IF_MATCH,
    LIMIT,
    PROJECT,
    Page,
    Param,
    Permission,
    Route,
)

__all__ = ["ROUTES"]


async def list_versions(request: web.Request) -> web.StreamResponse:
    """Answer a page of a flag's versions."""
    flag = request.query.get("flag")
    if not flag:
        raise invalid_parameter("flag", "is needed: the key of the flag")
    items, last = await _history(request).page(
        query_scope(request).project, flag, _before(request), query_limit(request)
    )
    return page(items, None if last is None else encode_cursor(str(last)))


async def revert_flag(request: web.Request) -> web.StreamResponse:
    """Take a flag back to an earlier version."""
    document = await read_document(request, RevertInput)
    scope = query_scope(request)
    written = await _history(request).revert(
        *scope,
        document,
        author_of(request),
        partial(check_if_match, request),
        rebucket=query_rebucket(request),
    )
    return written_response(written)


def _history(request: web.Request) -> HistoryService:
    return HistoryService(request.app[REPLICA])


def _before(request: web.Request) -> int | None:
    position = query_cursor(request)
    if position is None:
        return None
    if not (position.isascii() and position.isdigit() and len(position) <= 18):
        raise invalid_parameter("cursor", "take `next_cursor` of the page before as it is")
    return int(position)


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/history",
        handler=list_versions,
        summary="List the versions of a flag",
        permission=Permission.READ,
        tag="history",
        params=(PROJECT, Param("flag", required=True, description="The flag."), LIMIT, CURSOR),
        responses={200: Page[HistoryEntry]},
        description="Newest first, with who made it, when and from where. Kept are 100 versions "
        "and 90 days, the newest in any case.",
    ),
    Route(
        method="POST",
        path="/api/v1/revert",
        handler=revert_flag,
        summary="Take a flag back to an earlier version",
        permission=Permission.WRITE,
        tag="history",
        params=(PROJECT, ENVIRONMENT, REBUCKET, IF_MATCH),
        body=RevertInput,
        example={"flag": "new-checkout", "version": 1},
        responses={200: FlagResource},
        description="As a new version; with `environment` only what is configured there. Brings a "
        "deleted flag back, too.",
    ),
)
