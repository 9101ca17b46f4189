"""Tests of limits over HTTP: two replicas, one Redis, and Redis that is slow or away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest
import redis

from control_plane.keys import METRICS, REPLICA
from control_plane.networks import networks
from tests.support.api import ADMIN_TOKEN, Api, running_api, until
from tests.support.redis import RedisServer

WAIT: dict[str, Any] = {
    "rate_limit_wait_s": 10.0,
    "redis_timeout_s": 10.0,
    "redis_connect_timeout_s": 10.0,
}
"""For tests that count: a busy machine is no Redis that is slow."""

LIMITS = [f"rate_limit_{kind}" for kind in ("read", "write", "login", "address")]


@asynccontextmanager
async def two_apis(redis_url: str, **settings: Any) -> AsyncIterator[tuple[Api, Api]]:
    """Run two replicas."""
    async with (
        running_api(redis_url, **WAIT, **settings) as one,
        running_api(redis_url, **WAIT, **settings) as other,
    ):
        yield one, other


def metric(api: Api, name: str) -> float:
    """Return a sample of the metrics."""
    for line in api.app[METRICS].render().decode().splitlines():
        if line.startswith(name + " "):
            return float(line.rpartition(" ")[2])
    return 0.0


async def test_as_many_pass_as_may_over_two_replicas(redis_url: str) -> None:
    """And what came back meanwhile: one in three seconds."""
    limit = 20
    async with two_apis(redis_url, rate_limit_read=limit) as apis:
        started = monotonic()
        replies = await asyncio.gather(
            *(apis[n % 2].ask("GET", "/api/v1/flags") for n in range(80))
        )
        came_back = int((monotonic() - started) / (60 / limit))
        passed = [reply for reply in replies if reply.status == 200]
        refused = [reply for reply in replies if reply.status == 429]
        assert len(passed) + len(refused) == 80
        assert limit <= len(passed) <= limit + came_back
        assert all(reply.json["code"] == "rate_limited" for reply in refused)
        assert sum(
            metric(api, 'matrixflag_api_rate_limited_total{limit="read"}') for api in apis
        ) == len(refused)


async def test_a_caller_is_told_what_is_left_and_when_to_come_again(redis_url: str) -> None:
    """On answers and on refusals, errors included."""
    async with running_api(redis_url, **WAIT, rate_limit_read=3) as api:
        paths = ("flags", "flags/none", "flags?nonsense=1", "flags")
        replies = [await api.ask("GET", f"/api/v1/{path}") for path in paths]
        assert [reply.status for reply in replies] == [200, 404, 400, 429]
        policy = '"read";q=3;w=60, "address";q=120000;w=60'
        assert {reply.headers["RateLimit-Policy"] for reply in replies} == {policy}
        left = [reply.headers["RateLimit"].partition(";t=")[0] for reply in replies]
        assert left == [f'"read";r={n}' for n in (2, 1, 0, 0)]
        assert 1 <= int(replies[-1].headers["Retry-After"]) <= 20
        assert "of the kind read within 60 s" in replies[-1].json["detail"]


async def test_callers_and_kinds_have_limits_of_their_own(redis_url: str) -> None:
    """A pipeline that is too fast stops nobody else."""
    settings: dict[str, Any] = {"rate_limit_read": 2, "rate_limit_write": 2}
    async with running_api(redis_url, **WAIT, **settings) as api:
        keys = [(await api.make_key("service", role="admin"))["key"] for _ in range(2)]
        for key in keys:
            answers = [(await api.ask("GET", "/api/v1/flags", token=key)).status for _ in range(3)]
            assert answers == [200, 200, 429]
            flag = {"key": "f", "type": "boolean", "value": True}
            made = await api.ask("POST", "/api/v1/flags", token=key, json=flag)
            assert made.status in (201, 409)


async def test_an_address_has_a_limit_whoever_calls(redis_url: str) -> None:
    """Behind a trusted proxy it is the client's, and no header moves it."""
    settings: dict[str, Any] = {"rate_limit_address": 3, "trusted_proxies": networks("127.0.0.1")}
    async with running_api(redis_url, **WAIT, **settings) as api:

        async def asked(forwarded: str) -> int:
            headers = {"X-Forwarded-For": forwarded, "Forwarded": f"for={forwarded}"}
            return (await api.ask("GET", "/api/v1/flags", headers=headers)).status

        spoofed = [await asked(f"198.51.100.{n}, 192.0.2.7") for n in range(5)]
        assert spoofed == [200, 200, 200, 429, 429]
        assert await asked("192.0.2.8") == 200
        site = [await asked(f"2001:db8::{n}") for n in range(5)]
        assert site == [200, 200, 200, 429, 429]


