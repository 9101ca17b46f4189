"""Names, paths and bodies that mean something to somebody: to Redis, to a router, to a database."""

import asyncio
import json
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
    await api.log_in("ada@example.com", {"role": "viewer"})
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
