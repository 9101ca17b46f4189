"""People for tests: a control plane with a secret, and somebody who logs in."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pyotp

from tests.support.api import PASSWORD, SECRET, Api, Reply, running_api

__all__ = [
    "ADA",
    "PASSWORD",
    "SECRET",
    "Totp",
    "add",
    "logged_in",
    "login",
    "people",
    "set_up_totp",
    "verify",
]

ADA = "ada@example.com"
LOGIN = "/api/v1/auth/login"


@asynccontextmanager
async def people(redis_url: str, **settings: Any) -> AsyncIterator[Api]:
    """Run a control plane at which people can log in."""
    async with running_api(redis_url, **{"redis_timeout_s": 10.0, **settings}) as api:
        yield api


async def add(api: Api, email: str = ADA, role: str = "admin", **members: Any) -> dict[str, Any]:
    """Make a person with a password, and return what is shown of them."""
    body = {
        "email": email,
        "password": PASSWORD,
        "roles": [{"role": role, "project": "*"}],
        **members,
    }
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


async def verify(api: Api, challenge: str, **answer: Any) -> Reply:
    """Answer a challenge."""
    body = {"challenge": challenge, **answer}
    return await api.ask("POST", "/api/v1/auth/verify", token=None, json=body)


class Totp:
    """An authenticator app that was set up in a session, whose access token is `token`.

    `used` is the code that confirmed it, of the step that it was then. That leaves one at any
    moment, of the next step, whenever a step ends.
    """

    def __init__(self, secret: str, token: str) -> None:
        self.secret = secret
        self.token = token
        self.recovery: list[str] = []
        self._totp = pyotp.TOTP(secret)
        self._used = int(time.time() // 30)
        self.used = self._totp.generate_otp(self._used)

    def code(self) -> str:
        """Return a code that is good once, of this step or the next one."""
        return self._totp.generate_otp(max(self._used + 1, int(time.time() // 30)))


async def set_up_totp(api: Api, email: str = ADA, token: str | None = None) -> Totp:
    """Set an authenticator app up, in a new session unless there is one."""
    if token is None:
        token = (await logged_in(api, email))["access_token"]
    path = "/api/v1/me/factors/totp"
    began = await api.ask("POST", path, token=token)
    assert began.status == 200, began.body
    app = Totp(began.json["secret"], token)
    body = {"challenge": began.json["challenge"], "code": app.used}
    done = await api.ask("POST", path + "/confirm", token=token, json=body)
    assert done.status == 200, done.body
    app.recovery = done.json["recovery_codes"]
    return app
