"""`/api/v1/usage`: where sidecars report what was evaluated, and people find what is not."""

from bisect import bisect_right

from aiohttp import web

from control_plane.errors import NotFound
from control_plane.keys import REPLICA, USAGE
from control_plane.reports.requests import answer_report, query_environment, report_route
from control_plane.reports.service import rfc3339
from control_plane.usage.model import FlagUsage
from control_plane.web.paging import encode_cursor, query_cursor, query_limit
from control_plane.web.params import invalid_parameter
from control_plane.web.respond import page
from control_plane.web.routing import (
    CURSOR,
    ENVIRONMENT,
    LIMIT,
    PROJECT,
    Page,
    Param,
    Permission,
    Route,
)
from proxy.contract.usage import USAGE_PATH, UsageBatch
from proxy.engine import parse_moment

__all__ = ["ROUTES"]

_MINUTE_MS = 60_000  # a flag may have been evaluated at any time of its last minute


async def report(request: web.Request) -> web.StreamResponse:
    """Take a batch; the answer comes when it is added up."""
    return await answer_report(request, request.app[USAGE].intake.accept)


async def list_usage(request: web.Request) -> web.StreamResponse:
    """Answer when flags were evaluated last; with the counts, of one flag."""
    scope, usage = query_environment(request), request.app[USAGE]
    records = request.app[REPLICA].project(scope.project).flags
    flag, since_ms = request.query.get("flag"), _unused_since(request)
    if flag is not None:
        found = await usage.flag(*scope, flag)
        if flag not in records and found.last_evaluated_at is None:
            raise NotFound(f"there is no flag {flag[:80]!r}", code="flag_not_found")
        return page([found])
    names = sorted(records)
    cursor, limit = query_cursor(request), query_limit(request)
    if since_ms is not None:
        last = await usage.last(*scope)
        names = [
            name
            for name in names
            if max(last.get(name, 0) + _MINUTE_MS, _ms(records[name].created_at)) < since_ms
        ]
    start = 0 if cursor is None else bisect_right(names, cursor)
    shown = names[start : start + limit]
    last = await usage.last_of(*scope, shown)
    items = [FlagUsage(n, rfc3339(last[n]) if n in last else None) for n in shown]
    more = start + limit < len(names)
    return page(items, encode_cursor(shown[-1]) if more else None)


def _unused_since(request: web.Request) -> int | None:
    text = request.query.get("unused_since")
    if text is None:
        return None
    moment_ms = parse_moment(text)
    if moment_ms is None:
        raise invalid_parameter("unused_since", "a moment is like 2026-01-31T00:00:00Z")
    return moment_ms


def _ms(created_at: str) -> int:
    return parse_moment(created_at) or 0


ROUTES = (
    report_route(
        USAGE_PATH,
        report,
        "Report usage",
        UsageBatch,
        "Evaluations are added up by flag, variant and time.",
    ),
    Route(
        method="GET",
        path=USAGE_PATH,
        handler=list_usage,
        summary="Read usage",
        permission=Permission.READ,
        tag="reports",
        params=(
            PROJECT,
            ENVIRONMENT,
            Param("flag", description="This flag alone, with its counts."),
            Param(
                "unused_since",
                description="Only flags that were made before, and not evaluated since, this "
                "moment, RFC 3339.",
            ),
            LIMIT,
            CURSOR,
        ),
        responses={200: Page[FlagUsage]},
        description="When each flag was evaluated last in an environment. Of one flag that is "
        "named also the counts for each variant: of the last hour by minute, of 14 days by hour, "
        "of 400 days by day.",
    ),
)