async def test_sidecars_and_probes_are_not_counted(redis_url: str) -> None:
    """Whatever the limits are."""
    limits: dict[str, Any] = dict.fromkeys(LIMITS, 1)
    async with running_api(redis_url, **WAIT, **limits) as api:
        key = (await api.make_key("sidecar"))["key"]
        for _ in range(5):
            reply = await api.ask("GET", "/api/v1/sync/snapshot", token=key)
            assert reply.status == 200
            assert "RateLimit" not in reply.headers
            assert (await api.ask("GET", "/livez", token=None)).status == 200
        assert (await api.ask("GET", "/api/v1/flags")).status == 429


async def test_a_wrong_credential_is_401_and_takes_nothing(redis_url: str) -> None:
    """Or anybody could use up what is another's."""
    async with running_api(redis_url, **WAIT, rate_limit_read=2, rate_limit_address=2) as api:
        for _ in range(5):
            assert (await api.ask("GET", "/api/v1/flags", token="wrong")).status == 401
        assert (await api.ask("GET", "/api/v1/flags")).status == 200


async def test_0_is_no_limit(redis_url: str) -> None:
    """Redis is not asked."""
    limits: dict[str, Any] = dict.fromkeys(LIMITS, 0)
    async with running_api(redis_url, **limits) as api:
        reply = await api.ask("GET", "/api/v1/flags")
        assert reply.status == 200
        assert "RateLimit" not in reply.headers
        assert 'command="rate"' not in api.app[METRICS].render().decode()


@pytest.mark.parametrize(("policy", "status"), [("allow", 200), ("refuse", 503)])
async def test_redis_that_hangs_holds_nobody_up(
    redis_server: RedisServer, policy: str, status: int
) -> None:
    """The first to notice waits as long as the setting says, the next ones not at all."""
    settings: dict[str, Any] = {"rate_limit_unknown": policy, "redis_timeout_s": 5.0}
    async with running_api(redis_server.url, **settings) as api:
        assert (await api.ask("GET", "/api/v1/flags")).status in (200, status)
        redis_server.freeze()
        try:
            replies = [await api.ask("GET", "/api/v1/flags") for _ in range(20)]
            assert {reply.status for reply in replies} == {status}
            if status == 503:
                assert replies[-1].json["code"] == "rate_unknown"
                assert replies[-1].headers["Retry-After"] == "1"
            assert metric(api, "matrixflag_api_rate_unchecked_total") >= 20
            assert (await api.ask("GET", "/livez", token=None)).status == 200
        finally:
            redis_server.thaw()

        async def is_counted_again() -> bool:
            return "RateLimit" in (await api.ask("GET", "/api/v1/flags")).headers

        await until(is_counted_again)


async def test_without_redis_reads_go_on(redis_server: RedisServer) -> None:
    """From memory, as before there were limits; and are counted again when it is back."""
    async with running_api(redis_server.url) as api:
        redis_server.kill()
        for _ in range(5):
            assert (await api.ask("GET", "/api/v1/flags")).status == 200
        redis_server.restart()

        async def is_counted_again() -> bool:
            return "RateLimit" in (await api.ask("GET", "/api/v1/flags")).headers

        await until(is_counted_again)
        assert await api.app[REPLICA].wait_loaded(1)


async def test_names_that_people_give_do_not_get_into_redis(api: Api, redis_url: str) -> None:
    """Whoever calls, and whatever their key is called: quotas have our ids alone."""
    names = ["a/b", "}{~rate}", "'; redis.call('FLUSHALL') --", "x\ny", "{P}", "\u202e", "🔑"]
    for name in names:
        made = await api.make_key("service", role="viewer", name=name)
        headers = {"X-Forwarded-For": name.encode().decode("latin-1").replace("\n", " ")}
        reply = await api.ask("GET", "/api/v1/flags", token=made["key"], headers=headers)
        assert reply.status == 200
        assert (await api.ask("GET", f"/api/v1/keys/{made['id']}")).json["name"] == name
    with redis.Redis.from_url(redis_url) as client:
        found = {key.decode() for key in client.scan_iter("mf:{~rate}:*")}
    assert all(key.isascii() for key in found)
    assert ADMIN_TOKEN not in str(found)
    for key in found:
        kind, _, whom = key.removeprefix("mf:{~rate}:").partition(":")
        assert kind in ("read", "write", "address")
        assert whom in ("admin", "127.0.0.1") or whom.startswith("key:k_")
