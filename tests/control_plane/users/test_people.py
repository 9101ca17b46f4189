"""People over real HTTP: made, invited, changed, disabled, deleted; what is written down."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import redis
from argon2 import PasswordHasher

from control_plane.access.roles import Binding, Role
from control_plane.errors import Unavailable
from control_plane.keys import REPLICA
from control_plane.keys import USERS as USERS_KEY
from control_plane.store.keys import ProjectKeys
from control_plane.supervise import stop
from control_plane.users.model import UserPatch
from control_plane.users.passwords import Passwords
from control_plane.users.policy import check_password
from tests.control_plane.users.people import ADA, PASSWORD, add, logged_in, login, people
from tests.support.api import Api, until

USERS = "/api/v1/users"
NOWHERE = {"role": "admin", "project": "shpo"}
KEYS = ProjectKeys("~access")


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane without anybody."""
    async with people(redis_url) as running:
        yield running


async def test_who_is_made_is_listed_and_shows_no_secret(api: Api) -> None:
    """Neither password nor hash, nor an invitation, after the first time."""
    made = await add(api)
    invited = await api.ask("POST", USERS, json={"email": "bob@example.com"})
    listed = await api.ask("GET", USERS)
    assert {user["email"] for user in listed.json["items"]} == {ADA, "bob@example.com"}
    assert invited.json["invitation"].encode() not in listed.body
    assert b"argon2" not in listed.body
    read = await api.ask("GET", f"{USERS}/{made['id']}")
    assert read.json == made
    assert read.headers["ETag"] == '"1"'


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"email": "nobody"}, {"/email"}),
        ({"email": "a@b", "password": "short"}, {"/password"}),
        ({"email": "a@b", "password": "password1234"}, {"/password"}),
        ({"email": "somebody@b", "password": "somebody is here"}, {"/password"}),
        ({"email": "a@b", "password": "aaaaaaaaaaaaaaaa"}, {"/password"}),
        ({"email": "ada@example.com", "password": "Ada@Example.com"}, {"/password"}),
        ({"email": "a@b", "password": "x" * 257}, {"/password"}),
        ({"email": "a@b", "roles": [{"role": "owner", "project": "*"}]}, {"/roles/0/role"}),
        ({"email": "a@b", "roles": [{"role": "admin", "project": "a b"}]}, {"/roles/0/project"}),
        (
            {
                "email": "a@b",
                "roles": [{"role": "viewer", "project": "*", "environment": "staging"}],
            },
            {"/roles/0/environment"},
        ),
        (
            {"email": "a@b", "roles": [{"role": "admin", "project": "p", "environment": "e"}]},
            {"/roles/0/environment"},
        ),
        ({"email": {"$gt": ""}}, {"/email"}),
        ({"email": "x", "name": "a\nb"}, {"/email", "/name"}),
    ],
)
async def test_somebody_who_makes_no_sense_is_refused(
    api: Api, body: dict[str, Any], where: set[str]
) -> None:
    """With every problem and its place."""
    reply = await api.ask("POST", USERS, json=body)
    assert reply.status == 422
    assert {problem["pointer"] for problem in reply.json["problems"]} == where


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("environment", [{}, {"environment": "staging"}, {"environment": "*"}])
async def test_a_role_without_its_project_is_refused(
    api: Api, role: Role, environment: dict[str, str]
) -> None:
    """What is forgotten would give it in all of them; that is said, with how to say it."""
    made = await add(api)
    roles = {"roles": [{"role": "viewer", "project": "*"}, {"role": role, **environment}]}
    for method, path, body in (
        ("POST", USERS, {"email": "bob@example.com", **roles}),
        ("PATCH", f"{USERS}/{made['id']}", roles),
    ):
        reply = await api.ask(method, path, json=body)
        assert reply.status == 422
        (problem,) = reply.json["problems"]
        assert (problem["pointer"], problem["code"]) == ("/roles/1/project", "missing_field")
        assert problem["hint"] == 'name one, or "*" for all projects'
    assert [each["id"] for each in (await api.ask("GET", USERS)).json["items"]] == [made["id"]]
    assert (await api.ask("GET", f"{USERS}/{made['id']}")).json["version"] == 1


