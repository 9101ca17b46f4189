"""`POST /api/v1/exposures`: where sidecars report what was shown."""

from aiohttp import web

from control_plane.access.model import PRINCIPAL
from control_plane.errors import Forbidden
from control_plane.keys import EXPOSURES
from control_plane.web.documents import check_media_type, read_body
from control_plane.web.respond import json_response
from control_plane.web.routing import JSON, Param, Permission, Route
from proxy.contract.exposures import EXPOSURES_PATH, ExposureBatch
from proxy.contract.reports import MAX_BATCH_BYTES, Receipt

__all__ = ["ROUTES"]


async def report(request: web.Request) -> web.StreamResponse:
    """Take a batch; the answer comes when it is stored."""
    principal = request[PRINCIPAL]
    if principal.project is None or principal.environment is None:
        raise Forbidden("exposures are reported with a sidecar key, which names the environment")
    check_media_type(request, (JSON,))
    body = await read_body(request, MAX_BATCH_BYTES)
    receipt = await request.app[EXPOSURES].accept(principal.project, principal.environment, body)
    return json_response(receipt)


ROUTES = (
    Route(
        method="POST",
        path=EXPOSURES_PATH,
        handler=report,
        summary="Report exposures",
        permission=Permission.REPORT,
        tag="sidecars",
        params=(Param("Content-Encoding", "header", description="`gzip`, or none."),),
        body=ExposureBatch,
        responses={200: Receipt},
        description="A batch is applied once per `id`, however often it is sent, and the answer "
        "comes when it is stored. 413: split the batch. 422: it will never be taken. "
        "503: send it again.",
    ),
)
