"""Pages of a list: how many items, and where the page before ended.

A cursor is opaque to callers. It holds a position, such as the last key of the page before, so
that items made or deleted meanwhile neither repeat nor hide others.
"""

import base64
import binascii

from aiohttp import web

from control_plane.errors import BadRequest
from control_plane.web.params import invalid_parameter, query_int

__all__ = [
    "DEFAULT_LIMIT",
    "MAX_LIMIT",
    "decode_cursor",
    "encode_cursor",
    "query_cursor",
    "query_limit",
]

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
"""Larger pages would hold the loop: about 10 microseconds an item to encode."""
_MAX_CURSOR_CHARS = 1_000


def query_limit(request: web.Request) -> int:
    """Return how many items a page shall have."""
    return query_int(request, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)


def query_cursor(request: web.Request) -> str | None:
    """Return the position a page starts after, as `encode_cursor` took it, or None."""
    text = request.query.get("cursor")
    return None if text is None else decode_cursor(text)


def encode_cursor(position: str) -> str:
    """Return a position as a cursor."""
    raw = position.encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """Return the position of a cursor; raises BadRequest for what is none."""
    if len(cursor) > _MAX_CURSOR_CHARS or not cursor.isascii():
        raise _not_a_cursor()
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        raw = base64.b64decode(padded.encode(), altchars=b"-_", validate=True)
        return raw.decode("utf-8", "surrogatepass")
    except (ValueError, binascii.Error):
        raise _not_a_cursor() from None


def _not_a_cursor() -> BadRequest:
    return invalid_parameter("cursor", "take `next_cursor` of the page before as it is")
