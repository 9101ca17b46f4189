"""`/api/v1/projects` and `/api/v1/environments` over HTTP."""

from functools import partial
from typing import Any

from aiohttp import web

from control_plane.access.model import PRINCIPAL
from control_plane.access.requests import author_of
from control_plane.environments.model import (
    CopyInput,
    Environment,
    EnvironmentInput,
    EnvironmentResource,
    Project,
    ProjectInput,
    ProjectResource,
)
from control_plane.environments.service import EnvironmentService
from control_plane.flags.model import FlagResource
from control_plane.flags.responses import REBUCKET, query_rebucket, written_response
from control_plane.keys import REPLICA
from control_plane.web.documents import decode_document, read_document
from control_plane.web.paging import encode_cursor, query_cursor, query_limit
from control_plane.web.params import query_bool, query_scope
from control_plane.web.respond import (
    check_if_match,
    check_if_match_content,
    content_response,
    page,
)
from control_plane.web.routing import (
    CURSOR,
    IF_MATCH,
    IF_NONE_MATCH,
    JSON,
    LIMIT,
    PROJECT,
    Page,
    Param,
    Permission,
    Route,
)

__all__ = ["ROUTES"]


async def list_projects(request: web.Request) -> web.StreamResponse:
    """Answer a page of projects."""
    items, last = _environments(request).projects(
        request[PRINCIPAL].sees, query_cursor(request), query_limit(request)
    )
    return page(items, None if last is None else encode_cursor(last))


async def create_project(request: web.Request) -> web.StreamResponse:
    """Create a project."""
    document = await read_document(request, Project)
    created = await _environments(request).create_project(document, author_of(request))
    location = f"/api/v1/projects/{created.key}"
    return content_response(request, created, 201, location)


async def get_project(request: web.Request) -> web.StreamResponse:
    """Answer one project."""
    found = _environments(request).get_project(request.match_info["key"])
    return content_response(request, found)


async def replace_project(request: web.Request) -> web.StreamResponse:
    """Replace a project's name, description and networks."""
    changed = await _environments(request).replace_project(
        request.match_info["key"],
        await read_document(request, ProjectInput),
        author_of(request),
        partial(check_if_match_content, request),
        stays_in=_stays_in(request),
    )
    return content_response(request, changed)


async def patch_project(request: web.Request) -> web.StreamResponse:
    """Apply a merge patch to a project."""
    changed = await _environments(request).patch_project(
        request.match_info["key"],
        await read_document(request, dict[str, Any]),
        partial(decode_document, kind=ProjectInput),
        author_of(request),
        partial(check_if_match_content, request),
        stays_in=_stays_in(request),
    )
    return content_response(request, changed)


async def list_environments(request: web.Request) -> web.StreamResponse:
    """Answer a page of environments."""
    items, last = _environments(request).page(
        query_scope(request).project, query_cursor(request), query_limit(request)
    )
    return page(items, None if last is None else encode_cursor(last))


async def create_environment(request: web.Request) -> web.StreamResponse:
    """Create an environment."""
    document = await read_document(request, Environment)
    project = query_scope(request).project
    created = await _environments(request).create(project, document, author_of(request))
    location = f"/api/v1/environments/{created.key}"
    if "project" in request.query:
        location += f"?project={project}"
    return content_response(request, created, 201, location)


async def get_environment(request: web.Request) -> web.StreamResponse:
    """Answer one environment."""
    project = query_scope(request).project
    found = _environments(request).get(project, request.match_info["key"])
    return content_response(request, found)


async def replace_environment(request: web.Request) -> web.StreamResponse:
    """Replace an environment's name, description and maximum age."""
    changed = await _environments(request).replace(
        query_scope(request).project,
        request.match_info["key"],
        await read_document(request, EnvironmentInput),
        author_of(request),
        partial(check_if_match_content, request),
    )
    return content_response(request, changed)


async def patch_environment(request: web.Request) -> web.StreamResponse:
    """Apply a merge patch to an environment."""
    changed = await _environments(request).patch(
        query_scope(request).project,
        request.match_info["key"],
        await read_document(request, dict[str, Any]),
        partial(decode_document, kind=EnvironmentInput),
        author_of(request),
        partial(check_if_match_content, request),
    )
    return content_response(request, changed)


async def copy_configuration(request: web.Request) -> web.StreamResponse:
    """Promote a flag's configuration."""
    document = await read_document(request, CopyInput)
    written = await _environments(request).copy(
        query_scope(request).project,
        request.match_info["key"],
        document,
        author_of(request),
        partial(check_if_match, request),
        rebucket=query_rebucket(request),
    )
    return written_response(written)


def _environments(request: web.Request) -> EnvironmentService:
    return EnvironmentService(request.app[REPLICA])


def _stays_in(request: web.Request) -> bool:
    """Return whether who asks is to be told when they would lock themselves out."""
    forced = query_bool(request, "force")  # refused when it is no answer, whoever asks
    return not forced and request[PRINCIPAL].kind != "admin"


