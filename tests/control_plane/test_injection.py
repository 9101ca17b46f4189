"""Names, paths and bodies that mean something to somebody: to Redis, to a router, to a database."""

import asyncio
import json
import re
import time
import uuid
from collections import Counter
from typing import Any
from urllib.parse import quote

import pytest
import redis

from tests.support.api import PASSWORD, Api

NAMES = [
    "a}b",
    "{a}",
    "a:b",
    "a\nb",
    "a\r\nSET x 1",
    "a\x00b",
    "~access",
    "~refused",
    "*",
    "a b",
    "../a",
    "a/../../b",
    "a//b",
    "/a",
    "a;b",
    "a\\b",
    '"..redis.call("FLUSHALL").."',
    "KEYS[1]",
    "a" * 300,
    "\u202ea",
    "",
]
OPERATORS: list[Any] = [
    {"$ne": None},
    {"$gt": ""},
    {"$where": "1"},
    {"$regex": ".*"},
    ["a", "b"],
    {"key": "a"},
    True,
    0,
]

_FLEETING = (b"mf:{~rate}", b"mf:fleet:")


async def stored(url: str) -> dict[bytes, bytes]:
    """Return every key in Redis that holds what people made, with its content."""

    def read() -> dict[bytes, bytes]:
        with redis.Redis.from_url(url, socket_timeout=10) as client:
            return {
                key: client.dump(key)
                for key in client.scan_iter("mf:*", count=1000)
                if not key.startswith(_FLEETING)
            }

    return await asyncio.to_thread(read)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_no_name_gets_out_of_its_place(api: Api, redis_url: str, name: str) -> None:
    """In a body, a path or a query: refused, or nothing there is of that name."""
    before = await stored(redis_url)
    for path, member, body in (
        ("/api/v1/projects", "key", {"name": "n"}),
        ("/api/v1/environments", "key", {}),
        ("/api/v1/flags", "key", {"type": "boolean", "value": True}),
        ("/api/v1/segments", "key", {}),
        ("/api/v1/users", "email", {"password": PASSWORD}),
    ):
        reply = await api.ask("POST", path, json={**body, member: name})
        assert reply.status == 422, (path, reply.body)
    placed = quote(name, safe="")
    for query in (f"project={placed}", f"environment={placed}"):
        for method, path, options in (
            ("GET", "/api/v1/flags", {}),
            ("POST", "/api/v1/flags", {"json": {"key": "a", "type": "boolean", "value": True}}),
            ("POST", "/api/v1/keys", {"json": {"kind": "sidecar"}}),
        ):
            reply = await api.ask(method, f"{path}?{query}", **options)
            listed = method == "GET" and query.startswith("environment")
            assert reply.status in ((200, 400, 404) if listed else (400, 403, 404, 422)), reply.body
    if name:
        for path in ("projects", "environments", "users", "keys"):
            reply = await api.ask("DELETE", f"/api/v1/{path}/{placed}")
            assert reply.status in (400, 403, 404, 405), (path, reply.body)
    assert await stored(redis_url) == before


@pytest.mark.parametrize("operator", OPERATORS, ids=json.dumps)
async def test_no_operator_in_a_body_is_one(api: Api, operator: Any) -> None:
    """Where a text is expected nothing else is taken: nothing matches more than was said."""
    await api.log_in("ada@example.com", {"role": "viewer", "project": "*"})
    for path, body in (
        ("/api/v1/auth/login", {"email": "ada@example.com", "password": operator}),
        ("/api/v1/auth/login", {"email": operator, "password": PASSWORD}),
        ("/api/v1/auth/refresh", {"refresh_token": operator}),
        ("/api/v1/auth/accept", {"invitation": operator, "password": PASSWORD}),
        ("/api/v1/flags", {"key": operator, "type": "boolean", "value": True}),
        ("/api/v1/segments", {"key": operator}),
        ("/api/v1/projects", {"key": operator}),
        ("/api/v1/users", {"email": operator}),
        ("/api/v1/keys", {"kind": operator}),
    ):
        reply = await api.ask("POST", path, json=body)
        assert reply.status == 422, (path, reply.body)
        assert reply.json["problems"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/flags/team%2Fa",
        "/api/v1/flags/team/a",
        "/api/v1/segments/../flags/team/a",
        "/api/v1/flags/../flags/team%2Fa",
    ],
)
async def test_a_key_with_a_slash_is_found_in_each_spelling(api: Api, path: str) -> None:
    """Dots are gone before the router looks, by the client or here: what is left is the path."""
    flag = {"key": "team/a", "type": "boolean", "value": True}
    assert (await api.ask("POST", "/api/v1/flags", json=flag)).status == 201
    assert (await api.ask("GET", path)).json["key"] == "team/a"


