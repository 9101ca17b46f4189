"""`/api/v1/history`, `/api/v1/revert` and `/api/v1/audit` over HTTP."""

import re
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial

import msgspec
from aiohttp import hdrs, web

from control_plane.access.requests import author_of
from control_plane.audit.chain import Checkpoint, Link
from control_plane.audit.export import FORMAT, Beginning, csv_lines, ndjson_line
from control_plane.audit.log import AuditFilter
from control_plane.audit.model import (
    AuditResource,
    HistoryEntry,
    RevertInput,
    elsewhere_problem,
    filter_problem,
)
from control_plane.audit.service import HistoryService
from control_plane.flags.model import FlagResource
from control_plane.flags.responses import REBUCKET, query_rebucket, written_response
from control_plane.keys import AUDIT, REPLICA
from control_plane.store.projects import AuditRow, AuditState
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


async def list_entries(request: web.Request) -> web.StreamResponse:
    """Answer a page of the audit log."""
    after = query_cursor(request)
    if after is not None and not _ENTRY_ID.fullmatch(after):
        raise invalid_parameter("cursor", "take `next_cursor` of the page before as it is")
    wanted = AuditFilter(
        _query_filter(request, "actor"),
        _query_filter(request, "action"),
        _query_filter(request, "target"),
        _query_time(request, "since"),
        _query_time(request, "until"),
    )
    project = query_scope(request).project
    _check_log(project, wanted)
    items, last = await request.app[AUDIT].page(project, wanted, after, query_limit(request))
    return page(items, None if last is None else encode_cursor(last))


async def export_entries(request: web.Request) -> web.StreamResponse:
    """Send the whole audit log, oldest entry first."""
    kind = request.query.get("format", "ndjson")
    if kind not in _MEDIA_TYPES:
        raise invalid_parameter("format", "is ndjson or csv")
    project = query_scope(request).project
    log = request.app[AUDIT]
    state, checkpoint = await log.begin(project)
    rows = log.rows(project, state)
    lines = _ndjson(project, state, checkpoint, rows) if kind == "ndjson" else _csv(rows)
    headers = {
        hdrs.CONTENT_TYPE: _MEDIA_TYPES[kind],
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="audit-{project}.{kind}"',
        hdrs.CACHE_CONTROL: "no-store",
    }
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    async for piece in lines:
        await response.write(piece)
    await response.write_eof()
    return response


async def _ndjson(
    project: str, state: AuditState, checkpoint: Checkpoint | None, rows: AsyncIterator[AuditRow]
) -> AsyncIterator[bytes]:
    begins = Beginning(FORMAT, project, state.sequence, state.head, checkpoint)
    yield msgspec.json.encode(begins) + b"\n"
    async for piece in _pieces(rows):
        yield b"".join(map(ndjson_line, piece))


async def _csv(rows: AsyncIterator[AuditRow]) -> AsyncIterator[bytes]:
    yield csv_lines(None)
    async for piece in _pieces(rows):
        yield csv_lines(piece)


async def _pieces(rows: AsyncIterator[AuditRow]) -> AsyncIterator[list[Link]]:
    """Yield rows some at a time: to encode so many takes a millisecond."""
    piece: list[Link] = []
    async for row in rows:
        piece.append(Link(row.sequence, row.previous, row.head, row.entry))
        if len(piece) == _ROWS_A_PIECE:
            yield piece
            piece = []
    yield piece


def _query_filter(request: web.Request, name: str) -> str | None:
    """Return what entries are chosen by; refuse what none can have."""
    text = request.query.get(name)
    if text is not None and (problem := filter_problem(name, text)):
        raise invalid_parameter(name, problem)
    return text


def _check_log(project: str, wanted: AuditFilter) -> None:
    """Refuse what is in no entry of this log, though in those of another, and an empty time."""
    if problem := elsewhere_problem(project, wanted._asdict()):
        raise invalid_parameter(*problem)
    since_ms, until_ms = wanted.since_ms, wanted.until_ms
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise invalid_parameter("until", "is not after `since`: nothing is in between")


def _query_time(request: web.Request, name: str) -> int | None:
    """Return a time of the query in Unix milliseconds."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        at_ms = int(time.timestamp() * 1000)
    except (ValueError, OverflowError):
        time = None
    if time is None or time.tzinfo is None:
        hint = "is a time with its zone, 2026-12-01T09:00:00Z; in a URL a + is written %2B"
        raise invalid_parameter(name, hint)
    return at_ms


def _history(request: web.Request) -> HistoryService:
    return HistoryService(request.app[REPLICA])


def _before(request: web.Request) -> int | None:
    position = query_cursor(request)
    if position is None:
        return None
    if not (position.isascii() and position.isdigit() and len(position) <= 18):
        raise invalid_parameter("cursor", "take `next_cursor` of the page before as it is")
    return int(position)


_ROWS_A_PIECE = 100
_ENTRY_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_MEDIA_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}

ROUTES = (
    Route(
        method="GET",
        path="/api/v1/audit",
        handler=list_entries,
        summary="List what was changed, by whom",
        permission=Permission.MANAGE,
        tag="history",
        params=(
            PROJECT,
            Param("actor", description="Who: `admin`, `user:<address>`, `key:<id>`, ..."),
            Param("action", description="`flag.patch`, or the beginning of one, `flag.`"),
            Param("target", description="`flag:<key>`, `segment:<key>`, ..."),
            Param("since", description="RFC 3339; entries of then and later."),
            Param("until", description="RFC 3339; entries before."),
            LIMIT,
            CURSOR,
        ),
        responses={200: Page[AuditResource]},
        description="Newest first. A page may hold fewer entries than asked for, or none, and "
        "still have a `next_cursor`: of a long log so many entries are looked at in one request. "
        "`head` is the entry's link, `previous` that of the one before. A filter that no entry can "
        "ever match, such as a misspelt action, is refused.",
    ),
    Route(
        method="GET",
        path="/api/v1/audit/export",
        handler=export_entries,
        summary="Take the audit log along",
        permission=Permission.MANAGE,
        tag="history",
        params=(PROJECT, Param("format", description="`ndjson`, the default, or `csv`.")),
        responses={200: "Lines of JSON, `application/x-ndjson`, or CSV."},
        description="All of it, oldest entry first. The lines of JSON are what "
        "`matrixflag audit verify` takes.",
    ),
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
