"""Tests of the probes: each answers its one question, whatever else is wrong."""

from control_plane.keys import REPLICA
from tests.support.api import Api, running_api, until
from tests.support.redis import RedisServer


async def test_a_healthy_replica_says_what_it_holds(api: Api) -> None:
    """Redis, its latency, the revisions, the lag."""
    reply = await api.ask("GET", "/health", token=None)
    assert reply.status == 200
    document = reply.json
    assert document["status"] == "ok"
    assert document["problems"] == []
    assert document["redis"]["ok"] is True
    assert document["redis"]["latency_ms"] > 0
    assert document["redis"]["topology"] == "standalone"
    assert (document["redis"]["masters"], document["redis"]["fail_overs"]) == (1, 0)
    assert document["revisions"] == {"development": 1, "production": 1, "staging": 1}
    assert document["connected_sidecars"] == 0
    assert document["loop_lag_ms"] >= 0
    assert document["loaded"] is True


async def test_without_redis_from_the_start_it_lives_and_is_not_ready() -> None:
    """Liveness depends on nothing but the loop."""
    async with running_api("redis://127.0.0.1:1", wait=False) as api:
        assert (await api.ask("GET", "/livez", token=None)).status == 200
        reply = await api.ask("GET", "/readyz", token=None)
        assert (reply.status, reply.json) == (503, {"status": "starting"})
        reply = await api.ask("GET", "/health", token=None)
        assert (reply.status, reply.json["status"]) == (503, "starting")


async def test_redis_going_and_coming_shows_without_a_restart(redis_server: RedisServer) -> None:
    """Ready all the while, because reads and sync go on; unhealthy until Redis is back."""
    async with running_api(redis_server.url, redis_timeout_s=0.5) as api:
        redis_server.kill()
        await until_health(api, 503)
        reply = await api.ask("GET", "/health", token=None)
        assert reply.json["status"] == "degraded"
        assert reply.json["redis"]["ok"] is False
        assert reply.json["redis"]["latency_ms"] is None
        assert reply.json["problems"]
        assert (await api.ask("GET", "/readyz", token=None)).status == 200
        assert (await api.ask("GET", "/livez", token=None)).status == 200
        redis_server.restart()
        await until_health(api, 200)
        assert api.app[REPLICA].loaded


async def until_health(api: Api, status: int) -> None:
    """Return once /health answers with a status; it follows Redis within a second or two."""

    async def answers() -> bool:
        return (await api.ask("GET", "/health", token=None)).status == status

    await until(answers)
