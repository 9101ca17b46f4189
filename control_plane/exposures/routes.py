"""`POST /api/v1/exposures`: where sidecars report what was shown."""

from aiohttp import hdrs, web

from control_plane.access.model import PRINCIPAL
from control_plane.errors import Forbidden, UnsupportedMediaType
from control_plane.keys import EXPOSURES
from control_plane.web.documents import check_media_type, read_body
from control_plane.web.respond import json_response
from control_plane.web.routing import JSON, Param, Permission, Route
from proxy.contract.exposures import (
    EXPOSURES_PATH,
    MAX_BATCH_BYTES,
    ExposureBatch,
    ExposureReceipt,
)

__all__ = ["ROUTES"]

_ENCODINGS = ("", "identity", "gzip")


async def report(request: web.Request) -> web.StreamResponse:
    """Take a batch; the answer comes when it is stored."""
    principal = request[PRINCIPAL]
    if principal.project is None or principal.environment is None:
        raise Forbidden("exposures are reported with a sidecar key, which names the environment")
    _check_encoding(request)
    check_media_type(request, (JSON,))
    body = await read_body(request, MAX_BATCH_BYTES)
    receipt = await request.app[EXPOSURES].accept(principal.project, principal.environment, body)
    return json_response(receipt)


def _check_encoding(request: web.Request) -> None:
    """Refuse encodings that were not undone while the body was read."""
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
    if encoding not in _ENCODINGS:
        # RFC 9110 section 15.5.16: the answer says what would be taken.
        raise UnsupportedMediaType(
            f"Content-Encoding {encoding[:50]!r} is not taken; send gzip or none",
            code="unsupported_encoding",
            headers={hdrs.ACCEPT_ENCODING: "gzip"},
        )


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
        responses={200: ExposureReceipt},
        description="A batch is applied once per `id`, however often it is sent, and the answer "
        "comes when it is stored. 413: split the batch. 422: it will never be taken. "
        "503: send it again.",
    ),
)