async def test_a_role_that_is_said_twice_is_held_once(api: Api) -> None:
    """With its environment said or not; in the order in which they were given."""
    twice = [
        {"role": "viewer", "project": "default"},
        {"role": "admin", "project": "*"},
        {"role": "viewer", "project": "default", "environment": "*"},
    ]
    held = [{"environment": "*", **each} for each in twice[:2]]
    made = await add(api, "bob@example.com", roles=twice)
    assert made["roles"] == held
    path = f"{USERS}/{made['id']}"
    assert (await api.ask("PATCH", path, json={"roles": twice * 2})).json["roles"] == held


async def test_a_role_that_was_kept_without_its_project_is_one_in_all(
    api: Api, redis_url: str
) -> None:
    """Whoever holds it goes on to."""
    made = await add(api)
    with redis.Redis.from_url(redis_url) as client:
        stored = json.loads(client.hget(KEYS.users, made["id"]))
        stored["roles"] = [{"role": "admin"}]
        client.hset(KEYS.users, made["id"], json.dumps(stored))
    async with people(redis_url) as other:
        kept = (await other.ask("GET", f"{USERS}/{made['id']}")).json
        assert kept["roles"] == [{"role": "admin", "project": "*", "environment": "*"}]


async def test_an_address_is_one_persons(api: Api) -> None:
    """However it is written; that says how to find them, and what to do instead."""
    made = await add(api)
    reply = await api.ask("POST", USERS, json={"email": "ADA@example.com"})
    assert (reply.status, reply.json["code"]) == (409, "user_exists")
    for what in ("'ada@example.com'", f"{USERS}?email=", "PATCH", "/invite"):
        assert what in reply.json["detail"]
    found = await api.ask("GET", USERS, params={"email": "ADA@example.com"})
    assert found.json["items"] == [made]


@pytest.mark.parametrize(
    ("email", "found"),
    [
        ("bob@example.com", ["bob@example.com"]),
        (" Bob@EXAMPLE.com ", ["bob@example.com"]),
        ("bob@example", []),
        ("bob", []),
        ("*", []),
        ("", []),
    ],
)
async def test_somebody_is_found_by_their_address(api: Api, email: str, found: list[str]) -> None:
    """All of it, as a login takes it; by a page that has no next one."""
    await add(api)
    await add(api, "bob@example.com")
    reply = await api.ask("GET", USERS, params={"email": email, "limit": 1})
    assert [each["email"] for each in reply.json["items"]] == found
    assert reply.json["next_cursor"] is None


async def test_what_of_somebody_cannot_become_another_says_so(api: Api) -> None:
    """Whatever is shown of them and is not changed here; what there is not is unknown."""
    made = await add(api)
    fixed = {name: value for name, value in made.items() if name in UserPatch.READ_ONLY}
    assert fixed.keys() == made.keys() - set(UserPatch.__struct_fields__)
    path = f"{USERS}/{made['id']}"
    reply = await api.ask("PATCH", path, json={**fixed, "nickname": "x", "name": "y"})
    assert reply.status == 422
    told = {each["pointer"]: each["code"] for each in reply.json["problems"]}
    assert told == {f"/{name}": "read_only" for name in fixed} | {"/nickname": "unknown_field"}
    hint = next(e["hint"] for e in reply.json["problems"] if e["pointer"] == "/email")
    assert hint == "what can: name, roles, disabled"
    assert (await api.ask("GET", path)).json == made


