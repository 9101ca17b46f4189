"""Tests of `/api/v1/keys` over HTTP."""

from tests.support.api import Api

SHOWN = {"id", "name", "kind", "project", "environment", "prefix", "created_at", "expires_at"}
SHOWN |= {"role", "allowed_networks", "denied_networks", "replaces", "created_by"}
SHOWN |= {"last_used_at"}


async def test_a_key_is_shown_once(api: Api) -> None:
    """When it is made; afterwards only its prefix."""
    made = await api.ask("POST", "/api/v1/keys/", json={"kind": "server", "name": "shop"})
    assert made.status == 201
    assert set(made.json) == SHOWN | {"key"}
    assert made.json["key"].startswith(made.json["prefix"])
    assert made.headers["Cache-Control"] == "private, no-store"
    read = await api.ask("GET", made.headers["Location"])
    assert read.status == 200
    assert read.json == {k: v for k, v in made.json.items() if k != "key"}
    assert made.json["key"].encode() not in read.body


async def test_the_environment_is_the_bodys_or_else_the_querys(api: Api) -> None:
    """`production` when neither names one; a contradiction is refused."""
    assert (await api.make_key("server"))["environment"] == "production"
    assert (await api.make_key("server", environment="staging"))["environment"] == "staging"
    path = "/api/v1/keys?environment=development"
    reply = await api.ask("POST", path, json={"kind": "server"})
    assert reply.json["environment"] == "development"
    reply = await api.ask("POST", path, json={"kind": "server", "environment": "staging"})
    assert reply.status == 422
    assert reply.json["problems"][0]["code"] == "value_disagrees"


async def test_all_problems_are_listed(api: Api) -> None:
    """Of meaning, too."""
    body = {
        "kind": "client",
        "environment": "none-such",
        "name": "x" * 201,
        "expires_at": "2001-01-01T00:00:00Z",
    }
    reply = await api.ask("POST", "/api/v1/keys", json=body)
    assert reply.status == 422
    found = {(p["pointer"], p["code"]) for p in reply.json["problems"]}
    assert found == {
        ("/environment", "unknown_environment"),
        ("/name", "out_of_range"),
        ("/expires_at", "out_of_range"),
    }


async def test_a_maker_that_nobody_can_be_is_refused(api: Api) -> None:
    """An empty list would say that they left no keys."""
    await api.make_key("server")
    assert len((await api.ask("GET", "/api/v1/keys?created_by=admin")).json["items"]) == 1
    reply = await api.ask("GET", "/api/v1/keys?created_by=user:ada@example.com")
    assert (reply.status, reply.json["items"]) == (200, [])
    for maker in ("ada", "ada@example.com", "", "flag:f"):
        reply = await api.ask("GET", f"/api/v1/keys?created_by={maker}")
        assert (reply.status, reply.json["code"]) == (400, "invalid_parameter"), maker
        assert "created_by" in reply.json["detail"], maker
        assert "user:..." in reply.json["detail"]


async def test_a_list_has_pages_and_filters(api: Api) -> None:
    """Every key comes once, whatever the size of the pages."""
    made = {(await api.make_key("server", name=str(n)))["id"] for n in range(5)}
    other = (await api.make_key("client", environment="staging"))["id"]
    found: list[str] = []
    path = "/api/v1/keys?limit=2"
    cursor = ""
    while True:
        reply = await api.ask("GET", path + cursor)
        assert len(reply.json["items"]) <= 2
        assert all(set(item) == SHOWN for item in reply.json["items"])
        found += [item["id"] for item in reply.json["items"]]
        if reply.json["next_cursor"] is None:
            break
        cursor = f"&cursor={reply.json['next_cursor']}"
    assert found == sorted(made | {other})
    for query in ("kind=client", "environment=staging"):
        reply = await api.ask("GET", f"/api/v1/keys?{query}")
        assert [item["id"] for item in reply.json["items"]] == [other]
    assert (await api.ask("GET", "/api/v1/keys?kind=none")).status == 400


async def test_a_key_is_deleted_once(api: Api) -> None:
    """204, then 404."""
    made = await api.make_key("client")
    path = f"/api/v1/keys/{made['id']}"
    assert (await api.ask("DELETE", path)).status == 204
    assert (await api.ask("DELETE", path)).status == 404
    assert (await api.ask("GET", path)).status == 404


async def test_keys_are_a_projects(api: Api) -> None:
    """A project that is not there has none."""
    made = await api.make_key("client")
    reply = await api.ask("GET", f"/api/v1/keys/{made['id']}?project=none-such")
    assert (reply.status, reply.json["code"]) == (404, "project_not_found")
