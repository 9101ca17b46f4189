"""How much Redis people, sessions, the audit log, keys, the fleet and quotas take: docs/sizing.md.

Made over the API as they are made in use, and measured by MEMORY USAGE with every sample. Run with
`-s` to see the figures of the page.
"""

from collections.abc import AsyncIterator

import msgspec
import pytest
import redis

from control_plane.keys import FLEET
from proxy.contract.fleet import Standing
from tests.support.api import PASSWORD, Api, running_api

PEOPLE = 40
LOGINS = 15  # of each of two; a person has 20 sessions at most
CHANGES = 300
SIDECARS = 500
KEYS = 100
UNITS = 20_000

BOUNDS = {
    "a flag": 2_000,
    "a version of a flag": 1_500,
    "an audit entry": 1_200,
    "a change for replicas": 1_500,
    "a person": 1_000,
    "a session": 1_000,
    "an entry of the log of people": 1_000,
    "a key": 1_000,
    "a sidecar of the fleet": 1_200,
    "a quota": 200,
    "a unit of a long list": 40,
}
"""Bytes of each; the page has what was measured."""


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane with something of everything."""
    async with running_api(redis_url, redis_timeout_s=10.0, rate_limit_read=60) as api:
        yield api


async def fill(api: Api) -> None:
    """Make what is measured, of ordinary sizes."""
    flag = {"key": "checkout", "type": "boolean", "value": True, "enabled": True}
    for number in range(KEYS):
        made = {**flag, "key": f"checkout-{number}", "description": "The new way to pay"}
        assert (await api.ask("POST", "/api/v1/flags", json=made)).status == 201
        await api.make_key("server", name=f"shop {number}")
    for number in range(CHANGES):
        path, body = f"/api/v1/flags/checkout-{number % 10}", {"enabled": number % 20 < 10}
        reason = {"X-Matrixflag-Reason": "order 4711, payment provider is down"}
        assert (await api.ask("PATCH", path, json=body, headers=reason)).status == 200
    segment = {"key": "beta"}
    assert (await api.ask("POST", "/api/v1/segments", json=segment)).status == 201
    lines = "".join(f'{{"include":"user-{number:07}"}}\n' for number in range(UNITS)).encode()
    reply = await api.ask(
        "PUT",
        "/api/v1/segments/beta/units",
        data=lines,
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert reply.status == 200, reply.body
    roles = [{"role": "viewer", "project": "*"}, {"role": "manager", "project": "default"}]
    for number in range(PEOPLE):
        body = {"email": f"ada.{number}@example.com", "name": "Ada Lovelace", "roles": roles}
        assert (await api.ask("POST", "/api/v1/users", json=body)).status == 201
    for email in ("bob@example.com", "cem@example.com"):
        tokens = [await api.log_in(email, *roles)]
        for _ in range(LOGINS - 1):
            login = {"email": email, "password": PASSWORD}
            reply = await api.ask("POST", "/api/v1/auth/login", token=None, json=login)
            tokens.append(reply.json["access_token"])
        for token in tokens:
            assert (await api.ask("GET", "/api/v1/flags?limit=1", token=token)).status == 200
    standing = Standing(
        "shop-7f9c8d6b5-x2x4z",
        application="shop",
        application_version="1.4.2",
        version="0.1.0",
        labels={"region": "eu", "node": "node-0017"},
        epoch="5fd0c1d2a3b4e5f6",
        revision=42,
        digest="9" * 64,
        serving_ms=86_400_000,
        age_ms=12_000,
        state="streaming",
        uptime_ms=86_400_000,
        run="0123456789abcdef",
    )
    for number in range(SIDECARS):
        told = msgspec.structs.replace(standing, instance=f"shop-7f9c8d6b5-{number:05}")
        api.app[FLEET].hear("default", "production", told)
    await api.app[FLEET]._exchange()


async def test_what_each_thing_takes_is_bounded(api: Api, redis_url: str) -> None:
    """No more than the page lets somebody calculate with."""
    await fill(api)
    for _ in range(30):  # a quota is there until it is whole again: for half a minute
        assert (await api.ask("GET", "/api/v1/flags?limit=1")).status == 200
    sizes: dict[str, float] = {}
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:

        def size(*patterns: str) -> int:
            keys = [key for pattern in patterns for key in client.scan_iter(pattern)]
            assert keys, patterns
            return sum(client.memory_usage(key, samples=0) or 0 for key in keys)

        project, access = "mf:{default}:", "mf:{~access}:"
        changes = int(client.xlen(project + "audit"))
        versions = sum(client.llen(k) for k in client.scan_iter(project + "history:flag:*"))
        sizes["a flag"] = size(project + "flags") / KEYS
        sizes["a version of a flag"] = size(project + "history:flag:*") / versions
        sizes["an audit entry"] = size(project + "audit") / changes
        sizes["a change for replicas"] = size(project + "changes") / changes
        sizes["a key"] = size(project + "keys", project + "keys_used") / KEYS
        sizes["a person"] = size(access + "users") / (PEOPLE + 2)
        sessions = int(client.hlen(access + "sessions"))
        sizes["a session"] = size(access + "sessions", access + "refresh:*") / sessions
        logged = int(client.xlen(access + "audit"))
        sizes["an entry of the log of people"] = size(access + "audit") / logged
        sizes["a sidecar of the fleet"] = size("mf:fleet:*") / SIDECARS
        quotas = len(list(client.scan_iter("mf:{~rate}:*")))
        sizes["a unit of a long list"] = size(project + "units") / UNITS
        sizes["a quota"] = size("mf:{~rate}:*") / quotas
    print()
    for name, figure in sizes.items():
        print(f"{name}: {figure:.0f} bytes")
    assert sizes.keys() == BOUNDS.keys()
    assert {name for name, figure in sizes.items() if figure > BOUNDS[name]} == set()