@pytest.mark.parametrize(
    ("role", "pointer", "hint"),
    [
        ({"role": "manger", "project": "*"}, "/roles/0/role", "did you mean 'manager'?"),
        ({"role": "Admin", "project": "*"}, "/roles/0/role", "did you mean 'admin'?"),
        ({"role": "owner", "project": "*"}, "/roles/0/role", ""),
        (
            {"role": "viewer", "project": "defualt"},
            "/roles/0/project",
            "did you mean the project default? ",
        ),
        ({"role": "viewer", "project": "x"}, "/roles/0/project", "make it first"),
        (
            {"role": "viewer", "project": "defualt", "environment": "staging"},
            "/roles/0/environment",
            "did you mean the project default? ",
        ),
        (
            {"role": "viewer", "project": "default", "environment": "prodution"},
            "/roles/0/environment",
            "did you mean the environment production? ",
        ),
    ],
)
async def test_a_role_that_is_misspelt_is_told_the_nearest(
    api: Api, role: dict[str, str], pointer: str, hint: str
) -> None:
    """Of its name, of the project and of the environment."""
    reply = await api.ask("POST", USERS, json={"email": "bob@example.com", "roles": [role]})
    (problem,) = reply.json["problems"]
    assert problem["pointer"] == pointer
    assert problem.get("hint", "").startswith(hint)
    assert bool(problem.get("hint")) is bool(hint)


async def test_an_invitation_is_taken_once(api: Api, redis_url: str) -> None:
    """By choosing a password that is one; then it is over."""
    await add(api)
    body = {"email": "bob@example.com", "roles": [{"role": "viewer", "project": "*"}]}
    made = (await api.ask("POST", USERS, json=body)).json
    assert made["user"]["invited"]
    assert (await login(api, "bob@example.com", "")).status == 401
    accept = "/api/v1/auth/accept"
    taken = {"invitation": made["invitation"], "password": "window staple rain apple"}
    short = await api.ask("POST", accept, token=None, json={**taken, "password": "short"})
    assert short.status == 422
    wrong = await api.ask("POST", accept, token=None, json={**taken, "invitation": "x" * 43})
    assert (wrong.status, wrong.json["code"]) == (401, "invitation_failed")
    assert (await api.ask("POST", accept, token=None, json=taken)).status == 200
    assert (await api.ask("POST", accept, token=None, json=taken)).status == 401
    assert (await login(api, "bob@example.com", taken["password"])).status == 200
    with redis.Redis.from_url(redis_url) as client:
        stored = b"".join(client.hgetall(KEYS.users).values())
        told = b"".join(f[b"entry"] for _, f in client.xrange(KEYS.audit))
    for secret in (made["invitation"], taken["password"], PASSWORD):
        assert secret.encode() not in stored + told
    assert b"$argon2id$" in stored
    assert b"argon2" not in told


async def test_who_forgot_a_password_is_invited_again(api: Api) -> None:
    """Sessions and the old password end."""
    await add(api)
    made = await add(api, "bob@example.com", "viewer")
    token = (await logged_in(api, "bob@example.com"))["access_token"]
    again = await api.ask("POST", f"{USERS}/{made['id']}/invite")
    assert again.status == 200
    assert (await api.ask("GET", "/api/v1/me", token=token)).status == 401
    assert (await login(api, "bob@example.com")).status == 401


@pytest.mark.parametrize("change", ["disable", "delete", "demote", "invite"])
async def test_the_last_administrator_stays_one(api: Api, change: str) -> None:
    """Until there is another who can log in."""
    made = await add(api)
    path = f"{USERS}/{made['id']}"
    asked: dict[str, tuple[str, str, Any]] = {
        "disable": ("PATCH", path, {"disabled": True}),
        "delete": ("DELETE", path, None),
        "demote": ("PATCH", path, {"roles": [{"role": "admin", "project": "default"}]}),
        "invite": ("POST", f"{path}/invite", None),
    }
    method, where, body = asked[change]
    reply = await api.ask(method, where, json=body)
    assert (reply.status, reply.json["code"]) == (409, "last_admin")
    await add(api, "bob@example.com", "admin")
    assert (await api.ask(method, where, json=body)).status in (200, 204)


