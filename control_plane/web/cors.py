"""Cross-origin requests: closed unless origins are named in the settings.

No credentials mode: other origins send a bearer token, and no cookie of theirs counts
(`web.cookies`), so `*` gives no page more than it could get with its own server. A preflight is
answered before authorisation, as browsers send it without one.
"""

from collections.abc import Sequence

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

__all__ = ["Cors"]

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_HEADERS = "authorization, content-type, if-match, if-none-match, x-api-key, x-request-id"
_EXPOSED = (
    "ETag, Location, Matrixflag-Moved, Matrixflag-Warnings, RateLimit, RateLimit-Policy, "
    "Retry-After, X-Request-Id"
)
_PREFLIGHT_AGE_S = "600"  # browsers cut it: Chromium keeps none for longer than two hours


class Cors:
    """Which origins may read answers, and the headers that say so."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    def allows(self, origin: str) -> bool:
        """Return whether pages of this origin may call."""
        return "*" in self._origins or origin in self._origins

    @web.middleware
    async def preflight(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer the preflight of an allowed origin; everything else goes on."""
        origin = request.headers.get(hdrs.ORIGIN)
        if (
            request.method == hdrs.METH_OPTIONS
            and origin is not None
            and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
            and self.allows(origin)
        ):
            return web.Response(
                status=204,
                headers={
                    hdrs.ACCESS_CONTROL_ALLOW_METHODS: _METHODS,
                    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _HEADERS,
                    hdrs.ACCESS_CONTROL_MAX_AGE: _PREFLIGHT_AGE_S,
                },
            )
        return await handler(request)

    async def mark(self, request: web.BaseRequest, answer: web.StreamResponse) -> None:
        """Put the headers on an answer, errors and streams included (`on_response_prepare`)."""
        if not self._origins:
            return
        answer.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and self.allows(origin):
            allowed = "*" if "*" in self._origins else origin
            answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = allowed
            answer.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
