"""Every route, asked with every role, every kind of credential and none, against the table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.access.page import with_tables
from control_plane.access.roles import ANYWHERE, ROLES, Binding, Grant, Role, grant
from control_plane.app import ROUTES
from control_plane.web.openapi import plain_path
from control_plane.web.routing import PROJECT, Permission, Route
from proxy.contract.codes import KeyKind
from tests.support.api import ADMIN_TOKEN, Api, Reply, running_api

PAGE = Path(__file__).parents[3] / "docs/access.md"
_IN_A_PROJECT = (Permission.READ, Permission.WRITE, Permission.MANAGE)
_TAKEN = {*range(200, 300), 304, 400, 404, 409, 412, 415, 422, 428}
"""Statuses of a request that was let in: what it wanted may make no sense."""

PLACES = st.sampled_from([ANYWHERE, "a", "b"])
BINDINGS = st.lists(st.builds(Binding, st.sampled_from(Role), PLACES, PLACES), max_size=4)


class Caller(NamedTuple):
    """Somebody, and what they should be given: None is 401, False 403."""

    credential: str | None
    reaches: frozenset[Permission]


async def _callers(api: Api) -> Mapping[str, Caller]:
    people = frozenset(Permission) - {Permission.SYNC, Permission.REPORT, Permission.ACCOUNT}
    callers = {"nobody": Caller(None, frozenset()), "wrong": Caller("wrong", frozenset())}
    callers["admin token of everything"] = Caller(ADMIN_TOKEN, people)
    token = await api.log_in("root@example.com", {"role": "admin", "project": "*"})
    callers["an admin in person"] = Caller(token, people | {Permission.ACCOUNT})
    for role, gives in ROLES.items():
        key = (await api.make_key("service", role=role))["key"]
        callers[f"service {role}"] = Caller(key, gives | {Permission.MEMBER})
        if role is Role.ADMIN:
            continue  # of a whole project, always
        key = (await api.make_key("service", role=role, environment="staging"))["key"]
        member = {Permission.MEMBER} | (gives - {Permission.MANAGE})
        callers[f"service {role} of staging"] = Caller(key, frozenset(member))
    person = frozenset({Permission.READ, Permission.MEMBER, Permission.ACCOUNT})
    token = await api.log_in("ada@example.com", {"role": "viewer", "project": "*"})
    callers["a viewer in person"] = Caller(token, person)
    for kind in (KeyKind.SERVER, KeyKind.CLIENT):
        callers[f"{kind} key"] = Caller((await api.make_key(kind))["key"], frozenset())
    sidecar = frozenset({Permission.SYNC, Permission.REPORT})
    callers["sidecar key"] = Caller((await api.make_key("sidecar"))["key"], sidecar)
    return callers


def _path(route: Route) -> str:
    return plain_path(route.path).replace("{key}", "default").replace("{", "").replace("}", "")


async def test_every_route_takes_whom_the_table_names_and_nobody_else(redis_url: str) -> None:
    """Whoever is not let in changes nothing; whoever is, may be told that it makes no sense."""
    wrong: list[str] = []
    async with running_api(redis_url, redis_timeout_s=10.0) as api:
        callers = await _callers(api)
        # the one that ends the session it is asked in comes last
        for route in sorted(ROUTES, key=lambda route: route.path.endswith("/logout")):
            for name, caller in callers.items():
                expected = _expected(route.permission, name, caller)
                reply = await _asked(api, route, caller.credential)
                if (reply in _TAKEN) != (expected in _TAKEN) or (
                    expected not in _TAKEN and reply != expected
                ):
                    wrong.append(f"{route.method} {route.path} by {name}: {reply}, not {expected}")
    assert wrong == []


def _expected(permission: Permission, name: str, caller: Caller) -> int:
    if permission is Permission.PUBLIC or permission in caller.reaches:
        return 200
    return 401 if name in ("nobody", "wrong") else 403


async def _asked(api: Api, route: Route, credential: str | None) -> int:
    """Ask for something that nobody means: a body that no route takes."""
    path = _path(route)
    body: Mapping[str, Any] = {} if route.body is None else {"json": {"nonsense": True}}
    if route.streaming:
        url, headers = api.url + path, {"Authorization": f"Bearer {credential}"}
        sent = headers if credential is not None else {}
        async with api.session.request(route.method, url, headers=sent) as response:
            return response.status
    return (await api.ask(route.method, path, token=credential, **body)).status


async def test_a_role_in_one_project_sees_nothing_of_another(api: Api) -> None:
    """Not even whether there is one of that name."""
    assert (await api.ask("POST", "/api/v1/projects", json={"key": "shop"})).status == 201
    key = (await api.make_key("service", role="admin"))["key"]
    listed = (await api.ask("GET", "/api/v1/projects", token=key)).json["items"]
    assert [project["key"] for project in listed] == ["default"]
    for path in ("flags?project=shop", "keys?project=shop", "projects/shop", "audit?project=shop"):
        there = await api.ask("GET", f"/api/v1/{path}", token=key)
        missing = await api.ask("GET", f"/api/v1/{path.replace('shop', 'none')}", token=key)
        assert there.status == missing.status == 404
        assert there.json["detail"].replace("shop", "none") == missing.json["detail"]


async def test_no_route_reaches_into_another_project(api: Api) -> None:
    """Whatever the role, and whether there is one or not: the same words."""
    assert (await api.ask("POST", "/api/v1/projects", json={"key": "shop"})).status == 201
    key = (await api.make_key("service", role="admin"))["key"]
    for route in ROUTES:
        if route.permission not in _IN_A_PROJECT:
            continue
        assert route.project == "path" or PROJECT in route.params, route.path
        told = []
        for project in ("shop", "none", "~access", "~refused", ANYWHERE):
            reply = await _of_project(api, route, project, key)
            told.append((reply.status, reply.json["detail"].replace(project, "none", 1)))
        assert told == [(404, "there is no project 'none'")] * 5, (route.method, route.path)


async def test_who_names_no_project_is_told_how(api: Api) -> None:
    """A key of another project means its own, and nothing is told of the default one."""
    assert (await api.ask("POST", "/api/v1/projects", json={"key": "shop"})).status == 201
    made = {"kind": "service", "role": "viewer"}
    reply = await api.ask("POST", "/api/v1/keys?project=shop", json=made)
    key = reply.json["key"]
    reply = await api.ask("GET", "/api/v1/flags", token=key)
    assert (reply.status, reply.json["code"]) == (404, "project_not_found")
    assert reply.json["detail"] == (
        "there is no project 'default', which is meant where none is named: name one, as "
        "?project=shop or with --project shop"
    )
    reply = await api.ask("GET", "/api/v1/flags?project=default", token=key)
    assert reply.json["detail"] == "there is no project 'default'"
    assert (await api.ask("GET", "/api/v1/flags?project=shop", token=key)).status == 200
    roles = ({"role": "viewer", "project": "shop"}, {"role": "viewer", "project": "b"})
    assert (await api.ask("POST", "/api/v1/projects", json={"key": "b"})).status == 201
    token = await api.log_in("ada@example.com", *roles)
    reply = await api.ask("GET", "/api/v1/fleet", token=token)
    assert reply.json["detail"].endswith("where none is named: name one")


async def test_people_are_a_project_to_the_audit_log_alone(api: Api) -> None:
    """Also for who may do everything."""
    for route in ROUTES:
        if route.permission in _IN_A_PROJECT and not route.path.startswith("/api/v1/audit"):
            for name in ("~access", "~refused"):
                reply = await _of_project(api, route, name, ADMIN_TOKEN)
                assert reply.status == 404, (route.method, route.path, reply.body)


async def _of_project(api: Api, route: Route, project: str, token: str) -> Reply:
    """Ask a route about a project, with a body that works as it stands."""
    path = plain_path(route.path)
    if route.project == "path":
        path = path.replace("{key}", project)
    else:
        needed = [p.name for p in route.params if p.required and p.where == "query"]
        path = f"{_path(route)}?project={project}" + "".join(f"&{name}=x" for name in needed)
    body = b"" if route.example is None else msgspec.json.encode(route.example)
    headers = {"Content-Type": route.media_types[0]} if route.body is not None else None
    return await api.ask(route.method, path, token=token, headers=headers, data=body)


FLAG = {"key": "f", "type": "boolean", "value": True, "enabled": False}


@pytest.fixture
async def manager(api: Api) -> str:
    """The key of a manager of staging, where there is a flag."""
    assert (await api.ask("POST", "/api/v1/flags", json=FLAG)).status == 201
    return str((await api.make_key("service", role="manager", environment="staging"))["key"])


async def test_a_manager_of_one_environment_changes_that_one(api: Api, manager: str) -> None:
    """What is configured there, by any route."""
    path = "/api/v1/flags/f?environment=staging"
    assert (await api.ask("PATCH", path, token=manager, json={"enabled": True})).status == 200
    copied = await api.ask(
        "POST",
        "/api/v1/environments/staging/copy",
        token=manager,
        json={"flag": "f", "from": "production"},
    )
    assert copied.status == 200, copied.body
    history = (await api.ask("GET", "/api/v1/history?flag=f", token=manager)).json["items"]
    assert {entry["actor"].partition(":")[0] for entry in history[:-1]} == {"service"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "flags/f?environment=production", {"enabled": True}),
        ("PATCH", "flags/f", {"enabled": True}),
        ("PUT", "flags/f?environment=production", {"value": False}),
        ("PATCH", "flags/f?environment=staging", {"description": "shared by all"}),
        ("PATCH", "flags/f?environment=staging", {"archived": True}),
        ("DELETE", "flags/f", None),
        ("POST", "flags?environment=staging", {**FLAG, "key": "g"}),
        ("POST", "environments/staging/copy", {"flag": "f", "to": "production"}),
        ("POST", "environments/production/copy", {"flag": "f", "from": "staging"}),
        ("POST", "segments", {"key": "s", "included": ["u"]}),
        ("POST", "revert?environment=staging", {"flag": "f", "version": 1}),
        ("POST", "keys", {"kind": "server", "environment": "staging"}),
        ("POST", "environments", {"key": "mine"}),
    ],
    ids=lambda value: value.replace("/", "-") if isinstance(value, str) else "",
)
async def test_a_manager_of_one_environment_changes_nothing_else(
    api: Api, manager: str, method: str, path: str, body: Any
) -> None:
    """Judged by what would differ, so that no route is a way round."""
    await api.ask("PATCH", "/api/v1/flags/f?environment=staging", json={"enabled": True})
    await api.ask("PATCH", "/api/v1/flags/f", json={"description": "new"})
    before = (await api.ask("GET", "/api/v1/flags/f")).body
    reply = await api.ask(method, f"/api/v1/{path}", token=manager, json=body)
    assert (reply.status, reply.json["code"]) == (403, "role_needed"), reply.body
    assert (await api.ask("GET", "/api/v1/flags/f")).body == before


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"kind": "service"}, "/role"),
        ({"kind": "service", "role": "owner"}, "/role"),
        ({"kind": "server", "role": "admin"}, "/role"),
        ({"kind": "service", "role": "viewer", "environment": "nowhere"}, "/environment"),
        ({"kind": "server", "environment": "*"}, "/environment"),
        ({"kind": "service", "role": "admin", "environment": "staging"}, "/environment"),
    ],
)
async def test_a_key_with_a_role_that_makes_no_sense_is_refused(
    api: Api, members: dict[str, Any], where: str
) -> None:
    """With the place."""
    reply = await api.ask("POST", "/api/v1/keys", json=members)
    assert reply.status == 422
    assert [problem["pointer"] for problem in reply.json["problems"]] == [where]


async def test_a_service_key_that_is_deleted_is_a_wrong_one(api: Api) -> None:
    """At once."""
    made = await api.make_key("service", role="viewer")
    assert (await api.ask("GET", "/api/v1/flags", token=made["key"])).status == 200
    assert (await api.ask("DELETE", f"/api/v1/keys/{made['id']}")).status == 204
    assert (await api.ask("GET", "/api/v1/flags", token=made["key"])).status == 401


# The rules alone


@given(BINDINGS, st.sampled_from(Permission), st.sampled_from(["a", "b"]))
def test_more_bindings_never_give_less(
    bindings: list[Binding], permission: Permission, project: str
) -> None:
    """And none give nothing."""
    given_now = grant(bindings, permission, project)
    for number in range(len(bindings)):
        fewer = grant(bindings[:number], permission, project)
        if fewer is not None:
            assert given_now is not None
            assert _covers(given_now, fewer)
    if permission is not Permission.ACCOUNT:
        assert grant([], permission, project) is None


def _covers(more: Grant, less: Grant) -> bool:
    if more.environments is None:
        return True
    return less.environments is not None and less.environments <= more.environments


@given(BINDINGS, st.sampled_from(_IN_A_PROJECT))
def test_a_role_elsewhere_gives_nothing_here(
    bindings: list[Binding], permission: Permission
) -> None:
    """Only of the project itself, or of all of them."""
    elsewhere = [each for each in bindings if each.project == "b"]
    assert grant(elsewhere, permission, "a") is None


@given(BINDINGS)
def test_only_an_admin_of_everything_manages_the_installation(bindings: list[Binding]) -> None:
    """Of all projects and all environments."""
    expected = Binding(Role.ADMIN) in bindings
    assert (grant(bindings, Permission.INSTALLATION, "a") is not None) is expected


def test_the_page_says_what_is_so() -> None:
    """`python -m control_plane.access.page docs/access.md` writes what belongs there."""
    text = PAGE.read_text()
    assert with_tables(text, ROUTES) == text
