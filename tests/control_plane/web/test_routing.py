"""Tests of the table of routes: registration, the guard before all else, the query string."""

import asyncio

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from control_plane.errors import Forbidden
from control_plane.web.problem import errors
from control_plane.web.routing import ROUTE, Param, Permission, Route, register


def route(path: str, handler: object, **members: object) -> Route:
    """Return a row with what a test does not care about filled in."""
    row: dict[str, object] = {
        "method": "GET",
        "permission": Permission.READ,
        "summary": "",
        "tag": "",
    }
    return Route(path=path, handler=handler, **(row | members))  # type: ignore[arg-type]


async def echo(request: web.Request) -> web.StreamResponse:
    """Answer the key, or the path."""
    return web.Response(text=request.match_info.get("key", request.path))


async def ask(
    path: str, *rows: Route, method: str = "GET", allowed: bool = True
) -> tuple[int, str]:
    """Register rows, send one request, return status and text."""

    def guard(request: web.Request, route: Route) -> None:
        assert request[ROUTE] is route
        if not allowed:
            raise Forbidden("no")

    app = web.Application(middlewares=[errors])
    register(app, rows, guard)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = str(server.make_url("")).rstrip("/") + path
        async with session.request(method, url) as response:
            return response.status, await response.text()


async def test_a_literal_path_works_with_and_without_a_trailing_slash() -> None:
    """The same route, not a redirect, which clients do not follow for POST."""
    row = route("/things", echo)
    assert await ask("/things", row) == (200, "/things")
    assert await ask("/things/", row) == (200, "/things/")


async def test_a_key_may_have_slashes_escaped_or_not() -> None:
    """Keys of flags have them."""
    row = route("/things/{key:.+}", echo)
    assert await ask("/things/a/b", row) == (200, "a/b")
    assert (await ask("/things/a%2Fb", row))[0] == 200
    assert (await ask("/things/", row))[0] == 404


async def test_the_guard_stands_before_everything() -> None:
    """Neither a bad parameter nor the handler is reached without permission."""
    status, _ = await ask("/things?bad=1", route("/things", echo), allowed=False)
    assert status == 403


async def test_a_parameter_that_is_not_declared_is_refused_with_the_nearest() -> None:
    """It would otherwise be ignored, and the default be acted on."""
    row = route("/things", echo, params=(Param("environment"), Param("If-Match", "header")))
    assert (await ask("/things?environment=x", row))[0] == 200
    status, text = await ask("/things?enviroment=x", row)
    assert status == 400
    assert "did you mean environment?" in text
    assert (await ask("/things?If-Match=x", row))[0] == 400


async def test_a_parameter_is_given_once() -> None:
    """Which of two would count? Only `tag` may be given again."""
    row = route("/things", echo, params=(Param("environment"), Param("tag")))
    assert (await ask("/things?environment=a&environment=b", row))[0] == 400
    assert (await ask("/things?tag=a&tag=b", row))[0] == 200


async def test_a_get_has_a_head_and_a_stream_has_none() -> None:
    """A stream would never end."""
    assert (await ask("/things", route("/things", echo), method="HEAD"))[0] == 200
    streaming = route("/things", echo, streaming=True)
    assert (await ask("/things", streaming, method="HEAD"))[0] == 405


async def test_a_change_goes_on_when_its_caller_hangs_up() -> None:
    """Half of a change would be done otherwise."""
    begun, finished = asyncio.Event(), asyncio.Event()

    async def change(request: web.Request) -> web.StreamResponse:
        begun.set()
        await asyncio.sleep(0.1)
        finished.set()
        return web.Response()

    app = web.Application(middlewares=[errors])
    row = route("/things", change, method="POST", permission=Permission.WRITE)
    register(app, (row,), lambda request, permission: None)
    server = TestServer(app)
    await server.start_server()
    async with aiohttp.ClientSession() as session:
        asking = asyncio.create_task(session.post(server.make_url("/things")))
        await begun.wait()
        asking.cancel()
    async with asyncio.timeout(5):
        await finished.wait()
    await server.close()
