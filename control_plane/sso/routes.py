"""`/api/v1/auth/oidc` and `/api/v1/auth/exchange` over HTTP."""

from aiohttp import hdrs, web
from yarl import URL

from control_plane.keys import SETTINGS, SSO
from control_plane.sso.model import ExchangeInput, OneTimeCode
from control_plane.sso.service import LOGIN_S, Answer, SsoService
from control_plane.users.model import Tokens
from control_plane.web.address import client_address
from control_plane.web.documents import read_document
from control_plane.web.respond import json_response
from control_plane.web.routing import Param, Permission, Route

__all__ = ["CALLBACK", "ROUTES"]

CALLBACK = "/api/v1/auth/oidc/callback"
_COOKIE = "matrixflag-sso"
_PRIVATE = {hdrs.CACHE_CONTROL: "no-store", "Referrer-Policy": "no-referrer"}


async def begin(request: web.Request) -> web.StreamResponse:
    """Send the browser to the provider, with a cookie that binds the login to it."""
    query = request.query
    begun = await _sso(request).begin(query.get("challenge", ""), query.get("return_to", ""))
    answer = _sent_to(begun.url)
    name, is_secure = _cookie(request)
    # Lax, because the way back begins at the provider's site
    answer.set_cookie(
        name,
        begun.cookie,
        max_age=LOGIN_S,
        path="/",
        secure=is_secure,
        httponly=True,
        samesite="Lax",
    )
    return answer


async def come_back(request: web.Request) -> web.StreamResponse:
    """Take what the provider sends a browser back with."""
    query = request.query
    name, is_secure = _cookie(request)
    said = Answer(query.get("state", ""), query.get("code"), query.get("error"), query.get("iss"))
    cookie = request.cookies.get(name, "")
    code, return_to = await _sso(request).complete(said, cookie, client_address(request))
    if return_to:
        answer = _sent_to(str(URL(return_to, encoded=True).update_query(code=code.code)))
    else:
        answer = json_response(code, headers=_PRIVATE)
    answer.del_cookie(name, path="/", secure=is_secure, httponly=True, samesite="Lax")
    return answer


async def exchange(request: web.Request) -> web.StreamResponse:
    """Begin the session that a one-time code stands for."""
    document = await read_document(request, ExchangeInput)
    agent = request.headers.get(hdrs.USER_AGENT, "")
    return json_response(await _sso(request).exchange(document, client_address(request), agent))


def _sso(request: web.Request) -> SsoService:
    return request.app[SSO]


def _sent_to(url: str) -> web.Response:
    return web.Response(status=302, headers={hdrs.LOCATION: url, **_PRIVATE})


def _cookie(request: web.Request) -> tuple[str, bool]:
    """Return the cookie's name, and whether it travels over TLS only, as that name then asks."""
    if request.app[SETTINGS].public_url.startswith("https:"):
        return f"__Host-{_COOKIE}", True
    return _COOKIE, False


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/auth/oidc/login",
        handler=begin,
        summary="Log in at the provider of identities",
        permission=Permission.PUBLIC,
        tag="sessions",
        params=(
            Param(
                "challenge",
                required=True,
                description="SHA-256 of a random verifier, base64url without padding: the code "
                "that comes back is exchanged with the verifier.",
            ),
            Param(
                "return_to",
                description="A path of this origin to go to after; gets `code` as a parameter. "
                "Without it the code is the answer of the last step, to be copied.",
            ),
        ),
        responses={302: "To the provider's page"},
        description="For browsers. 404 `sso_not_configured` where there is no provider.",
    ),
    Route(
        method="GET",
        path=CALLBACK,
        handler=come_back,
        summary="Come back from the provider of identities",
        permission=Permission.PUBLIC,
        tag="sessions",
        params=(
            Param("state", description="Which login it is of."),
            Param("code", description="What the provider is asked with."),
            Param("error", description="Why there is no code."),
            Param("iss", description="The provider, RFC 9207."),
        ),
        responses={200: OneTimeCode, 302: "To `return_to`, with `code`"},
        description="The provider sends browsers here; further parameters are ignored.",
        open_query=True,
    ),
    Route(
        method="POST",
        path="/api/v1/auth/exchange",
        handler=exchange,
        summary="Exchange a one-time code for tokens",
        permission=Permission.PUBLIC,
        tag="sessions",
        body=ExchangeInput,
        example={"code": "x" * 43, "verifier": "y" * 43},
        responses={200: Tokens},
        description="Once, within a minute, with the verifier whose digest the login was begun "
        "with; else 401 `exchange_failed`.",
    ),
)
