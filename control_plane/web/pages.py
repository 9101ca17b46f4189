"""The API for people to read: `/docs` (Swagger UI), `/redoc`, and `/openapi.json` behind both.

The pages ask no other origin for anything, and their content security policy sees to it. Both
libraries set styles from scripts, hence `style-src 'unsafe-inline'`; scripts are our files only.
"""

from aiohttp import web

from control_plane.errors import NotFound
from control_plane.keys import ASSETS, OPENAPI
from control_plane.web.assets import send
from control_plane.web.routing import IF_NONE_MATCH, Param, Permission, Route

__all__ = ["ROUTES"]

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "worker-src blob:",  # Redoc searches in a worker it makes of its own text
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" type="image/svg+xml" href="/docs/assets/favicon.svg">
<link rel="stylesheet" href="/docs/assets/pages.css">
"""
_DOCS = (
    _HEAD.format(title="Matrix Flag API")
    + """<link rel="stylesheet" href="/docs/assets/swagger-ui/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/docs/assets/swagger-ui/swagger-ui-bundle.js"></script>
<script src="/docs/assets/docs.js"></script>
</body>
</html>
"""
)
_REDOC = (
    _HEAD.format(title="Matrix Flag API reference")
    + """</head>
<body>
<redoc spec-url="/openapi.json" required-props-first native-scrollbars></redoc>
<script src="/docs/assets/redoc/redoc.standalone.js"></script>
</body>
</html>
"""
)


def _page(text: str) -> web.Response:
    headers = {"Content-Security-Policy": _POLICY}
    return web.Response(text=text, content_type="text/html", headers=headers)


async def docs(request: web.Request) -> web.StreamResponse:
    """Answer the page of Swagger UI."""
    return _page(_DOCS)


async def redoc(request: web.Request) -> web.StreamResponse:
    """Answer the page of Redoc."""
    return _page(_REDOC)


async def openapi(request: web.Request) -> web.StreamResponse:
    """Answer the description that both pages show."""
    return send(request, request.app[OPENAPI])


async def asset(request: web.Request) -> web.StreamResponse:
    """Answer a file that the pages need."""
    name = request.match_info["name"]
    found = await request.app[ASSETS].get(name)
    if found is None:
        raise NotFound(f"there is no file {name[:100]!r}", code="no_such_path")
    return send(request, found)


ROUTES = (
    Route(
        method="GET",
        path="/docs",
        handler=docs,
        summary="Swagger UI",
        permission=Permission.PUBLIC,
        tag="documentation",
        responses={200: "The API, to read and to try."},
    ),
    Route(
        method="GET",
        path="/redoc",
        handler=redoc,
        summary="Redoc",
        permission=Permission.PUBLIC,
        tag="documentation",
        responses={200: "The API, to read."},
    ),
    Route(
        method="GET",
        path="/openapi.json",
        handler=openapi,
        summary="OpenAPI 3.1 description",
        permission=Permission.PUBLIC,
        tag="documentation",
        params=(IF_NONE_MATCH,),
        responses={200: dict},
    ),
    Route(
        method="GET",
        path="/docs/assets/{name:.+}",
        handler=asset,
        summary="Files of the pages",
        permission=Permission.PUBLIC,
        tag="documentation",
        params=(Param("name", "path", required=True), IF_NONE_MATCH),
        responses={200: "The file."},
    ),
)