async def test_disabling_ends_sessions(api: Api) -> None:
    """And whoever is deleted is nobody."""
    await add(api)
    made = await add(api, "bob@example.com", "viewer")
    path = f"{USERS}/{made['id']}"
    token = (await logged_in(api, "bob@example.com"))["access_token"]
    assert (await api.ask("PATCH", path, json={"disabled": True})).json["disabled"]
    assert (await api.ask("GET", "/api/v1/me", token=token)).status == 401
    await api.ask("PATCH", path, json={"disabled": False})
    assert (await api.ask("GET", "/api/v1/me", token=token)).status == 401, "ended is ended"
    token = (await logged_in(api, "bob@example.com"))["access_token"]
    assert (await api.ask("DELETE", path)).status == 204
    assert (await api.ask("GET", "/api/v1/me", token=token)).status == 401
    assert (await api.ask("GET", path)).status == 404


async def test_a_change_of_what_was_seen_alone(api: Api) -> None:
    """`If-Match` with another version is refused."""
    made = await add(api)
    path = f"{USERS}/{made['id']}"
    headers = {"If-Match": '"1"'}
    assert (await api.ask("PATCH", path, json={"name": "Ada"}, headers=headers)).status == 200
    assert (await api.ask("PATCH", path, json={"name": "B"}, headers=headers)).status == 412


async def test_only_an_admin_of_everything_manages_people(api: Api) -> None:
    """Not one of a project, who could make themselves more."""
    await add(api)
    await add(api, "bob@example.com", roles=[{"role": "admin", "project": "default"}])
    token = (await logged_in(api, "bob@example.com"))["access_token"]
    for method, path in (("GET", USERS), ("POST", USERS)):
        reply = await api.ask(method, path, token=token, json={"email": "c@example.com"})
        assert (reply.status, reply.json["code"]) == (403, "role_needed")


async def test_every_login_is_written_down(api: Api) -> None:
    """Who, from where, and of one that failed why; a chain that holds."""
    await add(api)
    await login(api, ADA, "wrong horse battery")
    await login(api, "nobody@example.com")
    await logged_in(api)
    logs = {}
    for name in ("~access", "~refused"):
        entries = (await api.ask("GET", f"/api/v1/audit?project={name}")).json["items"]
        logs[name] = [(e["action"], e["actor"], e["reason"]) for e in entries]
        assert {e["address"] for e in entries if e["action"].startswith("session")} == {"127.0.0.1"}
        heads = [e["head"] for e in reversed(entries)]
        assert [e["previous"] for e in reversed(entries)] == ["0" * 64, *heads[:-1]]
    assert logs["~access"][0] == ("session.begin", f"user:{ADA}", "")
    assert logs["~refused"] == [
        ("session.refuse", "anonymous", "login failed: unknown"),
        ("session.refuse", "anonymous", "login failed: wrong_password"),
        ("log.create", "system", ""),
    ]
    token = (await logged_in(api))["access_token"]
    key = (await api.make_key("service", role="admin"))["key"]
    for name in logs:
        path = f"/api/v1/audit?project={name}"
        assert (await api.ask("GET", path, token=token)).status == 200
        assert (await api.ask("GET", path, token=key)).status == 404


async def test_the_first_administrator_comes_from_the_settings(redis_url: str) -> None:
    """Once, when there is nobody: another password there later changes nothing."""
    settings = {"admin_email": ADA, "admin_password": PASSWORD}
    async with people(redis_url, **settings) as api:
        await until(lambda: _can_log_in(api))
        token = (await logged_in(api))["access_token"]
        assert (await api.ask("GET", USERS, token=token)).status == 200
    async with people(redis_url, **{**settings, "admin_password": "another one entirely"}) as api:
        assert (await login(api)).status == 200


async def _can_log_in(api: Api) -> bool:
    return (await login(api)).status == 200


async def test_two_replicas_make_one_first_administrator(redis_url: str) -> None:
    """And one directory."""
    settings = {"admin_email": ADA, "admin_password": PASSWORD}
    async with people(redis_url, **settings) as one, people(redis_url, **settings) as other:
        await until(lambda: _can_log_in(other))
        assert len((await one.ask("GET", USERS)).json["items"]) == 1


