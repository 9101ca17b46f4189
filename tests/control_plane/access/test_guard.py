"""Tests of the guard over HTTP: each credential at each kind of route."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import redis
from aiohttp import web

from control_plane.access.guard import RequestGuard
from control_plane.store.keys import ProjectKeys
from control_plane.web.routing import Route
from tests.support.api import ADMIN_TOKEN, Api, running_api, until
from tests.support.redis import RedisServer

READ = ("GET", "/api/v1/keys")
SYNC = ("GET", "/api/v1/sync/snapshot")
PUBLIC = ("GET", "/livez")


async def test_the_administrator_reads_and_writes(api: Api) -> None:
    """With ADMIN_TOKEN, where the settings say that it opens everything: bearer, or X-API-Key."""
    assert (await api.ask(*READ)).status == 200
    by_header = await api.ask(*READ, token=None, headers={"X-API-Key": ADMIN_TOKEN})
    assert by_header.status == 200


@pytest.mark.parametrize(
    "token",
    ["wrong", ADMIN_TOKEN[:-1], ADMIN_TOKEN + "x", "", "mf_sidecar_" + "A" * 43, "ä"],
)
async def test_a_wrong_token_is_401(api: Api, token: str) -> None:
    """Nothing that is nearly right is right."""
    headers = {"Authorization": f"Bearer {token}".encode().decode("latin-1")}
    reply = await api.ask(*READ, token=None, headers=headers)
    assert reply.status == 401


async def test_public_routes_look_at_no_credential(api: Api) -> None:
    """A probe with a stale token in its configuration must not kill the pod."""
    assert (await api.ask(*PUBLIC, token="wrong")).status == 200


async def test_a_sidecar_key_reaches_sync_and_nothing_else(api: Api) -> None:
    """403 where it does not, because the key is good."""
    key = (await api.make_key("sidecar"))["key"]
    assert (await api.ask(*SYNC, token=key)).status == 200
    reply = await api.ask(*READ, token=key)
    assert (reply.status, reply.json["code"]) == (403, "forbidden")


@pytest.mark.parametrize("kind", ["server", "client"])
async def test_evaluation_keys_reach_nothing_here(api: Api, kind: str) -> None:
    """A browser's key cannot read definitions."""
    key = (await api.make_key(kind))["key"]
    assert (await api.ask(*READ, token=key)).status == 403
    reply = await api.ask(*SYNC, token=key)
    assert (reply.status, reply.json["code"]) == (403, "wrong_key_kind")


async def test_the_administrator_is_no_sidecar(api: Api) -> None:
    """The token names no environment."""
    assert (await api.ask(*SYNC)).status == 403


async def test_a_deleted_key_is_a_wrong_one(api: Api) -> None:
    """At once, without a restart."""
    made = await api.make_key("sidecar")
    assert (await api.ask("DELETE", f"/api/v1/keys/{made['id']}")).status == 204
    assert (await api.ask(*SYNC, token=made["key"])).status == 401


@pytest.mark.parametrize(
    ("method", "path", "kind", "body"),
    [
        ("POST", "flags", "application/json", b'{"key": "g", "type": "boolean", "value": true}'),
        ("PATCH", "segments/s", "application/merge-patch+json", b'{"description": "x"}'),
        ("PUT", "segments/s/units", "application/x-ndjson", b'{"include": "u"}'),
    ],
    ids=lambda value: value.replace("/", "-") if isinstance(value, str) else "",
)
async def test_a_slow_body_keeps_no_key_alive(
    api: Api, monkeypatch: pytest.MonkeyPatch, method: str, path: str, kind: str, body: bytes
) -> None:
    """It may be sent for minutes: who was let in at its beginning is asked again at its end."""
    await api.ask("POST", "/api/v1/segments", json={"key": "s", "included": ["v"]})
    made = await api.make_key("service", role="manager")
    before = (await api.ask("GET", "/api/v1/audit")).json["items"]
    let_in = asyncio.Event()
    guarded = RequestGuard.__call__

    def seen(self: RequestGuard, request: web.Request, route: Route) -> None:
        guarded(self, request, route)
        let_in.set()

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:5]
        await let_in.wait()
        assert (await api.ask("DELETE", f"/api/v1/keys/{made['id']}")).status == 204
        yield body[5:]

    monkeypatch.setattr(RequestGuard, "__call__", seen)
    reply = await api.ask(
        method,
        f"/api/v1/{path}",
        token=made["key"],
        headers={"Content-Type": kind},
        data=slowly(),
    )
    assert reply.status == 401, reply.body
    after = (await api.ask("GET", "/api/v1/audit")).json["items"]
    assert [entry["action"] for entry in after[: len(after) - len(before)]] == ["key.delete"]


