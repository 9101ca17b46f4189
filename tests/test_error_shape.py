"""The shape of errors, over every route there is and every error it can be made to give.

One shape, from one place: whoever handles an error of one endpoint handles those of all.
"""

import io
import re
from typing import Any

import pytest

from control_plane.access.roles import FOR_PEOPLE
from control_plane.app import ROUTES
from control_plane.imports.service import MAX_IMPORT_BYTES
from control_plane.web.openapi import plain_path
from control_plane.web.routing import Permission, Route
from proxy.contract.codes import ProblemCode
from tests.support.api import ADMIN_TOKEN, Api, Reply, running_api
from tests.support.redis import RedisServer

API_ROUTES = [route for route in ROUTES if route.path.startswith("/api/")]
MEMBERS = {"type", "title", "status", "detail", "code", "request_id", "problems"}
PROBLEM_MEMBERS = {"pointer", "code", "severity", "message", "hint"}


def name(route: Route) -> str:
    """Return how a route is called in test ids."""
    return f"{route.method} {plain_path(route.path)}"


def path_of(route: Route) -> str:
    """Return a path that the route matches and behind which nothing is."""
    return re.sub(r"\{[^}]*\}", "none-such", plain_path(route.path))


def check_shape(reply: Reply, status: int | None = None) -> dict[str, Any]:
    """Assert that a reply is an error in the one shape, and return it."""
    assert reply.status == status or (status is None and reply.status >= 400), reply.body
    assert reply.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = reply.json
    assert set(document) == MEMBERS
    assert document["status"] == reply.status
    assert document["type"] == "about:blank"
    assert document["title"]
    assert document["detail"]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", document["code"])
    assert document["request_id"] == reply.headers["X-Request-Id"]
    for problem in document["problems"]:
        assert set(problem) == PROBLEM_MEMBERS
        assert problem["code"] in set(ProblemCode)
        assert problem["pointer"] == "" or problem["pointer"].startswith("/")
        assert problem["severity"] in {"error", "warning"}
    return document


async def credential(api: Api, route: Route) -> str:
    """Return a credential that a route accepts."""
    if route.permission in (Permission.SYNC, Permission.REPORT):
        return str((await api.make_key("sidecar"))["key"])
    if route.permission is Permission.ACCOUNT:
        return await api.log_in("ada@example.com", {"role": "viewer", "project": "*"})
    return ADMIN_TOKEN


@pytest.mark.parametrize("route", [r for r in API_ROUTES if r.permission != "public"], ids=name)
async def test_a_missing_credential_is_401(api: Api, route: Route) -> None:
    """Each route that is not public asks for a credential before it looks at anything else."""
    reply = await api.ask(route.method, path_of(route), token=None)
    document = check_shape(reply, 401)
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert document["problems"] == []


@pytest.mark.parametrize("route", [r for r in API_ROUTES if r.permission != "public"], ids=name)
async def test_a_wrong_credential_is_401(api: Api, route: Route) -> None:
    """A wrong credential is never better than none."""
    check_shape(await api.ask(route.method, path_of(route), token="wrong"), 401)


@pytest.mark.parametrize("route", [r for r in API_ROUTES if r.permission != "public"], ids=name)
async def test_a_credential_of_the_other_kind_is_403(api: Api, route: Route) -> None:
    """Sidecar keys do not reach definitions, the administrator is no sidecar."""
    if route.permission in FOR_PEOPLE:
        token = (await api.make_key("sidecar"))["key"]
        check_shape(await api.ask(route.method, path_of(route), token=token), 403)
    else:
        check_shape(await api.ask(route.method, path_of(route)), 403)


@pytest.mark.parametrize("route", [r for r in API_ROUTES if not r.open_query], ids=name)
async def test_an_unknown_query_parameter_is_400(api: Api, route: Route) -> None:
    """A misspelt parameter must not quietly act on the default."""
    token = await credential(api, route)
    reply = await api.ask(route.method, path_of(route) + "?enviroment=staging", token=token)
    assert check_shape(reply, 400)["code"] == "unknown_parameter"


