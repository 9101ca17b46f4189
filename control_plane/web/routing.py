"""The table of routes: what each feature's `routes.py` declares, and how it gets into aiohttp.

A `Route` says everything there is to know of an endpoint: who may call it, what it takes and what
it answers. From the same row come the registration, the authorisation, the check of the query
string and `/openapi.json`, so none of them can disagree with the others.

Rules:
- Every route has a `Permission`. `PUBLIC` is an entry in the table like any other, and a test
  walks all rows with every credential.
- A query parameter that the row does not declare is refused: `?enviroment=staging` must not
  quietly change production.
- A path that ends in a literal works with and without a trailing slash.
"""

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import msgspec
from aiohttp import hdrs, web

from control_plane.errors import BadRequest

__all__ = [
    "ADMIT",
    "CONTENT_ENCODING",
    "CURSOR",
    "ENVIRONMENT",
    "IF_MATCH",
    "IF_NONE_MATCH",
    "JSON",
    "LIMIT",
    "PROJECT",
    "ROUTE",
    "Guard",
    "Handler",
    "Limit",
    "Page",
    "Param",
    "Permission",
    "Route",
    "register",
]

T = TypeVar("T")
Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]
JSON = "application/json"

Guard = Callable[[web.Request, "Route"], None]
"""Raises Unauthorized or Forbidden, or leaves the principal in the request."""

Limit = Callable[[web.Request], Awaitable[None]]
"""Raises TooManyRequests; asked once the principal is known."""


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list; `next_cursor` is null on the last."""

    items: list[T]
    next_cursor: str | None


class Permission(StrEnum):
    """Who may call a route."""

    PUBLIC = "public"
    """Anybody: says nothing of definitions."""
    MEMBER = "member"
    """Whoever holds any role anywhere; sees only what is there."""
    READ = "read"
    """Whoever may see the definitions of a project."""
    WRITE = "write"
    """Whoever may change them."""
    MANAGE = "manage"
    """Whoever may decide who does what in a project: keys, environments, the audit log."""
    INSTALLATION = "installation"
    """Whoever may do so in all projects, those to come too: projects, users."""
    ACCOUNT = "account"
    """A person, for what is their own: password, sessions, second factors."""
    SYNC = "sync"
    """A sidecar key, for the snapshots of its environment."""
    REPORT = "report"
    """A sidecar key, for exposures of its environment."""


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a route. `type` is a Python type that JSON Schema can say."""

    name: str
    where: Literal["query", "path", "header"] = "query"
    type: Any = str
    required: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint.

    `path` is an aiohttp pattern, `/api/v1/flags/{key:.+}`. `body` is the type of the request's
    body, in any of `media_types`, and `example` a body that works as it stands. `responses` maps a
    status to the type of a JSON answer, or several, to a description where the answer has no JSON,
    or to None where it has no body; the errors every route may give need not be listed. `streaming`
    answers last as long as the client stays: they are not timed, and have no HEAD.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    permission: Permission
    tag: str
    params: tuple[Param, ...] = ()
    body: Any = None
    example: Any = None
    media_types: tuple[str, ...] = (JSON,)
    responses: Mapping[int, Any] = field(default_factory=dict)
    description: str = ""
    answers_text: bool = False
    """Whether an answer of JSON comes as `text/plain` to who asks for that."""
    streaming: bool = False
    without_factor: bool = False
    """Whether a person may call it whose role needs a second factor that they have not shown."""
    first_admin: bool = False
    """Whether `ADMIN_TOKEN` reaches it, to make the first administrator there and nobody else: the
    handler sees to that."""
    open_query: bool = False
    """Whether parameters that are not declared are ignored: another system makes the query."""
    project: Literal["query", "path"] = "query"
    """Where the project is named that it is about: `?project=`, or the path's `{key}`."""


ROUTE: web.RequestKey[Route] = web.RequestKey("route")
"""The row a request was matched with; absent for paths that nobody serves."""

ADMIT: web.RequestKey[Callable[[], None]] = web.RequestKey("admit")
"""Authorises the request as its guard did; asked again when its body is there, which may take long
enough for a key, a session or a role to be taken away."""

PROJECT = Param("project", description="The project; `default` when absent.")
ENVIRONMENT = Param("environment", description="The environment; `production` when absent.")
LIMIT = Param("limit", type=int, description="Items a page, 1 to 500; 50 when absent.")
CURSOR = Param("cursor", description="`next_cursor` of the page before.")
IF_MATCH = Param("If-Match", "header", description="Only if this is still the version.")
CONTENT_ENCODING = Param(
    "Content-Encoding", "header", Literal["gzip", "identity"], description="`gzip`, or none."
)
IF_NONE_MATCH = Param("If-None-Match", "header", description="304 if this is still the version.")


def register(
    app: web.Application,
    routes: Iterable[Route],
    guard: Guard,
    limit_of: Callable[[Route], Limit | None] = lambda _route: None,
) -> None:
    """Add the routes to an application, each behind `guard`, its limit if it has one, and the
    check of its parameters."""
    for route in routes:
        handler = _guarded(route, guard, limit_of(route))
        for path in _paths(route.path):
            app.router.add_route(route.method, path, handler)
            if route.method == hdrs.METH_GET and not route.streaming:
                app.router.add_route(hdrs.METH_HEAD, path, handler)


def _paths(path: str) -> tuple[str, ...]:
    if path.endswith("}") or path == "/":
        return (path,)
    bare = path.rstrip("/")
    return bare, bare + "/"


def _guarded(route: Route, guard: Guard, limit: Limit | None) -> Handler:
    known = sorted(p.name for p in route.params if p.where == "query")

    async def handle(request: web.Request) -> web.StreamResponse:
        request[ROUTE] = route
        admit: Callable[[], None] = partial(guard, request, route)
        request[ADMIT] = admit
        admit()
        if limit is not None:
            await limit(request)
        _check_query(request, known, is_open=route.open_query)
        if route.permission in _CHANGE:
            return await _to_its_end(route.handler(request))
        return await route.handler(request)

    return handle


_CHANGE = frozenset({Permission.WRITE, Permission.MANAGE, Permission.INSTALLATION})

_under_way: set[asyncio.Task[web.StreamResponse]] = set()


async def _to_its_end(work: Coroutine[Any, Any, web.StreamResponse]) -> web.StreamResponse:
    """Return the answer; a caller who hangs up does not stop a change half way."""
    task = asyncio.create_task(work)
    _under_way.add(task)  # the loop itself keeps only a weak reference
    task.add_done_callback(_finished)
    return await asyncio.shield(task)


def _finished(task: asyncio.Task[web.StreamResponse]) -> None:
    _under_way.discard(task)
    if not task.cancelled():
        task.exception()  # it was raised where the answer was awaited, or nobody waits any more


def _check_query(request: web.Request, known: list[str], *, is_open: bool) -> None:
    query = request.query
    for name in query:
        if name not in known:
            if is_open:
                continue
            near = difflib.get_close_matches(name[:64], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"
            raise BadRequest(
                f"unknown query parameter {name[:64]!r}; {hint}", code="unknown_parameter"
            )
        if len(query.getall(name)) > 1 and name != "tag":
            raise BadRequest(f"query parameter {name!r} is given twice", code="invalid_parameter")
