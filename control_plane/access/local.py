"""When a request without a credential comes from this machine's own user. For `matrixflag dev`.

Any web page can post to localhost, and any name can be made to resolve to it. So the address of the
peer is not enough: the `Host` must be a name of this machine (against DNS rebinding), no foreign
page may stand behind the request (`Origin`, `Sec-Fetch-Site`), a body must be declared as JSON
(which a foreign page cannot do without a preflight), and nobody may have passed the request on.
"""

import ipaddress
from collections.abc import Callable

from aiohttp import hdrs, web

__all__ = ["why_not_local"]

_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")
_JSON = ("application/json", "application/x-ndjson")
_WITH_BODY = (hdrs.METH_POST, hdrs.METH_PUT, hdrs.METH_PATCH)


def why_not_local(request: web.Request, allows_origin: Callable[[str], bool]) -> str | None:
    """Return what tells against a local user, for the person to read, or None if nothing does.

    `allows_origin` says which origins the settings name.
    """
    if not _is_loopback(request):
        return "it comes from another machine"
    if not _is_own_name(request.headers.get(hdrs.HOST, "")):
        return "its Host is not localhost, 127.0.0.1 or [::1]"
    if any(name in request.headers for name in _FORWARDED):
        return "it was passed on by a proxy"
    origin = request.headers.get(hdrs.ORIGIN)
    own = f"http://{request.headers.get(hdrs.HOST)}"
    if origin is not None and origin != own and not allows_origin(origin):
        return "its Origin is another site"
    if request.headers.get("Sec-Fetch-Site", "none").lower() == "cross-site":
        return "a browser sent it for another site"
    if request.method in _WITH_BODY and not _is_json(request):
        return "its Content-Type is not JSON"
    return None


def _is_loopback(request: web.Request) -> bool:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    if not isinstance(peer, tuple):
        return False  # a unix socket may be anybody's front door
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _is_own_name(host: str) -> bool:
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not name:
        name, port = host, ""
    return name.lower() in ("localhost", "127.0.0.1", "[::1]") and (not port or port.isdigit())


def _is_json(request: web.Request) -> bool:
    kind = request.content_type
    return hdrs.CONTENT_TYPE in request.headers and (
        kind in _JSON or (kind.startswith("application/") and kind.endswith("+json"))
    )