@pytest.mark.parametrize(
    "route",
    [r for r in API_ROUTES if any(p.where == "query" and p.type is bool for p in r.params)],
    ids=name,
)
async def test_a_parameter_that_is_neither_true_nor_false_is_400(api: Api, route: Route) -> None:
    """Also where this request would not need it, unless what it is about is looked for first."""
    made = await api.make_key("server")
    path = path_of(route)
    if route.path == "/api/v1/keys/{id}":
        path = f"/api/v1/keys/{made['id']}"
    if route.path == "/api/v1/projects/{key}":
        path = "/api/v1/projects/default"
    names = [p.name for p in route.params if p.where == "query" and p.type is bool]
    sent: dict[str, Any] = {} if route.example is None else {"json": route.example}
    if sent and route.media_types[0] != "application/json":
        sent["headers"] = {"Content-Type": route.media_types[0]}
    for parameter in names:
        reply = await api.ask(route.method, f"{path}?{parameter}=AAA", **sent)
        assert check_shape(reply, None)["code"] in {"invalid_parameter", *_MISSING}


_MISSING = {"flag_not_found", "project_not_found", "segment_not_found"}


@pytest.mark.parametrize("path", sorted({path_of(r) for r in ROUTES}))
async def test_an_unknown_method_is_405_with_allow(api: Api, path: str) -> None:
    """`Allow` names the methods that there are."""
    reply = await api.ask("PROPFIND", path)
    check_shape(reply, 405)
    allowed = set(reply.headers["Allow"].split(", "))
    verb = "is" if len(allowed) == 1 else "are"
    assert reply.json["detail"].endswith(f" {verb}")
    assert {r.method for r in ROUTES if path_of(r) == path} <= allowed


async def test_an_unknown_path_is_404(api: Api) -> None:
    """Also outside /api."""
    check_shape(await api.ask("GET", "/api/v1/none-such"), 404)
    check_shape(await api.ask("GET", "/none-such"), 404)


@pytest.mark.parametrize(
    "route", [r for r in API_ROUTES if "{" in r.path and r.body is None], ids=name
)
async def test_a_missing_resource_is_404(api: Api, route: Route) -> None:
    """Whatever is asked of it."""
    token = await credential(api, route)
    check_shape(await api.ask(route.method, path_of(route), token=token), 404)


@pytest.mark.parametrize(
    "route",
    # Lines of JSON are bounded otherwise, and what is wrong has the number of its line.
    [r for r in API_ROUTES if r.body is not None and "application/x-ndjson" not in r.media_types],
    ids=name,
)
class TestBodies:
    """Every route that takes a document refuses bad ones alike."""

    async def ask(
        self, api: Api, route: Route, body: bytes | io.BytesIO, content_type: str
    ) -> Reply:
        """Send a body to a route, with a credential that may."""
        token = await credential(api, route)
        headers = {"Content-Type": content_type}
        return await api.ask(route.method, path_of(route), token=token, headers=headers, data=body)

    async def test_a_body_that_is_not_declared_as_json_is_415(self, api: Api, route: Route) -> None:
        """A form of another site could send any other type."""
        check_shape(await self.ask(api, route, b"{}", "text/plain"), 415)

    async def test_a_body_that_is_too_large_is_413(self, api: Api, route: Route) -> None:
        """Without reading more than is allowed: a file of another system may be larger."""
        size = MAX_IMPORT_BYTES if route.path == "/api/v1/import" else 5_000_000
        body = io.BytesIO(b" " * (size + 1))  # aiohttp warns of large bytes
        check_shape(await self.ask(api, route, body, route.media_types[0]), 413)

    async def test_a_body_that_is_not_json_is_400(self, api: Api, route: Route) -> None:
        """And says so."""
        reply = await self.ask(api, route, b"{", route.media_types[0])
        assert check_shape(reply, 400)["code"] == "malformed_json"

    async def test_a_body_of_the_wrong_shape_is_422(self, api: Api, route: Route) -> None:
        """With what is wrong, at its place."""
        reply = await self.ask(api, route, b'{"none_such": 1}', route.media_types[0])
        problems = check_shape(reply, None)["problems"]
        if reply.status != 404:  # what is to be changed is looked for first
            assert reply.status == 422
            assert problems

    async def test_a_member_given_twice_is_422(self, api: Api, route: Route) -> None:
        """Decoders would keep the last and a reviewer read the first."""
        reply = await self.ask(api, route, b'{"key":"a","key":"b"}', route.media_types[0])
        document = check_shape(reply, None)
        if reply.status != 404:
            assert reply.status == 422
            assert document["problems"]


