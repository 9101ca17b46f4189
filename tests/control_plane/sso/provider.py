"""A provider of identities that does as a test tells it: honest, mistaken or hostile.

It checks client, redirect URI, code and PKCE as a good one does, so that what it is not told to
spoil is right. `claims` and `sign` make its ID tokens.
"""

import base64
import json
import time
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import unquote_plus

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from yarl import URL

CLIENT, SECRET = "matrix-flag", "s3cret: 100% + more than thirty-two bytes"
KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)
WEAK_KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
CURVE_KEY = ec.generate_private_key(ec.SECP256R1())

Sign = Callable[[dict[str, Any]], str]


def public(key: Any, kid: str, **members: Any) -> dict[str, Any]:
    """Return the public half of a key as a member of a set."""
    kind = jwt.algorithms.RSAAlgorithm if hasattr(key, "private_numbers") else None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        kind = jwt.algorithms.ECAlgorithm
    assert kind is not None
    found = json.loads(kind.to_jwk(key.public_key()))
    return {**found, "kid": kid, **members}


class FakeProvider:
    """What it knows and how it behaves; a test changes the attributes."""

    def __init__(self, url: str) -> None:
        self.url = self.issuer = url
        self.keys = [public(KEY, "one")]
        self.claims: dict[str, Any] = {
            "sub": "ada-0001",
            "email": "ada@example.com",
            "email_verified": True,
            "name": "Ada",
            "groups": ["flag-admins"],
        }
        self.userinfo: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.callback: dict[str, str] = {}
        self.sign: Sign = signed(KEY, "one")
        self.answers: dict[str, Callable[[], web.StreamResponse]] = {}
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}

    async def authorize(self, request: web.Request) -> web.StreamResponse:
        """Log whoever comes in, and send them back."""
        query = dict(request.query)
        assert query["code_challenge_method"] == "S256"
        assert query["client_id"] == CLIENT
        code = f"code-{len(self._codes)}"
        self._codes[code] = query
        back = {"code": code, "state": query["state"], "session_state": "x", **self.callback}
        return web.Response(status=302, headers={"Location": _with(query["redirect_uri"], back)})

    async def token(self, request: web.Request) -> web.StreamResponse:
        """Take a code, once."""
        form = await request.post()
        asked = self._codes.pop(str(form["code"]), None)
        kind, _, pair = request.headers.get("Authorization", "").partition(" ")
        client = [unquote_plus(p) for p in base64.b64decode(pair).decode().split(":")]
        if kind != "Basic" or client != [CLIENT, SECRET]:
            return web.json_response({"error": "invalid_client"}, status=401)
        digest = sha256(str(form["code_verifier"]).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form["redirect_uri"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return web.json_response(
            {"access_token": "access", "token_type": "Bearer", "id_token": self.sign(claims)}
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer anything."""
        path = request.path
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]()
        if path == "/.well-known/openid-configuration":
            return web.json_response(
                {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.url}/authorize?tenant=1",
                    "token_endpoint": f"{self.url}/token",
                    "jwks_uri": f"{self.url}/keys",
                    "userinfo_endpoint": f"{self.url}/userinfo",
                    **self.metadata,
                }
            )
        if path == "/keys":
            return web.json_response({"keys": self.keys})
        if path == "/userinfo":
            assert request.headers["Authorization"] == "Bearer access"
            return web.json_response(self.userinfo)
        if path == "/authorize":
            return await self.authorize(request)
        if path == "/token":
            return await self.token(request)
        return web.Response(status=404)


def signed(key: Any, kid: str | None, algorithm: str = "RS256", **header: Any) -> Sign:
    """Return what signs claims with a key under a name."""

    def sign(claims: dict[str, Any]) -> str:
        named = header if kid is None else {"kid": kid, **header}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a weak key, which is the point
            return jwt.encode(claims, key, algorithm, headers=named)

    return sign


def _with(url: str, query: dict[str, str]) -> str:
    return str(URL(url).update_query(query))


@asynccontextmanager
async def fake_provider() -> AsyncIterator[FakeProvider]:
    """Run one on loopback."""
    app = web.Application()
    runner = web.AppRunner(app, access_log=None)
    made: list[FakeProvider] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        return await made[0].handle(request)

    app.router.add_route("*", "/{tail:.*}", handle)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.append(FakeProvider(f"http://127.0.0.1:{runner.addresses[0][1]}"))
        yield made[0]
    finally:
        await runner.cleanup()
