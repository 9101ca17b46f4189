"""A control plane on a real socket and a real Redis, within the test's own loop.

api             one on the session's Redis, with an ADMIN_TOKEN, sent unless said otherwise
running_api     the same with settings of the test's choosing

Its ADMIN_TOKEN opens everything, see `administrator`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from control_plane.app import create_app, make_runner
from control_plane.keys import REPLICA, USERS
from control_plane.settings import EVERYTHING, FIRST_ADMIN, Settings
from tests.support.administrator import ADMIN_TOKEN

__all__ = ["ADMIN_TOKEN", "PASSWORD", "SECRET", "Api", "Reply", "api", "running_api", "until"]

SECRET = "a-secret-that-is-long-enough-for-tests"
PASSWORD = "correct horse battery"
_LOAD_S = 20.0


class Reply:
    """An answer, read to its end."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body
        self._json = response.content_type.endswith("json")

    @property
    def json(self) -> Any:
        """The body decoded; None when it is not declared as JSON."""
        if not self._json:
            return None
        return json.loads(self.body)


class Api:
    """A running control plane and a client for it."""

    def __init__(self, app: web.Application, url: str, session: aiohttp.ClientSession) -> None:
        self.app = app
        self.url = url
        self.session = session

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = ADMIN_TOKEN,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> Reply:
        """Send a request, as administrator unless another token or None is given."""
        sent = {"Accept-Encoding": "identity"} | dict(headers or {})
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token}")
        async with self.session.request(
            method, self.url + path, headers=sent, **options
        ) as response:
            return Reply(response, await response.read())

    async def log_in(self, email: str, *roles: dict[str, str], by: str = ADMIN_TOKEN) -> str:
        """Make a person, log them in, and return their access token."""
        body = {"email": email, "password": PASSWORD}
        document = {**body, "roles": list(roles)}
        made = await self.ask("POST", "/api/v1/users", token=by, json=document)
        assert made.status == 201, made.body
        reply = await self.ask("POST", "/api/v1/auth/login", token=None, json=body)
        assert reply.status == 200, reply.body
        token: str = reply.json["access_token"]
        return token

    async def make_key(self, kind: str, **members: Any) -> dict[str, Any]:
        """Make a key and return what is shown of it once."""
        reply = await self.ask("POST", "/api/v1/keys", json={"kind": kind, **members})
        assert reply.status == 201, reply.body
        created: dict[str, Any] = reply.json
        return created


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 20.0) -> None:
    """Return once something outside this process is so; there is no event to wait for."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - other processes set no event here
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running_api(redis_url: str, *, wait: bool = True, **settings: Any) -> AsyncIterator[Api]:
    """Run a control plane with these settings; `wait` for it to have read everything."""
    settings = {
        "admin_token": ADMIN_TOKEN,
        "admin_token_use": EVERYTHING if settings.get("admin_token", True) else FIRST_ADMIN,
        "redis_url": redis_url,
        "secret_key": (SECRET,),
        "shutdown_timeout_s": 5.0,
        **settings,
    }
    checked = Settings(**settings)
    app = create_app(checked)
    runner = make_runner(app, checked)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        if wait:
            async with asyncio.timeout(_LOAD_S):
                assert await app[REPLICA].wait_loaded(_LOAD_S)
                await app[USERS].wait_loaded()
            async with asyncio.timeout(_LOAD_S):
                await app[USERS].wait_loaded()
        # Answers are compared as they came, so nothing is asked for compressed or kept.
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            yield Api(app, f"http://{host}:{port}", session)
    finally:
        await runner.cleanup()


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane on an empty Redis."""
    async with running_api(redis_url) as running:
        yield running