@pytest.mark.parametrize(
    "route",
    [r for r in API_ROUTES if r.permission in FOR_PEOPLE],
    ids=name,
)
async def test_before_the_definitions_are_loaded_all_is_503(route: Route) -> None:
    """An empty list, or 404, would be a lie."""
    async with running_api("redis://127.0.0.1:1", wait=False) as api:
        reply = await api.ask(route.method, path_of(route))
        check_shape(reply, 503)
        assert int(reply.headers["Retry-After"]) >= 1


async def test_while_redis_is_away_writes_are_503_and_reads_go_on(
    redis_server: RedisServer,
) -> None:
    """With a time to come back, and without waiting for long."""
    async with running_api(redis_server.url, redis_timeout_s=0.5) as api:
        key = await api.make_key("sidecar")
        redis_server.kill()
        reply = await api.ask("POST", "/api/v1/keys", json={"kind": "server"})
        check_shape(reply, 503)
        assert int(reply.headers["Retry-After"]) >= 1
        assert (await api.ask("GET", f"/api/v1/keys/{key['id']}")).status == 200
        assert (await api.ask("GET", "/readyz")).status == 200
        redis_server.restart()


FROM_REDIS = (
    "/api/v1/audit",
    "/api/v1/events/summary?name=purchase",
    "/api/v1/exposures/summary?experiment=e",
    "/api/v1/exposures/summary?flag=checkout",
    "/api/v1/usage",
    "/api/v1/usage?flag=checkout",
    "/api/v1/usage?unused_since=2040-01-01T00:00:00Z",
)
"""What lies in Redis alone."""


@pytest.mark.parametrize("frozen", [False, True], ids=["killed", "frozen"])
async def test_while_redis_is_away_no_read_is_500(redis_server: RedisServer, frozen: bool) -> None:
    """What lies in Redis alone is 503, the rest is answered from memory or is not there."""
    async with running_api(redis_server.url, redis_timeout_s=0.5) as api:
        flag = {"key": "checkout", "type": "boolean", "value": True, "enabled": True}
        assert (await api.ask("POST", "/api/v1/flags", json=flag)).status == 201
        reads = [r for r in ROUTES if r.method == "GET" and not r.streaming]
        one_of_each = {r.permission: r for r in reads}
        tokens = {kind: await credential(api, r) for kind, r in one_of_each.items()}
        if frozen:
            redis_server.freeze()
        else:
            redis_server.kill()
        try:
            for route in reads:
                reply = await api.ask("GET", path_of(route), token=tokens[route.permission])
                assert reply.status != 500, route.path
            for path in FROM_REDIS:
                document = check_shape(await api.ask("GET", path), 503)
                assert document["code"] == "redis_unavailable", path
        finally:
            if frozen:
                redis_server.thaw()
            else:
                redis_server.restart()


async def test_the_id_of_a_request_is_the_callers_if_it_gave_one(api: Api) -> None:
    """So that a log line here can be found from there; only plain ids are taken."""
    reply = await api.ask("GET", "/none-such", headers={"X-Request-Id": "from-the-caller.1"})
    assert check_shape(reply, 404)["request_id"] == "from-the-caller.1"
    reply = await api.ask("GET", "/none-such", headers={"X-Request-Id": "<script>"})
    assert check_shape(reply, 404)["request_id"] != "<script>"
