"""Sessions in cookies, for pages of our own: scripts never see a token.

A page logs in as anybody does, then hands its refresh token in: it is used up, and the next ones
are in cookies that no script can read. What a script gets is the CSRF token, which says nothing
without the cookies.

Rules. A cookie counts only together with `X-Matrixflag-Csrf`, which no form and no foreign page can
send, which is bound to the session by a MAC, and only when the browser says that the page is of
this origin. Without that header a request is one without a credential. Cookies are `__Host-`:
of this host alone, set over https, so that no neighbour can plant one. On `localhost`, by http,
they have no prefix and are not `Secure`, which some browsers refuse there; there, other
ports share them. A session is never taken over from a cookie that was there: it is always new.
"""

import hmac
import re
from hashlib import sha256
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from control_plane.errors import Forbidden

__all__ = [
    "CSRF_HEADER",
    "Csrf",
    "access_cookie",
    "check_same_origin",
    "clear_cookies",
    "refresh_cookie",
    "set_cookies",
]

CSRF_HEADER = "X-Matrixflag-Csrf"
_ACCESS, _REFRESH = "matrixflag_access", "matrixflag_refresh"
_LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)


class Csrf:
    """Makes and checks the token of a session, under a key derived from the first secret."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._keys = [hmac.digest(s.encode(), b"matrixflag csrf 1", sha256) for s in secrets]

    def make(self, session: str) -> str:
        """Return the token of a session."""
        return hmac.digest(self._keys[0], session.encode(), sha256).hex()

    def check(self, request: web.Request, session: str) -> None:
        """Raise Forbidden unless a request came from a page of ours that knows the token."""
        check_same_origin(request)
        given = request.headers.get(CSRF_HEADER, "").encode("utf-8", "surrogatepass")
        for key in self._keys:
            if hmac.compare_digest(
                given, hmac.digest(key, session.encode(), sha256).hex().encode()
            ):
                return
        raise Forbidden(f"{CSRF_HEADER} is not the token of this session", code="csrf_failed")


def check_same_origin(request: web.Request) -> None:
    """Raise Forbidden unless the browser says that a page of this origin asks.

    `Sec-Fetch-Site` is taken first, since it tells http from https; older browsers send `Origin`.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get(hdrs.ORIGIN)
    own = site == "same-origin" if site is not None else origin is not None
    if origin is not None and urlsplit(origin).netloc != request.headers.get(hdrs.HOST, ""):
        own = False
    if not own:
        raise Forbidden("cookies are for pages of this origin", code="csrf_failed")


def access_cookie(request: web.Request) -> str | None:
    """Return the access token in a request's cookies."""
    return request.cookies.get(_named(request, _ACCESS))


def refresh_cookie(request: web.Request) -> str | None:
    """Return the refresh token in a request's cookies."""
    return request.cookies.get(_named(request, _REFRESH))


def set_cookies(
    request: web.Request,
    answer: web.StreamResponse,
    access: tuple[str, int],
    refresh: tuple[str, int],
) -> None:
    """Put tokens into cookies, each with the seconds it is kept."""
    for name, (token, age_s) in ((_ACCESS, access), (_REFRESH, refresh)):
        answer.set_cookie(
            _named(request, name),
            token,
            max_age=age_s,
            path="/",
            secure=not _is_loopback(request),
            httponly=True,
            samesite="Strict",
        )


def clear_cookies(request: web.Request, answer: web.StreamResponse) -> None:
    """Take the cookies away, where there are any."""
    for name in (_named(request, _ACCESS), _named(request, _REFRESH)):
        if name in request.cookies:
            answer.del_cookie(
                name,
                path="/",
                secure=not _is_loopback(request),
                httponly=True,
                samesite="Strict",
            )


def _named(request: web.Request, name: str) -> str:
    return name if _is_loopback(request) else f"__Host-{name}"


def _is_loopback(request: web.Request) -> bool:
    return _LOOPBACK.fullmatch(request.headers.get(hdrs.HOST, "")) is not None
