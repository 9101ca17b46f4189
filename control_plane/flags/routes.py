"""`/api/v1/flags`: flags over HTTP.

Handlers parse, call and convert.
"""

from functools import partial
from typing import Any, get_args
from urllib.parse import quote

from aiohttp import web

from control_plane.access.requests import author_of
from control_plane.flags.model import FlagFilter, FlagResource
from control_plane.flags.responses import REBUCKET, query_rebucket, written_response
from control_plane.flags.service import FlagService
from control_plane.keys import REPLICA
from control_plane.web.documents import decode_document, read_document, read_flawed
from control_plane.web.paging import encode_cursor, query_cursor, query_limit
from control_plane.web.params import invalid_parameter, query_bool, query_scope
from control_plane.web.respond import (
    check_if_match,
    etag_of,
    json_response,
    no_content,
    not_modified,
    not_modified_response,
    page,
)
from control_plane.web.routing import (
    CURSOR,
    ENVIRONMENT,
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
from proxy.contract.authoring import FlagInput
from proxy.contract.definitions import FlagType

__all__ = ["MERGE_PATCH", "ROUTES"]

MERGE_PATCH = "application/merge-patch+json"


async def list_flags(request: web.Request) -> web.StreamResponse:
    """Answer a page of flags."""
    scope = query_scope(request)
    wanted = FlagFilter(
        tags=frozenset(request.query.getall("tag", [])),
        prefix=request.query.get("prefix", ""),
        type=_type(request),
        archived=query_bool(request, "archived"),
    )
    items, last = _flags(request).page(*scope, wanted, query_cursor(request), query_limit(request))
    return page(items, None if last is None else encode_cursor(last))


async def create_flag(request: web.Request) -> web.StreamResponse:
    """Create a flag."""
    document, _, flaws = await read_flawed(request, FlagInput, "flag")
    written = await _flags(request).create(
        *query_scope(request), document, author_of(request), flaws
    )
    location = _location(request, written.resource.key)
    return written_response(written, status=201, location=location)


async def get_flag(request: web.Request) -> web.StreamResponse:
    """Answer one flag."""
    flag = _flags(request).get(*query_scope(request), request.match_info["key"])
    etag = etag_of(flag.version)
    if not_modified(request, etag):
        return not_modified_response(etag)
    return json_response(flag, etag=etag)


async def replace_flag(request: web.Request) -> web.StreamResponse:
    """Replace a flag, or what one environment serves of it."""
    document, members, flaws = await read_flawed(request, FlagInput, "flag")
    written = await _flags(request).replace(
        *query_scope(request),
        request.match_info["key"],
        document,
        members.keys(),
        author_of(request),
        partial(check_if_match, request),
        rebucket=query_rebucket(request),
        flaws=flaws,
    )
    return written_response(written)


async def patch_flag(request: web.Request) -> web.StreamResponse:
    """Apply a merge patch to a flag."""
    changes = await read_document(request, dict[str, Any])
    written = await _flags(request).patch(
        *query_scope(request),
        request.match_info["key"],
        changes,
        partial(decode_document, kind=FlagInput, parts="flag"),
        author_of(request),
        partial(check_if_match, request),
        rebucket=query_rebucket(request),
    )
    return written_response(written)


async def delete_flag(request: web.Request) -> web.StreamResponse:
    """Delete a flag."""
    await _flags(request).delete(
        query_scope(request).project,
        request.match_info["key"],
        author_of(request),
        partial(check_if_match, request),
        force=query_bool(request, "force") or False,
    )
    return no_content()


def _location(request: web.Request, key: str) -> str:
    """Return where a flag is, in the project and environment of the request."""
    scope = request.rel_url.query
    kept = {name: scope[name] for name in ("project", "environment") if name in scope}
    path = "/".join(_quote(piece) for piece in key.split("/"))
    query = "&".join(f"{name}={_quote(value)}" for name, value in kept.items())
    return f"/api/v1/flags/{path}" + (f"?{query}" if query else "")


def _flags(request: web.Request) -> FlagService:
    return FlagService(request.app[REPLICA])


def _type(request: web.Request) -> FlagType | None:
    text = request.query.get("type")
    known = get_args(FlagType)
    if text is None:
        return None
    if text not in known:
        raise invalid_parameter("type", f"is one of {', '.join(known)}")
    return text  # type: ignore[return-value]  # one of the literals, as was just seen


def _quote(text: str) -> str:
    return quote(text, safe="")


_KEY = Param("key", "path", required=True, description="The flag's key; may contain slashes.")
_WRITE_NOTES = (
    "`Matrixflag-Moved` in the answer says how many of 100,000 buckets got another variant in each "
    "place, `Matrixflag-Warnings` what is odd but allowed; both are JSON."
)

ROUTES = (
    Route(
        method="GET",
        path="/api/v1/flags",
        handler=list_flags,
        summary="List flags",
        permission=Permission.READ,
        tag="flags",
        params=(
            PROJECT,
            ENVIRONMENT,
            Param("tag", description="Only flags with this tag; repeat it to require several."),
            Param("prefix", description="Only flags whose key begins like this."),
            Param("type", type=FlagType, description="Only flags of this type."),
            Param("archived", type=bool, description="Only flags that are archived, or are not."),
            LIMIT,
            CURSOR,
        ),
        responses={200: Page[FlagResource]},
    ),
    Route(
        method="POST",
        path="/api/v1/flags",
        handler=create_flag,
        summary="Create a flag",
        permission=Permission.WRITE,
        tag="flags",
        params=(PROJECT, ENVIRONMENT),
        body=FlagInput,
        example={"key": "new-checkout", "type": "boolean", "value": True, "enabled": True},
        responses={201: FlagResource},
        description="Simple: `key`, `type`, `value`, `enabled`; all environments are configured "
        "alike. Full: `variants` and `environments`. " + _WRITE_NOTES,
    ),
    Route(
        method="GET",
        path="/api/v1/flags/{key:.+}",
        handler=get_flag,
        summary="Read a flag",
        permission=Permission.READ,
        tag="flags",
        params=(PROJECT, ENVIRONMENT, _KEY, IF_NONE_MATCH),
        responses={200: FlagResource, 304: None},
    ),
    Route(
        method="PUT",
        path="/api/v1/flags/{key:.+}",
        handler=replace_flag,
        summary="Replace a flag",
        permission=Permission.WRITE,
        tag="flags",
        params=(PROJECT, ENVIRONMENT, _KEY, REBUCKET, IF_MATCH),
        body=FlagInput,
        example={"value": False},
        responses={200: FlagResource},
        description="Without `variants` and `environments` only what the environment serves "
        "changes, and members left out stay, `name` and `tags` too. With one of them the flag is "
        "what the body says: members left out are as in a new one, but salts, the ids and ranges "
        "of rules, and environments that are left out stay. " + _WRITE_NOTES,
    ),
    Route(
        method="PATCH",
        path="/api/v1/flags/{key:.+}",
        handler=patch_flag,
        summary="Change parts of a flag",
        permission=Permission.WRITE,
        tag="flags",
        params=(PROJECT, ENVIRONMENT, _KEY, REBUCKET, IF_MATCH),
        body=dict[str, Any],
        example={"tags": ["payments"], "owner": "team-payments"},
        media_types=(MERGE_PATCH, JSON),
        responses={200: FlagResource},
        description="A JSON merge patch (RFC 7396) of what a read gives. Where one of several "
        "members is needed, as in a condition or in what is served, another takes its place; no "
        "null is needed. " + _WRITE_NOTES,
    ),
    Route(
        method="DELETE",
        path="/api/v1/flags/{key:.+}",
        handler=delete_flag,
        summary="Delete a flag",
        permission=Permission.WRITE,
        tag="flags",
        params=(
            PROJECT,
            _KEY,
            Param(
                "force",
                type=bool,
                description="Also while it is a prerequisite of others: those are off then.",
            ),
            IF_MATCH,
        ),
        responses={204: None},
        description="Its versions are kept for 90 days, so a revert can bring it back.",
    ),
)
