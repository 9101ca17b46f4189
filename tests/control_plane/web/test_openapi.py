"""Tests of the OpenAPI description: valid, whole, and true to what is registered."""

from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from control_plane.access.roles import FOR_PEOPLE
from control_plane.app import ROUTES
from control_plane.web.openapi import describe, plain_path
from control_plane.web.routing import Page, Param, Permission, Route
from tests.support.api import Api


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The description of the whole API."""
    return describe(ROUTES, title="t", version="1", description="d")


def test_it_is_openapi_3_1(document: dict[str, Any]) -> None:
    """By OpenAPI's own schema, references and all."""
    assert document["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_every_route_is_in_it(document: dict[str, Any]) -> None:
    """And nothing else."""
    described = {(method, path) for path, item in document["paths"].items() for method in item}
    assert described == {(r.method.lower(), plain_path(r.path)) for r in ROUTES}


def test_operations_have_ids_of_their_own(document: dict[str, Any]) -> None:
    """Generated clients name their functions after them."""
    ids = [op["operationId"] for item in document["paths"].values() for op in item.values()]
    assert len(set(ids)) == len(ids)


def test_what_a_route_demands_is_what_is_described(document: dict[str, Any]) -> None:
    """Whoever reads the description knows which credential to send."""
    schemes = {
        Permission.PUBLIC: [],
        Permission.INSTALLATION: [{"accessToken": []}],
        Permission.ACCOUNT: [{"accessToken": []}],
        Permission.SYNC: [{"sidecarKey": []}],
        Permission.REPORT: [{"sidecarKey": []}],
    }
    for route in ROUTES:
        operation = document["paths"][plain_path(route.path)][route.method.lower()]
        people = [{"serviceKey": []}, {"accessToken": []}]
        first = [{"adminToken": []}] if route.path == "/api/v1/users" else []
        expected = schemes.get(route.permission, people)
        assert operation["security"] == expected + (first if route.method == "POST" else [])


def test_every_parameter_of_a_path_is_described(document: dict[str, Any]) -> None:
    """OpenAPI demands it, and so does whoever calls."""
    for path, item in document["paths"].items():
        for operation in item.values():
            described = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert {part.partition("}")[0] for part in path.split("{")[1:]} == described


def _may_be_304(item: dict[str, Any]) -> bool:
    return "304" in item.get("get", {"responses": ()})["responses"]


def test_what_may_be_answered_by_304_says_so(document: dict[str, Any]) -> None:
    """And how to ask for it: files that pages need have entity tags as well."""
    conditional = {"/openapi.json", "/docs/assets/{name}", "/api/v1/sync/snapshot"}
    features = ("flags", "segments", "projects", "environments")
    conditional |= {f"/api/v1/{feature}/{{key}}" for feature in features}
    conditional |= {"/api/v1/segments/{key}/units", "/api/v1/sync/blobs/{digest}"}
    found = {path for path, item in document["paths"].items() if _may_be_304(item)}
    assert found == conditional


def test_schemas_refuse_what_the_decoder_refuses(document: dict[str, Any]) -> None:
    """The one-of shapes are in it, and unknown members are not allowed."""
    schema = {"$ref": "#/components/schemas/Condition", "components": document["components"]}
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"all": []})
    assert not validator.is_valid({"all": [], "any": []})
    assert not validator.is_valid({"attribute": "a", "op": "in", "none_such": 1})


async def test_it_is_served(api: Api, document: dict[str, Any]) -> None:
    """As JSON, to anybody, with an entity tag."""
    reply = await api.ask("GET", "/openapi.json", token=None)
    assert reply.status == 200
    assert reply.json["paths"].keys() == document["paths"].keys()
    tag = {"If-None-Match": reply.headers["ETag"]}
    assert (await api.ask("GET", "/openapi.json", token=None, headers=tag)).status == 304


def test_generic_types_get_names_that_references_may_have() -> None:
    """`Page[Thing]` is none."""

    class Thing(msgspec.Struct):
        a: int

    async def handler(request: object) -> Any:
        return request

    route = Route(
        method="GET",
        path="/x/{id:.+}",
        handler=handler,
        summary="s",
        permission=Permission.READ,
        tag="t",
        params=(Param("id", "path"),),
        responses={200: Page[Thing], 204: None, 302: "Elsewhere."},
    )
    made = describe([route], title="t", version="1", description="d")
    assert {"Page_Thing", "Thing"} <= set(made["components"]["schemas"])
    responses = made["paths"]["/x/{id}"]["get"]["responses"]
    schema = responses["200"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Page_Thing"}
    assert responses["302"] == {"description": "Elsewhere."}
    assert list(OpenAPIV31SpecValidator(made).iter_errors()) == []


async def test_every_example_works_as_it_stands(api: Api) -> None:
    """Swagger UI fills them in, and one click sends them; in the order of the table."""
    key = ""
    made: Any = None
    for route in ROUTES:
        if route.example is None or route.tag in ("sessions", "second factors"):
            continue  # nobody's password works as it stands
        path = plain_path(route.path)
        if "/environments/{key}" in path:
            path = path.replace("{key}", "staging")
        elif "{id}" in path:
            path = path.replace("{id}", made.get("user", made)["id"])
        elif "{key}" in path:
            path = path.replace("{key}", key)
        else:
            key = route.example.get("key", "")
        media = {"Content-Type": route.media_types[0]}
        lines = isinstance(route.example, str)
        body = route.example.encode() if lines else msgspec.json.encode(route.example)
        reply = await api.ask(route.method, path, data=body, headers=media)
        assert reply.status in (200, 201), (route.method, path, reply.body)
        made = reply.json if reply.status == 201 else made


def test_routes_for_people_have_examples() -> None:
    """What the page would make up from the schema is refused."""
    for route in ROUTES:
        if route.body is not None and route.permission in FOR_PEOPLE:
            assert route.example is not None, route.path
