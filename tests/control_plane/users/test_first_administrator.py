"""What `ADMIN_TOKEN` is for by default: one administrator, made once, at one route, and no more."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from control_plane.access.roles import Role
from control_plane.app import ROUTES
from control_plane.keys import METRICS
from control_plane.keys import USERS as USERS_KEY
from control_plane.settings import EVERYTHING, FIRST_ADMIN
from control_plane.users.passwords import Passwords
from control_plane.users.service import UserService
from control_plane.web.openapi import plain_path
from control_plane.web.routing import Permission, Route
from tests.control_plane.users.people import (
    ADA,
    LOGIN,
    PASSWORD,
    logged_in,
    login,
    people,
    set_up_totp,
)
from tests.support.api import ADMIN_TOKEN, Api, Reply, until
from tests.support.redis import RedisServer

USERS = "/api/v1/users"
ADMIN = {"role": "admin", "project": "*"}
FIRST: dict[str, Any] = {"email": ADA, "password": PASSWORD, "roles": [ADMIN]}
CLOSED = {
    f"{route.method} {plain_path(route.path)}": route
    for route in ROUTES
    if route.permission is not Permission.PUBLIC
}


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane without anybody, as it is without a setting."""
    async with people(redis_url, admin_token_use=FIRST_ADMIN) as running:
        yield running


async def make(api: Api, **members: Any) -> Reply:
    """Ask with the token for somebody."""
    return await api.ask("POST", USERS, json={**FIRST, **members})


async def first(api: Api) -> str:
    """Make the first administrator, and return their access token."""
    made = await make(api)
    assert made.status == 201, made.body
    return str((await logged_in(api))["access_token"])


async def emails(api: Api, token: str) -> list[str]:
    """Return who there is."""
    listed = await api.ask("GET", USERS, token=token)
    assert listed.status == 200, listed.body
    return [person["email"] for person in listed.json["items"]]


async def changes(api: Api, token: str) -> list[Any]:
    """Return what the audit logs say."""
    found = []
    for project in ("default", "~access"):
        reply = await api.ask("GET", f"/api/v1/audit?limit=500&project={project}", token=token)
        assert reply.status == 200, reply.body
        found += reply.json["items"]
    return found


async def ask(api: Api, route: Route, headers: dict[str, str]) -> tuple[int, str]:
    """Ask a route with a body that works as it stands; return status and code."""
    path = plain_path(route.path).replace("{key}", "default").replace("{", "").replace("}", "")
    body = b"" if route.example is None else msgspec.json.encode(route.example)
    sent = dict(headers)
    if route.body is not None:
        sent["Content-Type"] = route.media_types[0]
    reply = await api.ask(route.method, path, token=None, headers=sent, data=body)
    return reply.status, reply.json["code"]


async def test_the_first_administrator_may_do_everything(api: Api) -> None:
    """The token makes them, and who they are from then on is theirs to prove."""
    made = await make(api, name="Ada")
    assert made.status == 201, made.body
    assert made.json["invitation"] is None
    assert made.json["user"]["roles"] == [{"role": "admin", "project": "*", "environment": "*"}]
    token = (await logged_in(api))["access_token"]
    project = await api.ask("POST", "/api/v1/projects", token=token, json={"key": "shop"})
    assert project.status == 201
    body = {"kind": "service", "role": "admin"}
    key = await api.ask("POST", "/api/v1/keys?project=shop", token=token, json=body)
    assert key.status == 201
    flags = await api.ask("GET", "/api/v1/flags?project=shop", token=key.json["key"])
    assert flags.status == 200


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
async def test_the_token_reaches_one_route_and_no_other(api: Api, header: str) -> None:
    """Before there is an administrator and after, and nothing is changed; it says what to do."""
    value = ADMIN_TOKEN if header == "X-API-Key" else f"Bearer {ADMIN_TOKEN}"
    refused = dict.fromkeys(CLOSED, (403, "first_admin_only"))
    before = {name: await ask(api, route, {header: value}) for name, route in CLOSED.items()}
    assert before == refused  # the example of the one route is a manager
    token = await first(api)
    seen = await changes(api, token)
    after = {name: await ask(api, route, {header: value}) for name, route in CLOSED.items()}
    assert after == refused
    assert (await make(api)).status == 409
    assert await changes(api, token) == seen