_FORCE = Param("force", type=bool, description="Also when it locks out who asks.")
_MERGE_PATCH = "application/merge-patch+json"
_PROJECT_KEY = Param("key", "path", required=True, description="The project's key.")
_KEY = Param("key", "path", required=True, description="The environment's key.")
_NETWORKS = (
    "From elsewhere than `allowed_networks`, when there are any, and from `denied_networks` people "
    "and service keys are answered 403 `address_denied`; sidecars are not held by them. Networks "
    "that would lock out who sets them are 409 `lockout`."
)

ROUTES = (
    Route(
        method="GET",
        path="/api/v1/projects",
        handler=list_projects,
        summary="List projects",
        permission=Permission.MEMBER,
        tag="projects",
        params=(LIMIT, CURSOR),
        responses={200: Page[ProjectResource]},
    ),
    Route(
        method="POST",
        path="/api/v1/projects",
        handler=create_project,
        summary="Create a project",
        permission=Permission.INSTALLATION,
        tag="projects",
        body=Project,
        example={"key": "shop", "name": "The shop"},
        responses={201: ProjectResource},
        description="It has the environments development, staging and production.",
    ),
    Route(
        method="GET",
        path="/api/v1/projects/{key}",
        handler=get_project,
        summary="Read a project",
        permission=Permission.READ,
        tag="projects",
        project="path",
        params=(_PROJECT_KEY, IF_NONE_MATCH),
        responses={200: ProjectResource, 304: None},
    ),
    Route(
        method="PUT",
        path="/api/v1/projects/{key}",
        handler=replace_project,
        summary="Replace a project",
        permission=Permission.MANAGE,
        tag="projects",
        project="path",
        params=(_PROJECT_KEY, _FORCE, IF_MATCH),
        body=ProjectInput,
        example={"name": "The shop"},
        responses={200: ProjectResource},
        description=f"Members left out are as in a new one. {_NETWORKS}",
    ),
    Route(
        method="PATCH",
        path="/api/v1/projects/{key}",
        handler=patch_project,
        summary="Change parts of a project",
        permission=Permission.MANAGE,
        tag="projects",
        project="path",
        params=(_PROJECT_KEY, _FORCE, IF_MATCH),
        body=dict[str, Any],
        example={"description": "All that is sold"},
        media_types=(_MERGE_PATCH, JSON),
        responses={200: ProjectResource},
        description=f"A JSON merge patch (RFC 7396). {_NETWORKS}",
    ),
    Route(
        method="GET",
        path="/api/v1/environments",
        handler=list_environments,
        summary="List environments",
        permission=Permission.READ,
        tag="environments",
        params=(PROJECT, LIMIT, CURSOR),
        responses={200: Page[EnvironmentResource]},
    ),
    Route(
        method="POST",
        path="/api/v1/environments",
        handler=create_environment,
        summary="Create an environment",
        permission=Permission.MANAGE,
        tag="environments",
        params=(PROJECT,),
        body=Environment,
        example={"key": "preview", "name": "Preview"},
        responses={201: EnvironmentResource},
        description="Each flag gets production's fallthrough and off variant there, disabled, "
        "with a salt of its own.",
    ),
    Route(
        method="GET",
        path="/api/v1/environments/{key}",
        handler=get_environment,
        summary="Read an environment",
        permission=Permission.READ,
        tag="environments",
        params=(PROJECT, _KEY, IF_NONE_MATCH),
        responses={200: EnvironmentResource, 304: None},
    ),
    Route(
        method="PUT",
        path="/api/v1/environments/{key}",
        handler=replace_environment,
        summary="Replace an environment",
        permission=Permission.MANAGE,
        tag="environments",
        params=(PROJECT, _KEY, IF_MATCH),
        body=EnvironmentInput,
        example={"name": "Production", "max_age_s": 3600},
        responses={200: EnvironmentResource},
        description="Members left out are as in a new one. Another `max_age_s` is published at "
        "once: a revision of the same flags, whose sidecars answer the application's defaults when "
        "nobody has confirmed the flags for so many seconds. Without one they serve on.",
    ),
    Route(
        method="PATCH",
        path="/api/v1/environments/{key}",
        handler=patch_environment,
        summary="Change parts of an environment",
        permission=Permission.MANAGE,
        tag="environments",
        params=(PROJECT, _KEY, IF_MATCH),
        body=dict[str, Any],
        example={"max_age_s": None},
        media_types=(_MERGE_PATCH, JSON),
        responses={200: EnvironmentResource},
        description="A JSON merge patch (RFC 7396); null takes a member away.",
    ),
    Route(
        method="POST",
        path="/api/v1/environments/{key}/copy",
        handler=copy_configuration,
        summary="Promote a flag's configuration",
        permission=Permission.WRITE,
        tag="environments",
        params=(PROJECT, _KEY, REBUCKET, IF_MATCH),
        body=CopyInput,
        example={"flag": "new-checkout", "to": "production"},
        responses={200: FlagResource},
        description='`{"flag": "f", "from": "staging"}` copies into the environment of the path, '
        '`{"flag": "f", "to": "production"}` out of it. The target keeps its salt, and of its '
        "rollouts as few buckets as can be change their variant.",
    ),
)
