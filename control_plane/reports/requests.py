"""Requests of sidecars that report: where their batch belongs, and the batch."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from control_plane.access.model import PRINCIPAL
from control_plane.documents import Packed
from control_plane.errors import Forbidden, NotFound
from control_plane.keys import REPLICA
from control_plane.web.documents import check_media_type, read_packed
from control_plane.web.params import Scope, query_scope
from control_plane.web.respond import json_response
from control_plane.web.routing import CONTENT_ENCODING, JSON, Permission, Route
from proxy.contract.reports import MAX_BATCH_BYTES, Receipt

__all__ = ["answer_report", "query_environment", "report_route"]


async def answer_report(
    request: web.Request, accept: Callable[[str, str, Packed], Awaitable[Receipt]]
) -> web.Response:
    """Take a batch; the answer comes when it is stored."""
    principal = request[PRINCIPAL]
    if principal.project is None or principal.environment is None:
        raise Forbidden("reports come with a sidecar key, which names the environment")
    check_media_type(request, (JSON,))
    body = await read_packed(request, MAX_BATCH_BYTES)
    return json_response(await accept(principal.project, principal.environment, body))


def query_environment(request: web.Request) -> Scope:
    """Return the project and environment that a request names; raises NotFound for none such."""
    scope = query_scope(request)
    if scope.environment not in request.app[REPLICA].project(scope.project).snapshots:
        raise NotFound(
            f"there is no environment {scope.environment[:80]!r}", code="environment_not_found"
        )
    return scope


def report_route(
    path: str, handler: Callable[[web.Request], Any], summary: str, body: type, what: str
) -> Route:
    """Return the route that batches of one kind are sent to."""
    return Route(
        method="POST",
        path=path,
        handler=handler,
        summary=summary,
        permission=Permission.REPORT,
        tag="sidecars",
        params=(CONTENT_ENCODING,),
        body=body,
        responses={200: Receipt},
        description="A batch is applied once per `id`, however often it is sent, and the answer "
        f"comes when it is stored. {what} 413: split the batch. 422: it will never be taken. 429, "
        "503: send it again, after `Retry-After`. A batch whose `id` says that it was made more "
        "than seven days ago is `parked` and not counted.",
    )
