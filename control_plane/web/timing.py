"""Times every request by the route it took, for the metrics."""

import time

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from control_plane.keys import METRICS
from control_plane.web.openapi import plain_path
from control_plane.web.routing import ROUTE

__all__ = ["timing"]


@web.middleware
async def timing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Pass the request on and count how long it took; outermost, so that errors count too."""
    started = time.perf_counter()
    answer = await handler(request)
    route = request.get(ROUTE)
    if route is None:
        # The method is the caller's word, and would be a label without bound.
        method = request.method if request.method in hdrs.METH_ALL else "other"
        path = "unmatched"
    elif route.streaming:
        return answer
    else:
        method, path = route.method, plain_path(route.path)
    request.app[METRICS].observe_request(method, path, answer.status, time.perf_counter() - started)
    return answer
