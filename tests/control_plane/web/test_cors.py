"""Tests of cross-origin requests, as browsers make them."""

from control_plane.flags.responses import MOVED_HEADER, WARNINGS_HEADER
from tests.support.api import Api, running_api

ORIGIN = "https://dashboard.example"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "authorization,content-type",
}


async def test_it_is_closed_by_default(api: Api) -> None:
    """No origin is told anything, and a preflight is a method that is not known."""
    reply = await api.ask("GET", "/api/v1/keys", headers={"Origin": ORIGIN})
    assert not [name for name in reply.headers if name.startswith("Access-Control")]
    reply = await api.ask("OPTIONS", "/api/v1/keys", token=None, headers=PREFLIGHT)
    assert reply.status == 405


async def test_a_named_origin_may_ask_and_read(redis_url: str) -> None:
    """Preflight without a credential, answers and errors with the header."""
    async with running_api(redis_url, cors_origins=(ORIGIN,)) as api:
        reply = await api.ask("OPTIONS", "/api/v1/keys", token=None, headers=PREFLIGHT)
        assert reply.status == 204
        assert reply.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "PUT" in reply.headers["Access-Control-Allow-Methods"]
        assert "authorization" in reply.headers["Access-Control-Allow-Headers"]
        for path, status in (("/api/v1/keys", 200), ("/none-such", 404)):
            reply = await api.ask("GET", path, headers={"Origin": ORIGIN})
            assert reply.status == status
            assert reply.headers["Access-Control-Allow-Origin"] == ORIGIN
            exposed = reply.headers["Access-Control-Expose-Headers"].split(", ")
            assert {"ETag", "Location", MOVED_HEADER, WARNINGS_HEADER} <= set(exposed)
            assert reply.headers["Vary"] == "Origin"


async def test_another_origin_is_told_nothing(redis_url: str) -> None:
    """Though caches are told that origins matter."""
    async with running_api(redis_url, cors_origins=(ORIGIN,)) as api:
        evil = {"Origin": "https://evil.example"}
        reply = await api.ask("GET", "/api/v1/keys", headers=evil)
        assert "Access-Control-Allow-Origin" not in reply.headers
        assert reply.headers["Vary"] == "Origin"
        reply = await api.ask("OPTIONS", "/api/v1/keys", token=None, headers=PREFLIGHT | evil)
        assert reply.status == 405


async def test_a_wildcard_never_comes_with_credentials(redis_url: str) -> None:
    """Callers send a token; there are no cookies to steal."""
    async with running_api(redis_url, cors_origins=("*",)) as api:
        reply = await api.ask("GET", "/api/v1/keys", headers={"Origin": ORIGIN})
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in reply.headers
