"""People for tests: a control plane with a secret, and somebody who logs in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.api import PASSWORD, SECRET, Api, Reply, running_api

__all__ = ["ADA", "PASSWORD", "SECRET", "add", "logged_in", "login", "people"]

ADA = "ada@example.com"
LOGIN = "/api/v1/auth/login"


@asynccontextmanager
async def people(redis_url: str, **settings: Any) -> AsyncIterator[Api]:
    """Run a control plane at which people can log in."""
    async with running_api(redis_url, **{"redis_timeout_s": 10.0, **settings}) as api:
        yield api


async def add(api: Api, email: str = ADA, role: str = "admin", **members: Any) -> dict[str, Any]:
    """Make a person with a password, and return what is shown of them."""
    body = {"email": email, "password": PASSWORD, "roles": [{"role": role}], **members}
    reply = await api.ask("POST", "/api/v1/users", json=body)
    assert reply.status == 201, reply.body
    made: dict[str, Any] = reply.json["user"]
    return made


async def login(api: Api, email: str = ADA, password: str = PASSWORD) -> Reply:
    """Try to log in."""
    return await api.ask("POST", LOGIN, token=None, json={"email": email, "password": password})


async def logged_in(api: Api, email: str = ADA) -> dict[str, Any]:
    """Log in, and return the tokens."""
    reply = await login(api, email)
    assert reply.status == 200, reply.body
    tokens: dict[str, Any] = reply.json
    return tokens
