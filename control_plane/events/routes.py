"""`/api/v1/events`: where sidecars report what units did, and people read what was counted."""

from aiohttp import web

from control_plane.errors import BadRequest
from control_plane.events.model import EventSummary
from control_plane.keys import EVENTS
from control_plane.reports.requests import answer_report, query_environment, report_route
from control_plane.web.respond import json_response
from control_plane.web.routing import ENVIRONMENT, PROJECT, Param, Permission, Route
from proxy.contract.events import EVENTS_PATH, EventBatch

__all__ = ["ROUTES"]


async def report(request: web.Request) -> web.StreamResponse:
    """Take a batch; the answer comes when it is stored."""
    return await answer_report(request, request.app[EVENTS].intake.accept)


async def summarise(request: web.Request) -> web.StreamResponse:
    """Answer what was counted of the events of a name."""
    scope = query_environment(request)
    name = request.query.get("name")
    if not name:
        raise BadRequest("name the events: ?name=purchase", code="invalid_parameter")
    return json_response(await request.app[EVENTS].summary(*scope, name))


ROUTES = (
    report_route(
        EVENTS_PATH,
        report,
        "Report events",
        EventBatch,
        "Events are counted by name and day, and kept for the metrics of experiments.",
    ),
    Route(
        method="GET",
        path=EVENTS_PATH + "/summary",
        handler=summarise,
        summary="Count events",
        permission=Permission.READ,
        tag="reports",
        params=(
            PROJECT,
            ENVIRONMENT,
            Param("name", required=True, description="The name of the events."),
        ),
        responses={200: EventSummary},
        description="Count, sum and sum of squares by day. What was stored and is not counted yet "
        "is `pending`.",
    ),
)