async def test_an_expired_key_is_refused_and_says_so(api: Api) -> None:
    """With its prefix, so that it can be found, and not the key."""
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    made = await api.make_key("sidecar", expires_at=soon)
    assert (await api.ask(*SYNC, token=made["key"])).status == 200

    async def is_refused() -> bool:
        return (await api.ask(*SYNC, token=made["key"])).status != 200

    await until(is_refused)
    reply = await api.ask(*SYNC, token=made["key"])
    assert (reply.status, reply.json["code"]) == (401, "key_expired")
    assert made["prefix"] in reply.json["detail"]
    assert made["key"] not in reply.json["detail"]


async def test_without_an_admin_token_nobody_is_administrator(redis_url: str) -> None:
    """An empty token must not match an empty credential."""
    async with running_api(redis_url, admin_token="") as api:
        assert (await api.ask(*READ, token=None)).status == 401
        assert (await api.ask(*READ, token="")).status == 401


async def test_in_dev_mode_a_local_request_needs_no_credential(redis_url: str) -> None:
    """And is known as `dev` in the audit log."""
    async with running_api(redis_url, dev=True) as api:
        assert (await api.ask(*READ, token=None)).status == 200


async def test_in_dev_mode_a_wrong_credential_is_still_401(redis_url: str) -> None:
    """It is never better than none."""
    async with running_api(redis_url, dev=True) as api:
        assert (await api.ask(*READ, token="wrong")).status == 401


async def test_in_dev_mode_a_foreign_page_is_401_and_told_why(redis_url: str) -> None:
    """Whatever tells against it; the rest is in test_local."""
    async with running_api(redis_url, dev=True, cors_origins=("*",)) as api:
        headers = {"Origin": "https://evil.example"}
        reply = await api.ask(*READ, token=None, headers=headers)
        assert (reply.status, reply.json["code"]) == (401, "not_local")
        assert "Origin" in reply.json["detail"]


async def test_in_dev_mode_sidecars_still_present_a_key(redis_url: str) -> None:
    """The key names the environment; nothing else does."""
    async with running_api(redis_url, dev=True) as api:
        assert (await api.ask(*SYNC, token=None)).status == 401


async def test_a_key_that_may_be_newer_than_what_was_read_is_told_to_come_back(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off from Redis, a replica cannot say that a key is wrong; those it knows are good."""
    monkeypatch.setattr("control_plane.publishing.replica.UNVERIFIED_MS", 1_500)
    async with running_api(redis_server.url) as api:
        known = (await api.make_key("sidecar"))["key"]
        unknown = "mf_sidecar_" + "A" * 43
        assert (await api.ask(*SYNC, token=unknown)).status == 401
        redis_server.kill()

        async def is_told() -> bool:
            return (await api.ask(*SYNC, token=unknown)).status == 503

        await until(is_told)
        assert (await api.ask(*SYNC, token=known)).status == 200


async def test_a_key_of_a_project_that_cannot_be_read_is_told_to_come_back(redis_url: str) -> None:
    """It may be as good as ever; and `/health` says what is wrong."""
    async with running_api(redis_url) as api:
        assert (await api.ask("POST", "/api/v1/projects", json={"key": "odd"})).status == 201
        made = await api.ask("POST", "/api/v1/keys?project=odd", json={"kind": "sidecar"})
    with redis.Redis.from_url(redis_url) as client:
        client.hset(ProjectKeys("odd").meta, mapping={"schema": "99"})
    async with running_api(redis_url) as api:
        assert (await api.ask(*SYNC, token=made.json["key"])).status == 503
        health = await api.ask("GET", "/health")
        assert (health.status, health.json["status"]) == (503, "degraded")
        assert "cannot be read" in health.json["problems"][0]


async def test_before_keys_are_read_a_sidecar_is_told_to_come_back() -> None:
    """After a 401 it would stay away for minutes."""
    async with running_api("redis://127.0.0.1:1", wait=False) as api:
        reply = await api.ask(*SYNC, token="mf_sidecar_" + "A" * 43)
        assert (reply.status, reply.json["code"]) == (503, "not_loaded")
        assert (await api.ask(*READ, token=None)).status == 401


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("Basic c2VzYW1lOnNlc2FtZQ==", "only the scheme Bearer is taken"),
        ("mf_service_sesame", "only the scheme Bearer is taken"),
        ("Bearer", "there is nothing after Bearer"),
        ("Bearer ", "there is nothing after Bearer"),
        ("Bearer wrong", "the credential is not known"),
    ],
)
async def test_a_credential_of_another_form_is_told_from_a_wrong_one(
    redis_url: str, header: str, why: str
) -> None:
    """With how to send one, and nothing of what was sent."""
    async with running_api(redis_url) as api:
        headers = {"Authorization": header}
        reply = await api.ask("GET", "/api/v1/flags", token=None, headers=headers)
    assert (reply.status, reply.json["code"]) == (401, "unauthorized")
    assert reply.json["detail"].startswith(why)
    assert ("send Authorization: Bearer TOKEN" in reply.json["detail"]) == (
        header != "Bearer wrong"
    )
    assert "sesame" not in reply.body.decode()
