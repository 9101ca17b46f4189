"""What a browser does when somebody logs in at a provider: it follows redirects, and keeps cookies.

Each `Browser` has a jar of its own. The provider sends it back to the control plane's public
address, behind which no port is; so what is for there is asked of the control plane itself.
"""

import base64
import secrets
from hashlib import sha256
from typing import Any

import aiohttp
from yarl import URL

from tests.support.api import Api, Reply

PUBLIC_URL = "http://127.0.0.1:9"
LOGIN, CALLBACK = "/api/v1/auth/oidc/login", "/api/v1/auth/oidc/callback"
EXCHANGE = "/api/v1/auth/exchange"


class Browser:
    """A browser at one control plane."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.cookies: dict[str, str] = {}
        self.verifier = secrets.token_urlsafe(32)

    @property
    def challenge(self) -> str:
        """The digest of the verifier."""
        digest = sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    async def begin(self, **query: str) -> Reply:
        """Ask to log in."""
        asked = {"challenge": self.challenge, **query}
        return await self.get(LOGIN, asked)

    async def get(self, path: str, query: Any = None) -> Reply:
        """Get something of the control plane, with the cookies it set."""
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        reply = await self.api.ask(
            "GET",
            path,
            token=None,
            params=query,
            headers={"Cookie": pairs} if pairs else {},
            allow_redirects=False,
        )
        for header in reply.headers.getall("Set-Cookie", []):
            name, _, rest = header.partition("=")
            self.cookies[name] = rest.partition(";")[0].strip('"')
        return reply

    async def at_provider(self, url: str) -> dict[str, str]:
        """Go where the control plane sends it, and return what the provider sends back with."""
        there = URL(url, encoded=True)
        async with (
            aiohttp.ClientSession() as session,
            session.get(there, allow_redirects=False) as reply,
        ):
            back = URL(reply.headers["Location"])
        assert str(back).startswith(PUBLIC_URL + CALLBACK)
        return dict(back.query)

    async def come_back(self, **query: str) -> Reply:
        """Begin, log in at the provider, and come back."""
        begun = await self.begin(**query)
        assert begun.status == 302, begun.body
        return await self.get(CALLBACK, await self.at_provider(begun.headers["Location"]))

    async def exchange(self, code: str, verifier: str | None = None) -> Reply:
        """Exchange a one-time code for tokens."""
        body = {"code": code, "verifier": verifier or self.verifier}
        return await self.api.ask("POST", EXCHANGE, token=None, json=body)

    async def log_in(self) -> dict[str, Any]:
        """Do all of it, and return the tokens."""
        back = await self.come_back()
        assert back.status == 200, back.body
        reply = await self.exchange(back.json["code"])
        assert reply.status == 200, reply.body
        tokens: dict[str, Any] = reply.json
        return tokens
