"""Tests of who is behind a change."""

from tests.support.api import Api
from tests.support.redis import RedisServer


async def test_the_audit_log_names_actor_and_address(api: Api, session_redis: RedisServer) -> None:
    """The peer's address, as this process saw it, whatever headers say."""
    reply = await api.ask(
        "POST", "/api/v1/keys", json={"kind": "server"}, headers={"X-Forwarded-For": "192.0.2.1"}
    )
    assert reply.status == 201
    with session_redis.client() as client:
        ((_, fields),) = client.xrevrange("mf:{default}:audit", count=1)
    entry = b"".join(fields.values())
    assert b'"actor":"admin"' in entry
    assert b'"address":"127.0.0.1"' in entry