async def test_a_hash_of_yesterday_is_made_anew(
    api: Api, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its password was right; weaker parameters of long ago do not stay."""
    await add(api)
    hashers = api.app[USERS_KEY]._passwords
    stronger = PasswordHasher(time_cost=2, memory_cost=1024, parallelism=1)
    monkeypatch.setattr(hashers, "_hasher", stronger)
    with redis.Redis.from_url(redis_url) as client:
        assert b"m=1024,t=1,p=1" in b"".join(client.hgetall(KEYS.users).values())
        assert (await login(api, ADA, "wrong horse battery")).status == 401
        assert b"m=1024,t=1,p=1" in b"".join(client.hgetall(KEYS.users).values())
        assert (await login(api)).status == 200
        assert b"m=1024,t=2,p=1" in b"".join(client.hgetall(KEYS.users).values())
    assert (await login(api)).status == 200


async def test_the_hash_is_argon2id_with_46_mib(real_parameters: dict[str, int]) -> None:
    """OWASP's first choice."""
    passwords = Passwords(PasswordHasher(**real_parameters))
    assert (await passwords.hash(PASSWORD)).startswith("$argon2id$v=19$m=47104,t=1,p=1$")
    passwords.close()


async def test_of_too_many_at_once_some_are_told_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are hashed, a few wait, and memory is bounded."""
    monkeypatch.setattr("control_plane.users.passwords._WAITING", 3)
    passwords = Passwords()
    results = await asyncio.gather(
        *(passwords.hash(PASSWORD) for _ in range(8)), return_exceptions=True
    )
    assert [type(r) for r in results] == [str] * 5 + [Unavailable] * 3
    assert await passwords.check(str(results[0]), PASSWORD)
    passwords.close()


def test_what_may_be_a_password() -> None:
    """Long enough and not obvious; nothing is asked of its characters."""
    for good in ("correct horse battery", "äöüß日本語のパスワード", "   spaces are fine  "):
        assert check_password(good, "ada") == []
    for bad in ("short", "qwertyuiop12", "ababababababab", "i am ada lovelace"):
        assert check_password(bad, "lovelace")


# Where roles are


@pytest.mark.parametrize(
    ("role", "where", "code"),
    [
        (NOWHERE, "/roles/1/project", "unknown_project"),
        ({**NOWHERE, "role": "viewer", "environment": "x"}, "/roles/1/environment", "unknown_env"),
        (
            {"role": "manager", "project": "default", "environment": "prod"},
            "/roles/1/environment",
            "unknown_environment",
        ),
    ],
)
async def test_a_role_in_what_there_is_not_is_refused(
    api: Api, role: dict[str, Any], where: str, code: str
) -> None:
    """When somebody is made and when they are changed; it would give nothing and say nothing."""
    roles = {"roles": [{"role": "viewer", "project": "*"}, role]}
    made = await add(api)
    for method, path, body in (
        ("POST", USERS, {"email": "bob@example.com", **roles}),
        ("PATCH", f"{USERS}/{made['id']}", roles),
    ):
        reply = await api.ask(method, path, json=body)
        assert reply.status == 422, reply.body
        (problem,) = reply.json["problems"]
        assert problem["pointer"] == where
        assert problem["code"].startswith(code)
    assert (await api.ask("GET", f"{USERS}/{made['id']}")).json["version"] == 1


async def test_a_project_that_another_replica_has_just_made_can_be_named(
    api: Api, redis_url: str
) -> None:
    """Before its change log was read here: a pipeline asks whichever replica answers."""
    async with people(redis_url) as other:
        await stop(api.app[REPLICA]._mirror._task)  # as if it were always late
        assert (await other.ask("POST", "/api/v1/projects", json={"key": "shop"})).status == 201
        role = {"role": "manager", "project": "shop", "environment": "staging"}
        assert "shop" not in api.app[REPLICA].projects
        await add(api, roles=[role])


async def test_roles_that_are_held_are_not_asked_about_again(api: Api, redis_url: str) -> None:
    """Somebody can be changed though a project is gone; nothing can be added there."""
    made = await add(api)
    users = api.app[USERS_KEY]
    held = Binding(Role.VIEWER, "gone")
    old = users.found(made["id"])
    users._directory.users[made["id"]] = msgspec.structs.replace(old, roles=(*old.roles, held))
    path = f"{USERS}/{made['id']}"
    kept = [{"role": "admin", "project": "*"}, {"role": "viewer", "project": "gone"}]
    assert (await api.ask("PATCH", path, json={"roles": kept})).status == 200
    more = [*kept, {"role": "manager", "project": "gone"}]
    assert (await api.ask("PATCH", path, json={"roles": more})).status == 422


async def test_of_very_many_keys_that_somebody_leaves_the_number_is_told(api: Api) -> None:
    """An entry names a hundred things; how many there were is there all the same."""
    await add(api)
    bob = await add(api, "bob@example.com")
    token = (await logged_in(api, "bob@example.com"))["access_token"]
    for _ in range(100):
        body = {"kind": "sidecar"}
        assert (await api.ask("POST", "/api/v1/keys", token=token, json=body)).status == 201
    assert (await api.ask("DELETE", f"/api/v1/users/{bob['id']}")).status == 204
    path = "/api/v1/audit?project=~access&limit=1"
    (entry,) = (await api.ask("GET", path)).json["items"]
    assert (entry["action"], len(entry["targets"])) == ("user.delete", 100)
    assert entry["count"] == 102  # the person, their session, their keys


async def test_who_leaves_leaves_a_list_of_keys(api: Api) -> None:
    """Keys go on without their maker: they are listed before, and named in the log after."""
    await api.ask("POST", "/api/v1/projects", json={"key": "shop"})
    await add(api)
    bob = await add(api, "bob@example.com", roles=[{"role": "admin", "project": "*"}])
    token = (await logged_in(api, "bob@example.com"))["access_token"]
    made = []
    for project, kind in (("default", "sidecar"), ("shop", "service")):
        body = {"kind": kind} | ({"role": "admin"} if kind == "service" else {})
        path = f"/api/v1/keys?project={project}"
        reply = await api.ask("POST", path, token=token, json=body)
        assert reply.status == 201, reply.body
        assert reply.json["created_by"] == "user:bob@example.com"
        made.append(reply.json)
    others = await api.make_key("sidecar")
    assert others["created_by"] == "admin"
    path = "/api/v1/keys?created_by=user:bob@example.com"
    assert [k["id"] for k in (await api.ask("GET", path)).json["items"]] == [made[0]["id"]]
    path = f"/api/v1/users/{bob['id']}/keys"
    listed = (await api.ask("GET", path)).json["items"]
    assert [(k["id"], k["project"]) for k in listed] == [(k["id"], k["project"]) for k in made]
    assert all("key" not in k for k in listed)
    assert (await api.ask("GET", "/api/v1/users/u_none/keys")).status == 404
    named = {f"key:{key['id']}" for key in made}
    user = f"/api/v1/users/{bob['id']}"
    await api.ask("PATCH", user, json={"disabled": True})
    await api.ask("PATCH", user, json={"name": "Bob"})
    assert (await api.ask("DELETE", user)).status == 204
    entries = (await api.ask("GET", "/api/v1/audit?project=~access&limit=3")).json["items"]
    told = [(e["action"], named & set(e["targets"])) for e in entries]
    assert told == [("user.delete", named), ("user.patch", set()), ("user.patch", named)]
    assert [e["count"] - len(e["targets"]) for e in entries] == [0, 0, 0]
    target = f"/api/v1/audit?project=~access&target=key:{made[1]['id']}"
    assert len((await api.ask("GET", target)).json["items"]) == 2
    key = made[1]["key"]
    assert (await api.ask("GET", "/api/v1/flags?project=shop", token=key)).status == 200
