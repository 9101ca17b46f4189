"""What the API refuses, as a tree of exceptions; `web.problem_json` alone turns them into answers.

    ApiError
      BadRequest 400 · Unauthorized 401 · Forbidden 403 · NotFound 404 · MethodNotAllowed 405
      RequestTimeout 408 · Conflict 409 · Gone 410 · PreconditionFailed 412 · TooLarge 413
      UnsupportedMediaType 415 · Invalid 422 · TooManyRequests 429              (the caller's fault)
      Internal 500 · Unavailable 503                                            (ours)

Rules: the class is the status, `code` is the cause and a machine's key (never renamed; a row in
`docs/error-codes.md`), `detail` is a sentence for people that names the offending thing. Nothing
internal goes into a detail. What is wrong with a document is listed in `problems`, all of it.
"""

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar

from proxy.contract.problems import Problem

__all__ = [
    "ApiError",
    "BadRequest",
    "Conflict",
    "Forbidden",
    "Gone",
    "Internal",
    "Invalid",
    "MethodNotAllowed",
    "NotFound",
    "PreconditionFailed",
    "RequestTimeout",
    "TooLarge",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMediaType",
]


class ApiError(Exception):
    """An answer that is an error. Raised anywhere below a route, in terms the caller knows."""

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        problems: Iterable[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.problems = list(problems)
        self.headers = dict(headers or {})


class BadRequest(ApiError):
    """The request itself cannot be read: malformed JSON, a parameter that makes no sense."""

    status = 400
    default_code = "bad_request"


class Unauthorized(ApiError):
    """No credential where one is needed, or one that is wrong, expired or revoked."""

    status = 401
    default_code = "unauthorized"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        challenge = 'Bearer realm="matrix-flag"'
        super().__init__(detail, code=code, headers={"WWW-Authenticate": challenge})


class Forbidden(ApiError):
    """A good credential that does not reach this far."""

    status = 403
    default_code = "forbidden"


class NotFound(ApiError):
    """There is no such thing."""

    status = 404
    default_code = "not_found"


class MethodNotAllowed(ApiError):
    """The path exists, the method does not; `Allow` names those that do."""

    status = 405
    default_code = "method_not_allowed"

    def __init__(self, detail: str, allow: Iterable[str]) -> None:
        super().__init__(detail, headers={"Allow": ", ".join(sorted(allow))})


class RequestTimeout(ApiError):
    """The body did not arrive in time."""

    status = 408
    default_code = "request_timeout"

    def __init__(self, detail: str) -> None:
        # What is left of the body would be read as the next request.
        super().__init__(detail, headers={"Connection": "close"})


class Conflict(ApiError):
    """The request is fine but what is stored stands against it: it exists, is in use, was moved."""

    status = 409
    default_code = "conflict"


class Gone(ApiError):
    """There was such a thing, and it will not come back by asking again."""

    status = 410
    default_code = "blob_lost"


class PreconditionFailed(ApiError):
    """`If-Match` names another version; the current one is in the `ETag` of the answer."""

    status = 412
    default_code = "precondition_failed"

    def __init__(self, detail: str, etag: str) -> None:
        super().__init__(detail, headers={"ETag": etag})


class TooLarge(ApiError):
    """The body is larger than is read."""

    status = 413
    default_code = "body_too_large"


class UnsupportedMediaType(ApiError):
    """The body is of a type that is not understood here."""

    status = 415
    default_code = "unsupported_media_type"


class Invalid(ApiError):
    """The document was read and is wrong; `problems` says all of what."""

    status = 422
    default_code = "invalid_document"


class TooManyRequests(ApiError):
    """Come again later, after `Retry-After`."""

    status = 429
    default_code = "too_many_requests"

    def __init__(self, detail: str, retry_after_s: float, *, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers=_retry_after(retry_after_s))


class Internal(ApiError):
    """A surprise. The detail is always the same: the text of the surprise is for the log."""

    status = 500
    default_code = "internal"


class Unavailable(ApiError):
    """Something this answer needs is away for now, nearly always Redis."""

    status = 503
    default_code = "unavailable"

    def __init__(self, detail: str, *, retry_after_s: float = 2.0, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers=_retry_after(retry_after_s))


def _retry_after(seconds: float) -> dict[str, str]:
    # Whole seconds, never 0: clients in use parse an integer, and 0 invites a storm.
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
