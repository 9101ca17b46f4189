"""Errors as `application/problem+json` (RFC 9457), in one shape, made in one place.

The members are `type`, `title`, `status`, `detail`, `code`, `request_id` and `problems`, always all
of them. `code` tells causes apart and is for programs; `type` is `about:blank`, which RFC 9457 has
for "the status says it". Redis that is away is 503, whatever needed it. A surprise is logged with
its trace under the request id, and the caller is told that id and nothing else.
"""

import logging
import re
import secrets
import time

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from control_plane.errors import (
    ApiError,
    BadRequest,
    Internal,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    Unavailable,
)
from control_plane.store.connection import RedisError
from control_plane.web.address import client_address
from control_plane.web.respond import MORE_HEADERS
from control_plane.web.routing import ROUTE, Permission
from control_plane.web.takeover import leave
from proxy.contract.problems import Problem

__all__ = [
    "PROBLEM_JSON",
    "REQUEST_ID",
    "REQUEST_ID_HEADER",
    "SERVER",
    "ErrorDocument",
    "errors",
    "mark_answer",
    "problem_response",
]

PROBLEM_JSON = "application/problem+json"

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id")

_STARTED: web.RequestKey[bool] = web.RequestKey("answer_started")
REQUEST_ID_HEADER = "X-Request-Id"
SERVER = "matrix-flag"
"""What an answer says it is of, and not which version of what."""

_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

_encoder = msgspec.json.Encoder()
_log = logging.getLogger(__name__)


class ErrorDocument(msgspec.Struct, frozen=True):
    """The body of every error of the API (RFC 9457, with three members of ours)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    problems: list[Problem]


def problem_response(error: ApiError, request_id: str) -> web.Response:
    """Return an error as an answer."""
    document = ErrorDocument(
        type="about:blank",
        title=_TITLES.get(error.status, "Error"),
        status=error.status,
        detail=error.detail,
        code=error.code,
        request_id=request_id,
        problems=error.problems,
    )
    return web.Response(
        body=_encoder.encode(document),
        status=error.status,
        headers={**error.headers, hdrs.CONTENT_TYPE: PROBLEM_JSON},
    )


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, and turn whatever is raised below into an answer of one shape."""
    given = request.headers.get(REQUEST_ID_HEADER, "")
    request_id = given if _GIVEN_ID.fullmatch(given) else secrets.token_hex(8)
    request[REQUEST_ID] = request_id
    started = time.perf_counter()
    answer: web.StreamResponse
    try:
        answer = await handler(request)
    except ApiError as error:
        answer = problem_response(error, request_id)
    except web.HTTPException as error:
        answer = _of_aiohttp(error, request, request_id)
    except ConnectionResetError:
        leave()  # the client is gone, there is nobody to answer
    except RedisError as error:
        _log.warning("request %s: Redis: %s", request_id, error)
        if _STARTED in request:
            raise  # half an answer is out: the connection has to break for the client to see
        unavailable = Unavailable("Redis does not answer", code="redis_unavailable")
        answer = problem_response(unavailable, request_id)
    except Exception:
        _log.exception("request %s: %s %s failed", request_id, request.method, request.path)
        if _STARTED in request:
            raise  # half an answer is out: the connection has to break for the client to see
        detail = "this is a defect here, not in the request; the log has it under the request id"
        answer = problem_response(Internal(detail), request_id)
    _log_request(request, answer.status, time.perf_counter() - started)
    return answer


async def mark_answer(request: web.BaseRequest, answer: web.StreamResponse) -> None:
    """Put on every answer, streams included, what all have (a signal, `on_response_prepare`)."""
    if _STARTED not in request:
        request[_STARTED] = True
    answer.headers.setdefault(REQUEST_ID_HEADER, request.get(REQUEST_ID, ""))
    answer.headers.update(request.get(MORE_HEADERS, {}))
    answer.headers[hdrs.SERVER] = SERVER
    # Answers depend on the credential, and some show a secret once.
    fresh = "no-cache" if request.method in (hdrs.METH_GET, hdrs.METH_HEAD) else "no-store"
    answer.headers.setdefault(hdrs.CACHE_CONTROL, f"private, {fresh}")


def _of_aiohttp(error: web.HTTPException, request: web.Request, request_id: str) -> web.Response:
    """Return what the router or the parser of aiohttp refused, in our shape."""
    cause: ApiError
    match error:
        case web.HTTPNotFound():
            cause = NotFound(f"there is nothing at {request.path[:200]}", code="no_such_path")
        case web.HTTPMethodNotAllowed():
            allow = sorted(error.allowed_methods)
            verb = "is" if len(allow) == 1 else "are"
            text = f"{request.method[:20]} is not known here; {', '.join(allow)} {verb}"
            cause = MethodNotAllowed(text, allow)
        case web.HTTPRequestEntityTooLarge():
            cause = TooLarge("the body is larger than is read")
        case web.HTTPClientError():
            cause = BadRequest(f"the request cannot be read: {error.reason}")
        case _:
            raise error
    return problem_response(cause, request_id)


def _log_request(request: web.Request, status: int, duration_s: float) -> None:
    """Log one line: no query, no header, no body, because those may hold what is secret.

    What sidecars tell, hundreds of times a second, is no change of anything that people made.
    """
    route = request.get(ROUTE)
    changes = (
        route is not None
        and route.permission not in (Permission.SYNC, Permission.REPORT)
        and request.method not in (hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS)
    )
    level = logging.INFO if status >= 400 or changes else logging.DEBUG
    _log.log(
        level,
        "%s %s %s %d %.1f ms request %s",
        client_address(request),
        request.method,
        request.path[:200],
        status,
        duration_s * 1000,
        request[REQUEST_ID],
    )
