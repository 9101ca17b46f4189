"""Cross-origin rules: which pages may ask, and which headers they may read. Pure.

Closed unless origins are configured. Credentials in the browser's sense are never allowed, keys
travel in headers, so `*` is safe to offer. Denied origins get an answer without permission rather
than an error: the browser does the refusing.
"""

from collections.abc import Iterable

from proxy.ofrep.answers import Headers
from proxy.ofrep.paths import Endpoint

__all__ = ["Cors"]

_ALLOWED_HEADERS = ("authorization", "content-type", "if-none-match", "last-event-id", "x-api-key")
_EXPOSED = "ETag, Retry-After, Matrixflag-Revision, Matrixflag-Age"
_MAX_AGE_S = 600  # Chromium caps at 7200, Safari at 600


class Cors:
    """The rules for a set of origins; `headers` may be sent besides those that OFREP needs."""

    __slots__ = ("_any", "_origins", "_preflight", "_vary")

    def __init__(self, origins: Iterable[str], headers: Iterable[str] = ()) -> None:
        self._origins = frozenset(origins)
        self._any = "*" in self._origins
        self._vary: Headers = (("Vary", "Origin"),) if self._origins and not self._any else ()
        self._preflight: Headers = (
            ("Access-Control-Allow-Headers", ", ".join(sorted({*_ALLOWED_HEADERS, *headers}))),
            ("Access-Control-Max-Age", str(_MAX_AGE_S)),
        )

    def headers(self, origin: str | None) -> Headers:
        """Return what every answer carries, errors too, for the `Origin` of its request."""
        if not self._allows(origin):
            return self._vary
        allowed = "*" if self._any or origin is None else origin
        return (
            ("Access-Control-Allow-Origin", allowed),
            ("Access-Control-Expose-Headers", _EXPOSED),
            *self._vary,
        )

    def preflight(self, origin: str | None, endpoint: Endpoint) -> Headers:
        """Return what the answer to `OPTIONS` carries besides `headers`."""
        if not self._allows(origin):
            return ()
        return (("Access-Control-Allow-Methods", endpoint.allowed_methods), *self._preflight)

    def _allows(self, origin: str | None) -> bool:
        return origin is not None and (self._any or origin.lower() in self._origins)
