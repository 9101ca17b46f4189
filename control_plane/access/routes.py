"""`/api/v1/keys`: the keys that sidecars and applications present."""

from aiohttp import web
from msgspec import UNSET

from control_plane.access.model import CreatedKey, KeyInput, KeyResource
from control_plane.access.requests import author_of
from control_plane.access.roles import ANYWHERE
from control_plane.errors import Invalid
from control_plane.keys import KEYS
from control_plane.web.documents import read_document
from control_plane.web.paging import encode_cursor, query_cursor, query_limit
from control_plane.web.params import invalid_parameter, query_scope
from control_plane.web.respond import json_response, no_content, page
from control_plane.web.routing import (
    CURSOR,
    ENVIRONMENT,
    LIMIT,
    PROJECT,
    Page,
    Param,
    Permission,
    Route,
)
from proxy.contract.codes import KeyKind, ProblemCode
from proxy.contract.problems import Problem

__all__ = ["ROUTES"]


async def list_keys(request: web.Request) -> web.StreamResponse:
    """Answer a page of keys, without the keys themselves."""
    items, last = request.app[KEYS].page(
        query_scope(request).project,
        environment=request.query.get("environment"),
        kind=_kind(request),
        after=query_cursor(request),
        limit=query_limit(request),
    )
    return page(items, None if last is None else encode_cursor(last))


async def create_key(request: web.Request) -> web.StreamResponse:
    """Make a key and show it, this once."""
    document = await read_document(request, KeyInput)
    scope = query_scope(request)
    created = await request.app[KEYS].create(
        scope.project, _environment(request, document), document, author_of(request)
    )
    location = f"/api/v1/keys/{created.id}"
    if "project" in request.query:
        location += f"?project={scope.project}"
    return json_response(created, status=201, location=location)


async def get_key(request: web.Request) -> web.StreamResponse:
    """Answer one key, without the key itself."""
    project = query_scope(request).project
    return json_response(request.app[KEYS].get(project, request.match_info["id"]))


async def delete_key(request: web.Request) -> web.StreamResponse:
    """Delete a key."""
    project = query_scope(request).project
    await request.app[KEYS].delete(project, request.match_info["id"], author_of(request))
    return no_content()


def _kind(request: web.Request) -> KeyKind | None:
    text = request.query.get("kind")
    if text is None:
        return None
    try:
        return KeyKind(text)
    except ValueError:
        raise invalid_parameter("kind", f"is one of {', '.join(KeyKind)}") from None


def _environment(request: web.Request, document: KeyInput) -> str:
    """Return the environment that body or query name; they must not name two."""
    asked = request.query.get("environment")
    if document.environment is UNSET:
        if asked is None and document.kind is KeyKind.SERVICE:
            return ANYWHERE
        return query_scope(request).environment
    if asked is not None and asked != document.environment:
        message = f"{document.environment[:80]!r} is not the environment of the query"
        problem = Problem("/environment", ProblemCode.VALUE_DISAGREES, message)
        raise Invalid(message, problems=[problem])
    return document.environment


_ID = Param("id", "path", required=True, description="The id of a key, `k_...`.")

ROUTES = (
    Route(
        method="GET",
        path="/api/v1/keys",
        handler=list_keys,
        summary="List keys",
        permission=Permission.MANAGE,
        tag="keys",
        params=(
            PROJECT,
            Param("environment", description="Only keys of this environment."),
            Param("kind", type=KeyKind, description="Only keys of this kind."),
            LIMIT,
            CURSOR,
        ),
        responses={200: Page[KeyResource]},
    ),
    Route(
        method="POST",
        path="/api/v1/keys",
        handler=create_key,
        summary="Make a key",
        permission=Permission.MANAGE,
        tag="keys",
        params=(PROJECT, ENVIRONMENT),
        body=KeyInput,
        example={"kind": "server", "name": "shop, production"},
        responses={201: CreatedKey},
        description="`key` in the answer is shown this once. Rotate with overlap: make a new key, "
        "roll it out, delete the old one. The first server or client key of an environment closes "
        "evaluation to applications without a key, also on the sidecar's own machine.",
    ),
    Route(
        method="GET",
        path="/api/v1/keys/{id}",
        handler=get_key,
        summary="Read a key",
        permission=Permission.MANAGE,
        tag="keys",
        params=(PROJECT, _ID),
        responses={200: KeyResource},
    ),
    Route(
        method="DELETE",
        path="/api/v1/keys/{id}",
        handler=delete_key,
        summary="Delete a key",
        permission=Permission.MANAGE,
        tag="keys",
        params=(PROJECT, _ID),
        responses={204: None},
        description="Streams of sidecars that use it end within seconds.",
    ),
)
