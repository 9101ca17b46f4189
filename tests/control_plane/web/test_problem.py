"""Tests of what only the error middleware does; the shape is in tests/test_error_shape.py."""

import asyncio
import logging

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from control_plane.web.problem import errors, mark_answer


async def surprise(request: web.Request) -> web.StreamResponse:
    """Fail with something that callers must not see."""
    raise RuntimeError("the password is hunter2")


async def broken_stream(request: web.Request) -> web.StreamResponse:
    """Fail after half of an answer."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"half")
    raise RuntimeError("the other half")


async def gone(request: web.Request) -> web.StreamResponse:
    """Notice that the client has gone, before anything was sent."""
    raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")


def served() -> TestServer:
    """Return a server with handlers that fail."""
    app = web.Application(middlewares=[errors])
    app.on_response_prepare.append(mark_answer)
    app.router.add_get("/surprise", surprise)
    app.router.add_get("/stream", broken_stream)
    app.router.add_post("/gone", gone)
    return TestServer(app)


async def test_a_surprise_is_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """The text is in the log, under the id that the caller is told."""
    async with (
        served() as server,
        aiohttp.ClientSession() as session,
        session.get(server.make_url("/surprise?token=secret")) as response,
    ):
        text = await response.text()
        document = await response.json(content_type="application/problem+json")
    assert (response.status, document["code"]) == (500, "internal")
    assert "hunter2" not in text
    assert "RuntimeError" not in text
    logged = caplog.text
    assert "hunter2" in logged
    assert document["request_id"] in logged
    assert "token=secret" not in logged


async def test_a_client_that_has_gone_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever stops reading makes no noise in the log."""
    async with served() as server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.post(server.make_url("/gone"))
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_half_an_answer_breaks_the_connection() -> None:
    """The client must not take it for whole."""
    async with served() as server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            async with session.get(server.make_url("/stream")) as response:
                await response.read()


async def test_requests_are_logged_without_their_query(caplog: pytest.LogCaptureFixture) -> None:
    """One line each, with status, duration and id."""
    caplog.set_level(logging.DEBUG)
    async with (
        served() as server,
        aiohttp.ClientSession() as session,
        session.get(server.make_url("/none-such?token=secret")) as response,
    ):
        request_id = response.headers["X-Request-Id"]
    (line,) = (r.getMessage() for r in caplog.records if r.name == "control_plane.web.problem")
    assert line.startswith("127.0.0.1 GET /none-such 404 ")
    assert line.endswith(request_id)


async def test_every_answer_is_marked() -> None:
    """Errors too: nothing is kept by shared caches."""
    async with (
        served() as server,
        aiohttp.ClientSession() as session,
        session.get(server.make_url("/none-such")) as response,
    ):
        assert response.headers["Cache-Control"] == "private, no-cache"


async def test_a_cancelled_request_is_not_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """The caller hung up; nothing is wrong here."""
    started = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        started.set()
        await asyncio.sleep(60)
        return web.Response()

    app = web.Application(middlewares=[errors])
    app.router.add_get("/", slow)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        asking = asyncio.create_task(session.get(server.make_url("/")))
        await started.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]