async def test_what_else_the_token_is_sent_with_says_what_would_do(api: Api) -> None:
    """To make the first, or, when that would be refused too, to log in or to send a key."""
    before = (await api.ask("GET", "/api/v1/flags")).json["detail"]
    assert "matrixflag admin create" in before
    await first(api)
    after = (await api.ask("GET", "/api/v1/flags")).json["detail"]
    assert "matrixflag admin create" not in after
    assert "there is one" in after
    for detail in (before, after):
        assert LOGIN in detail
        assert "service key" in detail
        assert ADMIN_TOKEN not in detail


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"admin_token_use": FIRST_ADMIN}, True),
        ({"admin_token_use": EVERYTHING}, False),
        ({"admin_token": ""}, False),
    ],
)
async def test_a_start_tells_that_the_token_is_not_needed_any_more(
    redis_url: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    told: bool,
) -> None:
    """Of one that lies about nobody thinks again; one that opens everything has its own warning."""

    async with people(redis_url, admin_token_use=FIRST_ADMIN) as api:
        await first(api)
    caplog.clear()
    swept, sweep = asyncio.Event(), UserService.sweep

    async def and_tell(self: UserService) -> int:
        swept.set()
        return await sweep(self)

    monkeypatch.setattr(UserService, "sweep", and_tell)  # the step after all that a start says
    async with people(redis_url, **settings):
        await asyncio.wait_for(swept.wait(), 20)
    assert ("good for nothing any more" in caplog.text) is told


@pytest.mark.parametrize("route", ["GET /livez", "GET /openapi.json", f"POST {LOGIN}"])
async def test_public_routes_do_not_look_at_the_token(api: Api, route: str) -> None:
    """Nor does it help there."""
    method, _, path = route.partition(" ")
    body = {"email": ADA, "password": PASSWORD}
    reply = await api.ask(method, path, json=body if method == "POST" else None)
    assert reply.status == (401 if method == "POST" else 200)


@pytest.mark.parametrize(
    "token", ["wrong", ADMIN_TOKEN[:-1], ADMIN_TOKEN + "x", "", "ä", "eyJ.e.e"]
)
async def test_a_wrong_token_makes_nobody(api: Api, token: str) -> None:
    """Neither the first nor another; with or without an administrator it is just wrong."""
    headers = {"Authorization": f"Bearer {token}".encode().decode("latin-1")}
    for status in (401, 401):
        reply = await api.ask("POST", USERS, token=None, headers=headers, json=FIRST)
        assert reply.status == status
        assert (await make(api)).status in (201, 409)


async def test_without_a_token_in_the_settings_nobody_is_made(redis_url: str) -> None:
    """Nothing matches nothing."""
    async with people(redis_url, admin_token="") as api:
        for token in (None, "", ADMIN_TOKEN):
            assert (await api.ask("POST", USERS, token=token, json=FIRST)).status == 401


@pytest.mark.parametrize(
    "document",
    [
        {"email": ADA, "password": PASSWORD},
        {"email": ADA, "password": PASSWORD, "roles": []},
        {"email": ADA, "roles": [ADMIN]},
        *(
            {**FIRST, "roles": [roles]}
            for roles in (
                {"role": "viewer", "project": "*"},
                {"role": "manager", "project": "*"},
                {"role": "admin", "project": "default"},
                {"role": "admin", "project": "*", "environment": "staging"},
            )
        ),
    ],
)
async def test_nobody_else_is_made_with_the_token(api: Api, document: dict[str, Any]) -> None:
    """No role, another one, one of less than everything, and nobody who could not log in yet."""
    reply = await api.ask("POST", USERS, json=document)
    assert (reply.status, reply.json["code"]) == (403, "first_admin_only"), reply.body
    assert "`roles`" in reply.json["detail"]
    assert await emails(api, await first(api)) == [ADA]


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"password": "short"}, 422),
        ({"email": "nobody"}, 422),
        ({"roles": [ADMIN, {"role": "admin", "project": "*", "environment": "x"}]}, 422),
        ({"roles": "admin"}, 422),
        ({"owner": True}, 422),
    ],
)
async def test_a_document_that_is_wrong_does_not_use_the_token_up(
    api: Api, members: dict[str, Any], status: int
) -> None:
    """All that is wrong is told, nobody is made, and the next try counts."""
    reply = await make(api, **members)
    assert (reply.status, reply.json["code"]) == (status, "invalid_document")
    assert reply.json["problems"]
    assert await emails(api, await first(api)) == [ADA]


