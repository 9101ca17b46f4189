"""Where sidecars tell their standing, and people and pipelines ask who serves what."""

import asyncio
from itertools import islice
from typing import get_args

import msgspec
from aiohttp import web

from control_plane.access.model import PRINCIPAL
from control_plane.errors import Forbidden, Invalid
from control_plane.fleet.model import Filter, Place
from control_plane.keys import FLEET, LAST_USED, REPLICA
from control_plane.web.documents import check_media_type, decode_document, read_body
from control_plane.web.paging import decode_cursor, encode_cursor, query_limit
from control_plane.web.params import invalid_parameter, query_scope
from control_plane.web.respond import json_response, no_content
from control_plane.web.routing import (
    CONTENT_ENCODING,
    CURSOR,
    ENVIRONMENT,
    JSON,
    LIMIT,
    PROJECT,
    Param,
    Permission,
    Route,
)
from proxy.contract.codes import KeyKind
from proxy.contract.decode import decode
from proxy.contract.fleet import (
    FLEET_PATH,
    FLEET_REVISIONS_PATH,
    MAX_KEYS_USED,
    MAX_STANDING_BYTES,
    STANDING_PATH,
    Fleet,
    FleetRevisions,
    InstanceState,
    Standing,
    check_standing,
    label_problem,
)

__all__ = ["ROUTES"]

_STATES: tuple[InstanceState, ...] = get_args(InstanceState)
_MAX_DIGITS = 16
_EVALUATION = (KeyKind.SERVER, KeyKind.CLIENT)
_LONGEST_AGO_MS = 7 * 24 * 3600 * 1000  # of keys that were used while nobody could be told


async def tell(request: web.Request) -> web.StreamResponse:
    """Take a sidecar's standing."""
    principal = request[PRINCIPAL]
    if principal.project is None or principal.environment is None:
        raise Forbidden("a standing is told with a sidecar key, which names the environment")
    check_media_type(request, (JSON,))
    body = await read_body(request, MAX_STANDING_BYTES)
    fleet = request.app[FLEET]
    standing, problems = decode(body, Standing)
    if standing is None:
        fleet.standings["refused"] += 1
        standing = await asyncio.to_thread(decode_document, body, Standing)  # raises, with all
    if problems := check_standing(standing):
        fleet.standings["refused"] += 1
        first = problems[0]
        raise Invalid(f"{first.pointer}: {first.message}", problems=problems)
    key = "" if principal.key is None else principal.key.id
    _note_keys(request, principal.project, principal.environment, standing)
    fleet.hear(principal.project, principal.environment, standing, key)
    return no_content()


def _note_keys(request: web.Request, project: str, environment: str, standing: Standing) -> None:
    """Note which evaluation keys the sidecar was shown, of its own environment alone."""
    state, last_used = request.app[REPLICA].project(project), request.app[LAST_USED]
    for key_hash, ago_ms in islice(standing.keys_used.items(), MAX_KEYS_USED):
        key = state.key_of_hash(key_hash)
        if key is not None and key.environment == environment and key.kind in _EVALUATION:
            last_used.note(key, min(ago_ms, _LONGEST_AGO_MS))


async def read_fleet(request: web.Request) -> web.StreamResponse:
    """Answer how the fleet stands."""
    after = request.query.get("cursor")
    fleet, place = await request.app[FLEET].fleet(
        *query_scope(request),
        wanted=Filter(
            _revision(request), _state(request), _label(request), request.query.get("instance")
        ),
        by=request.query.get("by"),
        after=None if after is None else _place(after),
        limit=query_limit(request),
    )
    cursor = None if place is None else encode_cursor(":".join(map(str, place)))
    return json_response(msgspec.structs.replace(fleet, next_cursor=cursor))


async def read_revisions(request: web.Request) -> web.StreamResponse:
    """Answer how the last revisions spread."""
    return json_response(await request.app[FLEET].revisions(*query_scope(request)))


def _state(request: web.Request) -> InstanceState | None:
    text = request.query.get("state")
    for state in _STATES:
        if text == state:
            return state
    if text is None:
        return None
    raise invalid_parameter("state", f"{text[:60]!r} is not one of {', '.join(_STATES)}")


def _revision(request: web.Request) -> int | None:
    text = request.query.get("revision")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise invalid_parameter("revision", f"{text[:60]!r} is not a revision")
    return int(text)


def _label(request: web.Request) -> tuple[str, str] | None:
    text = request.query.get("label")
    if text is None:
        return None
    name, colon, value = text.partition(":")
    if not colon or label_problem(name, value):
        raise invalid_parameter("label", f"{text[:60]!r} is not NAME:VALUE, as region:eu")
    return name, value


def _place(cursor: str) -> Place:
    rank, _, rest = decode_cursor(cursor).partition(":")
    revision, _, instance = rest.partition(":")
    try:
        return Place(int(rank), int(revision), instance)
    except ValueError:
        hint = "take `next_cursor` of the page before as it is"
        raise invalid_parameter("cursor", hint) from None


ROUTES = (
    Route(
        method="POST",
        path=STANDING_PATH,
        handler=tell,
        summary="Tell what a sidecar serves",
        permission=Permission.SYNC,
        tag="sidecars",
        params=(CONTENT_ENCODING,),
        body=Standing,
        responses={204: None},
        description="Of an instance the last standing counts. It is told after each swap, every "
        "half minute, and with `leaving` at the end. Times are in milliseconds before now, so "
        "clocks need not agree. 429: the environment has all the instances that it can have.",
    ),
    Route(
        method="GET",
        path=FLEET_PATH,
        handler=read_fleet,
        summary="See who serves what",
        permission=Permission.READ,
        tag="fleet",
        params=(
            PROJECT,
            ENVIRONMENT,
            Param("revision", type=int, description="List those that serve this revision."),
            Param("state", type=InstanceState, description="List those in this state."),
            Param("label", description="List those with this label, `NAME:VALUE`."),
            Param("instance", description="List the one with this name."),
            Param("by", description="Count instances by the values of this label too."),
            LIMIT,
            CURSOR,
        ),
        responses={200: Fleet},
        description="The summary is of all sidecars of the environment, whatever is listed. "
        "Laggards are listed first: unconfirmed ones, those that are behind, missing ones. "
        "`complete` is false while Redis is away: then it is what this replica was told.",
    ),
    Route(
        method="GET",
        path=FLEET_REVISIONS_PATH,
        handler=read_revisions,
        summary="See how revisions spread",
        permission=Permission.READ,
        tag="fleet",
        params=(PROJECT, ENVIRONMENT),
        responses={200: FleetRevisions},
        description="Of the last twenty revisions: how many of the sidecars that were connected "
        "when it was published serve it, and how long half, 99 % and all of them took.",
    ),
)
