"""`/api/v1/keys`: the keys that sidecars and applications present."""

from aiohttp import web
from msgspec import UNSET

from control_plane.access.model import (
    PRINCIPAL,
    CreatedKey,
    KeyInput,
    KeyPatch,
    KeyResource,
    RotateInput,
)
from control_plane.access.requests import author_of
from control_plane.access.roles import ANYWHERE
from control_plane.audit.model import filter_problem
from control_plane.errors import Invalid
from control_plane.keys import KEYS, LAST_USED
from control_plane.web.documents import read_document
from control_plane.web.paging import encode_cursor, query_cursor, query_limit
from control_plane.web.params import invalid_parameter, query_bool, query_scope
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
    project = query_scope(request).project
    items, last = request.app[KEYS].page(
        project,
        environment=request.query.get("environment"),
        kind=_kind(request),
        created_by=_maker(request),
        after=query_cursor(request),
        limit=query_limit(request),
    )
    told = await request.app[LAST_USED].told(project, items)
    return page(told, None if last is None else encode_cursor(last))


async def create_key(request: web.Request) -> web.StreamResponse:
    """Make a key and show it, this once."""
    document = await read_document(request, KeyInput)
    scope = query_scope(request)
    created = await request.app[KEYS].create(
        scope.project, _environment(request, document), document, author_of(request)
    )
    return json_response(created, status=201, location=_location(request, created))


async def get_key(request: web.Request) -> web.StreamResponse:
    """Answer one key, without the key itself."""
    project = query_scope(request).project
    found = request.app[KEYS].get(project, request.match_info["id"])
    return json_response((await request.app[LAST_USED].told(project, [found]))[0])


async def patch_key(request: web.Request) -> web.StreamResponse:
    """Change a key's name, end or networks."""
    document = await read_document(request, KeyPatch)
    project, key_id = query_scope(request).project, request.match_info["id"]
    asked_with, force = request[PRINCIPAL].key, query_bool(request, "force")
    changed = await request.app[KEYS].patch(
        project,
        key_id,
        document,
        author_of(request),
        presented=asked_with is not None and asked_with.id == key_id and not force,
    )
    return json_response((await request.app[LAST_USED].told(project, [changed]))[0])


async def rotate_key(request: web.Request) -> web.StreamResponse:
    """Make a key in the place of another and show it, this once."""
    document = await read_document(request, RotateInput)
    made = await request.app[KEYS].rotate(
        query_scope(request).project, request.match_info["id"], document, author_of(request)
    )
    return json_response(made, status=201, location=_location(request, made))


async def delete_key(request: web.Request) -> web.StreamResponse:
    """Delete a key."""
    project = query_scope(request).project
    await request.app[KEYS].delete(project, request.match_info["id"], author_of(request))
    return no_content()


def _location(request: web.Request, key: CreatedKey) -> str:
    location = f"/api/v1/keys/{key.id}"
    return f"{location}?project={key.project}" if "project" in request.query else location


def _maker(request: web.Request) -> str | None:
    """Return who made the keys that are asked for; refuse what is no actor's name."""
    text = request.query.get("created_by")
    if text is not None and (problem := filter_problem("actor", text)):
        raise invalid_parameter("created_by", problem)
    return text


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
            Param(
                "created_by",
                description="Only keys that were made by this actor, as the audit log has it: "
                "`user:ada@example.com`.",
            ),
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
        description="`key` in the answer is shown this once. The first server or client key of an "
        "environment closes evaluation to applications without a key, also on the sidecar's own "
        "machine.",
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
        method="PATCH",
        path="/api/v1/keys/{id}",
        handler=patch_key,
        summary="Change a key's name, end or networks",
        permission=Permission.MANAGE,
        tag="keys",
        params=(
            PROJECT,
            _ID,
            Param("force", type=bool, description="Also when it locks the key out that asks."),
        ),
        body=KeyPatch,
        example={"name": "shop, new cluster"},
        responses={200: KeyResource},
        description="What is left out stays. Networks are of service and sidecar keys: from "
        "others than the allowed, when any are, and from the denied, they are answered 403 "
        "`address_denied`, and their streams end within seconds.",
    ),
    Route(
        method="POST",
        path="/api/v1/keys/{id}/rotate",
        handler=rotate_key,
        summary="Put a new key in the place of one",
        permission=Permission.MANAGE,
        tag="keys",
        params=(PROJECT, _ID),
        body=RotateInput,
        example={"overlap_s": 3600},
        responses={201: CreatedKey},
        description="Of the same kind, place, role and networks; `key` in the answer is shown this "
        "once. The old one ends after the overlap, in which both are good: after an hour unless "
        "`overlap_s` says otherwise. The new one lives for as long as the old one was made to "
        "live, or until `expires_at`. Of a rotation whose answer was lost, rotate the same key "
        "again, within the overlap, and delete what nobody has: the second answer is like the "
        "first.",
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
