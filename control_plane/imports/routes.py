"""`/api/v1/import` over HTTP: a file of another system into an environment."""

import asyncio

import msgspec
from aiohttp import web

from control_plane.access.requests import author_of
from control_plane.imports.model import ImportAnswer, ImportInput
from control_plane.imports.service import MAX_IMPORT_BYTES, ImportService
from control_plane.keys import REPLICA
from control_plane.web.documents import check_media_type, decode_mended, read_body
from control_plane.web.params import query_bool, query_scope
from control_plane.web.respond import json_response
from control_plane.web.routing import ENVIRONMENT, JSON, PROJECT, Param, Permission, Route

__all__ = ["ROUTES"]


async def import_file(request: web.Request) -> web.StreamResponse:
    """Import a file, or tell what would come of it."""
    scope = query_scope(request)
    dry_run = query_bool(request, "dry_run") or False
    replace = query_bool(request, "replace") or False
    check_media_type(request, (JSON,))
    body = await read_body(request, MAX_IMPORT_BYTES)
    document, flaws = await asyncio.to_thread(decode_mended, body, ImportInput, "/document")
    if flaws:
        document = msgspec.structs.replace(document, flaws=[*document.flaws, *flaws])
    answer = await ImportService(request.app[REPLICA]).run(
        *scope,
        document,
        author_of(request),
        dry_run=dry_run,
        replace=replace,
        every="environment" not in request.query,
    )
    return json_response(answer)


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/import",
        handler=import_file,
        summary="Import another system's flags",
        permission=Permission.WRITE,
        tag="import",
        params=(
            PROJECT,
            ENVIRONMENT,
            Param("dry_run", type=bool, description="Only tell what would be done."),
            Param(
                "replace",
                type=bool,
                description="Also what was made here, or is asked in other environments.",
            ),
        ),
        body=ImportInput,
        example={
            "system": "flagd",
            "document": {
                "flags": {
                    "new-checkout": {
                        "state": "ENABLED",
                        "variants": {"on": True, "off": False},
                        "defaultVariant": "on",
                    }
                }
            },
        },
        responses={200: ImportAnswer},
        description="The system's own definitions are stored and evaluated as it would. All of the "
        "file that is good is applied in one change; the answer tells what became of each flag and "
        "segment. A mistake in the text of one, such as a member that is there twice, refuses that "
        "one. The same file again changes nothing. Only the named environment is written; of "
        "a file of our own (`native`), where none is named, all that it has.",
    ),
)
