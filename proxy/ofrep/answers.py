"""What an OFREP request is answered with: status, body, headers. Pure.

Rules, each for a shipped client that fails otherwise (openfeature-provider-ofrep 0.3.0, JS 0.1.3):
- an error body has `errorCode` and `errorDetails`, both strings, and `key` when one flag was asked;
- every body is `application/json`; `Retry-After` is whole seconds;
- errors carry no ETag and are not stored.
"""

from typing import Any, NamedTuple

import orjson

from proxy.contract.codes import ErrorCode
from proxy.engine import Answer

__all__ = [
    "JSON_HEADERS",
    "STREAM_HEADERS",
    "Headers",
    "OfrepAnswer",
    "OfrepRequest",
    "Tracked",
    "failure",
    "not_ready",
]

Headers = tuple[tuple[str, str], ...]

JSON_HEADERS: Headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))

STREAM_HEADERS: Headers = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-cache, no-store, no-transform"),
    ("X-Accel-Buffering", "no"),
)
"""Of an event stream; the last two keep proxies from holding back what does not fill a buffer."""


class OfrepRequest(NamedTuple):
    """What decides an answer besides the snapshot, the scope and the time.

    `key` is None for bulk. `if_none_match` is the header, several joined by commas. `may_override`
    is whether the caller may choose variations by its context, which no browser may. `streams` is
    the member `eventStreams` of a bulk answer, with the comma before it; empty for none.
    """

    key: str | None
    body: bytes
    if_none_match: str | None = None
    may_override: bool = False
    streams: bytes = b""


class Tracked(NamedTuple):
    """A single evaluation of a flag with `track`: what an exposure is made from."""

    answer: Answer
    context: dict[str, Any]


class OfrepAnswer(NamedTuple):
    """A complete answer; `tracked` is set when the evaluation was an exposure."""

    status: int
    body: bytes
    headers: Headers = JSON_HEADERS
    tracked: Tracked | None = None


def failure(
    status: int,
    details: str,
    *,
    key: str | None = None,
    code: ErrorCode = ErrorCode.GENERAL,
    headers: Headers = (),
) -> OfrepAnswer:
    """Return an error; with `key` it is about that flag, else about the whole request."""
    subject = {} if key is None else {"key": _text(key)}
    body = orjson.dumps(subject | {"errorCode": code, "errorDetails": _text(details)})
    return OfrepAnswer(status, body, JSON_HEADERS + headers)


def not_ready(key: str | None, details: str) -> OfrepAnswer:
    """Return 503: a client that is told 401 or 404 while we start gives up for good."""
    return failure(503, details, key=key, headers=(("Retry-After", "1"),))


def _text(text: str) -> str:
    """Return text with `?` in place of what was no UTF-8 when it was received."""
    return text.encode("utf-8", "replace").decode()
