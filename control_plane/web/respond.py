"""Answers: JSON, pages, nothing, and the conditional requests of RFC 9110.

Knows structs and versions, not what they stand for. Entity tags are strong: the version in quotes,
or a hash of the content where the version does not tell. A weak tag never matches `If-Match`,
because it does not promise equal content.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import hdrs, web

from control_plane.errors import PreconditionFailed

__all__ = [
    "MORE_HEADERS",
    "check_if_match",
    "check_if_match_content",
    "content_response",
    "etag_of",
    "json_response",
    "no_content",
    "not_modified",
    "not_modified_response",
    "page",
]

MORE_HEADERS: web.RequestKey[dict[str, str]] = web.RequestKey("more_headers")
"""What the answer to a request is to carry besides, whatever it will be."""

_encoder = msgspec.json.Encoder()
_ETAGS = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def json_response(
    value: Any,
    status: int = 200,
    etag: str | None = None,
    location: str | None = None,
    headers: dict[str, str] | None = None,
) -> web.Response:
    """Return the value, a struct or anything msgspec encodes, as a JSON answer.

    `location` is a path on this server, already percent-encoded.
    """
    answer = web.Response(
        body=_encoder.encode(value), status=status, content_type="application/json", charset="utf-8"
    )
    answer.headers.update(headers or {})
    if etag is not None:
        answer.headers[hdrs.ETAG] = etag
    if location is not None:
        answer.headers[hdrs.LOCATION] = location
    return answer


def no_content() -> web.Response:
    """Return 204."""
    return web.Response(status=204)


def page(items: Sequence[Any], next_cursor: str | None = None) -> web.Response:
    """Return one page of a list; `next_cursor` is None on the last."""
    return json_response({"items": items, "next_cursor": next_cursor})


def etag_of(version: int) -> str:
    """Return the entity tag of a version: `"3"`."""
    return f'"{version}"'


def check_if_match(request: web.Request, version: int) -> None:
    """Return if the request has no `If-Match`, or one that names this version.

    Raises:
        PreconditionFailed: for another version or a weak tag, with the current tag.
    """
    _check_if_match(request, etag_of(version))


def check_if_match_content(request: web.Request, value: Any) -> None:
    """Do the same for what `content_response` gives a tag: the value as it is now."""
    _check_if_match(request, _content_etag(value))


def _check_if_match(request: web.Request, current: str) -> None:
    header = request.headers.get(hdrs.IF_MATCH)
    if header is None or header.strip() == "*":
        return
    if not any(not weak and f'"{tag}"' == current for weak, tag in _ETAGS.findall(header)):
        raise PreconditionFailed(f"the current version is {current}, not {header[:200]}", current)


def content_response(
    request: web.Request, value: Any, status: int = 200, location: str | None = None
) -> web.Response:
    """Return the value with an entity tag made of its bytes, or 304 where the reader has them.

    For what changes without getting another version: an environment shows its revision.
    """
    answer = json_response(value, status, location=location)
    etag = _content_etag(value)
    if status == 200 and not_modified(request, etag):
        return not_modified_response(etag)
    answer.headers[hdrs.ETAG] = etag
    return answer


def _content_etag(value: Any) -> str:
    return f'"{hashlib.sha256(_encoder.encode(value)).hexdigest()[:32]}"'


def not_modified(request: web.Request, etag: str) -> bool:
    """Return whether the request has an `If-None-Match` that this entity tag fulfils."""
    header = request.headers.get(hdrs.IF_NONE_MATCH)
    if header is None:
        return False
    # Weak comparison, RFC 9110 section 13.1.2: intermediaries that compress mark tags weak.
    opaque = etag.removeprefix("W/")
    return header.strip() == "*" or any(f'"{tag}"' == opaque for _, tag in _ETAGS.findall(header))


def not_modified_response(etag: str) -> web.Response:
    """Return 304 with the entity tag."""
    return web.Response(status=304, headers={hdrs.ETAG: etag})