async def test_of_those_who_try_at_once_one_is_made(redis_url: str) -> None:
    """On two replicas, by the step in Redis; with the same address and with different ones."""
    settings = {"admin_token_use": FIRST_ADMIN}
    async with people(redis_url, **settings) as one, people(redis_url, **settings) as other:
        apis = (one, other)
        names = [f"p{n // 2}@example.com" for n in range(12)]
        replies = await asyncio.gather(
            *(make(apis[n % 2], email=email) for n, email in enumerate(names))
        )
        made = [reply for reply in replies if reply.status == 201]
        assert len(made) == 1
        others = {(r.status, r.json["code"]) for r in replies if r.status != 201}
        assert others == {(409, "admin_exists")}
        email = made[0].json["user"]["email"]
        token = (await logged_in(one, email))["access_token"]
        for api in apis:
            assert await emails(api, token) == [email]


async def test_who_comes_second_pays_for_no_hash(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that leaked keeps nobody from logging in, of whom two at a time are hashed."""
    await first(api)
    hashed: list[str] = []

    async def never(_self: Passwords, password: str) -> str:
        hashed.append(password)
        return ""

    monkeypatch.setattr(Passwords, "hash", never)
    for email in (ADA, "eve@example.com"):
        reply = await make(api, email=email)
        assert (reply.status, reply.json["code"]) == (409, "admin_exists")
        assert "docs/access.md" in reply.json["detail"]
    assert hashed == []


async def test_the_first_is_written_down_as_made_by_the_token(api: Api) -> None:
    """And what they do themselves as theirs; the password is nowhere."""
    token = await first(api)
    await api.log_in("bob@example.com", {"role": "viewer", "project": "*"}, by=token)
    reply = await api.ask("GET", "/api/v1/audit?project=~access&action=user.create", token=token)
    by_bob, by_ada = reply.json["items"]
    assert (by_ada["actor"], by_ada["address"]) == ("admin", "127.0.0.1")
    assert by_bob["actor"] == f"user:{ADA}"
    assert PASSWORD.encode() not in reply.body


async def test_there_is_always_an_administrator_so_the_token_stays_closed(api: Api) -> None:
    """The last one cannot be taken away, by nobody and in no way."""
    token = await first(api)
    (ada,) = (await api.ask("GET", USERS, token=token)).json["items"]
    path = f"{USERS}/{ada['id']}"
    for method, where, body in (
        ("PATCH", path, {"disabled": True}),
        ("PATCH", path, {"roles": [{"role": "admin", "project": "default"}]}),
        ("DELETE", path, None),
        ("POST", path + "/invite", None),
    ):
        reply = await api.ask(method, where, token=token, json=body)
        assert (reply.status, reply.json["code"]) == (409, "last_admin"), where
    assert (await make(api, email="eve@example.com")).json["code"] == "admin_exists"


async def test_people_who_are_no_administrators_do_not_stand_against_the_first(
    api: Api, redis_url: str
) -> None:
    """As they come from a provider of identities; but an address is one person's."""
    async with people(redis_url) as everything:  # another replica, with another setting
        await everything.log_in("bob@example.com", {"role": "viewer", "project": "*"})
        disabled = await everything.ask("POST", USERS, json={"email": "eve@example.com"})
        assert disabled.status == 201

        async def heard() -> bool:
            return (await make(api, email="bob@example.com")).json["code"] == "user_exists"

        await until(heard)
        assert (await make(api)).status == 201


async def test_an_administrator_from_the_settings_is_the_first(redis_url: str) -> None:
    """Then the token is good for nothing."""
    settings = {"admin_email": ADA, "admin_password": PASSWORD, "admin_token_use": FIRST_ADMIN}
    async with people(redis_url, **settings) as api:

        async def is_made() -> bool:
            return (await login(api)).status == 200

        await until(is_made)
        reply = await make(api, email="eve@example.com")
        assert (reply.status, reply.json["code"]) == (409, "admin_exists")


async def test_the_settings_make_one_whoever_starts_at_once(api: Api) -> None:
    """Replicas do; and whoever has the token meanwhile. None of them fails."""
    users = api.app[USERS_KEY]
    made = await asyncio.gather(*(users.ensure_admin(f"p{n}@example.com", PASSWORD) for n in "abc"))
    assert sorted(made) == [False, False, True]
    assert (await make(api)).json["code"] == "admin_exists"
    assert not await users.ensure_admin("p@example.com", PASSWORD)


async def test_the_token_is_the_way_in_when_the_settings_say_so(redis_url: str) -> None:
    """Nobody knows the password: another is made, who lets the first in again; then it is over."""
    async with people(redis_url, admin_token_use=FIRST_ADMIN) as api:
        await first(api)
        assert b"matrixflag_admin_token_everything 0.0" in api.app[METRICS].render()
    async with people(redis_url) as api:
        assert b"matrixflag_admin_token_everything 1.0" in api.app[METRICS].render()
        (ada,) = (await api.ask("GET", USERS)).json["items"]
        assert (await make(api, email="bob@example.com")).status == 201
        invited = await api.ask("POST", f"{USERS}/{ada['id']}/invite")
        assert invited.status == 200
        taken = {"invitation": invited.json["invitation"], "password": "another one entirely"}
        assert (await api.ask("POST", "/api/v1/auth/accept", json=taken)).status == 200
    async with people(redis_url, admin_token_use=FIRST_ADMIN) as api:
        assert (await api.ask("GET", USERS)).json["code"] == "first_admin_only"
        assert (await make(api, email="eve@example.com")).json["code"] == "admin_exists"
        assert (await login(api, ADA, "another one entirely")).status == 200


async def test_who_gets_others_in_again_may_need_a_factor_and_the_token_none(
    redis_url: str,
) -> None:
    """Where the role admin needs one: the page says to set one up first, or to do it by token."""
    async with people(redis_url, require_second_factor=(Role.ADMIN,)) as api:
        ada = (await make(api)).json["user"]
        await make(api, email="bob@example.com")
        bob = (await logged_in(api, "bob@example.com"))["access_token"]
        path = f"{USERS}/{ada['id']}"
        ways = (("POST", f"{path}/invite", 200), ("DELETE", f"{path}/factors", 204))
        for method, where, _ in ways:
            reply = await api.ask(method, where, token=bob)
            assert (reply.status, reply.json["code"]) == (403, "second_factor_needed")
        for method, where, status in ways:
            assert (await api.ask(method, where)).status == status
        await set_up_totp(api, token=bob)
        for method, where, status in ways:
            assert (await api.ask(method, where, token=bob)).status == status


async def test_while_redis_is_away_nobody_is_made(redis_server: RedisServer) -> None:
    """It is not known who there is, or the change cannot be kept."""
    settings = {"admin_token_use": FIRST_ADMIN, "redis_timeout_s": 0.5}
    async with people(redis_server.url, **settings) as api:
        redis_server.kill()
        reply = await make(api)
        assert (reply.status, reply.json["code"]) == (503, "redis_unavailable")


async def test_before_it_is_known_who_there_is_nobody_is_made() -> None:
    """There may be an administrator."""
    settings: dict[str, Any] = {"admin_token_use": FIRST_ADMIN, "wait": False}
    async with people("redis://127.0.0.1:1", **settings) as api:
        reply = await make(api)
        assert (reply.status, reply.json["code"]) == (503, "not_loaded")
