"""Changes of projects themselves, and the networks that they and the API are open to."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from control_plane.keys import REPLICA
from control_plane.networks import networks
from control_plane.store.keys import ProjectKeys
from proxy.contract.sync import SNAPSHOT_PATH
from tests.control_plane.users.people import add, logged_in
from tests.support.api import Api, running_api, until

PROJECT = "/api/v1/projects/default"
BEHIND_PROXY: dict[str, Any] = {
    "trusted_proxies": networks("127.0.0.1"),
    "redis_timeout_s": 10.0,
}
INSIDE, OUTSIDE = {"X-Forwarded-For": "192.0.2.7"}, {"X-Forwarded-For": "198.51.100.7"}
OFFICE = {"allowed_networks": ["192.0.2.0/24"]}


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane behind a proxy that is trusted: this test."""
    async with running_api(redis_url, **BEHIND_PROXY) as running:
        yield running


async def test_a_project_is_replaced_and_patched(api: Api) -> None:
    """With versions, and with what differs in the audit log."""
    before = (await api.ask("GET", PROJECT)).json
    assert (before["version"], before["allowed_networks"]) == (1, [])
    body = {"name": "Shop", "denied_networks": ["::ffff:10.0.0.0/104", "10.0.0.0/8"]}
    replaced = (await api.ask("PUT", PROJECT, json=body)).json
    assert replaced["denied_networks"] == ["10.0.0.0/8"]
    assert (replaced["name"], replaced["version"]) == ("Shop", 2)
    patched = (await api.ask("PATCH", PROJECT, json={"description": "all"})).json
    assert patched == {**replaced, "description": "all", "version": 3} | {
        "updated_at": patched["updated_at"]
    }
    assert patched["updated_at"] >= replaced["updated_at"] >= before["updated_at"]
    again = await api.ask("PATCH", PROJECT, json={"description": "all"})
    assert again.json == patched
    (entry,) = (await api.ask("GET", "/api/v1/audit?limit=1")).json["items"]
    assert (entry["action"], entry["targets"]) == ("project.patch", ["project:default"])
    assert [(d["path"], d.get("before"), d.get("after")) for d in entry["differences"]] == [
        ("/description", "", "all")
    ]


async def test_a_version_that_was_not_seen_is_not_changed(api: Api) -> None:
    """By the entity tag of what was read."""
    etag = (await api.ask("GET", PROJECT)).headers["ETag"]
    assert (await api.ask("PATCH", PROJECT, json={"name": "a"})).status == 200
    for method in ("PUT", "PATCH"):
        reply = await api.ask(method, PROJECT, json={"name": "b"}, headers={"If-Match": etag})
        assert reply.status == 412
    assert (await api.ask("GET", PROJECT)).json["name"] == "a"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"allowed_networks": ["10.0.0.0/8", "10.0.0.1/8"]}, ["/allowed_networks/1"]),
        ({"denied_networks": ["fe80::%1"], "key": "x"}, ["/denied_networks/0", "/key"]),
        ({"denied_networks": ["10.0.0.1"] * 101}, ["/denied_networks"]),
        ({"version": {"$gt": 0}, "nonsense": 1}, ["/nonsense"]),
    ],
)
async def test_what_makes_no_sense_is_refused(
    api: Api, body: dict[str, Any], where: list[str]
) -> None:
    """With all places; a project is not made so either."""
    reply = await api.ask("PATCH", PROJECT, json=body)
    assert reply.status == 422
    assert [problem["pointer"] for problem in reply.json["problems"]] == where
    made = {name: value for name, value in body.items() if name.endswith("networks")}
    if made:
        reply = await api.ask("POST", "/api/v1/projects", json={"key": "new", **made})
        assert reply.status == 422
        assert (await api.ask("GET", "/api/v1/projects/new")).status == 404


async def test_a_project_may_be_called_as_a_field_is(redis_url: str) -> None:
    """Nothing is written over what tells where it stands, and it is read again as it was."""
    names = ["epoch", "sequence", "head", "record", "schema"]
    async with running_api(redis_url, **BEHIND_PROXY) as api:
        for name in names:
            body = {"key": name, "name": "made", "allowed_networks": ["192.0.2.1"]}
            assert (await api.ask("POST", "/api/v1/projects", json=body)).status == 201
            path = f"/api/v1/projects/{name}"
            assert (await api.ask("PATCH", path, json={"name": "'}{"})).status == 200
    async with running_api(redis_url, **BEHIND_PROXY) as api:
        for name in names:
            read = (await api.ask("GET", f"/api/v1/projects/{name}")).json
            assert (read["name"], read["version"]) == ("'}{", 2)
            assert read["allowed_networks"] == ["192.0.2.1/32"]


async def test_what_was_stored_before_projects_changed_is_read(redis_url: str) -> None:
    """Its name is a field of its own."""
    async with running_api(redis_url, **BEHIND_PROXY):
        pass
    with redis.Redis.from_url(redis_url) as client:
        client.hdel(ProjectKeys("default").meta, "record")
        client.hset(ProjectKeys("default").meta, mapping={"name": "old", "description": "d"})
    async with running_api(redis_url, **BEHIND_PROXY) as api:
        read = (await api.ask("GET", PROJECT)).json
        assert (read["name"], read["description"], read["version"]) == ("old", "d", 1)
        assert (await api.ask("PATCH", PROJECT, json={"name": "new"})).json["version"] == 2


# Networks


