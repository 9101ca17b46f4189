"""Runs an app, and answers what is no HTTP in the API's own shape.

Below the app aiohttp reads requests. What it cannot read it would answer in plain text, with its
own name and version, and with the line that it did not like, which may be a credential: here it is
answered like everything else, in words that are ours, and nothing of it is logged.
"""

import asyncio
import logging
import secrets
from typing import Any, cast

from aiohttp import hdrs, http_exceptions, web

from control_plane.errors import ApiError, BadRequest, Internal
from control_plane.web.browsers import HEADERS
from control_plane.web.problem import REQUEST_ID_HEADER, SERVER, problem_response

__all__ = ["Runner"]

_log = logging.getLogger(__name__)


class Runner(web.AppRunner):
    """Runs an app; `connection` are arguments of aiohttp's reader of a connection."""

    __slots__ = ("_connection",)

    def __init__(self, app: web.Application, *, connection: dict[str, Any], **options: Any) -> None:
        super().__init__(app, **options)
        self._connection = connection

    @property
    def server(self) -> web.Server | None:
        """Return what makes the reader of each connection; sites want nothing else of it."""
        manager = super().server
        if manager is None:
            return None

        def accept() -> web.RequestHandler:
            return _Reading(manager, loop=asyncio.get_running_loop(), **self._connection)

        return cast(web.Server, accept)


class _Reading(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that could not be read, or that failed above all else."""
        error: ApiError
        request_id = secrets.token_hex(8)
        if status >= 500:
            _log.error("request %s failed", request_id, exc_info=exc)
            detail = (
                "this is a defect here, not in the request; the log has it under the request id"
            )
            error = Internal(detail)
        else:
            # its text, and that of its trace, has what was sent
            _log.debug("request %s cannot be read: %s", request_id, type(exc).__name__)
            error = BadRequest(_unread(exc))
        if request.writer.output_size > 0:
            raise ConnectionError("half an answer is out: the client has to see that it breaks")
        answer = problem_response(error, request_id)
        answer.headers.update(HEADERS)
        answer.headers[REQUEST_ID_HEADER] = request_id
        answer.headers[hdrs.SERVER] = SERVER
        answer.headers[hdrs.CACHE_CONTROL] = "private, no-store"
        answer.force_close()
        return answer


def _unread(error: BaseException | None) -> str:
    if isinstance(error, http_exceptions.LineTooLong):
        return "the request line or a header is longer than is read"
    return "this is not an HTTP/1.1 request that can be read"
