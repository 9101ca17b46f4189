"""What event streams tell: which version of the flags is being served, by its name. Pure.

    name = revision "-" 8 digits for the epoch "-" 32 digits for the content

The content is what the ETags of all contexts begin with - engine, snapshot, scope - and the slice
of time, so a name is the same on every replica and after a restart. It is the `id` of an event,
with which a browser comes back (`Last-Event-ID`), and the `etag` in it, which it sends as
`flagConfigEtag` with the request that follows: whoever is behind that revision knows so, and waits.

Flags that change all the time, on a ramp or by the time of day, would be news at every moment; they
are told once in `LIVE_PACE_MS` (`proxy.ofrep.views`).
"""

import re
from hashlib import sha256
from typing import NamedTuple

import orjson

from proxy.contract.snapshot import FILE_EPOCH, SnapshotHeader
from proxy.engine import parse_moment
from proxy.ofrep.auth import Scope
from proxy.ofrep.views import Slice, Views

__all__ = ["MAX_NAME_CHARS", "News", "is_newer", "news"]

MAX_NAME_CHARS = 64
"""A name of ours has at most 61; a longer one is of something else."""

_NAME = re.compile(r'"?([0-9]{1,19})-([0-9a-f]{8})-[0-9a-f]{32}"?')


class News(NamedTuple):
    """What a stream of one scope is told, until time brings a change or another snapshot is served.

    `mark` is the event without data: nothing happens in the page, which only knows the name then.
    """

    name: str
    event: bytes
    mark: bytes
    slice: Slice


def news(views: Views, scope: Scope, now_ms: int) -> News:
    """Return what is to be told of a snapshot to those of a scope."""
    view = views.of(scope)
    present = view.slice(now_ms)
    header = views.header
    name = f"{header.revision}-{_epoch(header)}-{view.name(present)}"
    modified_ms = max(parse_moment(header.created_at) or 0, present.since_ms or 0)
    data = orjson.dumps(
        {"type": "refetchEvaluation", "etag": f'"{name}"', "lastModified": modified_ms // 1000}
    )
    mark = b"id: %b\n" % name.encode()
    event = b"%bevent: message\ndata: %b\n\n" % (mark, data)
    return News(name, event, mark + b"\n", present)


def is_newer(name: str, header: SnapshotHeader) -> bool:
    """Return whether a name, as a client sent it, is of what is probably still on its way here.

    Of another epoch one cannot tell, but those that are over are not told any more. Files have no
    revisions that count beyond their own process.
    """
    match = _NAME.fullmatch(name)
    if match is None or header.epoch == FILE_EPOCH:
        return False
    revision, epoch = match.groups()
    return epoch != _epoch(header) or int(revision) > header.revision


def _epoch(header: SnapshotHeader) -> str:
    place = f"{header.project}\n{header.environment}\n{header.epoch}"
    return sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:8]
