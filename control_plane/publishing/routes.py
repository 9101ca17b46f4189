"""Where sidecars get what they serve: the stream, the whole snapshot, blobs of long lists.

All are for the environment of the sidecar's own key, or its project. Of a stream only the beginning
is here; then its connection is handed over to `streams`.
"""

from aiohttp import HttpVersion11, hdrs, web

from control_plane.access.model import PRINCIPAL, KeyRecord
from control_plane.errors import Forbidden
from control_plane.keys import SYNC
from control_plane.publishing.held import Held
from control_plane.web.address import client_address
from control_plane.web.respond import not_modified
from control_plane.web.routing import IF_NONE_MATCH, Param, Permission, Route
from control_plane.web.takeover import begin_endless, leave, take_over
from proxy.contract.sync import (
    BLOBS_PATH,
    DIGEST_HEADER,
    INSTANCE_HEADER,
    PUBLISHED_HEADER,
    REVISION_HEADER,
    SNAPSHOT_PATH,
    STREAM_PATH,
    VERIFIED_AGE_HEADER,
    SnapshotPointer,
    entity_tag,
)

__all__ = ["ROUTES"]

_STREAM_HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream",
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}


async def stream(request: web.Request) -> web.StreamResponse:
    """Send events until the sidecar goes, its key ends or this process stops."""
    key = _sidecar_key(request)
    sync = request.app[SYNC]
    held = Held.read(
        request.headers.get(INSTANCE_HEADER),
        request.headers.get("Last-Event-ID"),
        request.headers.get(DIGEST_HEADER),
        request.headers.get(PUBLISHED_HEADER),
    )
    sync.admit(key)
    address = client_address(request)
    await begin_endless(request, _STREAM_HEADERS)
    transport = take_over(request)
    try:
        chunked = request.version >= HttpVersion11
        sync.stream(transport, key, held, chunked=chunked, address=address)
    except BaseException:
        transport.abort()
        raise
    leave()


async def snapshot(request: web.Request) -> web.StreamResponse:
    """Send the whole snapshot, or 304 to who holds it."""
    key = _sidecar_key(request)
    sync = request.app[SYNC]
    current = sync.current(key.project, key.environment)
    pointer = current.pointer()
    headers = {
        hdrs.CACHE_CONTROL: "private, no-cache",
        hdrs.VARY: "Accept-Encoding, Authorization",
        VERIFIED_AGE_HEADER: str(sync.replica.verified_age_ms(key.project)),
    }
    signed_by = current.header().signed_by  # the same for all snapshots of this process
    if not_modified(request, tag := _tag(pointer, signed_by)):
        return web.Response(status=304, headers={**headers, hdrs.ETAG: tag})
    if _accepts_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, "")):
        pointer, body = await sync.snapshot(key.project, key.environment)
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    else:
        body = current.body()
    headers[hdrs.ETAG] = _tag(pointer, signed_by)
    return web.Response(body=body, headers=headers, content_type="application/x-ndjson")


async def blob(request: web.Request) -> web.StreamResponse:
    """Send a blob of a long list of units."""
    digest = request.match_info["digest"]
    found = request.app[SYNC].blob(_sidecar_key(request).project, digest)
    # What a digest names never changes.
    headers = {
        hdrs.ETAG: f'"{digest}"',
        hdrs.CACHE_CONTROL: "private, max-age=31536000, immutable",
        hdrs.VARY: "Authorization",
    }
    if not_modified(request, headers[hdrs.ETAG]):
        return web.Response(status=304, headers=headers)
    return web.Response(body=found, headers=headers, content_type="application/octet-stream")


def _tag(pointer: SnapshotPointer, signed_by: tuple[str, ...]) -> str:
    return entity_tag(pointer.epoch, pointer.revision, pointer.digest, signed_by)


def _sidecar_key(request: web.Request) -> KeyRecord:
    key = request[PRINCIPAL].key
    if key is None:
        raise Forbidden("snapshots are read with a sidecar key, which names the environment")
    return key


def _accepts_gzip(header: str) -> bool:
    """Return whether an `Accept-Encoding` names gzip and does not give it the weight 0."""
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() == "gzip":
            value = weight.replace(" ", "").removeprefix("q=")
            return value not in ("0", "0.", "0.0", "0.00", "0.000")
    return False


_HELD = (
    Param(INSTANCE_HEADER, "header", description="What the sidecar calls itself."),
    Param(REVISION_HEADER, "header", description="The revision it serves."),
    Param(DIGEST_HEADER, "header", description="The digest it serves."),
)

ROUTES = (
    Route(
        method="GET",
        path=STREAM_PATH,
        handler=stream,
        summary="Follow an environment",
        permission=Permission.SYNC,
        tag="sidecars",
        params=(
            *_HELD,
            Param("Last-Event-ID", "header", description="`<epoch>-<revision>`."),
            Param(
                PUBLISHED_HEADER, "header", description="`created_at` of the newest it has seen."
            ),
        ),
        responses={
            200: "Server-sent events: `delta`, `snapshot`, `heartbeat`, see the wire format."
        },
        description="Sends at once what differs from what the request says that it has, and then "
        "each change. 503 with `Retry-After` when too many streams begin at the same time.",
        streaming=True,
    ),
    Route(
        method="GET",
        path=SNAPSHOT_PATH,
        handler=snapshot,
        summary="Read an environment's snapshot",
        permission=Permission.SYNC,
        tag="sidecars",
        params=(*_HELD, IF_NONE_MATCH),
        responses={200: "Lines of JSON, `application/x-ndjson`.", 304: None},
        description="The entity tag names epoch, revision and content. Compressed for who accepts "
        "gzip.",
    ),
    Route(
        method="GET",
        path=BLOBS_PATH + "/{digest}",
        handler=blob,
        summary="Read a blob of units",
        permission=Permission.SYNC,
        tag="sidecars",
        params=(
            Param("digest", "path", required=True, description="As a segment's `units` names it."),
            *_HELD,
            IF_NONE_MATCH,
        ),
        responses={200: "Hashes of units, `application/octet-stream`.", 304: None},
        description="A part of a long list of units, see the wire format. What is at a digest "
        "never changes.",
    ),
)
