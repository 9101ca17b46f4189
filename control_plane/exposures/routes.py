"""`/api/v1/exposures`: where sidecars report what was shown, and people read what was counted."""

from aiohttp import web

from control_plane.errors import BadRequest, NotFound
from control_plane.exposures.model import ExposureSummary
from control_plane.keys import EXPOSURES, REPLICA
from control_plane.reports.requests import answer_report, query_environment, report_route
from control_plane.web.params import query_int
from control_plane.web.respond import json_response
from control_plane.web.routing import ENVIRONMENT, PROJECT, Param, Permission, Route
from proxy.contract.exposures import EXPOSURES_PATH, ExposureBatch

__all__ = ["ROUTES"]

_MAX_PHASE = 1_000_000


async def report(request: web.Request) -> web.StreamResponse:
    """Take a batch; the answer comes when it is stored."""
    return await answer_report(request, request.app[EXPOSURES].intake.accept)


async def summarise(request: web.Request) -> web.StreamResponse:
    """Answer what was counted of a flag, or of an experiment."""
    scope = query_environment(request)
    flag, experiment = (request.query.get(name) for name in ("flag", "experiment"))
    if (flag is None) == (experiment is None):
        raise BadRequest("name either a flag or an experiment", code="invalid_parameter")
    phase = query_int(request, "phase", 0, 0, _MAX_PHASE)
    summary = await request.app[EXPOSURES].summary(
        *scope, flag=flag, experiment=experiment, phase=phase
    )
    known = flag is None or flag in request.app[REPLICA].project(scope.project).flags
    if not summary.units and not known:
        raise NotFound(f"there is no flag {str(flag)[:80]!r}", code="flag_not_found")
    return json_response(summary)


ROUTES = (
    report_route(
        EXPOSURES_PATH,
        report,
        "Report exposures",
        ExposureBatch,
        "Of each unit the first variant counts.",
    ),
    Route(
        method="GET",
        path=EXPOSURES_PATH + "/summary",
        handler=summarise,
        summary="Count exposed units",
        permission=Permission.READ,
        tag="reports",
        params=(
            PROJECT,
            ENVIRONMENT,
            Param("flag", description="Exposures of this flag outside of experiments."),
            Param("experiment", description="Exposures of this experiment instead."),
            Param("phase", type=int, description="Phase of the experiment; 0 when absent."),
        ),
        responses={200: ExposureSummary},
        description="Each unit counts once, however often it was exposed: for the variant it saw "
        "first. What was stored and is not counted yet is `pending`.",
    ),
)