RAW = [
    "/api/v1/flags/team/../../keys",
    "/api/v1/flags/..%2f..%2fkeys",
    "/api/v1/flags/%2e%2e/keys",
    "/api/v1/flags//a",
    "/api/v1//keys",
    "//api/v1/keys",
    "/api/v1/flags;/../keys",
    "/api/v1/keys;a=b",
    "/api/v1/keys%00",
    "/api/v1/keys/%2e",
    "/docs/assets/../../app.py",
    "/docs/assets/%2e%2e/%2e%2e/app.py",
    "/docs/assets/..%2f..%2fapp.py",
    "/docs/assets//etc/passwd",
    "/healthz/../api/v1/keys",
    "/docs/../api/v1/keys",
    "/docs/%2e%2e/api/v1/keys",
    "/docs/..%2fapi/v1/keys",
]


@pytest.mark.parametrize("target", RAW)
async def test_no_path_leads_elsewhere(api: Api, target: str) -> None:
    """Sent as it stands, with nobody's credential: it is closed, or nothing is there."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    status = int(answer.split(b" ", 2)[1])
    assert status in (400, 401, 404), answer
    assert b"import" not in answer


OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
REWRITES = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path")


async def test_no_header_makes_another_request(api: Api) -> None:
    """The request line alone says what is asked for; guards and routes read the same one."""
    flag = {"key": "f", "type": "boolean", "value": True}
    assert (await api.ask("POST", "/api/v1/flags", json=flag)).status == 201
    for header in OVERRIDES:
        for method in ("GET", "POST"):
            await api.ask(method, "/api/v1/flags/f", headers={header: "DELETE"})
        assert (await api.ask("GET", "/api/v1/flags/f")).status == 200, header
    reply = await api.ask("GET", "/api/v1/flags/f?_method=DELETE")
    assert reply.status == 400
    for header in REWRITES:
        reply = await api.ask("GET", "/livez", token=None, headers={header: "/api/v1/keys"})
        assert reply.json == {"status": "ok"}, header
        reply = await api.ask("GET", "/api/v1/keys", token=None, headers={header: "/livez"})
        assert reply.status == 401, header


REPORTED = [name for name in NAMES if 0 < len(name) < 128 and name.isprintable()]


async def test_what_sidecars_report_makes_no_key(api: Api, redis_url: str) -> None:
    """Names of flags, variants, units, events and instances are content, wherever they end up."""
    key = (await api.make_key("sidecar"))["key"]
    now = time.time_ns() // 1_000_000
    taken: Counter[str] = Counter()
    for number, name in enumerate(REPORTED):
        identified = {"instance": name, "sent_ms": now}
        usage = {"flag": name, "variant": name, "reason": name, "minute_ms": now, "count": 1}
        event = {"name": name, "unit": name, "unit_attribute": name, "time_ms": now}
        for path, item in (
            ("/api/v1/usage", usage),
            ("/api/v1/events", {"id": str(uuid.uuid4()), **event}),
        ):
            body = {"id": _uuid7(number), **identified, "items": [item]}
            reply = await api.ask("POST", path, token=key, json=body)
            assert reply.status in (200, 422), reply.body
            taken[path] += reply.status == 200
        standing = {"instance": name, "application": name, "run": name[:60], "keys_used": {name: 0}}
        reply = await api.ask("POST", "/api/v1/sync/standing", token=key, json=standing)
        assert reply.status in (204, 422), reply.body
    assert min(taken["/api/v1/usage"], taken["/api/v1/events"]) > 5, taken
    assert (await api.ask("GET", "/api/v1/fleet")).json["instances"] > 5
    with redis.Redis.from_url(redis_url, socket_timeout=10) as client:
        found = sorted(key.decode() for key in client.scan_iter("*", count=1000))
    assert found
    for each in found:
        assert re.fullmatch(r"mf:[A-Za-z0-9_~{}/:.-]+", each), each
        assert each.count("{") == each.count("}") <= 1, each
    assert (await api.ask("GET", "/api/v1/flags")).status == 200


def _uuid7(number: int) -> str:
    """Return an id as sidecars make them, of now."""
    now = time.time_ns() // 1_000_000
    return str(uuid.UUID(int=now << 80 | 0x7 << 76 | 0x2 << 62 | number))