async def test_a_project_is_managed_from_its_networks(redis_url: str) -> None:
    """By people and by service keys, on every replica; sidecars and the operator's token go on."""
    secret = {"secret_key": ("s" * 40,)}
    async with (
        running_api(redis_url, **BEHIND_PROXY, **secret) as api,
        running_api(redis_url, **BEHIND_PROXY, **secret) as other,
    ):
        service = (await api.make_key("service", role="admin"))["key"]
        sidecar = (await api.make_key("sidecar"))["key"]
        await add(api)
        person = (await logged_in(api))["access_token"]
        assert (await api.ask("PATCH", PROJECT, json=OFFICE)).status == 200

        async def is_effective() -> bool:
            reply = await other.ask("GET", "/api/v1/flags", token=service, headers=OUTSIDE)
            person_there = await other.ask("GET", "/api/v1/me", token=person)
            return (reply.status, person_there.status) == (403, 200)

        await until(is_effective)
        for token in (service, person):
            for path in ("flags", "keys", "projects/default", "audit", "segments"):
                for one in (api, other):
                    inside = await one.ask("GET", f"/api/v1/{path}", token=token, headers=INSIDE)
                    assert inside.status == 200, inside.body
                    outside = await one.ask("GET", f"/api/v1/{path}", token=token, headers=OUTSIDE)
                    assert (outside.status, outside.json["code"]) == (403, "address_denied")
        changed = await api.ask(
            "PATCH", PROJECT, token=service, headers=OUTSIDE, json={"name": "x"}
        )
        assert changed.status == 403
        assert (await api.ask("GET", "/api/v1/flags", headers=OUTSIDE)).status == 200
        for headers in (INSIDE, OUTSIDE):
            assert (
                await api.ask("GET", SNAPSHOT_PATH, token=sidecar, headers=headers)
            ).status == 200
        assert (await api.ask("POST", "/api/v1/projects", json={"key": "open"})).status == 201
        elsewhere = "/api/v1/flags?project=open"
        assert (await api.ask("GET", elsewhere, token=person, headers=OUTSIDE)).status == 200


async def test_who_has_no_role_is_told_nothing_of_networks(api: Api) -> None:
    """That there is no such project, as always."""
    assert (await api.ask("POST", "/api/v1/projects", json={"key": "shop", **OFFICE})).status == 201
    key = (await api.make_key("service", role="admin"))["key"]
    for project in ("shop", "none"):
        reply = await api.ask("GET", f"/api/v1/flags?project={project}", token=key, headers=OUTSIDE)
        assert (reply.status, reply.json["code"]) == (404, "project_not_found")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_who_would_lock_themselves_out_is_told(api: Api, method: str) -> None:
    """And does it when they say so; the operator's token is not held, and is not told."""
    key = (await api.make_key("service", role="admin"))["key"]

    async def changed(query: str = "", token: str = key, **members: Any) -> tuple[int, str]:
        path = f"{PROJECT}{query}"
        reply = await api.ask(method, path, token=token, headers=OUTSIDE, json=OFFICE | members)
        return reply.status, reply.json.get("code", "")

    assert await changed() == (409, "lockout")
    assert await changed("?force=nonsense") == (400, "invalid_parameter")
    assert await changed(allowed_networks=["198.51.100.0/24"]) == (200, "")
    assert await changed(allowed_networks=["198.51.100.0/24"], name="x") == (200, "")
    assert await changed("?force=true") == (200, "")
    assert await changed(allowed_networks=[]) == (403, "address_denied")
    way_out = await api.ask("PATCH", PROJECT, headers=OUTSIDE, json={"allowed_networks": []})
    assert way_out.status == 200
    assert await changed() == (409, "lockout")


async def test_the_settings_hold_everybody(redis_url: str) -> None:
    """The operator, sidecars and who logs in; probes and pages go on."""
    settings: dict[str, Any] = {
        "allowed_networks": networks("192.0.2.0/24,127.0.0.1"),
        "denied_networks": networks("192.0.2.66"),
        **BEHIND_PROXY,
    }
    denied = {"X-Forwarded-For": "::ffff:192.0.2.66"}
    async with running_api(redis_url, **settings) as api:
        sidecar = (await api.make_key("sidecar"))["key"]
        for headers, taken in ((INSIDE, True), (OUTSIDE, False), (denied, False)):
            for path, token in (("/api/v1/flags", None), (SNAPSHOT_PATH, sidecar)):
                sent = {} if token is None else {"token": token}
                reply = await api.ask("GET", path, headers=headers, **sent)
                assert (reply.status == 200) is taken, reply.body
                assert taken or reply.json["code"] == "address_denied"
            login = {"email": "a@example.com", "password": "x" * 12}
            reply = await api.ask(
                "POST", "/api/v1/auth/login", token=None, headers=headers, json=login
            )
            assert (reply.status == 403) is not taken
            wrong = await api.ask("GET", "/api/v1/flags", token="wrong", headers=headers)
            assert wrong.status == (401 if taken else 403)
            for path in ("/livez", "/readyz", "/openapi.json"):
                assert (await api.ask("GET", path, token=None, headers=headers)).status == 200


async def test_names_of_projects_do_not_leave_their_tag(api: Api) -> None:
    """Nothing that is no plain name becomes a part of a key in Redis."""
    for name in ("a}b", "{a", "../b", "a/b", "a b", "a\n", "~access", "", "x" * 65, "ä", "$where"):
        reply = await api.ask("POST", "/api/v1/projects", json={"key": name})
        assert reply.status == 422, name
    assert set(api.app[REPLICA].projects) == {"default"}
